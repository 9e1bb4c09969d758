"""Details that no history of the other files holds: each was a mutant that survived."""

from __future__ import annotations

import pytest

from entrypoint.core import (
    diff,
    health,
    restarts,
    spec,
    transaction,
    worker,
)
from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.record import Record
from entrypoint.core.spec import DependsSpec, HealthSpec
from tests.simulation.world import (
    SIGHUP,
    SIGINT,
    SIGKILL,
    SIGQUIT,
    SIGTERM,
    SIGUSR1,
    Script,
    World,
    app,
    plan,
    shared,
)

CRASHES = Script(ends_after=0.01, code=3)
FAILS = Script(ends_after=0.01, code=1)


def started(*apps, **shutdown) -> World:
    world = World()
    world.emit(e.Booted(plan(*apps, **shutdown)))
    world.advance(1)
    return world


def reports(world: World, event: str) -> list[dict]:
    return [
        {"level": each.level, **dict(each.fields)}
        for each in world.ordered(f.Report)
        if each.event == event
    ]


def reread(world: World, *apps) -> None:
    world.next_plan = plan(*apps, revision=world.core.state.run.plan.revision + 1)
    world.emit(e.SignalArrived(SIGHUP))


def instance_of(world: World, name: str = "web", instance: int = 0):
    return world.core.state.instances[name][instance]


def app_view(world: World, name: str):
    return next(each for each in world.core.view().apps if each.name == name)


# -- defaults -------------------------------------------------------------------------------

# Where the default is not "nothing": what it is.
BEGINNING = {
    ("Worker", "state"): "launching",
    ("Place", "state"): "running",
    ("Pool", "mode"): "running",
    ("Run", "phase"): "booting",
    ("Spawn", "id"): -1,
    ("ReportOutcome", "instance"): -1,
    ("Worker", "shared_queue"): -1,
    ("Instance", "shared_queue"): -1,
    ("Spawn", "shared_queue"): -1,
}


@pytest.mark.parametrize(
    "kind",
    [
        worker.Worker,
        worker.Instance,
        worker.AppState,
        worker.Reload,
        worker.Starting,
        transaction.Run,
        *(
            k
            for k in vars(e).values()
            if isinstance(k, type) and issubclass(k, Record) and k is not spec.Plan
        ),
        *(
            k
            for k in vars(f).values()
            if isinstance(k, type) and issubclass(k, Record) and k is not spec.Plan
        ),
    ],
)
def test_what_is_not_said_is_nothing(kind):
    for field, value in kind.defaults().items():
        expected = BEGINNING.get((kind.__name__, field))
        if expected is not None:
            assert value == expected, field
        elif not isinstance(value, Record):
            assert not value or isinstance(value, str), field


def test_the_defaults_of_an_app_are_those_of_the_reference():
    one = app()
    assert (one.instances, one.autorestart, one.autostart) == (1, True, True)
    assert (one.max_restarts, one.min_uptime, one.restart_delay) == (16, 1.0, 0.0)
    assert (one.listen_timeout, one.kill_timeout, one.retire_delay) == (3.0, 8.0, 0.5)
    assert (one.reload_parallel, one.exp_backoff_restart_delay) == (1, 0.0)
    assert (one.wait_ready, one.shutdown_with_message, one.node, one.time) == (False,) * 4
    assert (one.max_memory_restart, one.watchdog, one.watch_delay) == (0, 0.0, 0.0)
    check = HealthSpec()
    assert (check.interval, check.timeout, check.failures, check.start_period) == (10.0, 3.0, 3, 0)
    settings = spec.ShutdownSpec()
    assert (settings.drain_delay, settings.timeout, settings.grace) == (0, 0, 0)
    assert spec.Plan(apps=()).revision == 1
    assert spec.Plan(apps=()).cpus == 1
    assert spec.ListenSpec("inet").backlog == 4096
    assert not spec.ListenSpec("inet").v6only


class Pair(Record):
    one: int
    two: int = 2


class TestRecords:
    def test_too_many_twice_missing_and_unknown_values_are_refused(self):
        with pytest.raises(TypeError, match="takes 2 values, got 3"):
            Pair(1, 2, 3)
        with pytest.raises(TypeError, match=r"Pair\.one is given twice"):
            Pair(1, one=1)
        with pytest.raises(TypeError, match="needs one"):
            Pair(two=1)
        with pytest.raises(TypeError, match="has no four, three"):
            Pair(1, three=3, four=4)
        with pytest.raises(TypeError, match="has no three"):
            Pair(1).replace(three=3)

    def test_nothing_can_be_changed(self):
        pair = Pair(1)
        with pytest.raises(AttributeError):
            pair.one = 2
        with pytest.raises(AttributeError):
            del pair.one
        assert (pair.one, pair.two) == (1, 2)

    def test_equality_is_by_type_and_fields(self):
        assert Pair(1) == Pair(1, 2)
        assert Pair(1) != Pair(2)
        assert Pair(1) != Pair(1, 3)
        assert Pair(1) != (1, 2)
        assert len({Pair(1), Pair(1, 2), Pair(3)}) == 2
        assert repr(Pair(1)) == "Pair(one=1, two=2)"
        assert Pair(1).as_dict() == {"one": 1, "two": 2}


def test_specs_survive_the_way_from_the_loader():
    whole = plan(
        shared(health=HealthSpec(command=("true",)), depends_on=(DependsSpec("db"),)),
        app("db", env=(("A", "1"),)),
    )
    assert spec.unpack(spec.pack(whole)) == whole
    assert whole.app("db") is whole.apps[1]
    assert whole.app("nothing") is None


def test_addresses_as_people_write_them():
    assert spec.ListenSpec("unix", path="/run/a").text == "unix:/run/a"
    assert spec.ListenSpec("inet6", "::", 80).text == "[::]:80"
    assert spec.ListenSpec("inet", "0.0.0.0", 80).text == "0.0.0.0:80"


# -- what is told -----------------------------------------------------------------------------


def test_a_file_that_is_wrong_is_told_and_kept_from_the_apps():
    world = started(app())
    world.next_plan = "line 3: no such key"
    world.emit(e.SignalArrived(SIGHUP))
    (reported,) = reports(world, "config rejected")
    assert reported["level"] == "error"
    assert reported["reason"] == "line 3: no such key"
    assert world.core.view().config_error == "line 3: no such key"
    reread(world, app())
    assert world.core.view().config_error == ""
    assert reports(world, "config accepted")[0]["revision"] == 2


def test_the_end_of_a_run_is_told_with_its_code():
    world = started(app(autorestart=False))
    world.crash(world.live()[0], 4)
    world.settle(5)
    (reported,) = reports(world, "shutdown finished")
    assert reported["exit_code"] == world.exit_code == 4


def test_how_long_a_worker_lived_is_told():
    world = started(app())
    world.advance(9)
    world.crash(world.live()[0], 1)
    (reported,) = reports(world, "worker exited")
    assert 9.9 < reported["uptime"] < 10.1
    assert reported["expected"] is False


def test_what_was_killed_by_its_deadline_is_told():
    world = World()
    world.usual = lambda _spawn: Script(queue_takes=None, ignores=True)
    world.emit(e.Booted(plan(shared(kill_timeout=2.0))))
    world.advance(1)
    world.emit(e.ReloadRequested())
    world.advance(20)
    assert reports(world, "worker busy at its stop signal")


def test_restarts_reloads_and_scalings_are_told_once_and_only_if_there_is_one():
    world = started(app())
    world.emit(e.RenewRequested("web", "watch"))
    assert reports(world, "restart started") == [{"level": "info", "app": "web", "reason": "watch"}]
    world.emit(e.ScaleRequested("web", 1))
    assert not reports(world, "app scaled")
    world.emit(e.ScaleRequested("web", 3))
    (reported,) = reports(world, "app scaled")
    assert (reported["was"], reported["instances"]) == (1, 3)


def test_a_stop_that_is_forced_is_told():
    world = World()
    world.usual = lambda _spawn: Script(ignores=True)
    world.emit(e.Booted(plan(app(kill_timeout=60.0), timeout=5.0)))
    world.advance(1)
    world.emit(e.SignalArrived(SIGTERM))
    world.settle(20)
    (reported,) = reports(world, "shutdown forced")
    assert reported["workers"] == 1
    assert reported["level"] == "warning"
    assert world.exit_code == 137


# -- what a stop sends ---------------------------------------------------------------------------


def test_what_stops_with_an_errored_app_gets_the_signal_of_a_stop_of_pyinits_own():
    world = World()
    world.usual = lambda spawn: CRASHES if spawn.spec.name == "web" else Script()
    world.emit(e.Booted(plan(app(max_restarts=1), app("db"))))
    world.run_until(lambda: world.exit_code is not None)
    (other,) = [p for p in world.processes.values() if p.spec.name == "db"]
    stopped = started(app("db"))
    stopped.emit(e.StopRequested("db"))
    expected = next(iter(stopped.processes.values())).received
    assert other.received == expected
    assert expected[0] in {SIGINT, SIGTERM}


def test_what_stops_with_an_app_that_never_starts_gets_it_too():
    world = World()
    world.usual = lambda spawn: FAILS if spawn.spec.name == "job" else Script()
    depends = (DependsSpec("job", "service_completed_successfully"),)
    apps = (app("job", autorestart=False), app(depends_on=depends), app("db"))
    world.emit(e.Booted(plan(*apps)))
    world.run_until(lambda: world.exit_code is not None)
    (other,) = [p for p in world.processes.values() if p.spec.name == "db"]
    assert other.received[0] in {SIGINT, SIGTERM}
    assert world.exit_code == 1


def test_each_app_of_a_chain_that_never_starts_is_told_and_told_once():
    world = World()
    world.usual = lambda spawn: FAILS if spawn.spec.name == "a" else Script()
    completed = "service_completed_successfully"
    chain = [app("a", autorestart=False, on_errored="keep")]
    chain += [
        app(name, depends_on=(DependsSpec(before, completed),), on_errored="keep")
        for before, name in ("ab", "bc", "cd", "de")
    ]
    world.emit(e.Booted(plan(*chain, app("lives"))))
    world.advance(60)
    reported = reports(world, "app never starts")
    assert sorted(each["app"] for each in reported) == ["b", "c", "d", "e"]
    assert {each["depends_on"] for each in reported} == {"a"}


@pytest.mark.parametrize(("signum", "phase"), [(SIGQUIT, "stopping"), (SIGTERM, "draining")])
def test_only_a_stop_by_hand_ends_the_drain(signum, phase):
    world = started(app(), drain_delay=30.0)
    world.emit(e.SignalArrived(SIGTERM))
    world.advance(1)
    world.emit(e.SignalArrived(signum))
    assert world.core.state.run.phase in {phase, "finished"}


def test_other_signals_go_to_the_workers_that_are_chosen():
    world = started(app(instances=3))
    world.emit(e.SignalRequested(SIGUSR1, "web", (1,)))
    assert [p.received for p in world.processes.values()] == [[], [SIGUSR1], []]
    world.emit(e.SignalArrived(SIGUSR1))
    assert [len(p.received) for p in world.processes.values()] == [1, 2, 1]


def test_what_waits_for_a_restart_is_stopped_with_all_else():
    world = World()
    world.usual = lambda spawn: CRASHES if spawn.spec.name == "web" else Script(stop_takes=2.0)
    world.emit(e.Booted(plan(app(restart_delay=30.0), app("db"))))
    world.advance(2)
    assert instance_of(world).state == "waiting restart"
    world.emit(e.SignalArrived(SIGTERM))
    assert instance_of(world).state == "stopped"
    assert instance_of(world).restart_timer == 0
    assert not [timer for timer in world.timers if timer.kind == "restart"]


# -- what is counted ------------------------------------------------------------------------------


def test_a_restart_forgets_what_failed_before():
    world = World()
    world.usual = lambda _spawn: CRASHES
    world.emit(e.Booted(plan(app(exp_backoff_restart_delay=0.1, max_restarts=50))))
    world.advance(3)
    assert instance_of(world).delay
    assert instance_of(world).unstable
    world.usual = lambda _spawn: Script()
    world.emit(e.RestartRequested("web"))
    world.advance(0.5)
    assert instance_of(world).delay == 0.0
    assert instance_of(world).unstable == ()


def test_a_reload_of_what_is_errored_starts_it_and_forgets():
    world = World()
    world.usual = lambda spawn: CRASHES if spawn.spec.name == "web" else Script()
    world.emit(e.Booted(plan(shared(max_restarts=2, on_errored="keep"), app("db"))))
    world.advance(30)
    assert instance_of(world).state == "errored"
    world.usual = lambda _spawn: Script()
    world.emit(e.ReloadRequested("web"))
    world.advance(10)
    assert instance_of(world).state == "running"
    assert (instance_of(world).unstable, instance_of(world).delay) == ((), 0.0)
    assert not app_view(world, "web").errored
    assert not app_view(world, "web").reloading


def test_an_instance_that_is_scaled_away_takes_its_state_with_it():
    world = World()
    world.usual = lambda spawn: CRASHES if spawn.instance == 1 else Script()
    world.emit(e.Booted(plan(app(instances=2, max_restarts=1, on_errored="keep"))))
    world.advance(20)
    assert app_view(world, "web").errored
    world.emit(e.ScaleRequested("web", 1))
    world.advance(5)
    assert not app_view(world, "web").errored


def test_an_app_of_one_worker_that_has_finished_is_seen_so():
    world = World()
    world.usual = lambda spawn: Script(ends_after=0.1) if spawn.spec.name == "job" else Script()
    world.emit(e.Booted(plan(app("job", autorestart=False), app())))
    world.advance(5)
    assert app_view(world, "job").finished
    assert not app_view(world, "web").finished


def test_the_slot_of_a_successor_that_could_not_be_forked_is_free_again():
    world = started(shared(instances=2))
    before = world.core.state.apps["web"].spare
    world.upcoming.append(Script(fork_fails=True))
    world.emit(e.ReloadRequested("web"))
    world.advance(10)
    assert world.core.state.apps["web"].spare == before
    assert len(world.live("web")) == 2


def test_a_worker_that_says_it_stops_before_it_was_ready_never_came_up():
    world = World()
    world.usual = lambda _spawn: Script(says_after=None)
    world.emit(e.Booted(plan(app(wait_ready=True, listen_timeout=60.0, min_uptime=1.0))))
    world.advance(5)
    (process,) = world.live()
    world.tell(process, stopping=True)
    world.crash(process, 0)
    assert len(instance_of(world).unstable) == 1


def test_a_worker_that_says_it_stops_after_a_while_of_service_did_come_up():
    world = started(app(min_uptime=2.0))
    world.advance(5)
    (process,) = world.live()
    world.tell(process, stopping=True)
    world.crash(process, 0)
    assert instance_of(world).unstable == ()


def test_how_long_unstable_exits_are_remembered():
    plain = app(max_restarts=3, min_uptime=1.0, listen_timeout=3.0, restart_delay=2.0)
    assert restarts.unstable_window(plain) == 4 * (1 + 3 + 2 + 1)
    check = HealthSpec(tcp="1", interval=10.0, timeout=3.0, failures=2, start_period=5.0)
    assert health.longest_detection(plain) == 0.0
    checked = plain.replace(health=check, retire_delay=0.5, kill_timeout=8.0)
    assert health.longest_detection(checked) == 5 + 3 * 13
    assert restarts.unstable_window(checked) == 4 * (1 + 5 + 2 + 1 + 44 + 0.5 + 8)


# -- reloads ---------------------------------------------------------------------------------------


def test_a_reload_goes_on_when_its_instance_is_restarted_by_hand():
    world = World()
    world.usual = lambda _spawn: Script(says_after=2.0)
    world.emit(e.Booted(plan(shared(instances=3))))
    world.advance(10)
    world.emit(e.ReloadRequested("web"))
    world.advance(0.5)
    world.emit(e.RestartRequested("web", instances=(0,)))
    world.run_until(lambda: not app_view(world, "web").reloading)
    world.advance(10)
    assert app_view(world, "web").ready_workers == 3
    # Each has been replaced, one way or the other.
    assert min(process.incarnation for process in world.live("web")) > 3


def test_a_reload_of_a_worker_that_does_not_die_goes_on_with_the_others():
    world = World()
    world.usual = lambda spawn: Script(undying=spawn.incarnation == 1, ignores=True)
    world.emit(e.Booted(plan(shared(instances=2, kill_timeout=1.0))))
    world.advance(2)
    world.emit(e.ReloadRequested("web"))
    world.advance(60)
    assert not app_view(world, "web").reloading
    assert [p.incarnation for p in world.live("web") if SIGKILL in p.received] == [1]
    assert app_view(world, "web").ready_workers == 2


def test_memory_of_what_is_stopped_replaced_or_not_current_changes_nothing():
    world = World()
    world.usual = lambda _spawn: Script(stop_takes=3.0, says_after=1.0)
    world.emit(e.Booted(plan(shared(instances=2, max_memory_restart=1000))))
    world.advance(2)
    first, second = (process.incarnation for process in world.live())
    world.emit(e.ReloadRequested("web"))
    world.emit(e.MemoryExceeded(second, 5000))  # its turn comes
    world.emit(e.MemoryExceeded(first, 5000))  # it is being replaced
    assert not reports(world, "memory limit exceeded")
    world.emit(e.StopRequested("web"))
    world.emit(e.MemoryExceeded(second, 5000))
    assert not reports(world, "memory limit exceeded")


def test_what_is_asked_of_an_app_that_is_not_there_changes_nothing():
    world = started(app())
    orders = len(world.effects)
    world.emit(e.RenewRequested("nothing", "watch"))
    world.emit(e.ReloadRequested("nothing"))
    world.emit(e.ScaleRequested("nothing", 3))
    world.emit(e.TimerFired(e.Timer("restart", "web", 99)))
    world.emit(e.TimerFired(e.Timer("widen", "web")))
    world.emit(e.TimerFired(e.Timer("drain")))
    world.emit(e.TimerFired(e.Timer("shutdown")))
    assert len(world.effects) == orders


def test_a_plan_that_comes_in_a_shutdown_changes_nothing():
    world = World()
    world.usual = lambda _spawn: Script(stop_takes=2.0)
    world.emit(e.Booted(plan(app())))
    world.advance(1)
    world.emit(e.SignalArrived(SIGTERM))
    orders = len(world.effects)
    world.emit(e.PlanAccepted(plan(app(), app("new"), revision=2)))
    assert len(world.effects) == orders
    for event in (
        e.RenewRequested("web", "watch"),
        e.RestartRequested("web"),
        e.ScaleRequested("web", 3),
    ):
        world.emit(event)
    assert not [each for _, each in world.effects[orders:] if isinstance(each, f.Spawn)]


# -- events that come when nothing is to be done ------------------------------------------------


def test_late_events_about_a_living_worker_change_nothing():
    world = started(app(wait_ready=True))
    (process,) = world.live()
    orders = len(world.effects)
    number = process.incarnation
    for event in (
        e.GroupEmptied(number),
        e.QueueEmptied(number),
        e.RemainingEnded(),
        *(
            e.TimerFired(e.Timer(kind, "web", number))
            for kind in ("kill", "abandon", "watchdog", "retire")
        ),
    ):
        world.emit(event)
    assert len(world.effects) == orders
    assert world.core.state.workers[number].state == "launching"


def test_what_waits_for_others_is_started_by_its_name_only():
    depends = (DependsSpec("db"),)
    world = started(app(depends_on=depends), app("db", autostart=False))
    assert not world.live("web")
    world.emit(e.StartRequested())
    assert not world.live("web") or world.live("db")
    world.emit(e.StartRequested("web"))
    world.advance(1)
    assert world.live("web")


def test_changes_of_a_file_as_people_read_them():
    change = diff.Change
    assert change("web", diff.ADDED, now=2).text == "web: added, 2 instances"
    assert change("web", diff.REMOVED, was=1).text == "web: removed, 1 instance to stop"
    old, new = plan(app()), plan(app(), revision=2, drain_delay=3.0)
    assert diff.live_keys(old, new) == ("shutdown",)
    assert diff.live_keys(old, old) == ()


def test_an_app_that_is_not_there_is_an_error_of_the_core():
    staged = transaction.Transaction(transaction.State(), 0.0)
    with pytest.raises(KeyError):
        staged.the_app("nothing")
    assert staged.app("nothing") is None


def test_a_check_of_what_has_none_is_an_error_of_the_core():
    world = started(app())
    staged = transaction.Transaction(world.core.state, world.now)
    with pytest.raises(ValueError, match="no checks are asked for"):
        health.answered(staged, next(iter(world.core.state.workers.values())), "")
