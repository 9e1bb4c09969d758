"""What happens to workers in the histories of transcripts/: see transcribe.py."""

from __future__ import annotations

from entrypoint.core import events as e
from entrypoint.core.spec import HealthSpec, ListenSpec
from tests.simulation.histories import ends, history
from tests.simulation.world import (
    PORT,
    SIGKILL,
    SIGTERM,
    Script,
    app,
    shared,
)


@history
def a_reload_to_something_broken_is_aborted(world):
    world.up(shared(instances=2))
    world.upcoming.append(Script(ends_after=0.05, code=1))
    world.emit(e.ReloadRequested("web"))
    world.settle(20)
    world.upcoming.append(Script(says_after=None))
    world.emit(e.ReloadRequested("web"))
    world.settle(60)
    world.upcoming.append(Script(fork_fails=True))
    world.emit(e.ReloadRequested("web"))
    world.settle(60)
    world.upcoming.append(Script(exec_fails="chdir: No such file or directory"))
    world.emit(e.ReloadRequested("web"))
    world.settle(60)


@history
def what_ignores_its_stop_is_killed_and_what_is_not_even_then_is_given_up(world):
    world.upcoming.extend((Script(ignores=True), Script(undying=True, ignores=True)))
    world.up(app(kill_timeout=2.0), app("b", kill_timeout=1.6))
    world.emit(e.RestartRequested())
    world.settle(30)
    world.let_die(0)
    world.settle(10)
    ends(world)


@history
def a_worker_leaves_others_of_its_group_and_strays(world):
    world.upcoming.extend((Script(group="stubborn", strays="obeys"), Script(group="obeys")))
    world.up(app(kill_timeout=2.0), app("b", treekill="group"), app("c", treekill="none"))
    world.crash(world.one(name="web"), 1)
    world.settle(10)
    world.emit(e.StopRequested("b"))
    world.settle(10)
    world.crash(world.one(name="c"), None, 11)
    world.settle(10)
    world.usual = lambda _spawn: Script(group="undying", ignores=True)
    world.emit(e.RestartRequested("web"))
    world.settle(10)
    world.emit(e.RestartRequested("web"))
    world.settle(30)


@history
def checks_find_a_sick_worker_which_is_replaced(world):
    checked = HealthSpec(http="/", interval=5.0, timeout=1.0, failures=2, start_period=3.0)
    world.upcoming.extend((Script(well_until=12.0), Script(well_from=4.0), Script()))
    world.boot(shared(instances=2, health=checked))
    world.settle(60)
    world.usual = lambda _spawn: Script(well_until=7.0, check_takes=None)
    world.crash(world.live()[0])
    world.settle(40)
    ends(world)


@history
def a_sick_worker_recovers_before_it_is_replaced(world):
    checked = HealthSpec(tcp="127.0.0.1:1", interval=2.0, timeout=1.0, failures=1)
    world.usual = lambda _spawn: Script(says_after=None)
    world.upcoming.append(Script())
    world.up(shared(health=checked, on_listen_timeout="force"))
    process = world.one()
    number = process.incarnation
    world.emit(e.HealthChecked(number, process.check, "503 Service Unavailable", "busy"))
    process.check = 0
    world.advance(20)
    ends(world)


@history
def a_watchdog_is_missed(world):
    world.upcoming.extend((Script(says="notify", hangs_at=8.0), Script(says="notify")))
    world.up(app(wait_ready=True, watchdog=6.0))
    world.settle(20)
    process = world.one()
    world.tell(process, watchdog_interval=2.0)
    world.tell(process, status="busy", reloading=True)
    world.advance(1)
    world.tell(process, watchdog="trigger", notes=(("errno", "EIO: Input/output error"),))
    world.settle(20)


@history
def a_worker_says_that_it_stops_and_asks_for_time(world):
    world.usual = lambda _spawn: Script(says="notify", stop_takes=20.0)
    world.up(shared(wait_ready=True, kill_timeout=2.0))
    process = world.one()
    world.tell(process, extend=5.0)
    world.emit(e.RestartRequested("web"))
    world.advance(1)
    world.tell(process, extend=4.0)
    world.settle(20)
    process = world.one()
    world.tell(process, stopping=True, status="closing")
    world.advance(1)
    world.crash(process, 0)
    world.settle(20)
    world.emit(e.StopRequested("web"))
    world.settle(20)


@history
def memory_is_exceeded(world):
    world.up(shared(instances=2, max_memory_restart=1 << 20), app("b", max_memory_restart=1 << 20))
    for process in world.live():
        world.emit(e.MemoryExceeded(process.incarnation, 5 << 20))
        world.advance(0.2)
        world.emit(e.MemoryExceeded(process.incarnation, 6 << 20))
        world.settle(20)


@history
def a_program_that_never_says_that_it_is_ready(world):
    world.usual = lambda _spawn: Script(says_after=None)
    waits = {"wait_ready": True, "listen_timeout": 2.0}
    world.boot(
        app("auto", **waits),
        app("force", on_listen_timeout="force", **waits),
        app("abort", on_listen_timeout="abort", max_restarts=1, on_errored="keep", **waits),
        shared("port", listen_timeout=2.0),
    )
    world.settle(60)
    world.emit(e.ReloadRequested(""))
    world.settle(60)
    ends(world)


@history
def it_listens_elsewhere_and_accepts_late(world):
    both = (*PORT, ListenSpec("inet", "127.0.0.1", 5001))
    world.upcoming.append(Script(port="9000"))
    world.upcoming.append(Script(accepts_after=4.0))
    world.boot(shared("one", listen=both), shared("two", listen=()), shared("three", share="one"))
    world.settle(40)
    process = world.one(name="three")
    world.listen(process, "127.0.0.1:9100")
    world.settle(20)
    world.emit(e.ProbeFailed(process.incarnation, "127.0.0.1:9100"))
    world.close_listener(process, "127.0.0.1:5000")
    world.settle(40)
    world.emit(e.WorkerUnfit(process.incarnation, "it binds by itself"))
    world.settle(40)


@history
def a_program_without_a_port_rests(world):
    world.upcoming.extend((Script(says_after=None), Script(says_after=None, busy=True)))
    world.boot(app("rests"), app("busy", listen_timeout=5.0))
    world.settle(90)
    world.emit(e.RestSeen(world.one(name="busy").incarnation, rests=False))
    world.emit(e.ReloadRequested(""))
    world.settle(90)


@history
def node_is_asked_by_a_message(world):
    world.usual = lambda _spawn: Script(says="node", stop_takes=1.0, group="obeys")
    world.up(shared(node=True, wait_ready=True, shutdown_with_message=True, instances=2))
    world.emit(e.ReloadRequested("web"))
    world.advance(0.2)
    world.emit(e.MessageNotSent(world.live()[0].incarnation, "EPIPE"))
    world.settle(30)
    ends(world)


@history
def the_system_refuses(world):
    world.up(shared(instances=2, kill_timeout=2.0), app("b"))
    web, other = world.one(0, "web"), world.one(name="b")
    world.emit(e.PortFailed("web", "steer", "EPERM"))
    world.settle(10)
    world.emit(e.PortFailed("web", "grow", "EMFILE"))
    world.settle(10)
    world.emit(e.ReloadRequested("web"))
    world.advance(0.05)
    world.emit(e.QueueUnwatched(web.incarnation, "EMFILE"))
    world.settle(10)
    world.emit(e.StopRequested("b"))
    world.emit(e.SignalRefused(other.incarnation, SIGTERM, "it runs as another user"))
    world.emit(e.SignalRefused(other.incarnation, SIGKILL, "it runs as another user"))
    world.settle(20)
    world.upcoming.extend(Script(fork_fails=True) for _ in range(3))
    world.emit(e.StartRequested("b"))
    world.settle(30)
    ends(world)


@history
def a_worker_is_slow_to_answer_what_it_accepted(world):
    world.usual = lambda _spawn: Script(queue_takes=1.0, stop_takes=2.0)
    world.up(shared(instances=2, retire_delay=3.0, kill_timeout=4.0, relay=True))
    world.emit(e.ReloadRequested("web"))
    world.settle(40)
    world.usual = lambda _spawn: Script(queue_takes=None)
    world.emit(e.RestartRequested("web"))
    world.settle(40)
    world.emit(e.SignalArrived(SIGTERM))
    world.advance(0.1)
    world.emit(e.SignalArrived(SIGTERM))
    world.settle(30)


@history
def workers_have_requests_in_hand_when_they_are_to_leave(world):
    spec = shared(instances=2, retire_when_quiet=True)
    world.usual = lambda _spawn: Script(answers_after=1.5)
    world.up(spec, drain_delay=1.0)
    world.emit(e.ReloadRequested("web"))
    world.settle(40)
    world.usual = lambda _spawn: Script(answers_after=None)
    world.emit(e.ReloadRequested("web"))
    world.settle(60)
    world.emit(e.ReloadRequested("web"))
    world.advance(0.1)
    world.emit(e.SignalArrived(SIGTERM))
    world.settle(40)


@history
def workers_drain_after_a_reload(world):
    world.usual = lambda _spawn: Script(closes_after=3.0)
    world.up(shared(instances=2, retire_when_quiet=True, drain=20.0))
    world.emit(e.ReloadRequested("web"))
    world.settle(5)
    world.usual = lambda _spawn: Script(closes_after=None, answers_after=0.5)
    world.emit(e.ReloadRequested("web"))
    world.settle(5)
    world.emit(e.ReloadRequested("web"))
    world.settle(30)
    world.emit(e.ReloadRequested("web"))
    world.settle(2)
    world.emit(e.SignalArrived(SIGTERM))
    world.settle(20)
