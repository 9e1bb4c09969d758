"""The exit code when a stop finds an app that fails: Kubernetes must not show `Completed`."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from tests.simulation.world import SIGTERM, Script, World, app, plan, shared


@pytest.fixture
def world():
    return World()


def stop(world: World) -> tuple[int | None, str]:
    """The exit code after SIGTERM, and the app that it is said to be of."""
    world.emit(e.SignalArrived(SIGTERM))
    world.run_until(lambda: world.exit_code is not None)
    (finish,) = world.ordered(f.Finish)
    return world.exit_code, finish.failed


CRASHES = Script(says_after=None, ends_after=2.0, code=3)


def test_a_crash_loop_ends_with_the_code_of_its_crash(world):
    world.usual = lambda _spawn: CRASHES
    world.boot(app("web", wait_ready=True), app("other"))
    world.advance(9.0)
    assert not world.view().errored
    assert stop(world) == (3, "web")
    (said,) = world.said("shutdown started")
    assert (said["failing"], said["exit_code"]) == ("web", 3)


def test_an_unstable_exit_with_0_is_a_failure_with_1(world):
    world.usual = lambda _spawn: Script(says_after=None, ends_after=0.2, code=0)
    world.boot(app("web", wait_ready=True, restart_delay=1.0))
    world.advance(1.0)
    assert stop(world) == (1, "web")


def test_a_worker_that_is_killed_has_the_code_of_a_shell(world):
    world.usual = lambda _spawn: Script(says_after=None, ends_after=0.2, signum=11)
    world.boot(app("web", wait_ready=True, restart_delay=1.0))
    world.advance(1.0)
    assert stop(world) == (139, "web")


def test_a_slow_first_start_is_no_failure(world):
    world.usual = lambda _spawn: Script(says="notify", says_after=30.0)
    world.boot(app("web", wait_ready=True))
    world.advance(5.0)
    assert stop(world) == (0, "")


def test_a_start_that_is_given_up_is_one(world):
    world.usual = lambda _spawn: Script(says_after=None)
    world.boot(app("web", wait_ready=True, listen_timeout=5.0, on_listen_timeout="abort"))
    world.advance(7.0)
    (exited,) = world.said("worker exited")
    assert exited["because"] == "no READY after listen_timeout 5 s"
    assert stop(world) == (1, "web")


def test_a_container_that_serves_ends_with_0(world):
    world.upcoming += [Script(), Script(ends_after=0.5, code=3), Script(says_after=60.0)]
    world.up(shared(instances=2))
    world.run_until(lambda: bool(world.said("worker exited")))
    assert world.view().ready_workers == 1
    assert stop(world) == (0, "")


def test_one_that_never_served_with_all_its_workers_fails(world):
    world.upcoming += [Script()]
    world.usual = lambda _spawn: CRASHES
    world.boot(shared(instances=2))
    world.advance(5.0)
    assert world.view().ready_workers == 1
    assert stop(world) == (3, "web")


def test_a_crash_long_ago_is_forgotten(world):
    world.upcoming += [Script(says_after=None, ends_after=20.0, code=3), Script(says_after=None)]
    world.boot(shared(listen_timeout=1.0))
    world.run_until(lambda: bool(world.said("worker exited")))
    world.advance(5000.0)
    assert world.view().ready_workers == 0
    assert stop(world) == (0, "")


def test_crashes_soon_after_it_was_ready_count(world):
    world.usual = lambda _spawn: Script(says="notify", says_after=1.0, ends_after=4.0, code=7)
    world.up(app("web", wait_ready=True, learn_min_uptime=True))
    world.run_until(lambda: len(world.said("worker exited")) == 2)
    assert stop(world) == (7, "web")


def test_an_errored_app_that_is_kept_fails(world):
    world.usual = lambda spawn: CRASHES if spawn.spec.name == "web" else Script()
    world.boot(app("web", wait_ready=True, max_restarts=1, on_errored="keep"), app("other"))
    world.advance(6000.0)
    assert world.view().errored
    assert stop(world) == (3, "web")


def test_a_failing_app_that_has_to_be_killed_keeps_its_code(world):
    world.upcoming += [CRASHES]
    world.usual = lambda _spawn: Script(says_after=None, ignores=True)
    world.boot(app("web", wait_ready=True, kill_timeout=1.0))
    world.advance(5.0)
    assert stop(world) == (3, "web")


def test_what_a_person_has_stopped_does_not_fail(world):
    world.usual = lambda _spawn: CRASHES
    world.emit(e.Booted(plan(app("web", wait_ready=True), app("other"))))
    world.advance(5.0)
    world.emit(e.StopRequested("web"))
    world.advance(5.0)
    assert stop(world) == (0, "")


def test_an_app_that_is_errored_ends_the_container_with_1_and_its_words(world):
    world.usual = lambda _spawn: CRASHES
    world.boot(app("other", wait_ready=True, max_restarts=1))
    world.run_until(lambda: world.exit_code is not None)
    (finish,) = world.ordered(f.Finish)
    assert (finish.code, finish.failed) == (1, "other")
