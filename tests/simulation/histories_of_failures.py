"""Failures that meet each other in the histories of transcripts/: see transcribe.py."""

from __future__ import annotations

from entrypoint.core import events as e
from entrypoint.core.spec import DependsSpec, HealthSpec
from tests.simulation.histories import ends, history, read_again
from tests.simulation.world import SIGKILL, SIGTERM, Script, World, app, shared

FAILS = Script(ends_after=0.1, code=1)


@history
def the_old_file_counts_again_after_an_aborted_reload(world):
    spec = shared(instances=2, env=(("A", "1"),))
    world.up(spec)
    world.upcoming.extend((Script(), FAILS))
    read_again(world, spec.replace(env=(("A", "2"),)))
    world.settle(20)
    for process in world.live():
        world.crash(process)
    world.settle(20)
    world.emit(e.ReloadRequested("web"))
    world.settle(20)


@history
def it_is_removed_while_one_waits_and_one_does_not_leave(world):
    spec = app("job", instances=2, restart_delay=5.0)
    world.usual = lambda _spawn: Script(ignores=True)
    world.up(app("web"), spec)
    world.crash(world.one(1, "job"))
    world.advance(0.5)
    read_again(world, app("web"))
    world.advance(0.5)
    read_again(world, app("web"), spec)
    world.settle(30)


@history
def a_back_off_becomes_long(world):
    world.usual = lambda _spawn: FAILS
    world.boot(app(exp_backoff_restart_delay=0.5, on_errored="keep"))
    world.settle(400)


@history
def stable_exits_come_in_between(world):
    world.boot(app(max_restarts=2, exp_backoff_restart_delay=0.1, on_errored="keep"))
    for lived in (0.2, 5.0, 0.2, 40.0, 0.2, 0.2):
        world.advance(lived)
        for process in world.live():
            world.crash(process, 1)
        world.settle(3)
    world.settle(60)


@history
def a_sick_worker_cannot_be_replaced(world):
    checked = HealthSpec(http="/", interval=2.0, timeout=1.0, failures=2)
    world.upcoming.append(Script(well_until=5.0))
    world.usual = lambda _spawn: Script(well_from=None)
    world.boot(
        shared(health=checked, max_restarts=2, on_errored="keep", restart_delay=1.0),
    )
    world.settle(120)
    ends(world)


@history
def a_sick_worker_is_replaced_again_and_again_without_a_pause(world):
    checked = HealthSpec(http="/", interval=0.4, timeout=0.2, failures=1)
    world.upcoming.append(Script(well_until=2.0))
    world.usual = lambda _spawn: Script(well_from=None)
    world.boot(shared(health=checked, max_restarts=5, on_errored="keep"))
    world.settle(12)


@history
def it_says_that_it_stops_while_it_is_replaced(world):
    world.usual = lambda _spawn: Script(says="notify", stop_takes=1.0, queue_takes=None)
    world.up(shared(instances=2, wait_ready=True, retire_delay=2.0))
    world.emit(e.ReloadRequested("web"))
    world.advance(0.2)
    world.tell(world.live()[0], stopping=True)
    world.settle(20)


@history
def a_sick_worker_of_an_app_without_a_spare_slot(world):
    checked = HealthSpec(tcp="127.0.0.1:9", interval=2.0, timeout=1.0, failures=1)
    world.upcoming.extend((Script(well_until=5.0, ignores=True), Script(), Script(well_until=3.0)))
    once = app("once", health=checked, autorestart=False)
    world.boot(app(health=checked, kill_timeout=2.0), shared("b", health=checked), once)
    world.settle(40)
    for process in world.live("b"):
        number = process.incarnation
        world.emit(e.HealthChecked(number, process.check, "503", "overloaded"))
        process.check = 0
    world.settle(40)


@history
def it_leaves_by_itself_and_is_followed_at_once(world):
    world.usual = lambda _spawn: Script(says="notify", stop_takes=1.0)
    world.up(shared(instances=2, wait_ready=True, restart_delay=3.0))
    for _ in range(2):
        process = world.one(0)
        world.tell(process, stopping=True)
        world.advance(2)
        world.crash(process, 0)
        world.settle(10)
    process = world.one(1)
    world.tell(process, stopping=True)
    world.emit(e.WorkerUnfit(process.incarnation, "its bind"))
    world.emit(e.WorkerUnfit(world.one(0).incarnation, "its bind"))
    world.settle(20)


@history
def it_is_unfit_before_it_serves(world):
    world.usual = lambda _spawn: Script(says_after=None)
    world.boot(shared(instances=2))
    world.advance(0.5)
    world.emit(e.WorkerUnfit(world.one(0).incarnation, "its bind"))
    world.settle(1)
    world.usual = lambda _spawn: Script()
    for process in world.live():
        world.crash(process, None, 11)
    world.settle(10)
    world.usual = lambda _spawn: Script(says_after=None)
    world.emit(e.ReloadRequested("web"))
    world.advance(0.5)
    world.emit(e.WorkerUnfit(world.live()[-1].incarnation, "its bind"))
    world.settle(30)


@history
def the_system_refuses_again_and_again(world):
    world.usual = lambda _spawn: Script(fork_fails=True)
    world.boot(app(on_errored="keep", max_restarts=3), shared("b", on_errored="keep"))
    world.settle(20)
    world.usual = lambda _spawn: Script(exec_fails="no such file")
    world.emit(e.StartRequested(""))
    world.settle(20)


@history
def orders_for_a_port_fail(world):
    spec = shared(instances=2)
    world.up(spec)
    for order in ("grow", "steer", "refuse", "trim", "relay", "pause", "resume", "close", "free"):
        world.emit(e.PortFailed("web", order, "EMFILE: Too many open files"))
        world.advance(1)
        world.emit(e.PortFailed("web", order, "EMFILE: Too many open files"))
        world.settle(8)
    world.emit(e.PortFailed("nothing", "grow", "EMFILE"))
    process = world.one(0)
    world.emit(e.QueueUnwatched(process.incarnation, "EMFILE"))
    world.emit(e.MessageNotSent(process.incarnation, "EPIPE"))
    world.settle(5)
    read_again(world, spec.replace(instances=4))
    world.emit(e.PortFailed("web", "grow", "EMFILE"))
    world.settle(30)


@history
def signals_are_refused(world):
    world.usual = lambda _spawn: Script(ignores=True, undying=True)
    world.up(shared(instances=2, kill_timeout=2.0))
    world.emit(e.ReloadRequested("web"))
    world.advance(0.6)
    process = world.live()[0]
    for signum in (15, SIGKILL, SIGKILL):
        world.emit(e.SignalRefused(process.incarnation, signum, "another user"))
        world.settle(6)
    world.let_die(0)
    world.settle(20)
    world.emit(e.SignalRefused(world.live()[-1].incarnation, 12, "another user"))
    world.emit(e.RestartRequested("web"))
    world.settle(40)


@history
def a_dependency_fails_comes_back_and_goes(world):
    healthy = DependsSpec("db", "service_healthy")
    checked = HealthSpec(tcp="127.0.0.1:9", interval=2.0, timeout=1.0, failures=1)
    world.upcoming.extend((FAILS, FAILS))
    db = app("db", health=checked, max_restarts=1, on_errored="keep")
    web = shared(depends_on=(healthy,), on_errored="keep")
    world.boot(db, web)
    world.settle(20)
    world.emit(e.StartRequested("db"))
    world.settle(20)
    world.emit(e.StopRequested("db"))
    world.settle(10)
    world.crash(world.one(name="web"))
    world.settle(10)
    world.emit(e.StartRequested(""))
    world.settle(10)
    read_again(world, db, web.replace(depends_on=(DependsSpec("gone"),)), app("new"))
    world.settle(20)
    ends(world)


@history
def jobs_end_in_several_ways(world: World):
    ways = (
        Script(says_after=None, ends_after=5.0, code=0),
        Script(says_after=None, ends_after=5.0, signum=11),
        Script(exec_fails="no such file"),
        Script(fork_fails=True),
        Script(says_after=None),
    )
    job = app("job", autorestart=False, autostart=False, cron_restart="0 3 * * *", overlap="wait")
    world.up(app("keeper"))
    read_again(world, app("keeper"), job)
    world.settle(3)
    for way in ways:
        world.upcoming.append(way)
        world.emit(e.ScheduleDue("job"))
        world.advance(1)
        world.emit(e.RunRequested("job"))
        world.emit(e.ScheduleDue("job"))
        world.settle(15)
    world.emit(e.RestartRequested("job"))
    world.settle(5)
    world.emit(e.ScheduleDue("job"))
    read_again(world, app("keeper"), job.replace(overlap="kill", kill_timeout=2.0))
    world.settle(5)
    world.emit(e.ScheduleDue("job"))
    world.settle(20)
    world.emit(e.ReloadRequested("job"))
    world.settle(10)
    world.emit(e.ScaleRequested("job", 2))
    world.emit(e.StartRequested("job"))
    world.settle(10)
    ends(world)


@history
def a_check_that_succeeds_is_no_listener(world):
    checked = HealthSpec(http="/", interval=2.0, timeout=1.0, failures=2)
    world.up(shared(instances=2, health=checked))
    process = world.one(0)
    world.close_listener(process, "127.0.0.1:5000")
    world.settle(7)
    world.listen(process, "127.0.0.1:5000")
    world.settle(7)


@history
def stale_timers_do_nothing(world):
    world.up(shared(instances=2, restart_delay=5.0))
    world.crash(world.one(1))
    for kind in ("restart", "launch", "prove", "probe", "health", "watchdog", "kill", "retire"):
        if kind != "restart":
            world.emit(e.TimerFired(e.Timer(kind, "web", 2)))
        world.emit(e.TimerFired(e.Timer(kind, "web", 99)))
    for kind in ("widen", "orphans", "port", "restart"):
        world.emit(e.TimerFired(e.Timer(kind, "nothing", 1)))
    world.emit(e.TimerFired(e.Timer("drain")))
    world.emit(e.TimerFired(e.Timer("deadline")))
    world.emit(e.TimerFired(e.Timer("remaining")))
    world.settle(10)


@history
def a_sick_worker_is_well_again_and_crashes(world):
    def answer(reason: str) -> None:
        number, process.check = process.check, 0
        world.emit(e.HealthChecked(process.incarnation, number, reason))

    checked = HealthSpec(http="/", interval=2.0, timeout=1.0, failures=1)
    world.upcoming.append(Script(check_takes=None))
    world.usual = lambda _spawn: Script(says_after=None)
    world.boot(shared(health=checked, listen_timeout=30.0, min_uptime=1.0))
    world.advance(0.5)
    process = world.one()
    answer("")
    world.advance(2.5)
    answer("503 Service Unavailable")
    world.advance(2.5)
    answer("")
    world.advance(0.5)
    world.crash(process, 1)
    world.settle(5)


@history
def a_stop_finds_an_app_that_crashes_again_and_again(world):
    world.usual = lambda _spawn: Script(says_after=None, ends_after=2.0, code=3)
    world.boot(shared(restart_delay=1.0))
    world.advance(5.0)
    world.emit(e.SignalArrived(SIGTERM))
    world.settle(5)
