"""Stalled workers: events that come late, replacements that are late, requests meanwhile."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core import worker as w
from entrypoint.core.spec import HealthSpec
from tests.simulation.test_stalls import started, states
from tests.simulation.world import SIGHUP, SIGTERM, Script, World, plan, shared

ADDRESS = "127.0.0.1:5000"
DUE = e.TimerFired(e.Timer("stall", "web", 1))


@pytest.fixture
def world():
    return World()


def reload_of(world):
    return world.core.state.apps["web"].reload


def test_a_stall_of_an_app_that_is_not_there_changes_nothing(world):
    world.up(shared(instances=2))
    world.advance(100)
    effects = len(world.effects)
    world.emit(e.AcceptStalled("nobody", 0, ADDRESS, ADDRESS, world.now - 5.0, 3))
    assert len(world.effects) == effects
    assert states(world) == [(0, "online"), (1, "online")]


def test_a_stall_of_workers_that_share_one_queue_accuses_none(world):
    world.up(shared(instances=2, share="one"))
    world.advance(100)
    world.stall(world.processes[1])
    assert states(world) == [(0, "online"), (1, "online")]
    assert not world.said("worker stalled")


def test_a_stall_in_the_drain_of_a_shutdown_changes_nothing(world):
    world.up(shared(instances=2), drain_delay=30.0)
    world.advance(100)
    world.emit(e.SignalArrived(SIGTERM))
    assert world.core.state.run.phase == "draining"
    world.stall(world.processes[1])
    assert not world.said("worker stalled")
    assert not world.ordered(f.RelayQueue)


def test_a_sick_worker_may_stall_too_and_stays_sick_when_it_accepts(world):
    health = HealthSpec(http="/", interval=2.0, timeout=1.0, failures=2)
    world.upcoming += [Script(well_until=50.0)]
    world.up(shared(instances=2, health=health))
    world.usual = lambda _spawn: Script(says_after=300.0)
    world.run_until(lambda: world.said("worker unhealthy"))
    victim = world.processes[1]
    world.stall(victim)
    assert world.core.state.workers[1].stalled_at == world.now - 5.0
    world.accept_again(victim)
    worker = world.core.state.workers[1]
    assert (worker.stalled_at, worker.state) == (0.0, w.SICK)
    assert world.routed["web"] == (1,)


def test_a_shorter_pause_is_no_new_measure(world):
    victim = started(world)
    world.advance(45)
    world.accept_again(victim)  # after 50 s
    world.settle(10)
    world.stall(victim)
    world.advance(1)
    world.accept_again(victim)  # after 6 s
    assert world.core.state.apps["web"].longest_stall == 50.0


def test_a_timer_that_fires_late_changes_nothing_for_one_that_accepts(world):
    # Its checks failed before, so it is sick, and no longer stalled.
    health = HealthSpec(http="/", interval=2.0, timeout=1.0, failures=2)
    world.upcoming += [Script(well_until=50.0)]
    world.up(shared(instances=2, health=health))
    world.usual = lambda _spawn: Script(says_after=300.0)
    world.run_until(lambda: world.said("worker unhealthy"))
    effects = len(world.effects)
    world.emit(DUE)
    assert len(world.effects) == effects
    assert not world.processes[1].stops


def test_a_worker_that_is_not_restarted_gets_no_replacement_and_is_stopped_in_the_end(world):
    victim = started(world, autorestart=False)
    world.advance(54)
    assert len(world.processes) == 2
    assert victim.alive
    world.advance(3)
    assert not victim.alive
    (said,) = world.said("worker stall overdue")
    assert said["reason"] == "accepted no connection for 60 s"


def test_while_its_replacement_is_late_it_is_kept(world):
    victim = started(world, listen_timeout=200.0)
    world.usual = lambda _spawn: Script(says_after=100.0)
    world.advance(90)
    assert victim.alive
    assert not victim.stops
    assert len(world.said("worker stall overdue")) == 1
    world.advance(25)
    assert not victim.alive
    assert states(world) == [(0, "online"), (1, "online")]


@pytest.mark.parametrize("fails", [True, False])
def test_one_that_accepts_again_after_its_time_while_its_replacement_is_late(world, fails):
    victim = started(world, listen_timeout=200.0)
    late = Script(says_after=100.0, ends_after=70.0 if fails else None)
    world.usual = lambda _spawn: late
    world.advance(60)
    assert world.said("worker stall overdue")
    world.accept_again(victim)
    world.settle(200)
    assert states(world) == [(0, "online"), (1, "online")]
    assert victim.alive
    assert world.routed["web"] == (0, 1)
    assert reload_of(world) is None


def test_a_replacement_that_fails_is_not_started_again_at_once(world):
    started(world, restart_delay=20.0)
    world.usual = lambda _spawn: Script(ends_after=0.1, says_after=None, code=1)
    world.advance(7)
    assert len(world.processes) == 3
    world.advance(12)
    assert len(world.processes) == 3
    world.advance(15)
    assert len(world.processes) == 4


def test_a_replacement_that_fails_is_not_started_for_ever(world):
    victim = started(world, max_restarts=2, stall_timeout=0.0)
    world.usual = lambda _spawn: Script(ends_after=0.1, says_after=None, code=1)
    world.advance(600)
    assert len(world.processes) == 2 + 3
    assert victim.alive


def test_one_whose_turn_of_a_reload_comes_gets_no_replacement_beside_it(world):
    world.up(shared(instances=2, listen_timeout=100.0))
    world.advance(100)
    world.usual = lambda _spawn: Script(says_after=50.0)
    world.emit(e.ReloadRequested("web", "pyinit reload"))
    world.stall(world.processes[1])
    world.stall(world.processes[2])
    world.advance(30)
    # Both are in the reload: one by its successor, one by its place in the queue.
    assert len(world.processes) == 3
    assert reload_of(world).repairs == ()
    assert reload_of(world).total == 2


def test_one_that_accepts_after_its_replacement_has_failed(world):
    victim = started(world)
    world.upcoming.append(Script(ends_after=0.1, says_after=None, code=1))
    world.run_until(lambda: len(world.processes) == 3)
    world.run_until(lambda: not world.processes[3].alive)
    assert reload_of(world) is None
    world.accept_again(victim)
    assert states(world) == [(0, "online"), (1, "online")]
    world.settle(100)
    assert len(world.processes) == 3
    assert victim.alive


def test_a_reload_goes_on_with_one_that_accepts_again(world):
    victim = started(world, listen_timeout=100.0)
    world.usual = lambda _spawn: Script(says_after=10.0)
    world.advance(7)
    assert len(world.processes) == 3
    world.emit(e.ReloadRequested("web", "pyinit reload"))
    world.advance(1)
    world.accept_again(victim)
    assert world.processes[3].alive
    world.settle(100)
    assert not victim.alive
    assert not world.processes[2].alive
    assert states(world) == [(0, "online"), (1, "online")]
    assert reload_of(world) is None


def test_one_that_accepts_before_its_replacement_has_its_turn(world):
    world.up(shared(instances=2, listen_timeout=100.0))
    world.advance(100)
    victim = world.processes[1]
    world.usual = lambda _spawn: Script(says_after=50.0)
    world.emit(e.ReloadRequested("web", "pyinit reload", instances=(1,)))
    world.stall(victim)
    world.advance(8)
    assert (reload_of(world).queue, reload_of(world).total) == ((0,), 2)
    world.accept_again(victim)
    after = reload_of(world)
    assert (after.queue, after.active, after.repairs, after.total) == ((), (1,), (), 1)
    world.settle(100)
    assert len(world.processes) == 3
    assert victim.alive
    assert reload_of(world) is None


def test_a_replacement_that_stalls_too_is_stopped_and_another_one_started(world):
    victim = started(world)
    world.run_until(lambda: len(world.processes) == 3)
    world.advance(10)
    second = world.processes[3]
    world.stall(second)
    assert world.routed["web"] == (1,)
    world.advance(100)
    assert not victim.alive
    assert not second.alive
    assert states(world) == [(0, "online"), (1, "online")]
    assert reload_of(world) is None


def test_a_replacement_that_stalls_and_accepts_again_is_kept(world):
    victim = started(world)
    world.run_until(lambda: len(world.processes) == 3)
    world.advance(10)
    second = world.processes[3]
    world.stall(second)
    world.advance(20)
    world.accept_again(second)
    world.advance(60)
    assert not victim.alive
    assert second.alive
    assert states(world) == [(0, "online"), (1, "online")]
    assert reload_of(world) is None


def test_a_stall_that_lasts_is_said_once_while_checks_that_need_no_connection_succeed(world):
    health = HealthSpec(command=("true",), interval=2.0, timeout=1.0)
    started(world, health=health, listen_timeout=200.0)
    world.usual = lambda _spawn: Script(says_after=100.0)
    world.advance(90)
    assert len(world.said("worker stall overdue")) == 1
    assert not world.said("worker healthy again")
    assert states(world)[0] == (0, "stalled")


def test_a_timeout_shorter_than_the_wait_for_a_replacement(world):
    victim = started(world, stall_timeout=7.0)
    world.advance(1.9)
    assert not victim.stops
    assert not world.said("worker stall overdue")
    world.advance(1)
    assert not victim.alive


def test_a_replacement_whose_checks_fail_is_stopped_and_another_one_started(world):
    health = HealthSpec(http="/", interval=2.0, timeout=1.0, failures=2)
    victim = started(world, health=health, stall_timeout=0.0)
    world.upcoming.append(Script(well_until=6.0))
    world.run_until(lambda: len(world.processes) == 3)
    world.run_until(lambda: not world.processes[3].alive)
    world.advance(60)
    assert victim.alive
    assert world.ready() == 2
    assert len(world.live()) == 3


def test_checks_that_fail_beside_a_replacement_let_it_take_over_at_once(world):
    health = HealthSpec(http="/", interval=2.0, timeout=1.0, failures=2)
    victim = started(world, health=health)
    world.advance(20)
    assert world.processes[3].alive
    victim.script = Script(well_until=0.0)
    world.run_until(lambda: world.said("worker unhealthy"))
    assert world.core.state.workers[1].stop_reason == "reload"
    world.settle(10)
    assert not victim.alive
    assert len(world.processes) == 3
    assert states(world) == [(0, "online"), (1, "online")]


def test_new_connections_are_turned_away_before_the_waiting_ones_are_relayed(world):
    started(world)
    kinds = [type(effect) for when, effect in world.effects if when == world.now]
    assert kinds.index(f.RouteTo) < kinds.index(f.RelayQueue)


@pytest.mark.parametrize(("declared", "probed"), [(ADDRESS, ADDRESS), ("", "0.0.0.0:5000")])
def test_where_its_next_accept_is_awaited(world, declared, probed):
    world.up(shared(instances=2))
    world.advance(100)
    world.emit(e.AcceptStalled("web", 0, "0.0.0.0:5000", declared, world.now - 5.0, 3))
    probe = world.ordered(f.ProbeAccept)[-1]
    assert (probe.incarnation, probe.address, probe.declared) == (1, probed, declared)
    assert probe.patience == 2.0


def test_at_its_accept_all_that_began_for_its_stall_is_over(world):
    victim = started(world)
    world.advance(8)
    assert DUE.timer in world.timers
    world.accept_again(victim)
    assert DUE.timer not in world.timers
    assert world.core.state.instances["web"][0].successor == 0
    assert reload_of(world) is None


def test_no_timer_is_left_for_one_whose_replacement_takes_over(world):
    started(world)
    world.run_until(lambda: world.core.state.workers[1].stop_reason == "reload")
    assert DUE.timer not in world.timers


def test_no_replacement_is_started_in_the_drain_of_a_shutdown(world):
    started(world, kill_timeout=1.0)
    world.next_plan = plan(shared(instances=2, kill_timeout=1.0), revision=2, drain_delay=30.0)
    world.emit(e.SignalArrived(SIGHUP))
    world.emit(e.SignalArrived(SIGTERM))
    assert world.core.state.run.phase == "draining"
    world.advance(20)
    assert len(world.processes) == 2


def test_as_many_are_replaced_at_once_as_a_reload_replaces(world):
    world.up(shared(instances=4, reload_parallel=2, stall_timeout=0.0))
    world.advance(100)
    for incarnation in (1, 2, 3):
        world.stall(world.processes[incarnation])
    world.advance(60)
    assert len(world.live()) == 4 + 2
