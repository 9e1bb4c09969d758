"""When a worker that gets no more connections gets its stop signal, and SIGKILL."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.spec import HealthSpec
from tests.simulation import invariants
from tests.simulation.world import SIGKILL, SIGTERM, Script, World, shared


@pytest.fixture
def world() -> World:
    world = World()
    world.after_turn = invariants.check
    return world


def always(world: World, script: Script) -> None:
    world.usual = lambda _spawn: script


def retire(world, asked, **keys) -> float:
    """Seconds from when the worker gets no more connections to its stop signal."""
    world.up(shared(**{"retire_when_quiet": True, **keys}))
    old = world.one()
    world.emit(asked)
    world.run_until(lambda: bool(world.ordered(f.WatchQueue)))
    return world.run_until(lambda: old.stop_sent)


LEAVE = [
    e.ReloadRequested("web"),
    e.StopRequested("web"),
    e.ScaleRequested("web", 0),
    e.SignalArrived(SIGTERM),
]


@pytest.mark.parametrize("asked", LEAVE)
@pytest.mark.parametrize("answers", [0.0, 0.2, 3.0])
def test_the_signal_comes_when_the_last_request_is_answered(world, asked, answers):
    always(world, Script(answers_after=answers))
    assert retire(world, asked) == pytest.approx(answers)


@pytest.mark.parametrize("asked", LEAVE)
def test_a_request_that_is_not_answered_gets_three_quarters_of_kill_timeout(world, asked):
    always(world, Script(answers_after=None, ignores=True))
    assert retire(world, asked, kill_timeout=4.0) == pytest.approx(3.0)
    killed = world.run_until(lambda: any(s.signum == SIGKILL for s in world.ordered(f.SendSignal)))
    assert killed == pytest.approx(1.0)
    assert world.said("worker busy at its stop signal")


@pytest.mark.parametrize("asked", LEAVE[:3])
@pytest.mark.parametrize(("answers", "expected"), [(0.2, 2.0), (3.0, 3.0), (None, 5.0)])
def test_a_retire_delay_of_the_file_is_a_minimum(world, asked, answers, expected):
    always(world, Script(answers_after=answers, ignores=True))
    keys = {"retire_when_quiet": False, "retire_delay": 2.0, "kill_timeout": 4.0}
    assert retire(world, asked, **keys) == pytest.approx(expected)
    killed = world.run_until(lambda: any(s.signum == SIGKILL for s in world.ordered(f.SendSignal)))
    assert killed == pytest.approx(2.0 + 4.0 - expected)


def test_a_worker_whose_checks_fail_is_not_asked_what_it_has_in_hand(world):
    always(world, Script(answers_after=None, well_until=1.0))
    check = HealthSpec(tcp="1", interval=0.5, timeout=0.5, failures=1)
    world.up(shared(retire_when_quiet=True, health=check))
    world.run_until(lambda: bool(world.ordered(f.WatchQueue)))
    (watched,) = world.ordered(f.WatchQueue)
    assert watched.quiet_time == 0.0
    assert world.run_until(lambda: bool(world.ordered(f.SendSignal))) == pytest.approx(0.5)


def test_a_shutdown_during_a_reload_gives_its_own_time(world):
    always(world, Script(answers_after=None, ignores=True))
    world.up(shared(retire_delay=30.0, kill_timeout=4.0))
    old = world.one()
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: bool(world.ordered(f.WatchQueue)))
    world.advance(20.0)
    world.emit(e.SignalArrived(SIGTERM))
    assert world.run_until(lambda: old.stop_sent) == pytest.approx(3.0)
    assert world.run_until(lambda: world.exit_code is not None) == pytest.approx(1.001)
