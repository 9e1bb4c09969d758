"""Workers for which connections wait and that accept none."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core import worker as w
from entrypoint.core.spec import HealthSpec
from tests.simulation.world import SIGHUP, SIGKILL, SIGTERM, Script, World, shared


@pytest.fixture
def world():
    return World()


def started(world, **keys):
    """Two workers, the first of which has stalled for 5 s; its process."""
    world.up(shared(instances=2, **keys))
    world.advance(100)
    victim = world.processes[1]
    world.stall(victim)
    return victim


def states(world):
    return [(row.instance, row.state) for row in world.view().workers]


def test_it_is_steered_away_from_named_and_its_queue_goes_to_its_siblings(world):
    started(world)
    assert world.routed["web"] == (1,)
    assert states(world) == [(0, "stalled"), (1, "online")]
    (said,) = world.said("worker stalled")
    assert (said["pid"], said["waiting"], said["after"]) == (world.processes[1].pid, 3, 5.0)
    assert said["address"] == "127.0.0.1:5000"
    (relayed,) = world.ordered(f.RelayQueue)
    assert (relayed.slot, relayed.stalled) == (0, True)
    assert [each.what for each in world.ordered(f.Count)].count("stall") == 1
    assert world.view().ready_workers == 1
    # It is said once.
    world.stall(world.processes[1], 10.0)
    assert len(world.said("worker stalled")) == 1


def test_a_replacement_is_started_beside_it_after_10_s_and_nothing_is_stopped(world):
    victim = started(world)
    world.advance(4.9)
    assert len(world.processes) == 2
    world.advance(0.2)
    world.advance(1)
    assert states(world) == [(0, "stalled"), (0, "online"), (1, "online")]
    assert world.routed["web"] == (1, 2)
    world.advance(48)
    assert victim.alive
    assert not victim.stops


def test_it_is_stopped_after_a_minute(world):
    victim = started(world)
    world.run_until(lambda: not victim.alive)
    assert world.now - (200.0 - 5.0) == pytest.approx(60.0, abs=1.0)
    assert world.said("worker stall overdue")[0]["reason"] == "accepted no connection for 60 s"
    world.settle(5)
    assert states(world) == [(0, "online"), (1, "online")]
    restarts = [each.label for each in world.ordered(f.Count) if each.what == "restart"]
    assert restarts == ["stalled"]


def test_one_that_accepts_again_goes_on_and_its_replacement_is_stopped(world):
    victim = started(world)
    world.advance(25)
    assert len(world.live()) == 3
    world.accept_again(victim)
    world.settle(10)
    assert states(world) == [(0, "online"), (1, "online")]
    assert victim.alive
    assert world.routed["web"] == (0, 1)
    assert world.said("worker accepts again")[0]["after"] == 30.0
    assert not world.said("reload aborted")
    assert world.core._state.apps["web"].reload is None
    # Its slot is free for the next one.
    assert world.core._state.apps["web"].spare == (2,)


def test_one_that_accepts_before_it_is_replaced(world):
    victim = started(world)
    world.advance(2)
    world.accept_again(victim)
    world.advance(100)
    assert len(world.processes) == 2
    assert states(world) == [(0, "online"), (1, "online")]


def test_pauses_of_the_app_are_learned(world):
    victim = started(world)
    world.advance(45)
    world.accept_again(victim)  # after 50 s
    world.settle(10)
    world.stall(victim)
    world.advance(140)
    assert victim.alive
    world.advance(20)
    assert not victim.alive


@pytest.mark.parametrize(("timeout", "ends"), [(20.0, True), (0.0, False)])
def test_stall_timeout(world, timeout, ends):
    victim = started(world, stall_timeout=timeout)
    world.advance(13)
    assert victim.alive
    world.advance(600)
    assert victim.alive != ends
    assert len(world.live()) == (2 if ends else 3)


def test_health_checks_that_fail_stop_it_at_once(world):
    health = HealthSpec(http="/", interval=2.0, timeout=1.0, failures=2)
    world.upcoming.append(Script(well_until=100.5))
    victim = started(world, health=health)
    world.run_until(lambda: not victim.alive, within=30)
    assert world.said("worker unhealthy")
    world.settle(5)
    assert states(world) == [(0, "online"), (1, "online")]


def test_a_check_that_needs_no_connection_does_not_make_it_ready(world):
    health = HealthSpec(command=("true",), interval=2.0, timeout=1.0)
    started(world, health=health)
    world.advance(4)
    assert states(world)[0] == (0, "stalled")
    assert not world.said("worker healthy again")


def test_while_all_are_stalled_none_is_ready_until_the_next_accept(world):
    started(world)
    world.stall(world.processes[2])
    assert world.view().ready_workers == 0
    assert world.routed["web"] == (0, 1)
    world.advance(8)
    # One replacement at a time.
    assert len(world.live()) == 3
    assert world.view().ready_workers == 1
    world.accept_again(world.processes[2])
    assert world.view().ready_workers == 2


def test_when_it_dies_its_replacement_takes_its_place(world):
    victim = started(world)
    world.advance(20)
    world.crash(victim)
    world.settle(5)
    assert states(world) == [(0, "online"), (1, "online")]
    assert len(world.processes) == 3
    assert world.core._state.apps["web"].reload is None


def test_a_replacement_that_dies_is_started_again(world):
    started(world)
    world.upcoming.append(Script(ends_after=2.0, code=1))
    world.advance(8)
    assert len(world.processes) == 3
    world.advance(12)
    assert len(world.live()) == 3
    assert states(world)[:2] == [(0, "stalled"), (0, "online")]


def test_a_reload_ends_the_wait_for_it(world):
    victim = started(world)
    world.advance(10)
    world.emit(e.SignalArrived(SIGHUP))
    world.emit(e.ReloadRequested("web", "SIGHUP"))
    world.run_until(lambda: not victim.alive, within=30)
    world.settle(60)
    assert states(world) == [(0, "online"), (1, "online")]


def test_a_reload_goes_on_beside_it(world):
    victim = started(world)
    world.advance(10)
    world.emit(e.ReloadRequested("web", "pyinit reload", instances=(1,)))
    world.advance(5)
    assert not world.processes[2].alive
    assert victim.alive


@pytest.mark.parametrize("after", [1, 20])
def test_a_shutdown_ends_both(world, after):
    victim = started(world)
    world.advance(after)
    world.emit(e.SignalArrived(SIGTERM))
    world.run_until(lambda: world.exit_code is not None)
    assert world.exit_code == 0
    assert SIGKILL not in victim.stops


def test_connections_that_waited_for_an_earlier_worker_are_no_sign(world):
    world.up(shared(instances=1))
    world.stall(world.one(), 50.0)
    assert states(world) == [(0, "online")]


def test_one_that_is_debugged_stands_still_on_purpose(world):
    world.up(shared(instances=2, env=(("NODE_OPTIONS", "--inspect"),)))
    world.advance(100)
    world.stall(world.processes[1])
    assert states(world) == [(0, "online"), (1, "online")]


def test_a_worker_alone_is_replaced_and_may_still_answer(world):
    world.up(shared(instances=1))
    world.advance(100)
    world.stall(world.one())
    assert world.routed["web"] == (0,)
    world.advance(8)
    assert world.routed["web"] == (1,)
    assert [each.state for each in world.core._state.workers.values()] == [w.SICK, w.ONLINE]
