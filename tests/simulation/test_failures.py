"""Effects that fail: the core hears of each one, and nothing waits for ever."""

from __future__ import annotations

import errno
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.spec import HealthSpec
from entrypoint.shell import failed_effects
from tests.simulation import promises
from tests.simulation.world import SIGHUP, SIGTERM, Script, World, plan, shared
from tests.support.examples import DEEP

EVERY = sorted(f.Effect.__subclasses__(), key=lambda each: each.__name__)


class Faulty(World):
    """A world in which effects raise while `fails(effect)` says so."""

    def __init__(self, fails) -> None:
        super().__init__()
        self.fails = fails
        self.failed: list[f.Effect] = []

    def perform(self, effect: f.Effect) -> None:
        if isinstance(effect, f.Spawn):
            # A slot of which the socket could not be made has it made at the start.
            self.slots[effect.spec.name] = max(effect.slot + 1, self.slots.get(effect.spec.name, 0))
        if isinstance(effect, f.RouteTo) and max(effect.slots) >= self.slots.get(effect.app, 0):
            return
        if not self.fails(effect):
            super().perform(effect)
            return
        self.failed.append(effect)
        event = failed_effects.heard(effect, OSError(errno.EMFILE, "too many"))
        if event is not None:
            self.emit(event)


def test_every_effect_is_in_the_table():
    assert set(failed_effects.HEARD) == set(EVERY)
    for line in failed_effects.__doc__.splitlines():
        if line.startswith("| ") and "effect" not in line:
            for name in line.split("|")[1].split(","):
                assert hasattr(f, name.strip()), name


def test_a_reason_is_for_people():
    effect = f.SendSignal(1, SIGTERM)
    assert "CAP_KILL" in failed_effects.reason_of(effect, PermissionError(1, "no"))
    spawn = f.Spawn(1, shared(), 0, 0)
    assert "internal error" in failed_effects.reason_of(spawn, KeyError("x"))
    assert failed_effects.is_shortage(OSError(1, "x")) and not failed_effects.is_shortage(
        KeyError("x")
    )


def boot(fails, **keys):
    world = Faulty(fails)
    world.emit(e.Booted(plan(shared(instances=3, **keys), timeout=30.0)))
    return world


def online(world):
    return [row.instance for row in world.view().workers if row.state == "online"]


@pytest.mark.parametrize("kind", EVERY, ids=lambda each: each.__name__)
def test_each_kind_of_effect_may_fail_twice(kind):
    """Start, crash, reload, scale, stop: with every effect of one kind failing at first."""
    left = [2]

    def fails(effect):
        if isinstance(effect, kind) and left[0] and not isinstance(effect, f.Finish):
            left[0] -= 1
            return True
        return False

    health = HealthSpec(tcp="5000", interval=1.0)
    world = boot(fails, health=health, shutdown_with_message=True, node=True)
    world.run_until(lambda: online(world) == [0, 1, 2])
    world.crash(world.live()[0])
    world.advance(1)
    world.run_until(lambda: online(world) == [0, 1, 2])
    left[0] = 2
    world.emit(e.ReloadRequested("web"))
    world.advance(60)
    assert online(world) == [0, 1, 2]
    assert not world.view().reloading
    left[0] = 2
    world.emit(e.ScaleRequested("web", 2))
    world.advance(60)
    assert online(world) == [0, 1]
    left[0] = 2
    world.emit(e.SignalArrived(SIGTERM))
    world.run_until(lambda: world.exit_code is not None, within=40.0)


@settings(max_examples=600 if DEEP else 15, deadline=None)
@given(seed=st.integers(0, 2**32), often=st.sampled_from([0.05, 0.3, 0.9]))
def test_whatever_fails_for_a_while_the_app_comes_back(seed, often):
    draws = random.Random(seed)
    until = [160.0]
    spared = (f.Finish, f.Report, f.Count, f.StopTimer)

    def fails(effect):
        return world.now < until[0] and not isinstance(effect, spared) and draws.random() < often

    world = Faulty(lambda _effect: False)
    world.fails = fails
    world.usual = lambda _spawn: Script(stop_takes=draws.random())
    app = shared(instances=3, max_restarts=10**6)
    world.emit(e.Booted(plan(app, timeout=30.0)))
    for _ in range(12):
        what = draws.choice(("crash", "reload", "restart", "scale", "wait"))
        if what == "crash" and world.live():
            world.crash(draws.choice(world.live()))
        elif what == "reload":
            world.emit(e.ReloadRequested("web"))
        elif what == "restart":
            world.emit(e.RestartRequested("web"))
        elif what == "scale":
            world.emit(e.ScaleRequested("web", draws.randint(1, 4)))
        world.advance(draws.random() * 5)
    until[0] = 0.0
    world.advance(120)
    world.emit(e.ScaleRequested("web", 3))
    world.advance(120)
    assert online(world) == [0, 1, 2], world.view()
    world.emit(e.SignalArrived(SIGTERM))
    world.run_until(lambda: world.exit_code is not None, within=40.0)


def test_an_order_to_refuse_connections_that_failed_is_not_given_again_after_a_start():
    left = [1]

    def fails(effect):
        if isinstance(effect, f.RefuseConnections) and left[0]:
            left[0] -= 1
            return True
        return False

    world = boot(fails)
    world.run_until(lambda: online(world) == [0, 1, 2])
    world.emit(e.StopRequested("web"))
    assert world.failed
    world.emit(e.StartRequested("web"))
    world.advance(30)
    assert online(world) == [0, 1, 2]
    assert "web" not in world.refusing


def reads(world, *apps):
    now = world.core.state.run.plan
    world.next_plan = plan(*apps, revision=now.revision + 1)
    world.emit(e.SignalArrived(SIGHUP))


def port_timers(world):
    return [timer for timer in world.timers if timer.kind == "port"]


def test_nothing_is_ordered_again_for_a_port_that_is_closed():
    world = World().up(shared(), shared("db", listen=()))
    world.failing[f.RouteTo] = 1
    world.emit(e.ScaleRequested("db", 2))
    world.run_until(lambda: port_timers(world), within=0.9)
    reads(world, shared())
    world.run_until(lambda: not world.live("db"))
    assert not port_timers(world)
    world.failing[f.RefuseConnections] = 1
    world.emit(e.SignalArrived(SIGTERM))
    assert port_timers(world)
    world.run_until(lambda: world.exit_code is not None)
    assert not world.timers


def test_a_port_that_fails_to_close_at_the_end_is_not_tried_again():
    world = World().up(shared())
    world.remaining_at_end = "stubborn"
    world.emit(e.SignalArrived(SIGTERM))
    world.run_until(lambda: world.core.state.run.remaining)
    for order in ("close", "refuse"):
        world.emit(e.PortFailed("web", order, "too many"))
        assert not port_timers(world)


def test_a_slot_that_is_left_between_two_files_that_share_the_port():
    """Nobody accepts there any more, so what waits there goes to others."""
    world = World().up(shared(instances=2, reload_parallel=2))
    world.usual = lambda _spawn: Script(says_after=None)
    world.emit(e.ReloadRequested("web"))
    successor = next(each for each in world.live() if each.slot == 2)
    reads(world, shared(instances=2, listen=(), share="none", exec_mode="fork"))
    world.crash(successor)
    assert 2 in world.vacant["web"]
    reads(world, shared(instances=2, reload_parallel=2))
    promises.what_is_free_was_said_to_be(world, [])
