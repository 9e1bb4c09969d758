"""Active checks: when a worker is checked, what makes it ready, what becomes of a sick one."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.spec import DependsSpec, HealthSpec
from tests.simulation import invariants
from tests.simulation.test_behaviour import gaps, reread, spawn_times
from tests.simulation.world import SIGKILL, SIGTERM, Script, World, app, plan, shared

CHECKED = HealthSpec(http="/", interval=5.0, timeout=1.0, failures=3)


@pytest.fixture
def world() -> World:
    world = World()
    world.after_turn = invariants.check
    return world


def checks(world: World) -> list[float]:
    return [when for when, effect in world.effects if isinstance(effect, f.StartCheck)]


def states(world: World) -> list[str]:
    return [row.state for row in world.view().workers]


# -- ready ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        app(health=CHECKED),
        shared(health=CHECKED),
        shared(health=CHECKED, share="one"),
        app(health=CHECKED, wait_ready=True),
    ],
)
def test_a_worker_is_ready_when_it_is_up_and_a_check_has_succeeded(world, spec):
    world.usual = lambda _spawn: Script(says="notify", says_after=0.5, well_from=1.0)
    up = 0.5 if spec.wait_ready or spec.share != "none" else 0.0
    if not spec.wait_ready and spec.share != "none":
        world.usual = lambda _spawn: Script(says_after=0.5, well_from=1.0)
    world.boot(spec)
    world.run_until(lambda: world.ready() == 1)
    assert world.now - 100 >= 1.0
    assert checks(world)[0] - 100 == pytest.approx(up, abs=0.01)
    assert world.said("worker ready")[0]["by"] == "health"


def test_it_is_asked_at_once_then_ever_less_often_and_in_the_end_every_interval(world):
    world.usual = lambda _spawn: Script(well_from=4.0, check_takes=0.001)
    world.up(app(health=CHECKED, listen_timeout=10.0))
    world.advance(11)
    pauses = gaps(checks(world))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 5.0, 5.0]


def test_a_word_of_its_own_does_not_make_it_ready_before_a_check_does(world):
    world.usual = lambda _spawn: Script(says="notify", well_from=None)
    world.boot(app(health=CHECKED, on_listen_timeout="abort", autorestart=False))
    world.advance(2.9)
    assert world.ready() == 0


def test_start_period_bounds_the_start_where_it_is_longer_than_listen_timeout(world):
    world.usual = lambda _spawn: Script(well_from=8.0)
    spec = app(health=CHECKED.replace(start_period=10.0), on_listen_timeout="abort")
    world.boot(spec)
    assert world.run_until(lambda: world.ready() == 1) < 9.2
    assert len(spawn_times(world)) == 1


def test_a_check_that_never_succeeds_ends_errored_where_a_silent_start_is_a_failed_one(world):
    world.usual = lambda _spawn: Script(well_from=None)
    world.boot(app(health=CHECKED, on_listen_timeout="abort", max_restarts=2))
    world.advance(60)
    assert (len(spawn_times(world)), world.exit_code) == (3, 1)


@pytest.mark.parametrize("spec", [app(health=CHECKED), shared(health=CHECKED, instances=2)])
@pytest.mark.parametrize("takes", [0.01, None])
def test_a_check_that_never_succeeds_ends_errored_also_where_starts_are_forced(world, spec, takes):
    world.usual = lambda _spawn: Script(well_from=None, check_takes=takes)
    world.boot(spec.replace(max_restarts=2))
    world.advance(400)
    assert world.exit_code == 1
    assert len(spawn_times(world)) <= 4 * spec.instances


# -- sick -------------------------------------------------------------------------------


def test_failures_in_a_row_make_it_sick_and_one_success_begins_the_count_anew(world):
    world.up(app(health=CHECKED))
    [process] = world.live()
    for times in (2, 4):
        process.script = Script(well_until=0.0)
        world.run_until(lambda n=times: len(world.said("health check failed")) == n)
        process.script = Script()
        world.advance(6)
    assert not world.said("worker unhealthy")
    process.script = Script(well_until=0.0)
    world.run_until(lambda: world.said("worker unhealthy"))
    assert world.said("health check failed")[-1]["failures"] == 3


def test_no_answer_within_the_timeout_is_a_failure(world):
    world.up(app(health=CHECKED.replace(failures=1)))
    world.one().script = Script(check_takes=None)
    world.run_until(lambda: world.said("worker unhealthy"))
    assert world.ordered(f.StopCheck)


def test_failures_within_start_period_do_not_count(world):
    world.usual = lambda _spawn: Script(well_until=2.0)
    world.up(app(health=CHECKED.replace(start_period=22.0, failures=1)))
    world.advance(20)
    assert world.said("health check failed")
    assert not world.said("worker unhealthy")
    world.advance(6)
    assert world.said("worker unhealthy")


def test_a_sick_worker_is_unready_and_steered_away_from_at_once_and_its_successor_comes_first(
    world,
):
    world.up(shared(instances=3, health=CHECKED))
    sick = world.one(1)
    sick.script = Script(well_until=0.0, ignores=True, queue_takes=None)
    world.run_until(lambda: world.said("worker unhealthy"))
    assert world.ready() == 2
    assert states(world).count("unhealthy") == 1
    assert sick.slot not in world.routed["web"]
    assert not sick.stop_sent
    begun = world.now
    world.run_until(lambda: world.ready() == 3)
    assert world.now - begun < 0.1
    world.run_until(lambda: not sick.alive)
    # Its queue may never empty: the stop signal is not held up by that.
    spec = sick.spec
    assert world.now - begun < spec.retire_delay + spec.kill_timeout + 0.1
    assert sick.received[-1] == SIGKILL
    assert ("restart", "web", "health") in {
        (each.what, each.app, each.label) for each in world.ordered(f.Count)
    }
    assert world.view().workers[1].restarts == 1


def test_when_all_are_sick_the_port_stays_with_them_until_others_are_ready(world):
    world.up(shared(instances=2, health=CHECKED))
    old = world.live()
    for process in old:
        process.script = Script(well_until=0.0)
    world.usual = lambda _spawn: Script(says_after=2.0)
    world.run_until(lambda: len(world.said("worker unhealthy")) == 2)
    assert world.routed["web"] == (0, 1)
    world.run_until(lambda: world.ready() == 1)
    fresh = [each for each in world.live() if each not in old]
    assert world.routed["web"] == (fresh[0].slot,)
    world.run_until(world.is_up)
    world.settle(30)
    assert not any(each.alive for each in old)


def test_of_a_fork_app_the_sick_worker_is_stopped_and_started_again(world):
    world.up(app(health=CHECKED, restart_delay=2.0))
    world.one().script = Script(well_until=0.0)
    world.run_until(lambda: world.said("worker exited"))
    [row] = world.view().workers
    assert (row.state, row.last_exit) == ("waiting restart", "unhealthy: 503 Service Unavailable")
    assert world.run_until(lambda: world.ready() == 1) == pytest.approx(2.0, abs=0.1)


def test_one_that_is_well_again_before_it_was_replaced_is_ready_again(world):
    world.up(shared(health=CHECKED, max_restarts=100))
    [old] = world.live()
    old.script = Script(well_until=0.0)
    world.usual = lambda _spawn: Script(ends_after=0.5, says_after=None)
    world.run_until(lambda: world.said("reload aborted"))
    old.script = Script()
    world.run_until(lambda: world.ready() == 1)
    assert (world.live(), states(world)) == ([old], ["online"])
    world.advance(60)
    assert world.live() == [old]


def test_a_program_that_hangs_without_end_leaves_nobody_spinning(world):
    world.usual = lambda _spawn: Script(well_until=8.0, ignores=True, queue_takes=None)
    world.up(shared(instances=2, health=CHECKED))
    world.advance(300)
    assert world.exit_code is None
    assert len(spawn_times(world)) < 60


def test_replacements_that_fail_are_tried_again_and_end_errored(world):
    world.up(shared(health=CHECKED, max_restarts=3))
    [old] = world.live()
    old.script = Script(well_until=0.0)
    world.usual = lambda _spawn: Script(well_from=None)
    world.run_until(lambda: len(spawn_times(world)) == 3)
    assert old.alive
    assert world.routed["web"] == (old.slot,)
    world.advance(300)
    assert world.exit_code == 1
    assert len(spawn_times(world)) <= 6


def test_the_pauses_of_crashes_lie_between_replacements_that_fail(world):
    world.up(shared(health=CHECKED, restart_delay=30.0))
    world.one().script = Script(well_until=0.0)
    world.usual = lambda _spawn: Script(ends_after=0.5, says_after=None)
    world.run_until(lambda: len(spawn_times(world)) == 4)
    assert min(gaps(spawn_times(world))[1:]) >= 30.0


def test_a_sick_worker_is_replaced_by_what_it_ran_and_not_by_what_was_given_up(world):
    world.up(shared(health=CHECKED))
    old = world.one().spec
    broken = shared(health=CHECKED, env=(("A", "1"),))
    world.usual = lambda spawn: Script(well_from=None if spawn.spec.env else 0.0)
    reread(world, plan(broken, revision=2))
    world.run_until(lambda: world.said("reload aborted"))
    world.one().script = Script(well_until=0.0)
    world.run_until(lambda: world.said("worker unhealthy"))
    world.settle(30)
    assert world.one().spec == old
    assert world.ready() == 1


def test_one_shot_apps_are_not_started_again(world):
    world.up(app(health=CHECKED, autorestart=False))
    world.one().script = Script(well_until=0.0)
    world.settle(60)
    assert len(spawn_times(world)) == 1
    assert world.exit_code == 1


# -- beside other things ------------------------------------------------------------------


def test_a_reload_to_what_never_gets_healthy_keeps_the_old(world):
    world.up(shared(instances=2, health=CHECKED))
    old = world.live()
    world.usual = lambda _spawn: Script(well_from=None)
    world.emit(e.ReloadRequested("web"))
    world.advance(20)
    assert world.said("reload aborted")
    assert world.live() == old
    assert world.ready() == 2


def test_a_new_worker_that_is_sick_before_its_old_one_is_gone_ends_its_turn_of_a_reload(world):
    spec = shared(instances=2, health=CHECKED.replace(failures=1), on_listen_timeout="force")
    world.up(spec)
    for process in world.live():
        process.script = Script(ignores=True)
    world.upcoming.append(Script(well_until=1.0))
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: world.said("worker unhealthy"))
    world.settle(120)
    assert world.is_up()


def test_a_sick_worker_is_left_alone_while_the_container_drains(world):
    world.up(shared(health=CHECKED), drain_delay=30.0)
    world.one().script = Script(well_until=0.0)
    world.emit(e.SignalArrived(SIGTERM))
    world.advance(29)
    assert world.said("worker unhealthy")
    assert len(spawn_times(world)) == 1
    world.advance(10)
    assert world.exit_code == 0


def test_healthy_is_not_met_by_a_start_that_was_forced(world):
    world.usual = lambda spawn: Script(well_from=12.0 if spawn.spec.name == "db" else 0.0)
    db = app("db", health=CHECKED.replace(failures=10))
    world.boot(db, app("web", depends_on=(DependsSpec("db", "service_healthy"),)))
    world.advance(10)
    assert world.ready("db") == 0
    assert not world.live("web")
    world.run_until(lambda: world.live("web"))
    assert world.now - 100 > 12


def test_answers_of_before_are_dropped(world):
    world.up(app(health=CHECKED.replace(failures=1)))
    incarnation = world.one().incarnation
    world.emit(e.HealthChecked(incarnation, 1, "late"))
    world.emit(e.HealthChecked(incarnation, 99, "never asked"))
    assert not world.said("health check failed")
