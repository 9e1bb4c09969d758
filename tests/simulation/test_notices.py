"""What workers say of themselves, and the watchdog."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from tests.simulation import invariants
from tests.simulation.test_behaviour import spawn_times
from tests.simulation.world import SIGABRT, SIGKILL, SIGTERM, Script, World, app, shared


@pytest.fixture
def world() -> World:
    world = World()
    world.after_turn = invariants.check
    return world


def restarts(world: World) -> list[str]:
    return [each.label for each in world.ordered(f.Count) if each.what == "restart"]


# -- the watchdog -------------------------------------------------------------------------


def test_who_gives_signs_of_life_is_left_alone(world):
    world.up(app(watchdog=15.0))
    world.advance(200)
    assert len(spawn_times(world)) == 1


@pytest.mark.parametrize("spec", [app(watchdog=15.0), shared(watchdog=15.0, instances=2)])
def test_who_hangs_gets_sigabrt_then_sigkill_and_is_started_again(world, spec):
    world.usual = lambda spawn: Script(
        hangs_at=20.0 if spawn.incarnation == 1 else None, ignores=True
    )
    world.up(spec)
    hanging = world.processes[1]
    world.run_until(lambda: hanging.stop_sent)
    assert world.now - 100 == pytest.approx(15 + 15, abs=1)
    assert hanging.received == [SIGABRT]
    assert hanging.slot not in world.routed.get("web", ())
    assert world.run_until(lambda: not hanging.alive) == pytest.approx(8.0, abs=0.1)
    assert hanging.received == [SIGABRT, SIGKILL]
    world.run_until(world.is_up)
    # What waits on its slot is for the next worker.
    assert world.one(0).slot == hanging.slot
    assert restarts(world) == ["watchdog"]
    assert world.view().workers[0].last_exit == "watchdog: no sign of life for 15 s"


def test_a_program_that_never_gives_a_sign_is_found_out(world):
    world.usual = lambda _spawn: Script(kicks_every=None, stop_code=None)
    world.up(app(watchdog=15.0))
    world.advance(16)
    assert world.one().incarnation == 2


def test_it_does_not_run_before_the_worker_is_ready(world):
    world.usual = lambda _spawn: Script(kicks_every=None, says="notify", says_after=20.0)
    world.boot(app(watchdog=2.0, wait_ready=True, listen_timeout=30.0))
    world.advance(19)
    assert len(spawn_times(world)) == 1


def test_a_worker_may_change_the_interval_ask_for_none_and_trigger_it(world):
    world.usual = lambda _spawn: Script(kicks_every=None, stop_code=None)
    world.up(app(watchdog=15.0))
    world.tell(world.one(), watchdog_interval=40.0)
    world.advance(39)
    assert not world.one().stop_sent
    world.tell(world.one(), watchdog_interval=0.0)
    world.advance(100)
    assert not world.one().stop_sent
    world.tell(world.one(), watchdog="trigger")
    assert world.one().received == [SIGABRT]


def test_a_program_that_always_hangs_soon_ends_errored(world):
    world.usual = lambda _spawn: Script(kicks_every=None, stop_code=None, stop_takes=0.01)
    world.boot(app(watchdog=0.5, max_restarts=3))
    world.advance(30)
    assert world.exit_code == 1


# -- the end that it tells of -------------------------------------------------------------


def test_who_leaves_is_not_signalled_and_its_successor_comes_at_once(world):
    world.up(shared(instances=2))
    world.advance(10)
    leaving = world.one(0)
    world.tell(leaving, stopping=True)
    assert leaving.slot not in world.routed["web"]
    assert len(world.live()) == 3
    world.run_until(lambda: world.ready() == 2)
    assert leaving.received == []
    world.advance(5)
    world.crash(leaving, 0)
    world.run_until(world.is_up)
    assert len(spawn_times(world)) == 3
    assert restarts(world) == ["exit"]


def test_who_says_so_and_stays_is_killed_in_the_end(world):
    world.up(shared())
    world.advance(10)
    leaving = world.one()
    world.tell(leaving, stopping=True)
    world.run_until(lambda: not leaving.alive)
    assert leaving.received == [SIGKILL]
    assert world.now - 110 == pytest.approx(8.0, abs=0.1)


def test_of_a_fork_app_the_next_one_waits_for_its_end(world):
    world.up(app())
    world.advance(10)
    leaving = world.one()
    world.tell(leaving, stopping=True)
    world.advance(3)
    assert world.live() == [leaving]
    world.crash(leaving, 0)
    assert world.one() is not leaving


def test_who_has_done_its_work_gets_no_successor(world):
    world.up(shared(autorestart=False), app("other"))
    world.tell(world.one(name="web"), stopping=True)
    world.crash(world.one(name="web"), 0)
    world.advance(10)
    assert not world.live("web")


def test_a_program_that_always_leaves_at_once_ends_errored(world):
    world.usual = lambda _spawn: Script(says_after=0.01, ends_after=0.3, code=0)
    world.boot(shared(max_restarts=3))

    def leave(_world, effects):
        invariants.check(_world, effects)
        if any(isinstance(x, f.Report) and x.event == "worker ready" for x in effects):
            process = max(world.live(), key=lambda each: each.incarnation)
            world.at(0.1, lambda: world.tell(process, stopping=True))

    world.after_turn = leave
    world.advance(60)
    assert world.exit_code == 1
    assert len(spawn_times(world)) < 12


# -- time ---------------------------------------------------------------------------------


def test_more_time_to_become_ready(world):
    world.usual = lambda _spawn: Script(says="notify", says_after=9.0)
    world.boot(app(wait_ready=True, on_listen_timeout="abort"))
    for _ in range(4):
        world.advance(2)
        world.tell(world.one(), extend=3.0)
    world.run_until(lambda: world.ready() == 1)
    assert len(spawn_times(world)) == 1


def test_it_never_has_less_time_for_asking(world):
    world.usual = lambda _spawn: Script(says="notify", says_after=2.5)
    world.boot(app(wait_ready=True, on_listen_timeout="abort"))
    world.tell(world.one(), extend=0.1)
    world.run_until(lambda: world.ready() == 1)
    assert len(spawn_times(world)) == 1


@pytest.mark.parametrize(("timeout", "within"), [(0.0, 20.0), (12.0, 12.0)])
def test_more_time_to_stop_within_shutdown_timeout(world, timeout, within):
    world.usual = lambda _spawn: Script(stop_takes=19.0)
    world.up(app(), timeout=timeout)
    process, begun = world.one(), world.now
    world.emit(e.SignalArrived(SIGTERM))
    for _ in range(8):
        world.advance(2.4)
        if process.alive:
            world.tell(process, extend=4.0)
    world.settle()
    assert world.finished_at - begun == pytest.approx(within, abs=1.1)
    assert world.exit_code == (137 if timeout else 0)


# -- the rest ------------------------------------------------------------------------------


def test_its_words_are_seen_and_its_errors_told_with_its_end(world):
    world.up(app())
    world.tell(world.one(), status="4 clients", reloading=True)
    [row] = world.view().workers
    assert (row.status, row.reloading, row.state) == ("4 clients", True, "online")
    world.emit(e.WorkerReady(world.one().incarnation, "notify"))
    world.tell(world.one(), notes=(("errno", "EIO: Input/output error"),))
    [row] = world.view().workers
    assert (row.status, row.reloading) == ("4 clients", False)
    world.crash(world.one())
    assert world.said("worker exited")[0]["errno"] == "EIO: Input/output error"


def test_a_stop_is_not_turned_into_a_restart_by_what_a_worker_says(world):
    world.usual = lambda _spawn: Script(stop_takes=2.0)
    world.up(shared())
    world.emit(e.StopRequested("web"))
    for what in ({"stopping": True}, {"watchdog": "trigger"}):
        world.tell(world.one(), **what)
    world.settle(30)
    assert not world.live()
    assert all(signum in (SIGTERM, SIGKILL) for signum in world.processes[1].received)
