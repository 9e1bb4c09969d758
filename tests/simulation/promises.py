"""What holds from one turn to the next, and what is true once everything has come to rest.

Beside `invariants`, which look at one moment.
"""

from __future__ import annotations

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core import worker as w
from tests.simulation.invariants import is_stopping, places_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.simulation.world import World


def a_reload_lets_no_number_fall(world: World, _effects) -> None:
    """In the turn in which a ready worker is told to leave for a reload, another is ready."""
    state = world.core._state
    if is_stopping(world):
        return
    for incarnation, before in world.before.items():
        now = state.workers.get(incarnation)
        told = now is not None and before.ready and not now.ready and now.purpose == "reload"
        if told and now.spec.share != "none" and state.pools[now.app].spec.share != "none":
            had = sum(each.ready for each in world.before.values() if each.app == now.app)
            assert state.pools[now.app].ready >= had, now


def nobody_waits_where_nobody_comes(world: World, _effects) -> None:
    """New connections are steered to a worker, or where one is started again."""
    state = world.core._state
    if is_stopping(world):
        return
    for pool in state.pools.values():
        if pool.spec.share != "slots" or pool.name not in world.steered:
            continue
        crew = [each for each in state.workers.values() if each.app == pool.name]
        own = [p for p in places_of(world) if p.app == pool.name]
        served = {each.slot for each in crew if each.state in (w.ONLINE, w.SICK, w.LAUNCHING)}
        served |= {p.slot for p in own if p.state in (w.RUNNING, w.WAITING_RESTART)}
        if served:
            assert served.issuperset(world.steered[pool.name]), (pool, served)


def what_is_free_was_said_to_be(world: World, _effects) -> None:
    """What comes late to a slot on which a worker once accepted is passed on to others."""
    for pool in world.core._state.pools.values():
        if pool.spec.share != "slots":
            continue
        used = world.used.get(pool.name, set())
        vacant = world.vacant.get(pool.name, set())
        assert is_stopping(world) or used.intersection(pool.spare) <= vacant, (pool, vacant)


def a_reload_waits_for_what_will_come(world: World, _effects) -> None:
    """Whoever is being reloaded has a worker that starts, leaves, or is waited for."""
    state = world.core._state
    for pool in state.pools.values():
        for instance in pool.reload.active if pool.reload else ():
            place = state.places[pool.name].get(instance)
            assert place is not None, pool
            crew = [each for each in state.workers.values() if each.app == pool.name]
            here = [each for each in crew if each.instance == instance]
            moving = any(each.state not in w.SERVING_STATES for each in here)
            assert moving or place.state == w.WAITING_RESTART, (pool, place)


def the_queue_is_waited_for(world: World, _effects) -> None:
    """Whoever leaves beside others has taken its connections, and had time to answer them."""
    if is_stopping(world):
        return
    event = world.history[-1][1]
    overdue = isinstance(event, e.TimerFired) and event.timer.kind == "kill"
    for incarnation, before in world.before.items():
        now = world.core._state.workers.get(incarnation)
        if now is None or (before.state, now.state) != (w.RETIRING, w.TERMINATING):
            continue
        if now.purpose in ("reload", "scale") and not now.sick:
            assert overdue or (now.queue_empty and now.delay_over), now


def a_replacement_meets_nothing_of_the_dead(world: World, effects) -> None:
    """Of an app without a shared port, what a crash left is gone before the next worker."""
    for effect in effects:
        if not isinstance(effect, f.Spawn) or effect.spec.share != "none":
            continue
        for process in world.processes.values():
            before = process.incarnation < effect.incarnation
            if process.spec.name != effect.spec.name or not before:
                continue
            same = process.instance == effect.instance and process.scope in ("tree", "all")
            assert not same or process.strays in ("", "undying"), (effect, process)


def what_is_killed_was_killed(world: World, effects) -> None:
    """`worker killed` is said in the turn that hears of an end by SIGKILL."""
    if any(isinstance(each, f.Report) and each.event == "worker killed" for each in effects):
        event = world.history[-1][1]
        assert isinstance(event, e.WorkerExited), event
        assert event.signum == 9, event


STEP = (
    a_replacement_meets_nothing_of_the_dead,
    what_is_killed_was_killed,
    a_reload_lets_no_number_fall,
    nobody_waits_where_nobody_comes,
    what_is_free_was_said_to_be,
    a_reload_waits_for_what_will_come,
    the_queue_is_waited_for,
)
_KEPT = ("instances", "autostart", "time", "multiline")


def check(world: World, effects) -> None:
    for holds in STEP:
        holds(world, effects)


def the_file_counts(world: World) -> None:
    """At rest everybody runs what the file says, unless a reload to it was given up."""
    state = world.core._state
    aborted = {
        dict(r.fields)["app"] for r in world.ordered(f.Report) if r.event == "reload aborted"
    }
    for pool in state.pools.values():
        crew = [each for each in state.workers.values() if each.app == pool.name]
        if pool.mode != "running" or pool.name in aborted or pool.reload is not None:
            continue
        for each in crew:
            kept = {key: getattr(each.spec, key) for key in _KEPT}
            assert each.purpose or each.spec == pool.spec.replace(**kept), (pool, each)
        if all(each.spec.listen == pool.spec.listen or each.killed for each in crew):
            assert world.held.get(pool.name, set()) == set(pool.spec.listen), pool
