"""`share: generations`: the workers of a release have one accept queue, the next one another."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from tests.simulation.world import HEALTHY, SIGHUP, World, plan, shared


def generations(**keys):
    return shared(**{"share": "generations", "instances": 3, **keys})


@pytest.fixture
def world() -> World:
    world = World()
    world.boot(generations())
    world.run_until(lambda: world.ready() == 3)
    return world


def queues(world: World) -> list[int]:
    return sorted(each.queue for each in world.core.state.workers.values())


def test_a_release_shares_one_queue_and_each_worker_has_a_slot(world):
    assert queues(world) == [0, 0, 0]
    assert sorted(each.slot for each in world.core.state.workers.values()) == [0, 1, 2]
    assert world.routed["web"] == (0, 0, 0)


def test_the_next_release_gets_another_queue_and_connections_by_its_workers(world):
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: bool(world.said("reload finished")))
    assert queues(world) == [1, 1, 1]
    routes = [each.slots for each in world.ordered(f.RouteTo)][-3:]
    assert routes == [(0, 0, 1), (0, 1, 1), (1, 1, 1)]
    watched = [(each.slot, each.shared) for each in world.ordered(f.WatchQueue)]
    assert watched == [(0, True)] * 3
    assert [each.slot for each in world.ordered(f.ReleaseSlot)][-1] == 0


def test_a_crashed_worker_comes_back_to_the_queue_of_its_siblings(world):
    world.crash(world.one(1))
    assert world.routed["web"] == (0, 0)
    world.run_until(lambda: world.ready() == 3)
    assert queues(world) == [0, 0, 0]
    world.advance(1.0)
    # They take what waits.
    assert not world.ordered(f.RelayQueue)


def test_one_more_shares_the_queue_and_one_less_leaves_it(world):
    world.emit(e.ScaleRequested("web", 4))
    world.run_until(lambda: world.ready() == 4)
    assert queues(world) == [0, 0, 0, 0]
    world.emit(e.ScaleRequested("web", 2))
    world.run_until(lambda: len(world.live("web")) == 2)
    assert world.routed["web"] == (0, 0)
    assert all(each.shared for each in world.ordered(f.WatchQueue))
    assert not world.ordered(f.ReleaseSlot) or 0 not in [
        each.slot for each in world.ordered(f.ReleaseSlot)
    ]


def test_a_release_that_fails_leaves_the_old_queue_alone(world):
    world.next_plan = plan(generations(instances=3, env=(("A", "1"),)), revision=2)
    world.usual = lambda spawn: HEALTHY if not spawn.spec.env else _broken()
    world.emit(e.SignalArrived(SIGHUP))
    world.run_until(lambda: bool(world.said("reload aborted")))
    assert world.routed["web"] == (0, 0, 0)
    world.advance(5.0)
    assert queues(world) == [0, 0, 0]


def _broken():
    from tests.simulation.world import Script

    return Script(says_after=None, ends_after=0.01, code=1)


def test_a_stop_of_the_app_keeps_no_connections_away(world):
    world.emit(e.StopRequested("web"))
    world.run_until(lambda: not world.live("web"))
    assert not any(each.shared for each in world.ordered(f.WatchQueue))


@pytest.mark.parametrize("order", [("generations", "slots"), ("slots", "generations")])
def test_what_the_file_says_of_sharing_may_change(order):
    world = World()
    # The simulation's usual world keeps it.
    world._as_bound = lambda answer: answer
    world.boot(generations(share=order[0]))
    world.run_until(lambda: world.ready() == 3)
    for count, share in enumerate((order[1], *order), start=1):
        before = set(queues(world))
        world.next_plan = plan(generations(share=share), revision=1 + count)
        world.emit(e.SignalArrived(SIGHUP))
        world.run_until(lambda: len(world.said("reload finished")) == count)  # noqa: B023
        assert len(set(queues(world))) == (3 if share == "slots" else 1)
        assert share == "slots" or not before & set(queues(world))
