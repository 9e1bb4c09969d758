"""More details that no history held: each test kills a mutant that survived."""

from __future__ import annotations

import pytest

from entrypoint.core import addresses, exits, health, readiness, restarts, transaction
from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.record import Record
from entrypoint.core.spec import AppSpec, DependsSpec
from entrypoint.core.worker import Instance, Worker
from tests.simulation.world import (
    SIGINT,
    SIGKILL,
    SIGTERM,
    Script,
    World,
    app,
    plan,
    shared,
)


def command(line: str) -> AppSpec:
    return AppSpec("web", tuple(line.split()), "/")


def signals(world: World, incarnation: int) -> list[int]:
    sent = world.ordered(f.SendSignal)
    return [each.signum for each in sent if each.incarnation == incarnation]


# -- functions ------------------------------------------------------------------------------


def test_the_ports_of_a_debugger_and_no_others():
    assert addresses.debugger_ports(command("node --inspect a.js")) == frozenset(range(9229, 9329))
    java = "java -agentlib:jdwp=transport=dt_socket,server=y,address=*:5005 -jar a.jar"
    assert addresses.debugger_ports(command(java)) == {5005}


def test_what_names_an_address():
    assert addresses.key_of("127.0.0.1:5000", "[::]:5000") == "[::]:5000"
    assert addresses.key_of("unix:/run/a", "") == "unix:/run/a"
    assert addresses.key_of("127.0.0.1:5000", "") == ":5000"


def test_as_many_values_as_fields_are_not_too_many():
    class Pair(Record):
        one: int
        two: int

    with pytest.raises(TypeError, match="is given twice"):
        Pair(1, 2, two=3)
    with pytest.raises(TypeError, match="takes 2 values, got 3"):
        Pair(1, 2, 3)


def test_a_worker_has_listen_timeout_to_be_ready_however_short_it_is():
    assert health.launch_bound(app(listen_timeout=0.4)) == 0.4


def test_the_seconds_that_a_worker_without_a_port_rests():
    assert readiness.REST == 2.0


def test_which_lives_are_alike():
    """A crash loop: no life is more than three times, and a second, longer than the shortest."""
    spec = app(learn_min_uptime=True)
    worker = Worker(2, "web", 0, 0, spec, 0.0, exit_code=1)
    instance = Instance("web", 0, 0, spec, loop=(5.0,))
    assert restarts._loop(worker, instance, 16.0) == (5.0, 16.0)
    assert restarts._loop(worker, instance, 16.1) == (16.1,)


# -- what waits for another app ---------------------------------------------------------------


def test_an_app_that_waits_for_one_more_is_not_blocked_by_what_it_has():
    """One that it depends on has finished, as it was to."""
    depends = (
        DependsSpec("job", "service_completed_successfully"),
        DependsSpec("db", "service_healthy"),
    )
    world = World()
    world.usual = lambda spawn: (
        Script(ends_after=0.1) if spawn.spec.name == "job" else Script(says_after=2.0)
    )
    world.boot(
        app("job", autorestart=False),
        shared("db", listen_timeout=9.0),
        app("web", depends_on=depends),
    )
    world.advance(1.0)
    assert world.view("job").finished
    assert world.core.view().phase == "running"
    assert not world.core.state.apps["web"].blocked
    world.run_until(lambda: world.live("web"), within=3.0)


def test_a_run_whose_time_comes_before_what_it_depends_on():
    world = World()
    world.usual = lambda _spawn: Script(says_after=None)
    depends = (DependsSpec("db", "service_healthy"),)
    job = app("job", autorestart=False, cron_restart="0 3 * * *", depends_on=depends)
    world.boot(shared("db", listen_timeout=60.0), job)
    world.emit(e.ScheduleDue("job"))
    (said,) = world.said("run skipped")
    assert said["reason"] == "it waits for another app"
    seen = world.view("job").job
    assert (seen.skipped, seen.started_at, seen.took) == (1, 0.0, 0.0)


# -- stops -------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_at_last_is_not_killed_again():
    """SIGKILL was refused once. It lives on: that it does not die is another matter."""
    world = World().up(app(kill_timeout=1.6))
    world.upcoming.append(Script())
    process = world.one()
    world.failing[f.SendSignal] = 2  # SIGTERM, and the first SIGKILL
    process.script = Script(ignores=True, undying=True)
    world.emit(e.StopRequested("web"))
    world.advance(200)
    assert signals(world, process.incarnation) == [SIGTERM, SIGKILL, SIGKILL]


def test_refusing_connections_is_ordered_again_at_the_end():
    world = World()
    world.usual = lambda _spawn: Script(stop_takes=5.0)
    world.up(shared())
    world.failing[f.RefuseConnections] = 1
    world.emit(e.SignalArrived(SIGTERM))
    assert "web" not in world.refusing
    world.advance(1.5)
    assert "web" in world.refusing
    assert world.exit_code is None


def test_a_queue_that_cannot_be_watched_is_not_waited_for():
    world = World()
    world.usual = lambda _spawn: Script(queue_takes=None)
    world.up(shared(instances=2, retire_delay=0.5, kill_timeout=30.0))
    world.failing[f.WatchQueue] = 1
    world.emit(e.ScaleRequested("web", 1))
    world.run_until(lambda: len(world.live()) == 1, within=2.0)
    assert world.said("accept queue not watched")


def test_a_queue_that_is_never_empty_is_waited_for_until_kill_timeout():
    world = World()
    world.usual = lambda _spawn: Script(queue_takes=None)
    world.up(shared(instances=2, kill_timeout=8.0))
    world.emit(e.ScaleRequested("web", 1))
    leaving = max(world.live(), key=lambda each: each.incarnation)
    world.run_until(lambda: not leaving.alive, within=9.0)
    assert leaving.received == [SIGTERM]


def test_what_a_worker_leaves_that_stops_by_itself_gets_the_stop_signal():
    world = World()
    world.usual = lambda _spawn: Script(group="obeys")
    world.up(app(kill_timeout=8.0))
    process = world.one()
    world.tell(process, stopping=True)
    world.crash(process, 0)
    world.run_until(lambda: process.incarnation in world.gone, within=1.0)
    assert SIGKILL not in signals(world, process.incarnation)


def test_a_deadline_that_is_asked_for_twice_is_set_once():
    world = World()
    world.usual = lambda _spawn: Script(says_after=None)
    world.boot(shared(listen_timeout=3.0))
    world.advance(0.1)
    for _ in range(2):
        world.tell(world.one(), extend=5.0)
    set_again = [each for each in world.ordered(f.StartTimer, since=100.05) if each.delay == 5.0]
    assert len(set_again) == 1


# -- starts ------------------------------------------------------------------------------------


def test_one_cpu_is_left_for_others_at_the_start():
    world = World()
    world.usual = lambda _spawn: Script(says_after=None)
    world.emit(e.Booted(plan(shared(instances=8), cpus=4)))
    assert len(world.live()) == 3
    world = World()
    world.usual = lambda _spawn: Script(says_after=None)
    world.emit(e.Booted(plan(shared(instances=8), cpus=1)))
    assert len(world.live()) == 1


# -- what no pure test ran -----------------------------------------------------------------------


def test_a_job_that_has_not_run_is_not_what_another_app_waits_for():
    job = app("job", autorestart=False, autostart=False, cron_restart="0 3 * * *")
    world = World()
    world.usual = lambda _spawn: Script(ends_after=1.0)
    world.boot(job, app("web", depends_on=(DependsSpec("job", "service_started"),)))
    world.advance(5)
    assert not world.live()
    world.emit(e.ScheduleDue("job"))
    assert {each.spec.name for each in world.live()} == {"job", "web"}


def test_a_run_that_is_asked_for_while_the_job_is_being_stopped():
    world = World()
    world.usual = lambda _spawn: Script(stop_takes=1.0)
    world.boot(app("job", autorestart=False, cron_restart="0 3 * * *"))
    world.advance(1)
    (first,) = world.live()
    world.emit(e.StopRequested("job"))
    world.emit(e.RunRequested("job"))
    assert world.live() == [first]
    world.run_until(lambda: not first.alive)
    (second,) = world.live()
    assert second.incarnation != first.incarnation


def test_a_run_replaces_what_runs_and_starts_what_has_ended():
    world = World()
    world.upcoming.append(Script(ends_after=0.5))
    keys = {"autorestart": False, "cron_restart": "0 3 * * *", "overlap": "kill", "instances": 2}
    world.boot(app("job", **keys))
    world.advance(2)
    (left,) = world.live()
    world.emit(e.ScheduleDue("job"))
    world.advance(0.001)
    assert sorted(each.instance for each in world.live()) == [0, 1]
    world.run_until(lambda: not left.alive)
    world.advance(1)
    assert sorted(each.instance for each in world.live()) == [0, 1]


def test_a_deadline_of_a_kill_that_was_not_sent_is_none():
    world = World()
    world.usual = lambda _spawn: Script(group="stubborn")
    world.up(app(kill_timeout=8.0))
    process = world.one()
    world.crash(process, 1)
    assert process.incarnation not in world.gone
    world.emit(e.TimerFired(e.Timer("abandon", "web", process.incarnation)))
    assert process.incarnation not in world.gone
    assert not world.said("processes of the worker do not die")


def test_a_second_signal_ends_the_wait_for_a_queue():
    world = World()
    world.usual = lambda _spawn: Script(queue_takes=None, stop_takes=0.5)
    world.up(shared(instances=2, kill_timeout=8.0), drain_delay=0.0)
    world.emit(e.ScaleRequested("web", 1))
    leaving = max(world.live(), key=lambda each: each.incarnation)
    world.emit(e.SignalArrived(SIGTERM))
    world.advance(1.0)
    world.emit(e.SignalArrived(SIGINT))
    assert leaving.received
    world.run_until(lambda: world.exit_code is not None, within=3.0)


def test_a_decision_that_cannot_be_kept_is_not_kept_for_later(monkeypatch):
    world = World().up(app())

    def commit(_tx):
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(transaction.Transaction, "commit", commit)
        with pytest.raises(RuntimeError, match="a bug"):
            world.core.handle(e.StopRequested("web"), world.now)
    assert not world.core.handle(e.RestSeen(9999, rests=True), world.now)
    assert world.view().workers[0].state == "online"


def test_a_deadline_of_a_proof_that_nobody_waits_for_is_none():
    world = World().up(shared())
    assert not world.core.handle(e.TimerFired(e.Timer("prove", "web", 1)), world.now)
    assert world.ready() == 1


def test_a_worker_that_is_scaled_away_and_does_not_die_holds_up_nobody():
    world = World()
    world.usual = lambda spawn: Script(ignores=True, undying=spawn.instance == 1)
    world.up(shared(instances=2, kill_timeout=1.6))
    world.emit(e.ScaleRequested("web", 1))
    world.advance(60)
    assert world.said("worker does not die")
    world.emit(e.ReloadRequested("web"))
    world.run_until(world.is_up)
    assert world.said("reload finished")


def test_why_a_worker_of_a_reload_is_no_more():
    plain = Worker(2, "web", 0, 0, app(), 10.0, ended_at=12.0, last_exit="exit code 3")
    lived = "exit code 3 2.0 s after its start, before it was ready"
    assert exits._why(plain) == lived
    assert exits._why(plain.replace(stop_reason="failed start")) == lived
    assert exits._why(plain.replace(stop_reason="restart", requested_by="a person")) == lived
    assert exits._why(plain.replace(stop_reason="watchdog", requested_by="no sign")) == "no sign"
    assert exits._why(plain.replace(stop_reason="health", check_reason="503")) == "unhealthy: 503"
    assert exits._why(plain.replace(up_at=11.0)).endswith("after it was ready")


def test_a_worker_follows_a_crash_when_it_begins_within_the_pause():
    spec = app(restart_delay=4.0)
    latest = 50.0 + restarts._longest_pause(spec) + restarts.PAUSE_SLACK
    assert restarts._follows(Worker(2, "web", 0, 0, spec, latest), 50.0)
    assert not restarts._follows(Worker(2, "web", 0, 0, spec, latest + 0.01), 50.0)


def test_what_listens_is_looked_for_where_no_ready_signal_came():
    world = World(listen_visible=False)
    world.usual = lambda _spawn: Script(says_after=None)
    world.boot(shared(listen=(), wait_ready=True, listen_timeout=3.0))
    world.advance(2.9)
    assert not world.ordered(f.LookAt)
    world.advance(0.2)
    assert world.ordered(f.LookAt)
