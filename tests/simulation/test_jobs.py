"""Apps with times: jobs that run and end, services that are restarted."""

from __future__ import annotations

import pytest

from entrypoint.api.probes import passed
from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.spec import DependsSpec
from tests.simulation import invariants
from tests.simulation.world import SIGHUP, Script, World, app, plan, shared

DUE = e.ScheduleDue("job")
SHORT = Script(ends_after=0.3, code=0)
LONG = Script(ends_after=5.0, code=0)


@pytest.fixture
def world() -> World:
    world = World()
    world.after_turn = invariants.check
    return world


def job(**keys):
    keys.setdefault("autorestart", False)
    return app("job", cron_restart="* * * * *", **keys)


def boot(world: World, *specs, script: Script = SHORT) -> None:
    world.usual = lambda spawn: script if spawn.spec.name == "job" else Script()
    world.boot(*specs)


def starts(world: World) -> int:
    return sum(isinstance(x, f.Spawn) and x.spec.name == "job" for _, x in world.effects)


def due(world: World, *, each: float, times: int) -> None:
    for _ in range(times):
        world.advance(each)
        world.emit(DUE)
    world.advance(each)


def test_the_container_stays_for_the_next_run(world):
    boot(world, job())
    due(world, each=2, times=3)
    assert starts(world) == 4
    assert world.exit_code is None


def test_without_autostart_the_first_run_is_at_the_first_time(world):
    boot(world, job(autostart=False), app("web"))
    world.advance(5)
    assert starts(world) == 0
    assert passed("readyz", world.core.view(), "all")
    assert passed("startupz", world.core.view(), "all")
    due(world, each=2, times=2)
    assert starts(world) == 2


def test_a_service_without_autostart_is_started_at_its_time(world):
    boot(world, job(autostart=False, autorestart=True), script=Script())
    world.emit(DUE)
    world.advance(5)
    assert (starts(world), world.ready("job")) == (1, 1)


@pytest.mark.parametrize(
    ("overlap", "runs", "ended"),
    [
        # 5 s a run, due every 2 s for 12 s.
        ("", 3, 2),
        ("skip", 3, 2),
        ("wait", 3, 2),
        ("kill", 7, 0),
    ],
)
def test_a_run_longer_than_its_interval(world, overlap, runs, ended):
    boot(world, job(overlap=overlap), script=LONG)
    due(world, each=2, times=6)
    assert starts(world) == runs
    counted = [x.label for _, x in world.effects if isinstance(x, f.Count) and x.what == "run"]
    assert counted.count("succeeded") == ended


def exits(world: World):
    return [event for _, event in world.history if isinstance(event, e.WorkerExited)]


def test_wait_begins_one_run_at_the_end_of_the_other(world):
    boot(world, job(overlap="wait"), script=LONG)
    world.advance(4)
    for _ in range(3):
        world.emit(DUE)
    assert world.view("job").job.pending
    world.advance(2)
    assert starts(world) == 2
    world.advance(60)
    assert starts(world) == 2


@pytest.mark.parametrize("spec", [{}, {"autorestart": False, "wait_ready": True}])
def test_what_serves_is_replaced(world, spec):
    spec = shared("job", cron_restart="* * * * *", **spec)
    boot(world, spec, script=Script())
    world.advance(5)
    world.emit(DUE)
    world.advance(20)
    assert starts(world) == 2 * spec.instances
    assert world.ready("job") == spec.instances


def test_a_failed_run_is_told_and_ends_nothing(world):
    boot(world, job(), script=Script(ends_after=0.3, code=3))
    world.advance(2)
    seen = world.view("job").job
    assert (seen.exit_code, seen.runs, seen.running) == (3, 1, False)
    assert seen.took == pytest.approx(0.3, abs=0.1)
    assert passed("livez", world.core.view(), "all")
    assert passed("readyz", world.core.view(), "all")
    assert world.exit_code is None


def test_stopped_it_does_not_run(world):
    boot(world, job(autostart=False), app("web"))
    world.emit(e.StopRequested("job"))
    due(world, each=2, times=2)
    assert starts(world) == 0
    world.emit(e.StartRequested("job"))
    due(world, each=2, times=2)
    assert starts(world) == 3


def test_a_run_by_hand(world):
    boot(world, job(autostart=False), app("web"))
    world.emit(e.RunRequested("job"))
    world.advance(1)
    assert starts(world) == 1
    world.emit(e.StopRequested("job"))
    world.emit(e.RunRequested("job"))
    world.advance(1)
    assert starts(world) == 2


def test_a_run_by_hand_of_one_that_waits_for_another(world):
    waits = job(autostart=False, depends_on=(DependsSpec("web", "service_healthy"),))
    boot(world, waits, app("web", wait_ready=True))
    world.emit(DUE)
    world.advance(1)
    assert starts(world) == 0
    world.emit(e.RunRequested("job"))
    world.advance(1)
    assert starts(world) == 1


def test_a_new_file_lets_the_run_end_and_counts_for_the_next(world):
    boot(world, job(), script=LONG)
    world.advance(1)
    world.next_plan = plan(job(env=(("A", "2"),)), revision=2)
    world.emit(e.SignalArrived(SIGHUP))
    world.next_plan = plan(job(env=(("A", "2"),)), revision=3)
    world.emit(e.SignalArrived(SIGHUP))
    world.advance(6)
    assert starts(world) == 1
    assert [event.code for event in exits(world)] == [0]
    world.emit(DUE)
    world.advance(1)
    last = [x for _, x in world.effects if isinstance(x, f.Spawn)][-1]
    assert dict(last.spec.env) == {"A": "2"}


def test_a_stop_of_the_container_ends_a_run(world):
    boot(world, job(), script=LONG)
    world.advance(1)
    world.emit(e.SignalArrived(15))
    world.advance(20)
    assert world.exit_code == 0


def test_another_schedule_replaces_no_worker(world):
    boot(world, shared("web", cron_restart="0 3 * * *"), app("other"))
    world.advance(5)
    before = [process.pid for process in world.live()]
    specs = (shared("web", cron_restart="0 4 * * *", overlap="skip"), app("other"))
    world.next_plan = plan(*specs, revision=2)
    world.emit(e.SignalArrived(SIGHUP))
    world.advance(20)
    assert [process.pid for process in world.live()] == before
    world.emit(e.ScheduleDue("web"))
    assert world.view("web").job.skipped == 1
