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


def sized(by_cpus: int | None = 0, **keys):
    return shared(instances=2, by_cpus=by_cpus, **keys)


def rows(world):
    return [(row.instance, row.state) for row in world.view().workers]


def test_instances_follow_the_cpu_limit(world):
    world.emit(e.Booted(plan(sized(), app("fixed"), cpus=2)))
    world.settle(5)
    world.emit(e.CpusChanged(4))
    world.settle(5)
    assert rows(world) == [(n, "online") for n in range(4)]
    assert len(world.live("fixed")) == 1
    assert world.said("cpus changed")[0] == {"was": 2, "cpus": 4}
    world.emit(e.CpusChanged(1))
    world.settle(20)
    assert rows(world) == [(0, "online")]
    # The same again is no change.
    world.emit(e.CpusChanged(1))
    assert len(world.said("cpus changed")) == 2


def test_one_fewer_than_there_are_cpus_is_one_at_least(world):
    world.emit(e.Booted(plan(sized(-1), cpus=3)))
    world.settle(5)
    world.emit(e.CpusChanged(1))
    world.settle(20)
    assert rows(world) == [(0, "online")]


def test_what_a_person_has_scaled_stays_so(world):
    world.emit(e.Booted(plan(sized(), cpus=2)))
    world.settle(5)
    world.emit(e.ScaleRequested("web", 3))
    world.settle(5)
    world.emit(e.CpusChanged(6))
    world.settle(5)
    assert len(rows(world)) == 3


def test_a_file_that_is_read_again_counts_the_same(world):
    world.emit(e.Booted(plan(sized(), cpus=2)))
    world.settle(5)
    world.emit(e.CpusChanged(3))
    world.settle(5)
    again = plan(shared(instances=3, by_cpus=0), app("new"), cpus=3, revision=2)
    world.emit(e.PlanAccepted(again))
    world.settle(5)
    assert rows(world) == [(n, "online") for n in range(3)]
    assert len(world.processes) == 4
