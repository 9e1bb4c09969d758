"""Reloads of several workers, late readiness and dependencies: what each may not break."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.spec import DependsSpec, HealthSpec, ListenSpec
from tests.simulation.world import SIGTERM, Script, World, app, shared

ADDRESS = "127.0.0.1:5000"
PATH = (ListenSpec("unix", path="/run/web.sock"),)


def usual(script: Script) -> World:
    world = World()
    world.usual = lambda _spawn: script
    return world


def test_a_probe_that_could_not_be_made_is_made_again():
    world = usual(Script(accepts_after=None)).boot(shared())
    world.advance(0.5)
    probes = len(world.ordered(f.ProbeAccept))
    world.emit(e.ProbeFailed(1, ADDRESS, ADDRESS))
    world.advance(0.6)
    assert len(world.ordered(f.ProbeAccept)) == probes + 1
    world.accept(world.one(), ADDRESS)
    assert world.is_up()
    world.emit(e.ProbeFailed(1, ADDRESS, ADDRESS))
    world.advance(0.6)
    assert len(world.ordered(f.ProbeAccept)) == probes + 1


def test_a_probe_of_an_undeclared_port_is_made_again_too():
    world = usual(Script(accepts_after=None)).boot(shared(listen=()))
    world.advance(0.5)
    (first,) = world.ordered(f.ProbeAccept)
    world.emit(e.ProbeFailed(1, first.address, first.declared))
    world.advance(0.6)
    assert len(world.ordered(f.ProbeAccept)) == 2


def test_a_probe_waits_at_least_two_seconds_on_a_shared_socket():
    world = World().up(shared())
    (probe,) = world.ordered(f.ProbeAccept)
    assert probe.patience == 2.0


def test_a_reload_ends_when_the_instance_it_waits_for_is_scaled_away():
    world = World().up(shared(instances=2))
    world.usual = lambda _spawn: Script(says_after=2.0)
    world.emit(e.ReloadRequested("web", instances=(1,)))
    world.advance(0.5)
    world.emit(e.ScaleRequested("web", 1))
    world.run_until(lambda: not world.view().reloading)
    world.advance(5)
    assert [process.incarnation for process in world.live()] == [1]


def test_another_successor_proves_the_release_when_the_first_is_scaled_away():
    world = World().up(shared(instances=2, min_ready=5.0, reload_parallel=2))
    world.emit(e.ReloadRequested("web"))
    world.advance(2)
    proving = world.core.state.apps["web"].reload.proving
    gone = world.processes[proving].instance
    world.emit(e.RestartRequested("web", instances=(gone,)))
    world.run_until(lambda: not world.view().reloading)
    world.advance(5)
    assert world.is_up()
    assert min(process.incarnation for process in world.live()) > 2
    assert not world.said("reload aborted")


def test_a_new_reload_during_a_proof_begins_its_proof_anew():
    world = World().up(shared(instances=2, min_ready=5.0))
    world.emit(e.ReloadRequested("web"))
    world.advance(3)
    world.emit(e.ReloadRequested("web"))
    world.advance(3)
    assert {1, 2} <= {process.incarnation for process in world.live()}
    world.run_until(lambda: not world.view().reloading)
    assert world.is_up()


def test_all_successors_that_wait_for_the_proof_take_over_after_it():
    world = World().up(shared(instances=3, min_ready=4.0, reload_parallel=3))
    world.emit(e.ReloadRequested("web"))
    world.advance(3.9)
    assert {1, 2, 3} <= {process.incarnation for process in world.live()}
    world.advance(2)
    assert [process.incarnation for process in world.live()] == [4, 5, 6]


def test_a_failed_release_stops_all_its_successors():
    world = World().up(shared(instances=3, min_ready=4.0, reload_parallel=3))
    world.emit(e.ReloadRequested("web"))
    world.advance(2)
    world.crash(world.live()[-1], 1)
    world.advance(3)
    assert [process.incarnation for process in world.live()] == [1, 2, 3]
    instances = world.core.state.instances["web"].values()
    assert [each.successor for each in instances] == [0, 0, 0]
    assert not world.view().reloading


def test_a_release_started_in_place_that_is_late_ends_the_reload_and_is_waited_for():
    world = usual(Script(says="notify")).up(
        app(wait_ready=True, on_listen_timeout="force", listen_timeout=1.0)
    )
    world.usual = lambda _spawn: Script(says_after=None)
    world.emit(e.ReloadRequested("web"))
    world.advance(10)
    assert len(world.said("reload aborted")) == 1
    assert not world.view().reloading
    assert [process.incarnation for process in world.live()] == [2]
    assert world.ready() == 0
    world.emit(e.WorkerReady(2, "notify"))
    assert world.is_up()


def test_a_listener_that_opens_again_is_steered_to_again():
    world = World().up(shared(instances=2))
    first = world.one(0)
    world.close_listener(first, ADDRESS)
    assert world.routed["web"] == (world.one(1).slot,)
    world.listen(first, ADDRESS)
    world.accept(first, ADDRESS)
    assert world.ready() == 2
    assert len(world.routed["web"]) == 2


def test_a_server_on_a_unix_path_that_takes_no_connection_is_ready_at_rest():
    world = usual(Script(accepts_after=None)).boot(shared(listen=PATH, listen_timeout=1.0))
    world.run_until(world.is_up)
    assert [each["by"] for each in world.said("worker ready")] == ["listen"]
    assert len(world.said("worker accepts nothing")) == 1


def test_a_reload_is_refused_to_a_successor_on_a_unix_path_that_takes_none():
    world = World().up(shared(listen=PATH, listen_timeout=1.0))
    world.usual = lambda _spawn: Script(accepts_after=None)
    world.emit(e.ReloadRequested("web"))
    world.advance(20)
    assert len(world.said("reload aborted")) == 1
    assert [process.incarnation for process in world.live()] == [1]


@pytest.mark.parametrize(("code", "starts"), [(0, True), (3, False)])
def test_an_app_starts_after_a_job_that_succeeded(code, starts):
    world = World()
    world.usual = lambda spawn: (
        Script(ends_after=1.0, code=code) if spawn.spec.name == "job" else Script()
    )
    depends = (DependsSpec("job", "service_completed_successfully"),)
    world.boot(
        app("job", autorestart=False),
        app(depends_on=depends, on_errored="keep"),
        app("db"),
    )
    world.advance(0.5)
    assert not world.live("web")
    world.advance(2)
    assert bool(world.live("web")) is starts


def test_an_app_waits_for_the_checks_of_the_one_it_needs():
    check = HealthSpec(http="/", interval=1.0, timeout=1.0, failures=3)
    world = usual(Script(well_from=2.0)).boot(
        shared(depends_on=(DependsSpec("db", "service_healthy"),)),
        app("db", health=check),
    )
    world.advance(1.5)
    assert not world.live("web")
    world.advance(2.5)
    assert world.live("web")


def test_a_kill_refused_by_the_kernel_is_sent_again_after_growing_pauses():
    world = usual(Script(ignores=True, undying=True)).up(shared(kill_timeout=1.0))
    world.emit(e.RestartRequested("web"))
    world.advance(2)
    sent = [when for when, each in world.effects if isinstance(each, f.SendSignal)]
    pauses = []
    for _ in range(3):
        count = len(world.ordered(f.SendSignal))
        world.emit(e.SignalRefused(1, 9, "operation not permitted"))
        world.run_until(lambda before=count: len(world.ordered(f.SendSignal)) > before)
        now = world.now
        pauses.append(now - sent[-1])
        sent.append(now)
    assert pauses[2] > pauses[1] >= 3
    assert world.view().workers[0].stuck == "signal refused: operation not permitted"


def test_a_forced_stop_of_a_stuck_worker_still_ends():
    world = usual(Script(ignores=True, undying=True)).up(shared(kill_timeout=1.0))
    world.emit(e.SignalArrived(SIGTERM))
    world.run_until(lambda: world.exit_code is not None, within=30)
    assert world.exit_code == 137
    assert len(world.said("worker does not die")) == 1
