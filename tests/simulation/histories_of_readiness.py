"""What makes a worker ready in the histories of transcripts/: see transcribe.py."""

from __future__ import annotations

from entrypoint.core import events as e
from entrypoint.core.spec import HealthSpec, ListenSpec
from tests.simulation.histories import ends, history, read_again
from tests.simulation.world import PORT, Process, Script, World, app, shared

TWO = (*PORT, ListenSpec("inet", "127.0.0.1", 5001))
SILENT = Script(says_after=None)


def silent(world: World) -> None:
    """Workers do nothing by themselves."""
    world.usual = lambda _spawn: SILENT


def listens(world: World, process: Process, address: str, **more) -> None:
    declared = {each.text for each in process.spec.listen}
    name = address if address in declared else ""
    world.emit(e.ListenSeen(process.incarnation, address, name, **more))


def accepts(world: World, process: Process, address: str) -> None:
    declared = {each.text for each in process.spec.listen}
    name = address if address in declared else ""
    world.emit(e.AcceptSeen(process.incarnation, address, name))


def stops_listening(world: World, process: Process, address: str) -> None:
    declared = {each.text for each in process.spec.listen}
    name = address if address in declared else ""
    world.emit(e.ListenEnded(process.incarnation, address, name))


@history
def all_declared_addresses_count_but_optional_ones(world):
    silent(world)
    listen = (*TWO, ListenSpec("inet", "127.0.0.1", 5002, optional=True))
    world.boot(shared(listen=listen))
    world.advance(0.5)
    process = world.one()
    listens(world, process, "127.0.0.1:5002")
    accepts(world, process, "127.0.0.1:5002")
    world.advance(0.5)
    accepts(world, process, "127.0.0.1:5000")
    accepts(world, process, "127.0.0.1:5000")
    world.advance(0.5)
    world.emit(e.ProbeFailed(process.incarnation, "127.0.0.1:5001", "127.0.0.1:5001"))
    world.advance(0.6)
    accepts(world, process, "127.0.0.1:5001")
    stops_listening(world, process, "127.0.0.1:5002")
    stops_listening(world, process, "127.0.0.1:5001")
    world.advance(1)
    listens(world, process, "127.0.0.1:5001")
    accepts(world, process, "127.0.0.1:5001")
    world.emit(e.ReloadRequested("web"))
    world.settle(10)


@history
def only_optional_addresses(world):
    silent(world)
    world.boot(shared(listen=(ListenSpec("inet", "127.0.0.1", 5002, optional=True),)))
    world.advance(0.5)
    accepts(world, world.one(), "127.0.0.1:5002")
    world.settle(5)


@history
def undeclared_ports_are_expected_of_the_next_release(world):
    silent(world)
    world.boot(app(listen_timeout=2.0))
    world.advance(0.5)
    first = world.one()
    for port in (4000, 4001):
        listens(world, first, f"0.0.0.0:{port}")
        accepts(world, first, f"[::]:{port}")
        world.advance(0.5)
    listens(world, first, "127.0.0.1:4002", passing=True)
    listens(world, first, "unix:/run/debug.sock")
    world.advance(20)
    listens(world, first, "127.0.0.1:4003")
    world.advance(5)
    listens(world, first, "127.0.0.1:4004", lasting=True)
    world.emit(e.RestartRequested("web"))
    world.advance(1)
    second = world.one()
    accepts(world, second, "127.0.0.1:4000")
    listens(world, second, "127.0.0.1:4001")
    world.advance(10)
    accepts(world, second, "127.0.0.1:4001")
    world.settle(10)
    world.emit(e.RestartRequested("web"))
    world.advance(1)
    accepts(world, world.one(), "127.0.0.1:4000")
    world.settle(30)


@history
def a_reload_in_place_expects_the_ports_of_before(world):
    silent(world)
    world.boot(app(listen_timeout=2.0))
    world.advance(0.5)
    first = world.one()
    for port in (4000, 4001):
        accepts(world, first, f"127.0.0.1:{port}")
        listens(world, first, f"127.0.0.1:{port}")
    world.advance(5)
    listens(world, first, "127.0.0.1:4002")  # for long enough
    world.advance(11)
    listens(world, first, "127.0.0.1:4003")  # for too short a time
    listens(world, first, "127.0.0.1:4004", passing=True)
    world.advance(2)
    listens(world, first, "127.0.0.1:4005", lasting=True)
    for served in ((4000, 4001, 4002, 4005), (), (4000, 4001), (4000,), (4100,)):
        world.emit(e.ReloadRequested("web"))
        world.advance(1)
        process = world.one()
        world.emit(e.AcceptSeen(process.incarnation, "unix:/run/debug.sock"))
        for port in served:
            listens(world, process, f"127.0.0.1:{port}")
            accepts(world, process, f"127.0.0.1:{port}")
        world.settle(90)


@history
def a_worker_closes_its_listener_and_is_asked_nothing_meanwhile(world):
    world.up(shared(instances=2, watchdog=6.0, min_ready=None))
    process = world.one(0)
    world.close_listener(process, "127.0.0.1:5000")
    world.settle(20)
    world.emit(e.ReloadRequested("web"))
    world.settle(20)


@history
def another_port_after_a_change_of_the_file(world):
    silent(world)
    spec = app(listen_timeout=2.0)
    world.boot(spec)
    world.advance(0.5)
    accepts(world, world.one(), "127.0.0.1:4000")
    read_again(world, spec.replace(env=(("PORT", "4100"),)))
    world.advance(1)
    process = world.one()
    listens(world, process, "127.0.0.1:4100")
    world.advance(0.5)
    accepts(world, process, "127.0.0.1:4100")
    world.settle(10)


@history
def more_ports_than_are_probed(world):
    silent(world)
    world.boot(app(listen_timeout=2.0))
    world.advance(0.5)
    process = world.one()
    for number in range(10):
        listens(world, process, f"127.0.0.1:{4000 + number}")
    world.emit(e.ProbeFailed(process.incarnation, "127.0.0.1:4001"))
    world.emit(e.ProbeFailed(process.incarnation, "127.0.0.1:4999"))
    stops_listening(world, process, "127.0.0.1:4002")
    world.advance(0.6)
    world.settle(5)
    accepts(world, process, "127.0.0.1:4009")
    world.settle(5)


@history
def a_unix_path_is_listened_on_and_nobody_comes(world):
    silent(world)
    path = ListenSpec("unix", path="/run/web.sock")
    world.boot(shared(listen=(path,), share="one", listen_timeout=2.0))
    world.advance(0.5)
    process = world.one()
    listens(world, process, "unix:/run/web.sock")
    world.advance(2)
    world.emit(e.RestSeen(process.incarnation, rests=True))
    world.settle(10)
    world.emit(e.ReloadRequested("web"))
    world.advance(3)
    successor = world.live()[-1]
    listens(world, successor, "unix:/run/web.sock")
    world.settle(30)


@history
def rest_comes_and_goes(world):
    world.usual = lambda _spawn: Script(says_after=None, busy=True)
    world.boot(app(listen_timeout=2.0))
    world.advance(1)
    process = world.one()
    world.emit(e.RestSeen(process.incarnation, rests=True))
    world.emit(e.RestSeen(process.incarnation, rests=False))
    world.advance(2)
    world.emit(e.RestSeen(process.incarnation, rests=True))
    world.settle(5)
    world.emit(e.RestartRequested("web"))
    world.settle(5)
    listens(world, world.one(), "127.0.0.1:4000")
    world.settle(70)


@history
def ready_is_said_late_twice_or_never(world):
    silent(world)
    spec = app(wait_ready=True, listen_timeout=2.0, instances=2)
    world.boot(spec)
    world.advance(1)
    one, two = world.live()
    listens(world, one, "127.0.0.1:4000")
    accepts(world, one, "127.0.0.1:4000")
    world.advance(2)
    world.emit(e.WorkerReady(two.incarnation, "notify"))
    world.emit(e.WorkerReady(two.incarnation, "notify"))
    world.settle(10)
    world.emit(e.RestartRequested("web"))
    world.advance(1)
    accepts(world, world.one(0), "127.0.0.1:4000")
    world.settle(30)


@history
def ready_is_asked_for_and_a_port_is_declared(world):
    silent(world)
    world.boot(shared(wait_ready=True, listen_timeout=2.0))
    world.advance(1)
    accepts(world, world.one(), "127.0.0.1:5000")
    world.settle(5)
    world.emit(e.ReloadRequested("web"))
    world.advance(0.5)
    successor = world.live()[-1]
    world.emit(e.WorkerReady(successor.incarnation, "node"))
    accepts(world, successor, "127.0.0.1:5000")
    world.settle(20)


@history
def a_check_has_to_succeed_first(world):
    checked = HealthSpec(command=("true",), interval=2.0, timeout=1.0, failures=2)
    world.usual = lambda _spawn: Script(says_after=None, well_from=5.0)
    world.boot(app(health=checked, listen_timeout=10.0), shared("b", health=checked))
    world.advance(1)
    accepts(world, world.one(name="b"), "127.0.0.1:5000")
    world.settle(10)
    world.usual = lambda _spawn: Script(says_after=None, well_from=None)
    world.emit(e.ReloadRequested(""))
    world.advance(1)
    accepts(world, world.live("b")[-1], "127.0.0.1:5000")
    world.settle(24)


@history
def a_kernel_that_lets_nobody_see(world):
    world.listen_visible = False
    world.usual = lambda _spawn: Script(accepts_after=1.0)
    world.boot(shared(instances=2), shared("one", share="one"), app("none"))
    world.settle(20)
    world.emit(e.ReloadRequested(""))
    world.settle(30)


@history
def the_first_new_worker_has_to_live_for_a_while(world):
    world.usual = lambda _spawn: Script(accepts_after=2.0)
    world.up(shared(instances=3, min_ready=3.0, listen_timeout=10.0, reload_parallel=2))
    world.emit(e.ReloadRequested("web"))
    world.advance(3.5)
    world.crash(world.live()[-1])
    world.settle(30)
    world.emit(e.ReloadRequested("web"))
    world.settle(40)
    read_again(world, shared(instances=2, listen_timeout=10.0))
    world.settle(40)
    world.emit(e.ReloadRequested("web"))
    world.settle(40)
    world.emit(e.RenewRequested("web", "watch"))
    world.settle(40)


@history
def commands_run_before_it_starts(world):
    before = (("migrate",),)
    world.usual = lambda _spawn: Script(exec_after=5.0)
    spec = shared(instances=2, before_start=before, after_stop=(("clean",),), listen_timeout=2.0)
    world.up(spec)
    world.emit(e.ReloadRequested("web"))
    world.settle(40)
    process = world.live()[0]
    process.alive = False
    world.emit(e.WorkerExited(process.incarnation, 1, cleaning=True))
    world.advance(1)
    world.emit(e.GroupEmptied(process.incarnation))
    world.settle(30)
    process = world.live()[0]
    process.alive = False
    world.emit(e.WorkerExited(process.incarnation, None, 9, core_dumped=True, cleaning=True))
    world.settle(30)


@history
def a_person_edits(world):
    world.upcoming.extend((Script(), Script(ends_after=0.1, code=1), Script(ends_after=0.2)))
    spec = app(max_restarts=1, on_errored="wait", min_uptime=1.0)
    world.boot(spec, app("job", autorestart=False))
    world.settle(5)
    world.usual = lambda _spawn: Script(ends_after=0.1, code=1)
    world.emit(e.RenewRequested("web", "watch"))
    world.settle(20)
    world.usual = lambda _spawn: Script()
    world.emit(e.RenewRequested("web", "watch"))
    world.emit(e.RenewRequested("job", "watch"))
    world.settle(20)
    world.emit(e.RenewRequested("nothing", "watch"))
    world.emit(e.StopRequested("web"))
    world.emit(e.RenewRequested("web", "watch"))
    world.settle(10)
    ends(world)


@history
def a_reload_meets_one_that_has_done_its_work(world):
    world.usual = lambda _spawn: Script(ends_after=1.0, code=0)
    world.boot(
        shared(instances=2, autorestart=False), shared("b", stop_exit_codes=(3,)), app("keeper")
    )
    world.advance(0.5)
    world.emit(e.ReloadRequested("web"))
    world.settle(3)
    world.emit(e.ReloadRequested("b"))
    world.advance(0.02)
    world.crash(world.live("b")[-1], 3)
    world.settle(3)
    world.emit(e.StartRequested("web"))
    world.settle(3)


@history
def crashes_at_the_same_age_are_one_loop(world):
    world.usual = lambda _spawn: Script(ends_after=20.0, code=1)
    spec = shared(learn_min_uptime=True, max_restarts=3, on_errored="keep", restart_delay=0.5)
    world.boot(spec)
    world.settle(200)
    world.usual = lambda _spawn: Script(ends_after=6.2, code=1)
    world.emit(e.StartRequested("web"))
    world.settle(13)
    world.usual = lambda _spawn: Script()
    world.settle(60)


@history
def a_program_without_a_port_rests_and_is_checked(world):
    checked = HealthSpec(command=("true",), interval=2.0, timeout=1.0, failures=2)
    world.usual = lambda _spawn: Script(says_after=None, well_from=12.0)
    world.boot(shared(listen=(), health=checked, listen_timeout=2.0))
    world.settle(20)
    world.usual = lambda _spawn: Script(says_after=None, well_from=None)
    world.emit(e.RestartRequested("web"))
    world.settle(40)
