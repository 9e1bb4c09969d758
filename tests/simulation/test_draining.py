"""Workers that a reload has replaced and that keep their connections (`drain`)."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from tests.simulation import invariants
from tests.simulation.world import SIGTERM, Script, World, shared


@pytest.fixture
def world() -> World:
    world = World()
    world.after_turn = invariants.check
    world.usual = lambda _spawn: Script(closes_after=None)
    return world


def spec(**keys):
    return shared(**{"instances": 2, "drain": 3600.0, "retire_when_quiet": True, **keys})


def states(world: World) -> list[str]:
    return [row.state for row in world.view().workers]


def reload(world: World, **keys) -> list:
    """The workers that drain after a reload."""
    if not world.live():
        world.up(spec(**keys))
    old = world.live()
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: not world.view().reloading)
    return old


def test_a_reload_does_not_wait_for_workers_that_drain(world):
    old = reload(world)
    assert world.now - 100.0 < 1.0
    assert all(process.alive and not process.stop_sent for process in old)
    assert sorted(states(world)) == ["draining", "draining", "online", "online"]
    assert world.view().ready_workers == 2
    drained = {world.core._state.workers[each.incarnation].slot for each in old}
    assert not drained & set(world.routed["web"])


def test_one_whose_last_connection_is_closed_is_stopped(world):
    world.usual = lambda _spawn: Script(closes_after=600.0)
    old = reload(world)
    assert world.run_until(lambda: all(each.stop_sent for each in old), 700) > 590.0
    world.settle(5)
    assert sorted(states(world)) == ["online", "online"]
    assert not world.said("worker drain over")
    assert len(world.core._state.apps["web"].spare) == 2  # one was made for this reload


def test_drain_is_a_bound_and_kill_timeout_follows(world):
    world.usual = lambda _spawn: Script(closes_after=None, ignores=True)
    old = reload(world)
    assert world.run_until(lambda: old[0].stop_sent, 4000) == pytest.approx(3600, abs=1)
    assert world.run_until(lambda: not old[0].alive) == pytest.approx(8.0, abs=0.1)
    assert world.said("worker drain over")


def test_of_more_than_instances_the_oldest_is_stopped(world):
    generations = [reload(world) for _ in range(2)]
    world.settle(1)
    assert not any(each.alive for each in generations[0])
    assert sum(row.state == "draining" for row in world.view().workers) == 2
    assert world.view().ready_workers == 2


def test_one_that_grows_too_much_is_stopped(world):
    old = reload(world, max_memory_restart=1 << 20)
    world.emit(e.MemoryExceeded(old[0].incarnation, 1 << 21))
    assert old[0].stop_sent
    assert not old[1].stop_sent
    assert not world.view().reloading


@pytest.mark.parametrize("asked", [e.StopRequested("web"), e.SignalArrived(SIGTERM)])
def test_a_stop_ends_the_drain_when_the_requests_are_answered(world, asked):
    world.usual = lambda _spawn: Script(closes_after=None, answers_after=1.5)
    old = reload(world)
    world.advance(60.0)
    world.emit(asked)
    assert world.run_until(lambda: all(each.stop_sent for each in old)) == pytest.approx(1.5)
    world.settle(10)
    assert not world.live()


def test_a_file_without_the_app_ends_the_drain(world):
    old = reload(world)
    world.advance(60.0)
    world.emit(e.PlanAccepted(world.core._state.run.plan.replace(apps=(), revision=2)))
    assert world.run_until(lambda: all(each.stop_sent for each in old)) < 1.0


@pytest.mark.parametrize("keys", [{"share": "one"}, {"drain": 0.0}])
def test_without_slots_or_drain_a_worker_is_stopped(world, keys):
    old = reload(world, **keys)
    world.settle(1)
    assert not any(each.alive for each in old)


def test_a_sick_worker_does_not_drain(world):
    world.up(spec(instances=1, max_memory_restart=1 << 20))
    (old,) = world.live()
    world.emit(e.MemoryExceeded(old.incarnation, 1 << 21))
    world.settle(5)
    assert not old.alive
    assert not [each for each in world.ordered(f.WatchQueue) if each.closed]
