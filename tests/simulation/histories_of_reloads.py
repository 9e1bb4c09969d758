"""Reloads that meet something else in the histories of transcripts/: see transcribe.py."""

from __future__ import annotations

from entrypoint.core import events as e
from tests.simulation.histories import ends, history, read_again
from tests.simulation.world import SIGTERM, Process, Script, World, app, shared

SILENT = Script(says_after=None)


def serves(world: World, process: Process, port: int) -> None:
    address = f"127.0.0.1:{port}"
    world.emit(e.ListenSeen(process.incarnation, address))
    world.emit(e.AcceptSeen(process.incarnation, address))


@history
def two_are_replaced_in_place_at_once(world):
    world.usual = lambda _spawn: SILENT
    world.boot(app(instances=3, reload_parallel=2, min_ready=3.0, listen_timeout=2.0))
    world.advance(0.5)
    for number, process in enumerate(world.live()):
        serves(world, process, 4000 + number)
    world.advance(1)
    world.emit(e.ReloadRequested("web"))
    world.advance(0.5)
    for process in world.live()[-2:]:
        serves(world, process, 4000 + process.instance)
    world.advance(1)
    world.settle(3)
    serves(world, world.live()[-1], 4000 + world.live()[-1].instance)
    world.settle(20)


@history
def one_in_place_fails_while_another_proves_the_release(world):
    world.usual = lambda _spawn: SILENT
    world.boot(app(instances=3, reload_parallel=2, min_ready=3.0, listen_timeout=2.0))
    world.advance(0.5)
    for number, process in enumerate(world.live()):
        serves(world, process, 4000 + number)
    world.advance(1)
    world.emit(e.ReloadRequested("web"))
    world.advance(0.5)
    for process in world.live()[-2:]:
        serves(world, process, 4000 + process.instance)
    world.advance(1)
    world.crash(world.live()[-1])
    world.settle(20)


@history
def one_in_place_is_ready_while_the_old_one_leaves(world):
    world.usual = lambda _spawn: Script(says_after=None, undying=True, ignores=True)
    world.boot(app(instances=2, reload_parallel=2, kill_timeout=2.0, listen_timeout=2.0))
    world.advance(0.5)
    for number, process in enumerate(world.live()):
        serves(world, process, 4000 + number)
    world.usual = lambda _spawn: SILENT
    world.emit(e.ReloadRequested("web"))
    world.settle(20)
    for process in world.live()[2:]:
        serves(world, process, 4000 + process.instance)
    world.let_die(0)
    world.settle(20)


@history
def a_part_is_asked_for_again_while_all_are_reloaded(world):
    world.up(shared(instances=3, retire_delay=2.0, reload_parallel=2))
    world.emit(e.ReloadRequested("web"))
    world.advance(0.3)
    world.emit(e.ReloadRequested("web", instances=(2, 0)))
    world.advance(0.1)
    fresh = [each for each in world.live() if each.incarnation > 3]
    world.crash(fresh[0])
    world.settle(30)
    world.emit(e.ReloadRequested("web"))
    world.advance(0.3)
    world.emit(e.ReloadRequested("web", instances=(1,)))
    world.settle(30)


@history
def the_file_changes_again_during_a_reload(world):
    spec = shared(instances=3, retire_delay=1.0, reload_parallel=2, min_ready=1.0)
    world.up(spec)
    world.upcoming.extend((Script(ends_after=0.5, code=1), Script()))
    read_again(world, spec.replace(env=(("A", "1"),)))
    world.advance(0.2)
    read_again(world, spec.replace(env=(("A", "2"),)))
    world.settle(40)
    world.upcoming.append(Script(ends_after=0.5, code=1))
    read_again(world, spec.replace(env=(("A", "3"),)))
    world.advance(0.2)
    world.crash(world.live()[0], 1)
    world.settle(40)


@history
def the_new_one_has_nothing_to_do(world):
    spec = shared(instances=2, autorestart=False, retire_delay=1.0)
    world.up(spec)
    for code in (0, 4):
        world.upcoming.append(Script(ends_after=0.3, code=code))
        world.emit(e.ReloadRequested("web"))
        world.settle(20)
    ends(world)


@history
def a_crash_during_a_reload_of_the_old_one(world):
    world.up(shared(instances=2, restart_delay=1.0))
    world.usual = lambda _spawn: Script(accepts_after=1.5)
    world.emit(e.ReloadRequested("web"))
    world.advance(0.2)
    world.crash(world.one(1))
    world.settle(3)
    world.crash(world.live()[0])
    world.settle(20)
    world.upcoming.append(Script(ends_after=0.1, code=1))
    world.emit(e.ReloadRequested("web"))
    world.advance(0.05)
    world.crash(world.live()[0])
    world.settle(20)


@history
def memory_is_exceeded_during_a_reload(world):
    spec = shared(instances=2, max_memory_restart=1 << 20, retire_delay=1.0)
    other = app("b", max_memory_restart=1 << 20, kill_timeout=2.0)
    world.up(spec, other)
    world.emit(e.ReloadRequested("web"))
    world.advance(0.05)
    for process in world.live("web"):
        world.emit(e.MemoryExceeded(process.incarnation, 2 << 20))
    world.settle(20)
    read_again(world, spec.replace(env=(("A", "1"),)), other)
    world.advance(0.05)
    world.emit(e.MemoryExceeded(world.one(1, "web").incarnation, 3 << 20))
    world.settle(20)
    world.upcoming.append(Script(ends_after=0.1, code=1))
    world.emit(e.MemoryExceeded(world.one(0, "web").incarnation, 3 << 20))
    world.settle(20)
    process = world.one(name="b")
    world.emit(e.StopRequested("b"))
    world.emit(e.MemoryExceeded(process.incarnation, 3 << 20))
    world.settle(20)


@history
def time_is_asked_for_at_each_stage(world):
    world.usual = lambda _spawn: Script(says_after=None, ignores=True)
    spec = app(wait_ready=True, listen_timeout=2.0, kill_timeout=2.0, watchdog=3.0)
    world.boot(spec)
    world.advance(1)
    world.tell(world.one(), extend=4.0)
    world.advance(6)
    world.tell(world.one(), extend=5.0)
    world.advance(1)
    world.emit(e.WorkerReady(world.one().incarnation, "notify"))
    world.tell(world.one(), extend=5.0)
    world.advance(4)
    world.tell(world.one(), watchdog="1", status="working")
    world.tell(world.one(), watchdog_interval=0.0)
    world.advance(5)
    world.tell(world.one(), stopping=True, extend=3.0, reloading=True)
    world.advance(2)
    world.tell(world.one(), extend=3.0)
    world.settle(20)
    world.emit(e.SignalArrived(SIGTERM))
    world.tell(world.live()[0], extend=10.0)
    world.settle(30)


@history
def a_message_is_for_node_alone(world):
    world.up(
        app("node", node=True, kill_timeout=2.0),
        app("message", shutdown_with_message=True, kill_timeout=2.0),
        app("both", node=True, shutdown_with_message=True, kill_signal=12),
    )
    world.emit(e.RestartRequested(""))
    world.settle(20)
    ends(world)


@history
def a_short_drain(world):
    world.up(shared(instances=2), drain_delay=0.5)
    ends(world)


@history
def more_and_fewer_during_a_reload(world):
    world.up(shared(instances=3, retire_delay=1.0), cpus=2)
    for count in (5, 2, 4, 1):
        world.emit(e.ReloadRequested("web"))
        world.advance(0.1)
        world.emit(e.ScaleRequested("web", count))
        world.settle(20)
    world.emit(e.ScaleRequested("web", 1))
    world.emit(e.ScaleRequested("nothing", 1))
    world.settle(5)


@history
def it_waits_for_a_restart_when_something_is_asked(world):
    spec = shared(instances=2, restart_delay=5.0, max_restarts=3)
    world.up(spec)
    asked = (
        lambda: world.emit(e.ReloadRequested("web")),
        lambda: world.emit(e.RestartRequested("web", instances=(0,))),
        lambda: world.emit(e.ScaleRequested("web", 1)),
        lambda: world.emit(e.ScaleRequested("web", 2)),
        lambda: read_again(world, spec.replace(env=(("A", "1"),))),
        lambda: world.emit(e.StopRequested("web")),
        lambda: world.emit(e.StartRequested("web")),
    )
    for ask in asked:
        for process in world.live():
            world.crash(process)
        world.advance(0.5)
        ask()
        world.settle(20)
    for process in world.live():
        world.crash(process)
    world.advance(0.5)
    ends(world)


@history
def the_old_one_gives_up_before_its_successor_is_ready(world):
    world.up(shared(instances=2, max_restarts=0, min_uptime=60.0, on_errored="keep"))
    world.usual = lambda _spawn: Script(accepts_after=2.0)
    world.emit(e.ReloadRequested("web"))
    world.advance(0.5)
    world.crash(world.one(1))
    world.crash(world.live()[0])
    world.settle(20)


@history
def the_one_that_is_being_reloaded_is_scaled_away(world):
    world.up(shared(instances=3))
    world.emit(e.ReloadRequested("web", instances=(2, 0)))
    world.advance(0.005)
    world.emit(e.ScaleRequested("web", 2))
    world.settle(20)


@history
def a_reload_follows_one_that_was_aborted_at_once(world):
    world.up(shared(instances=3, reload_parallel=2, kill_timeout=3.0))
    world.upcoming.append(Script(ends_after=0.05, code=1))
    world.usual = lambda _spawn: Script(accepts_after=1.0, ignores=True)
    world.emit(e.ReloadRequested("web"))
    world.advance(0.1)
    world.usual = lambda _spawn: Script()
    world.emit(e.ReloadRequested("web"))
    world.settle(30)


@history
def what_has_said_that_it_is_ready_is_no_job(world):
    world.usual = lambda _spawn: Script(says="notify", ends_after=20.0)
    once = {"autorestart": False, "cron_restart": "0 3 * * *"}
    world.boot(app("says", wait_ready=True, **once), app("keeper", wait_ready=True))
    world.settle(5)
    world.emit(e.ScheduleDue("says"))
    world.settle(10)


@history
def the_old_one_gives_up_while_its_successor_proves_the_release(world):
    world.up(shared(instances=2, max_restarts=0, min_uptime=60.0, min_ready=3.0, on_errored="keep"))
    world.emit(e.ReloadRequested("web"))
    world.advance(1)
    world.crash(world.live()[0])
    world.settle(20)
