"""A worker that cannot serve as it was started is started again, in another way."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from tests.simulation import invariants
from tests.simulation.world import SIGKILL, Script, World, shared


@pytest.fixture
def world() -> World:
    world = World()
    world.after_turn = invariants.check
    return world


def test_one_that_serves_nobody_yet_is_killed_and_started_again_at_once(world):
    world.usual = lambda _spawn: Script(says_after=30.0, ignores=True)
    world.boot(shared(instances=2, listen_timeout=60.0, max_restarts=0))
    world.advance(1.0)
    first, sibling = world.one(0), world.one(1)
    world.emit(e.WorkerUnfit(first.incarnation, "its bind cannot be read"))
    world.run_until(lambda: world.one(0).incarnation != first.incarnation)
    assert first.received == [SIGKILL]
    assert world.now - 100 == pytest.approx(1.0, abs=0.5)
    assert sibling.received == []
    # It is no failure of the program: with `max_restarts: 0` one would be the end.
    world.run_until(world.is_up)
    assert world.said("worker started again")[0]["reason"] == "its bind cannot be read"


def test_one_that_serves_is_stopped_as_usual(world):
    world.up(shared(instances=2))
    old = world.one(0)
    world.emit(e.WorkerUnfit(old.incarnation, "it needs the filter"))
    world.run_until(lambda: world.one(0).incarnation != old.incarnation)
    assert SIGKILL not in old.received
    world.run_until(world.is_up)


def test_one_that_is_stopped_already_is_left_alone(world):
    world.up(shared(instances=1))
    worker = world.one(0)
    world.emit(e.StopRequested("web"))
    world.emit(e.WorkerUnfit(worker.incarnation, "late"))
    world.advance(30.0)
    assert not world.live("web")
    assert len(world.ordered(f.Spawn)) == 1
