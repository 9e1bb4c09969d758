"""What the core counts for the metrics, and under which word."""

from __future__ import annotations

from collections import Counter

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core import reasons
from tests.simulation.world import SIGHUP, SIGTERM, Script, World, app, plan, shared


@pytest.fixture
def world() -> World:
    return World()


def counted(world: World, what: str) -> Counter[str]:
    found = (x for _, x in world.effects if isinstance(x, f.Count) and x.what == what)
    return Counter(each.label for each in found)


def restarted(world: World) -> Counter[str]:
    """By reason; what `pyinit ls` shows of it (↺) is the same number."""
    found = counted(world, "restart")
    rows = (row for app in world.core.view().apps for row in app.workers)
    assert sum(row.restarts for row in rows) == found.total()
    return found


def spawned(world: World) -> int:
    return sum(isinstance(effect, f.Spawn) for _, effect in world.effects)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (Script(ends_after=0.1, code=1), reasons.CRASH),
        (Script(ends_after=0.1, code=None, signum=9), reasons.CRASH),
        (Script(ends_after=0.1, code=0), reasons.EXIT),
        (Script(fork_fails=True), reasons.FAILED_START),
        (Script(exec_fails="exec: No such file or directory"), reasons.FAILED_START),
        (Script(says_after=None), reasons.FAILED_START),
    ],
)
def test_an_end_of_its_own_is_counted_under_its_cause(world, script, reason):
    world.upcoming.append(script)
    world.boot(shared(on_listen_timeout="abort"))
    world.run_until(lambda: spawned(world) == 2 and world.is_up())
    assert restarted(world) == {reason: 1}


@pytest.mark.parametrize("make", [app, shared])
@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (e.ReloadRequested("web", "pyinit reload"), reasons.ASKED),
        (e.RestartRequested("web", "pyinit restart"), reasons.ASKED),
        (e.RenewRequested("web", "files changed"), "watch"),
        (e.ScheduleDue("web"), "cron"),
    ],
)
def test_what_is_asked_for_is_counted_once_for_each_worker(world, make, event, reason):
    world.up(make(instances=3))
    world.emit(event)
    world.settle(20)
    assert world.is_up()
    assert restarted(world) == {reason: 3}


def test_memory_replaces_one_worker(world):
    world.up(shared(instances=2, max_memory_restart=1))
    world.emit(e.MemoryExceeded(world.live()[0].incarnation, 2))
    world.settle(20)
    assert restarted(world) == {"memory": 1}


def test_the_first_workers_and_those_of_a_scaled_app_replace_none(world):
    world.up(shared())
    world.emit(e.ScaleRequested("web", 3))
    world.settle(20)
    world.emit(e.StopRequested("web"))
    world.settle(20)
    world.emit(e.StartRequested("web"))
    world.settle(20)
    assert world.is_up()
    assert not restarted(world)


def test_a_crash_in_a_reload_is_one_restart_whoever_follows(world):
    world.up(shared())
    world.upcoming.append(Script(says_after=1.0))
    world.emit(e.ReloadRequested("web"))
    world.advance(0.1)
    world.crash(world.live()[0])
    world.settle(20)
    assert world.is_up()
    assert restarted(world) == {reasons.CRASH: 1}


def test_a_successor_that_fails_replaced_nobody(world):
    world.up(shared(instances=2))
    world.upcoming.append(Script(says_after=None, ends_after=0.5, code=1))
    world.emit(e.ReloadRequested("web"))
    world.settle(20)
    assert not restarted(world)
    assert counted(world, "reload") == {"aborted": 1}


def test_a_reload_side_by_side_that_failed_in_one_is_aborted_once(world):
    world.up(shared(instances=3, reload_parallel=3))
    world.upcoming.append(Script(says_after=None, ends_after=0.1, code=1))
    world.upcoming.append(Script(says_after=None, ends_after=0.2, code=1))
    world.emit(e.ReloadRequested("web"))
    world.settle(20)
    assert counted(world, "reload") == {"aborted": 1}


def test_a_reload_is_counted_with_its_duration(world):
    world.up(shared(instances=2))
    world.usual = lambda _spawn: Script(says_after=1.0)
    world.emit(e.ReloadRequested("web"))
    world.settle(20)
    [reload] = [x for _, x in world.effects if isinstance(x, f.Count) and x.what == "reload"]
    assert (reload.app, reload.label) == ("web", "finished")
    assert reload.seconds >= 2.0


def test_readiness_is_counted_with_its_time_unless_nobody_said_it(world):
    world.upcoming.append(Script(says_after=0.5))
    world.upcoming.append(Script(says_after=None))
    world.boot(shared(instances=2, on_listen_timeout="force"), app("other"))
    world.settle(20)
    assert (world.ready(), world.ready("other")) == (1, 1)
    [ready] = [x for _, x in world.effects if isinstance(x, f.Count) and x.what == "ready"]
    assert 0.5 <= ready.seconds < 0.6


def test_files_read_again(world):
    world.up(app())
    world.next_plan = "broken"
    world.emit(e.SignalArrived(SIGHUP))
    world.settle(5)
    world.next_plan = plan(app(max_restarts=3), revision=2)
    world.emit(e.SignalArrived(SIGHUP))
    world.settle(5)
    assert counted(world, "config") == {"rejected": 1, "accepted": 1}
    assert restarted(world) == {"config": 1}


def test_every_word_is_known_from_the_beginning(world):
    world.up(shared(), app("other"))
    for event in (
        e.ReloadRequested(),
        e.RestartRequested(),
        e.RenewRequested("other", "anything else"),
    ):
        world.emit(event)
        world.settle(20)
    world.emit(e.SignalArrived(SIGTERM))
    world.settle(20)
    assert set(restarted(world)) <= set(reasons.RESTARTS)
