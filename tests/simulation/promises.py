"""What holds from one turn to the next, and what is true once everything has come to rest.

Beside `invariants`, which look at one moment.
"""

from __future__ import annotations

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core import worker as w
from tests.simulation.invariants import crew_of, instances_of, is_stopping

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
        leaves_now = (
            now is not None and before.ready and not now.ready and now.stop_reason == "reload"
        )
        if leaves_now and now.spec.share != "none" and state.apps[now.app].spec.share != "none":
            had = sum(each.ready for each in world.before.values() if each.app == now.app)
            assert state.apps[now.app].ready >= had - _beside(world, now.app), now


def _beside(world: World, app: str) -> int:
    """Successors that were ready beside their old workers, which leave now."""
    state = world.core._state
    found = 0
    for instance in state.instances[app].values():
        successor = world.before.get(instance.current)
        old = [
            each
            for each in crew_of(world, app)
            if (each.instance, each.stop_reason) == (instance.number, "reload")
            and (before := world.before.get(each.incarnation)) is not None
            and before.ready
        ]
        found += bool(old and successor is not None and successor.ready)
    return found


def nobody_waits_where_nobody_comes(world: World, _effects) -> None:
    """New connections are steered to a worker, or where one is started again."""
    state = world.core._state
    if is_stopping(world):
        return
    for app_state in state.apps.values():
        steered = app_state.spec.share in ("slots", "generations")
        if not steered or app_state.name not in world.routed:
            continue
        if world.lacks(app_state.name, f.RouteTo):
            continue
        crew = crew_of(world, app_state.name)
        own = instances_of(world, app_state.name)
        served = {each.queue for each in crew if each.state in (w.ONLINE, w.SICK, w.LAUNCHING)}
        served |= {p.queue for p in own if p.state in (w.RUNNING, w.WAITING_RESTART)}
        if served:
            assert served.issuperset(world.routed[app_state.name]), (app_state, served)


def what_is_free_was_said_to_be(world: World, _effects) -> None:
    """What comes late to a slot on which a worker once accepted is passed on to others."""
    for app_state in world.core._state.apps.values():
        if app_state.spec.share not in ("slots", "generations"):
            continue
        owners = (*crew_of(world, app_state.name), *instances_of(world, app_state.name))
        free = world.used.get(app_state.name, set()) - {each.queue for each in owners}
        vacant = world.vacant.get(app_state.name, set())
        assert is_stopping(world) or free <= vacant, (
            app_state,
            vacant,
        )


def a_reload_waits_for_what_will_come(world: World, _effects) -> None:
    """Whoever is being reloaded has a worker that starts, leaves, or is waited for.

    Or the first new worker of the reload has to show that it lives.
    """
    state = world.core._state
    for app_state in state.apps.values():
        for number in app_state.reload.active if app_state.reload else ():
            instance = state.instances[app_state.name].get(number)
            assert instance is not None, app_state
            crew = crew_of(world, app_state.name)
            here = [each for each in crew if each.instance == number]
            moving = any(each.state not in w.SERVING_STATES for each in here)
            proves = app_state.reload.proving in state.workers
            # One that is stalled goes on beside its replacement for a while.
            stalled = any(each.stalled_at for each in here)
            waits = instance.state == w.WAITING_RESTART
            assert moving or proves or stalled or waits, (app_state, instance)


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
        if now.stop_reason in ("reload", "scale") and not (now.sick or now.stalled_at):
            had_time = now.delay_over or now.spec.retire_when_quiet
            assert overdue or (now.queue_empty and had_time), now


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


def no_reload_goes_on_unproven(world: World, _effects) -> None:
    """No ready worker is stopped for a release of which no worker has accepted and lived on."""
    state = world.core._state
    if is_stopping(world):
        return
    for incarnation, before in world.before.items():
        now = state.workers.get(incarnation)
        leaves = now is not None and before.ready and not before.stop_reason
        if not leaves or now.stop_reason not in ("reload", "drain") or now.spec.share == "none":
            continue
        app_state, instance = state.apps[now.app], state.instances[now.app][now.instance]
        successor = state.workers.get(instance.current)
        if (
            successor is None
            or successor.incarnation == incarnation
            or successor.spec.share == "none"
        ):
            continue
        assert not successor.probed or successor.accepting, (now, successor)
        reload = app_state.reload
        if (
            reload is not None
            and now.instance not in reload.repairs
            and successor.spec == app_state.spec
        ):
            assert reload.proven, (now, successor)


def readiness_was_seen(world: World, effects) -> None:
    """Who is ready by an accept has accepted; nobody is ready because time has passed."""
    for effect in effects:
        if not isinstance(effect, f.Report) or effect.event != "worker ready":
            continue
        said = dict(effect.fields)
        assert said["by"] in ("notify", "node", "accept", "health", "rest"), said
        [process] = [p for p in world.processes.values() if p.pid == said["pid"]]
        if said["by"] == "accept":
            assert process.accepts, (said, process)
        elif said["by"] == "rest":
            assert not process.spec.listen or process.spec.share == "none", process


def a_reload_has_one_outcome(world: World, effects) -> None:
    """It is finished or aborted, not both; and none ends that has not begun."""
    for effect in effects:
        if not isinstance(effect, f.ReportOutcome) or effect.what != "reload":
            continue
        before = [
            each.result
            for _, each in world.effects[: -len(effects)]
            if isinstance(each, f.ReportOutcome) and (each.app, each.what) == (effect.app, "reload")
        ]
        before += [
            each.result
            for each in effects[: effects.index(effect)]
            if isinstance(each, f.ReportOutcome) and (each.app, each.what) == (effect.app, "reload")
        ]
        if effect.result != "started":
            assert before and before[-1] == "started", (effect, before)


STEP = (
    a_replacement_meets_nothing_of_the_dead,
    what_is_killed_was_killed,
    no_reload_goes_on_unproven,
    readiness_was_seen,
    a_reload_has_one_outcome,
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
    for app_state in state.apps.values():
        crew = crew_of(world, app_state.name)
        if app_state.mode != "running" or app_state.name in aborted or app_state.reload is not None:
            continue
        for each in crew:
            kept = {key: getattr(each.spec, key) for key in _KEPT}
            assert each.stop_reason or each.spec == app_state.spec.replace(**kept), (
                app_state,
                each,
            )
        if all(each.spec.listen == app_state.spec.listen or each.killed for each in crew):
            assert world.held.get(app_state.name, set()) == set(app_state.spec.listen), app_state
