"""Readiness that is late, dependencies, and events that come late or early."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core import worker as w
from entrypoint.core.spec import AppSpec, DependsSpec, HealthSpec
from tests.simulation import invariants
from tests.simulation.bare import BareCore
from tests.simulation.world import SIGINT, SIGKILL, SIGTERM, Script, World, app, shared


@pytest.fixture
def world():
    world = World()
    world.after_turn = invariants.check
    return world


def bare(**keys):
    return BareCore(AppSpec("web", ("x",), "/", exec_mode="cluster", share="slots", **keys))


def worker_of(world, incarnation=1):
    return world.core.state.workers[incarnation]


# -- listen_timeout -----------------------------------------------------------------------


def test_checks_that_begin_after_the_wait_for_rest_get_their_whole_time(world):
    health = HealthSpec(command=("true",), interval=2.0, timeout=1.0, failures=2)
    world.usual = lambda _spawn: Script(says_after=None, busy=True, well_from=None)
    world.boot(shared(listen=(), health=health, listen_timeout=2.0))
    world.run_until(lambda: bool(worker_of(world).up_by))
    worker = worker_of(world)
    assert (worker.up_by, worker.state) == ("rest", w.LAUNCHING)
    assert worker.due == pytest.approx(world.now + 2.0)


def test_a_later_start_without_its_ready_gets_the_time_of_the_slowest_one(world):
    slow = Script(accepts_after=5.0)
    world.usual = lambda _spawn: slow
    world.up(shared(listen=(), wait_ready=True, on_listen_timeout="force", listen_timeout=1.0))
    slowest = world.core.state.apps["web"].slowest
    assert slowest >= 5.0
    looks = len(world.ordered(f.LookAt))
    world.usual = lambda _spawn: Script(accepts_after=10.0)
    world.crash(world.one())
    world.run_until(lambda: len(world.processes) == 2)
    world.run_until(lambda: 2 in world.core.state.workers and worker_of(world, 2).overdue)
    worker = worker_of(world, 2)
    assert worker.due == pytest.approx(worker.boots_since + 3 * slowest)
    assert len(world.ordered(f.LookAt)) == looks + 1
    world.run_until(world.is_up)
    assert worker_of(world, 2).up_at - worker.launched_at == pytest.approx(10.0, abs=0.1)


def test_one_that_accepts_only_where_no_client_comes_is_late_and_owes_its_port_no_more():
    core = bare(listen_timeout=3.0)
    core.emit(e.ListenSeen(1, "0.0.0.0:8080"))
    core.emit(e.AcceptSeen(1, "0.0.0.0:8080"))
    assert core.states() == ["online"]
    core.advance(100)
    core.emit(e.WorkerExited(1, 1, None))
    core.advance(1)
    core.up(2)
    core.emit(e.ListenSeen(2, "127.0.0.1:45001", passing=True, chosen=True))
    core.emit(e.AcceptSeen(2, "127.0.0.1:45001"))
    assert core.core.state.instances["web"][0].served == (":8080",)
    core.advance(4)
    assert core.core.state.instances["web"][0].served == ()
    assert [each.event for each in core.reports].count("worker not ready in time") == 1


# -- readiness ----------------------------------------------------------------------------


def test_only_ports_for_clients_are_probed_again():
    core = bare(listen_timeout=3.0)
    core.emit(e.ListenSeen(1, "127.0.0.1:45001", passing=True, chosen=True))
    core.emit(e.ListenSeen(1, "127.0.0.1:8080"))
    core.emit(e.ProbeFailed(1, "127.0.0.1:8080", ""))
    core.advance(0.6)
    assert core.probed == ["127.0.0.1:8080", "[::]:8080"]


def test_one_without_declared_addresses_that_closes_one_of_its_ports_goes_on():
    core = bare(listen_timeout=3.0)
    for address in ("127.0.0.1:8080", "127.0.0.1:8081"):
        core.emit(e.ListenSeen(1, address))
        core.emit(e.AcceptSeen(1, address))
    core.emit(e.ListenEnded(1, "127.0.0.1:8080"))
    assert core.states() == ["online"]
    core.emit(e.ListenEnded(1, "127.0.0.1:8081"))
    assert core.states() == ["launching"]


# -- dependencies -------------------------------------------------------------------------


def test_an_app_does_not_wait_for_one_that_is_not_there(world):
    world.up(app(depends_on=(DependsSpec("nobody", "service_started"),)))
    assert len(world.live("web")) == 1


def test_what_can_never_start_for_two_reasons_is_told_once_with_the_nearest(world):
    done = "service_completed_successfully"
    job = app("job", autorestart=False)
    first = app("first", depends_on=(DependsSpec("job", done),))
    second = app("second", depends_on=(DependsSpec("job", done), DependsSpec("first", done)))
    world.usual = lambda spawn: (
        Script(ends_after=1.0, code=3) if spawn.spec.name == "job" else Script()
    )
    world.boot(job, first, second, app("other"))
    world.advance(10)
    told = [each["app"] for each in world.said("app never starts")]
    assert sorted(told) == ["first", "second"]


# -- events that come late or early -------------------------------------------------------


def test_a_retire_timer_that_fires_twice_ends_nothing(world):
    world.usual = lambda _spawn: Script(queue_takes=None)
    world.up(shared(retire_delay=1.0))
    world.emit(e.StopRequested("web"))
    world.run_until(lambda: worker_of(world).delay_over)
    effects = len(world.effects)
    world.emit(e.TimerFired(e.Timer("retire", "web", 1)))
    assert len(world.effects) == effects
    assert worker_of(world).state == w.RETIRING


def test_a_kill_timer_that_fires_after_sigkill_does_nothing(world):
    world.usual = lambda _spawn: Script(ignores=True, group="undying")
    world.up(app(kill_timeout=1.0))
    world.emit(e.StopRequested("web"))
    world.run_until(lambda: worker_of(world).state == w.LINGERING)
    assert SIGKILL in world.processes[1].received
    effects = len(world.effects)
    world.emit(e.TimerFired(e.Timer("kill", "web", 1)))
    assert len(world.effects) == effects


def test_a_stop_signal_before_the_file_is_read_ends_the_run(world):
    world.emit(e.SignalArrived(SIGTERM))
    told = [each.event for each in world.ordered(f.Report)]
    assert told == ["signal received", "shutdown finished"]
    assert world.exit_code == 0


def test_a_second_signal_ends_the_wait_of_workers_that_answer(world):
    world.usual = lambda _spawn: Script(queue_takes=None, answers_after=None)
    world.up(shared(retire_delay=20.0))
    world.emit(e.SignalArrived(SIGTERM))
    assert worker_of(world).state == w.RETIRING
    assert not world.processes[1].stops
    world.emit(e.SignalArrived(SIGINT))
    assert world.processes[1].stops == [SIGTERM]
    world.run_until(lambda: world.exit_code is not None, within=2)
