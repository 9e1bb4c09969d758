"""Reloads: what comes twice, late, or of a worker that no longer counts."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core import reload_abort, rolling
from entrypoint.core.spec import HealthSpec
from entrypoint.core.transaction import Transaction
from tests.simulation import invariants
from tests.simulation.world import SIGHUP, Script, World, app, plan, shared

ADDRESS = "127.0.0.1:5000"


@pytest.fixture
def world():
    world = World()
    world.after_turn = invariants.check
    return world


def reload_of(world):
    return world.core.state.apps["web"].reload


def proofs(world):
    return [each for each in world.ordered(f.StartTimer) if each.timer.kind == "prove"]


def test_when_the_successor_that_proves_is_started_again_the_new_one_proves(world):
    world.up(shared(instances=2, min_ready=5.0))
    world.emit(e.ReloadRequested("web"))
    world.advance(2)
    assert reload_of(world).proving == 3
    world.emit(e.WorkerUnfit(3, "it needs the filter"))
    world.advance(2)
    assert reload_of(world).proving == 4
    assert {1, 2} <= {process.incarnation for process in world.live()}
    since = world.core.state.workers[4].up_at
    world.run_until(lambda: 1 not in world.core.state.workers)
    assert world.now - since >= 5.0
    world.run_until(lambda: reload_of(world) is None)
    assert not world.said("reload aborted")


def test_a_waiting_successor_proves_when_the_one_that_did_is_started_again(world):
    world.up(shared(instances=2, min_ready=5.0, reload_parallel=2))
    world.emit(e.ReloadRequested("web"))
    world.advance(2)
    proving = reload_of(world).proving
    assert proving == 3
    world.usual = lambda _spawn: Script(says_after=20.0)
    world.emit(e.WorkerUnfit(3, "it needs the filter"))
    world.advance(1)
    assert reload_of(world).proving == 4


def test_a_reload_of_an_instance_that_is_not_there_ends_at_once(world):
    world.up(shared(instances=2))
    world.emit(e.ReloadRequested("web", "pyinit reload", instances=(7,)))
    assert reload_of(world) is None
    assert len(world.said("reload finished")) == 1
    world.advance(10)
    assert len(world.processes) == 2


def test_ready_that_is_said_twice_gives_no_more_time_to_accept(world):
    world.usual = lambda _spawn: Script(says="notify")
    world.up(shared(instances=2, wait_ready=True, listen_timeout=8.0))
    world.usual = lambda _spawn: Script(says="notify", accepts_after=None)
    world.emit(e.ReloadRequested("web"))
    world.advance(1)
    assert len(proofs(world)) == 1
    world.advance(4)
    world.emit(e.WorkerReady(3, "notify"))
    assert len(proofs(world)) == 1
    world.advance(5)
    assert len(world.said("reload aborted")) == 1


def test_ready_that_is_said_twice_does_not_prolong_min_ready(world):
    world.up(shared(instances=2, min_ready=6.0))
    world.emit(e.ReloadRequested("web"))
    world.advance(4)
    world.emit(e.WorkerReady(3, "notify"))
    assert len(proofs(world)) == 1
    world.advance(3)
    assert not world.processes[1].alive
    assert reload_of(world) is None or reload_of(world).proven


def test_one_that_does_not_die_and_was_scaled_away_holds_up_nothing(world):
    world.upcoming += [Script(), Script(ignores=True, undying=True)]
    world.up(shared(instances=2, kill_timeout=1.0))
    world.emit(e.ReloadRequested("web", "pyinit reload", instances=(1,)))
    world.run_until(lambda: world.core.state.workers[2].stop_reason == "reload")
    world.emit(e.ScaleRequested("web", 1))
    world.advance(60)
    assert world.said("worker does not die")
    assert reload_of(world) is None
    assert world.is_up()


def test_a_new_worker_in_place_that_stops_listening_ends_the_reload(world):
    world.usual = lambda _spawn: Script(port="6000")
    world.up(app(instances=2, wait_ready=False, listen_timeout=3.0, min_ready=10.0))
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: bool(reload_of(world).proving))
    fresh = world.processes[reload_of(world).proving]
    world.close_listener(fresh, "127.0.0.1:6000")
    (said,) = world.said("reload aborted")
    assert said["because"] == "no longer listening on 127.0.0.1:6000"
    assert reload_of(world) is None
    world.advance(30)
    assert fresh.alive
    assert world.processes[2].alive


def test_an_old_worker_that_makes_room_for_a_release_that_fails_comes_back_as_it_was(world):
    world.upcoming += [Script(), Script(stop_takes=5.0)]
    old = app(instances=2, reload_parallel=2)
    world.up(old)
    world.usual = lambda _spawn: Script(ends_after=0.1, code=1)
    new = old.replace(env=(("RELEASE", "2"),))
    world.next_plan = plan(new, revision=2)
    world.emit(e.SignalArrived(SIGHUP))
    world.run_until(lambda: bool(world.said("reload aborted")))
    assert world.processes[2].alive
    assert world.core.state.workers[2].stop_reason == "abort"
    world.usual = lambda _spawn: Script()
    world.settle(60)
    assert [process.spec for process in world.live()] == [old, old]
    assert world.is_up()


def test_a_successor_that_gets_sick_while_it_waits_for_the_proof_ends_the_reload(world):
    health = HealthSpec(http="/", interval=2.0, timeout=1.0, failures=2)
    world.up(shared(instances=2, min_ready=20.0, reload_parallel=2, health=health))
    world.emit(e.ReloadRequested("web"))
    world.advance(1)
    assert reload_of(world).proving == 3
    world.processes[4].script = Script(well_until=3.0)
    world.run_until(lambda: not world.processes[4].alive)
    (said,) = world.said("reload aborted")
    assert said["because"] == "unhealthy: 503 Service Unavailable"
    world.advance(100)
    assert [process.incarnation for process in world.live()] == [1, 2]
    assert reload_of(world) is None
    assert world.is_up()


def test_one_that_does_not_die_ends_no_turn_that_has_a_successor(world):
    world.up(shared(instances=2))
    world.usual = lambda _spawn: Script(says_after=20.0)
    world.emit(e.ReloadRequested("web"))
    tx = Transaction(world.core.state, world.now)
    rolling.go_without(tx, world.core.state.workers[1])
    assert (tx.effects, tx.changed) == ([], False)


def test_an_abort_without_a_reload_changes_nothing(world):
    world.up(shared(instances=2))
    tx = Transaction(world.core.state, world.now)
    reload_abort.abort(tx, world.core.state.workers[1], "it ended")
    assert (tx.effects, tx.changed) == ([], False)
