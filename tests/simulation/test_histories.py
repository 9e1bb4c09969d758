"""Histories in which a reload or a change of the file once led to a wrong end."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.spec import DependsSpec, HealthSpec, ListenSpec
from tests.simulation import invariants, promises
from tests.simulation.world import (
    PORT,
    SIGHUP,
    SIGKILL,
    SIGTERM,
    Script,
    World,
    app,
    plan,
    shared,
)

SECOND = ListenSpec("inet", "127.0.0.1", 5001)
STUCK = Script(ignores=True, undying=True)
BROKEN = Script(ends_after=0.1, says_after=None, code=1)


@pytest.fixture
def world() -> World:
    world = World()

    def check(world: World, effects) -> None:
        invariants.check(world, effects)
        promises.check(world, effects)

    world.after_turn = check
    return world


def reread(world: World, *apps) -> None:
    world.next_plan = plan(*apps, revision=world.core._state.run.plan.revision + 1)
    world.emit(e.SignalArrived(SIGHUP))


def at(world: World, kind: type[f.Effect]) -> list[int]:
    return [n for n, (_, effect) in enumerate(world.effects) if isinstance(effect, kind)]


# -- what the file no longer declares -----------------------------------------------------


def test_an_app_that_is_to_bind_for_itself_finds_its_port_free(world):
    """`cluster` → `fork`: its next worker found the port in use, by us."""
    world.up(shared())
    reread(world, app())
    world.run_until(lambda: world.said("reload finished"))
    assert at(world, f.TrimPort)[0] < at(world, f.Spawn)[-1]
    assert world.held["web"] == set()
    assert len(at(world, f.TrimPort)) == 1


@pytest.mark.parametrize("then", [e.RestartRequested("web"), e.StopRequested("web")])
def test_what_is_no_longer_declared_is_closed_however_a_reload_ends(world, then):
    world.up(shared(instances=2, listen=(*PORT, SECOND)))
    reread(world, shared(instances=2))
    world.emit(then)
    world.emit(e.StartRequested("web"))
    world.run_until(world.is_up)
    world.settle(1)
    assert world.held["web"] == set(PORT)


def test_a_stopped_app_gives_up_what_is_no_longer_declared(world):
    world.up(shared(listen=(*PORT, SECOND)), app("idle"))
    world.emit(e.StopRequested("web"))
    world.settle(1)
    reread(world, shared(), app("idle"))
    assert world.held["web"] == set(PORT)


def test_an_aborted_reload_leaves_the_old_workers_what_they_listen_on(world):
    old, new = shared(listen=(*PORT, SECOND)), shared()
    world.up(old)
    world.usual = lambda spawn: BROKEN if spawn.spec == new else Script()
    reread(world, new)
    world.run_until(lambda: world.said("reload aborted"))
    world.settle(5)
    assert world.held["web"] == set(old.listen)
    world.crash(world.one())
    world.run_until(world.is_up)
    assert world.one().spec == old
    world.usual = lambda _spawn: Script()
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: world.said("reload finished"))
    assert world.held["web"] == set(PORT)


def test_one_that_comes_back_without_a_port_takes_it_from_no_worker_of_before(world):
    """Three files in a row: none to share, two addresses, one of them."""
    alone, both = app(instances=2), shared(instances=2, listen=(*PORT, SECOND))
    world.up(alone)
    reread(world, both)
    world.run_until(lambda: any(p.spec == both for p in world.live()))
    reread(world, shared(instances=2))
    world.crash(next(p for p in world.live() if p.spec == alone))
    world.run_until(world.is_up)
    world.settle(5)
    assert world.held["web"] == set(PORT)


def test_an_app_that_comes_back_with_fewer_instances_leaves_nobody_waiting(world):
    """Clients that came while it was removed wait on slots which it has no more."""
    world.up(shared(instances=4), app("idle"))
    reread(world, app("idle"))
    reread(world, shared(instances=1), app("idle"))
    world.run_until(lambda: world.said("app removed") and world.is_up())
    assert world.vacant["web"] == {1, 2, 3, 4}


def test_an_app_that_comes_back_with_a_port_after_a_while_without_leaves_nobody_waiting(world):
    """It went as one that binds by itself, and its sockets are bound before it is gone."""
    world.up(shared(instances=4), app("idle"))
    reread(world, app(kill_timeout=5.0), app("idle"))
    world.settle(1)
    reread(world, app("idle"))
    reread(world, shared(), app("idle"))
    world.run_until(lambda: world.said("app removed") and world.is_up())
    assert {1, 2, 3} <= world.vacant["web"]


def test_what_a_file_declared_for_a_moment_is_closed(world):
    """While the app was being removed it came back with an address, and then without it."""
    world.up(app(kill_timeout=5.0), app("idle"))
    world.one(name="web").script = Script(stop_takes=2.0)
    reread(world, app("idle"))
    reread(world, shared(), app("idle"))
    reread(world, app(), app("idle"))
    assert world.held["web"] == set(PORT)
    world.run_until(lambda: world.said("app removed"))
    assert world.held["web"] == set()


def test_nobody_waits_for_a_new_worker_that_leaves_before_it_serves(world):
    world.upcoming += [Script(says_after=5.0), Script(says_after=5.0, exec_after=0.001)]
    world.boot(shared())
    world.emit(e.MemoryExceeded(world.one().incarnation, 1))
    world.advance(0.01)
    world.tell(world.live()[-1], stopping=True)
    assert world.routed["web"] == (0,)


# -- what ran before ------------------------------------------------------------------------


def test_a_release_that_cannot_start_is_not_left_to_one_that_waits_for_its_restart(world):
    """Its siblings kept what worked; it ran the broken one until the container ended."""
    old, new = shared(instances=2, restart_delay=5.0), shared(instances=2, min_uptime=2.0)
    world.up(old)
    world.settle(31)
    world.usual = lambda spawn: BROKEN if spawn.spec == new else Script()
    world.crash(world.one(0))
    reread(world, new)
    world.run_until(lambda: world.said("reload aborted"))
    world.run_until(world.is_up)
    world.settle(60)
    assert {process.spec for process in world.live()} == {old}
    assert world.ready() == 2


def test_one_that_waits_for_its_restart_is_mended_by_a_reload(world):
    world.up(shared(restart_delay=50.0))
    world.crash(world.one())
    assert not world.live()
    reread(world, new := shared(restart_delay=50.0, min_uptime=2.0))
    world.run_until(world.is_up, 10)
    assert world.one().spec == new
    assert len(world.said("reload finished")) == 1


def test_a_reload_of_one_that_was_to_be_repaired_goes_to_the_newest(world):
    """Its checks failed first: so it got what it had run, not what was asked for."""
    checked = HealthSpec(http="/", interval=1.0, timeout=0.5, failures=1)
    old = shared(instances=2, health=checked)
    new = old.replace(min_uptime=2.0)
    world.up(old)
    world.usual = lambda spawn: BROKEN if spawn.spec == new else Script()
    reread(world, new)
    world.run_until(lambda: world.said("reload aborted"))
    # What replaces the first takes its time; the second waits for its turn.
    world.usual = lambda _spawn: Script(says_after=2.0)
    for process in world.live():
        process.script = Script(well_until=0.0)
    world.run_until(lambda: len(world.said("worker unhealthy")) == 2)
    queued = world.core._state.apps["web"].reload.queue
    assert len(queued) == 1
    world.usual = lambda _spawn: Script()
    world.emit(e.ReloadRequested("web", instances=queued))
    world.run_until(world.is_up)
    assert world.one(queued[0]).spec == new


def test_one_that_is_too_big_is_replaced_by_what_it_ran(world):
    """After a release that was given up it was tried again each time, and the leak went on."""
    old = shared(max_memory_restart=100)
    new = old.replace(min_uptime=2.0)
    world.up(old)
    world.usual = lambda spawn: BROKEN if spawn.spec == new else Script()
    reread(world, new)
    world.run_until(lambda: world.said("reload aborted"))
    leaking = world.one()
    world.emit(e.MemoryExceeded(leaking.incarnation, 101))
    world.run_until(lambda: not leaking.alive, 10)
    assert world.one().spec == old


# -- who does not die ---------------------------------------------------------------------


@pytest.mark.parametrize("spec", [shared(), app()])
def test_a_reload_does_not_wait_for_one_that_a_restart_could_not_end(world, spec):
    world.up(spec)
    world.one().script = STUCK
    world.emit(e.RestartRequested("web"))
    world.run_until(lambda: world.said("worker does not die"))
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: world.said("reload finished"), 10)
    assert world.ready() == (1 if spec.share == "slots" else 0)
    world.let_die(0)
    world.run_until(world.is_up)


def test_a_reload_does_not_wait_for_the_slot_of_one_that_was_scaled_away(world):
    world.up(shared(instances=2))
    world.one(1).script = STUCK
    world.emit(e.ScaleRequested("web", 1))
    world.run_until(lambda: world.said("worker does not die"))
    world.emit(e.ScaleRequested("web", 2))
    world.run_until(lambda: world.ready() == 2)
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: world.said("reload finished"), 10)
    assert next(p.received for p in world.live() if p.script is STUCK)[-1] == SIGKILL


def test_an_app_that_had_no_port_and_comes_again_with_one_frees_no_slot_that_it_never_had():
    """Found by `make soak`: a fork app was removed and added as a cluster app."""
    world = World()
    world.usual = lambda _spawn: Script(stop_takes=1.0)
    world.emit(e.Booted(plan(app("db", instances=3), app("job"))))
    world.advance(1)
    for apps in ((app("job"),), (shared("db", instances=1), app("job"))):
        now = world.core.state.run.plan
        world.next_plan = plan(*apps, revision=now.revision + 1)
        world.emit(e.SignalArrived(SIGHUP))
    world.advance(5)
    assert world.ordered(f.TrimPort)
    assert not world.ordered(f.ReleaseSlot)
    assert [p.spec.share for p in world.live("db")] == ["slots"]


# -- a successor that is ready and waits ---------------------------------------------------


@pytest.mark.parametrize("then", ["alone", "changed"])
def test_a_successor_that_closes_its_listener_before_it_is_proven_is_stopped(world, then):
    """The reload was aborted, and the successor ran on beside the worker that it was to replace."""
    old = shared(min_ready=5.0)
    world.up(old)
    new = old.replace(env=(("A", "1"),))
    reread(world, new)
    world.run_until(lambda: world.ready() == 2)
    kept, successor = world.live()
    if then == "changed":
        reread(world, newest := old.replace(env=(("A", "2"),)))
    world.close_listener(successor, PORT[0].text)
    world.run_until(lambda: not successor.alive)
    world.settle(30)
    if then == "changed":
        assert world.one().spec == newest
        assert not world.said("reload aborted")
    else:
        assert world.live() == [kept]
        assert world.said("reload aborted")[0]["because"].startswith("no longer listening")


def test_a_crash_beside_a_successor_of_a_later_file_starts_no_second_one(world):
    """Both were started by the reload under way, of which the file had changed again."""
    old = shared(min_ready=4.0, max_restarts=0, restart_delay=2.0, on_errored="keep")
    world.usual = lambda _spawn: BROKEN
    world.boot(old)
    world.run_until(lambda: bool(world.said("app errored")))
    world.usual = lambda _spawn: Script()
    reread(world, old.replace(env=(("A", "1"),), max_restarts=5))
    reread(world, old.replace(env=(("A", "2"),)))
    world.run_until(lambda: world.ready() == 2)
    first, _ = world.live()
    reread(world, newest := old.replace(env=(("A", "3"),)))
    world.crash(first)
    world.settle(60)
    assert world.one().spec == newest


# -- what is left at the end -------------------------------------------------------------


def test_a_crash_just_before_the_end_leaves_no_deadline(world):
    """Its connections are relayed after a moment: not after the end."""
    world.up(shared(instances=2))
    world.crash(world.one(0))
    world.emit(e.SignalArrived(SIGTERM))
    world.run_until(lambda: world.exit_code is not None, 0.2)
    assert not world.timers


def test_a_removal_just_after_a_crash_leaves_no_deadline(world):
    world.up(shared(instances=2, retire_delay=0.0), app("idle"))
    world.crash(world.one(0, "web"))
    reread(world, app("idle"))
    world.run_until(lambda: world.said("app removed"), 0.2)
    assert not world.timers


def test_a_pause_before_a_restart_that_is_over_in_the_end_starts_nothing(world):
    """`db` waits for its restart, and for `web` to be gone before its own end."""
    world.usual = lambda _spawn: Script(stop_takes=5.0)
    world.up(app("db", restart_delay=2.0), app(depends_on=(DependsSpec("db"),)))
    world.crash(world.one(0, "db"))
    world.emit(e.SignalArrived(SIGTERM))
    world.run_until(lambda: world.exit_code is not None, 10)
    assert len(world.processes) == 2
    assert world.exit_code == 0


# -- found by `make soak`: ports and pauses ------------------------------------------------


def test_no_client_is_led_to_one_that_is_killed_to_be_started_in_another_way(world):
    """It had not come up, so nothing but its end would have led clients away."""
    world.usual = lambda _spawn: Script(says_after=None)
    world.boot(shared(instances=2))
    world.advance(1)
    assert world.routed["web"] == (0, 1)
    world.emit(e.WorkerUnfit(world.one(0).incarnation, "its bind"))
    assert world.routed["web"] == (1,)


def test_an_app_that_was_stopped_takes_connections_when_it_comes_back(world):
    """It went out of the file while it was stopping, and came back before its end."""
    world.usual = lambda _spawn: Script(stop_takes=1.0)
    world.up(shared(), app("idle"))
    world.emit(e.StopRequested("web"))
    assert world.refusing == {"web"}
    reread(world, app("idle"))
    reread(world, shared(), app("idle"))
    world.run_until(lambda: world.said("app removed") and world.is_up())
    assert world.refusing == set()


@pytest.mark.parametrize("boots", [4.0, 9.0])
def test_a_loop_of_starts_that_wait_long_ends(world, boots):
    """A slow first start makes the later ones patient: three fit in no window of the file."""
    keys = {"wait_ready": True, "max_restarts": 2, "on_listen_timeout": "abort"}
    world.upcoming.append(Script(says="notify", says_after=boots, ends_after=60.0, code=1))
    world.usual = lambda _spawn: Script(says_after=None)
    world.boot(app(listen_timeout=10.0, min_uptime=1.0, **keys))
    world.run_until(lambda: bool(world.said("app errored")), 300)
    assert len(world.processes) == 4  # the first, and `max_restarts` + 1 in vain


def test_a_loop_of_workers_that_have_to_be_killed_ends(world):
    world.usual = lambda _spawn: Script(says_after=None, ignores=True)
    keys = {"wait_ready": True, "max_restarts": 2, "on_listen_timeout": "abort"}
    world.boot(app(listen_timeout=1.0, kill_timeout=30.0, **keys))
    world.run_until(lambda: bool(world.said("app errored")), 300)
    assert len(world.processes) == 3


def test_a_loop_of_workers_that_crash_late_and_never_were_ready_ends(world):
    world.usual = lambda _spawn: Script(says_after=None, ends_after=40.0, code=1)
    world.boot(shared(max_restarts=2, on_listen_timeout="force"))
    world.run_until(lambda: bool(world.said("app errored")), 300)
    assert len(world.processes) == 3


@pytest.mark.parametrize("pause", [0.0, 1.0])
def test_one_that_binds_for_itself_does_not_meet_what_a_shared_one_left(world, pause):
    """`fork` → `cluster`, and the first of those crashes: what it had started holds the port."""
    old = app(treekill="tree", restart_delay=pause)
    new = shared(treekill="tree", restart_delay=pause)
    world.usual = lambda spawn: (
        Script(says_after=None, ends_after=0.5, code=1, strays="stubborn")
        if spawn.spec == new
        else Script()
    )
    world.up(old)
    reread(world, new)
    world.run_until(lambda: world.said("reload aborted"))
    world.settle(30)
    assert world.one().spec == old


@pytest.mark.parametrize("by", ["file", "person"])
def test_nor_what_one_left_that_had_crashed_before_the_file_changed(world, by):
    """It waits for its restart while its children end; the file now says `fork`."""
    old = shared(treekill="tree", restart_delay=5.0, kill_timeout=8.0)
    world.upcoming.append(Script(ends_after=0.5, code=1, strays="stubborn"))
    world.up(old)
    world.run_until(lambda: not world.live())
    if by == "person":
        world.emit(e.StopRequested("web"))
    reread(world, new := app(treekill="tree"))
    if by == "person":
        world.emit(e.StartRequested("web"))
    world.settle(30)
    assert world.one().spec == new
