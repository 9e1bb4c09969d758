"""Commands that name one worker of an app, and the numbers by which people name it."""

from __future__ import annotations

import pytest

from entrypoint.core import events as e
from tests.simulation import invariants
from tests.simulation.world import SIGUSR1, World, app, plan, shared


@pytest.fixture
def world() -> World:
    world = World()
    world.after_turn = invariants.check
    return world


def ids(world: World, name: str) -> list[int]:
    [found] = [app for app in world.core.view().apps if app.name == name]
    return [row.id for row in found.workers]


def incarnations(world: World) -> dict[int, int]:
    return {process.instance: process.incarnation for process in world.live("web")}


def test_ids_go_through_all_apps_in_the_order_of_the_file(world):
    world.emit(e.Booted(plan(shared("web", instances=3), app("job"), cpus=1)))
    world.run_until(world.is_up)
    assert (ids(world, "web"), ids(world, "job")) == ([0, 1, 2], [3])


def test_an_id_stays_with_its_instance_and_is_never_given_again(world):
    world.up(shared("web", instances=2))
    world.emit(e.ReloadRequested("web"))
    world.settle()
    assert ids(world, "web") == [0, 1]
    world.emit(e.ScaleRequested("web", 1))
    world.settle()
    world.emit(e.ScaleRequested("web", 3))
    world.settle()
    assert ids(world, "web") == [0, 2, 3]


def test_one_worker_that_leaves_by_a_scale_has_no_id_any_more(world):
    world.up(shared("web", instances=2))
    world.emit(e.ScaleRequested("web", 1))
    assert ids(world, "web") == [0, -1]


@pytest.mark.parametrize("event", [e.RestartRequested, e.ReloadRequested])
def test_one_instance_is_replaced_and_the_others_are_left(world, event):
    world.up(shared("web", instances=3))
    before = incarnations(world)
    world.emit(event("web", instances=(1,)))
    world.run_until(lambda: world.is_up() and world.core._state.apps["web"].reload is None)
    after = incarnations(world)
    assert {n for n in before if before[n] != after[n]} == {1}


def test_a_restart_of_one_during_a_reload_of_all_leaves_the_reload_to_the_others(world):
    world.up(shared("web", instances=3))
    before = incarnations(world)
    world.emit(e.ReloadRequested("web"))
    world.emit(e.RestartRequested("web", instances=(0,)))
    world.run_until(lambda: world.core._state.apps["web"].reload is None)
    world.run_until(world.is_up)
    after = incarnations(world)
    assert all(before[n] != after[n] for n in before)
    assert not world.said("reload aborted")


def test_one_instance_of_a_stopped_app_stays_stopped(world):
    world.up(shared("web", instances=2))
    world.emit(e.StopRequested("web"))
    world.settle()
    world.emit(e.RestartRequested("web", instances=(0,)))
    world.settle()
    assert world.live("web") == []


def test_a_signal_to_one_reaches_that_one(world):
    world.up(shared("web", instances=2))
    world.emit(e.SignalRequested(SIGUSR1, "web", (1,)))
    assert [p.received for p in world.live("web")] == [[], [SIGUSR1]]
