"""What always holds, after every turn of the core. One function for each sentence.

They take the world and the effects of the turn just taken. `STATE` functions look at the
core's state alone, so they are asked after a turn that has changed it. `STEP` functions look
at it beside what the fake kernel knows by itself: its processes, its deadlines, the slots that
it was told to grant.
"""

from __future__ import annotations

from collections import Counter

from entrypoint.core import effects as f
from entrypoint.core import worker as w
from entrypoint.core.lifecycle import awaits_readiness
from entrypoint.journal import document
from entrypoint.journal.packing import kinds
from entrypoint.journal.recorder import Recorder
from entrypoint.journal.replay import replay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.core.transaction import State
    from tests.simulation.world import World


class Moment:
    """The core's places and workers after a turn, recounted by app. Read only."""

    def __init__(self, state: State) -> None:
        self.instances = [p for by_app in state.instances.values() for p in by_app.values()]
        self.instances_by_app: dict[str, list[w.Instance]] = {}
        for instance in self.instances:
            self.instances_by_app.setdefault(instance.app, []).append(instance)
        # The `STATE` functions have been asked.
        self.checked = False
        self.workers_by_app: dict[str, list[w.Worker]] = {}
        for worker in state.workers.values():
            self.workers_by_app.setdefault(worker.app, []).append(worker)


def moment(world: World) -> Moment:
    """The state as the last turn left it, sorted once for all invariants until it changes."""
    if world.moment is None:
        world.moment = Moment(world.core._state)
    return world.moment


def instances_of(world: World, app: str = "") -> list[w.Instance]:
    seen = moment(world)
    return seen.instances_by_app.get(app, []) if app else seen.instances


def crew_of(world: World, app: str) -> list[w.Worker]:
    """The workers of an app, oldest first."""
    return moment(world).workers_by_app.get(app, [])


def counts_are_a_recount(world: World, _effects) -> None:
    """The counts in a pool are what a recount of workers and places gives."""
    state = world.core._state
    for app_state in state.apps.values():
        crew = crew_of(world, app_state.name)
        instances = instances_of(world, app_state.name)
        assert app_state.live == len(crew), app_state
        online = sorted(each.queue for each in crew if each.state == w.ONLINE)
        assert app_state.ready == len(online) and app_state.online == tuple(online), app_state
        assert app_state.finished == sum(p.state == w.FINISHED for p in instances), app_state
        assert app_state.errored == sum(p.state == w.ERRORED for p in instances), app_state
        assert app_state.created == len(instances), app_state
        assert list(state.workers_by_app.get(app_state.name, {}).values()) == crew
    assert {p.app for p in instances_of(world)} <= state.apps.keys()


def no_process_is_forgotten(world: World, _effects) -> None:
    """A process that lives is a worker that the core knows, unless SIGKILL cannot end it."""
    for process in world.live():
        known = process.incarnation in world.core._state.workers
        assert known or process.script.undying or process.spared, process


def a_place_knows_its_own(world: World, _effects) -> None:
    """Current and successor are workers of their place, two different ones."""
    state = world.core._state
    for instance in instances_of(world):
        for incarnation in (instance.current, instance.successor):
            worker = state.workers.get(incarnation)
            assert not incarnation or worker is not None or is_stopping(world), instance
            if worker is not None:
                assert (worker.app, worker.instance) == (instance.app, instance.number), instance
        assert not instance.current or instance.current != instance.successor, instance
        if instance.current and not is_stopping(world):
            assert state.workers[instance.current].slot == instance.slot, instance


def nobody_is_doubled(world: World, _effects) -> None:
    """One worker for each instance that was not told to stop; in a reload, two."""
    state = world.core._state
    untold = Counter(
        (each.app, each.instance)
        for each in state.workers.values()
        if not each.stop_reason and each.state != w.LINGERING
    )
    for (app, instance), number in untold.items():
        reload = state.apps[app].reload
        most = 2 if reload and instance in reload.active else 1
        assert number <= most, (app, instance, number)


def what_cannot_live_side_by_side_does_not(world: World, _effects) -> None:
    """Of an app without a shared port each instance has one process at most."""
    alive = Counter(
        (p.spec.name, p.instance)
        for p in world.processes.values()
        if p.spec.share == "none" and p.incarnation not in world.gone
    )
    assert all(number == 1 for number in alive.values()), alive


def reloads_are_bounded(world: World, _effects) -> None:
    """At most `reload_parallel` instances are being replaced; only they have successors."""
    for app_state in world.core._state.apps.values():
        active = app_state.reload.active if app_state.reload else ()
        # A new file may lower it: what has begun goes on.
        assert len(active) <= max(1, world.parallel.get(app_state.name, 0)), app_state
        for instance in instances_of(world, app_state.name):
            if instance.successor:
                assert app_state.mode == "running" and instance.number in active, (
                    app_state,
                    instance,
                )


def ids_name_one_instance(world: World, _effects) -> None:
    """Each wanted instance has a number of its own."""
    app_states = world.core._state.apps.values()
    assert all(len(app_state.ids) == app_state.wanted for app_state in app_states), app_states
    given = [number for app_state in app_states for number in app_state.ids]
    assert len(given) == len(set(given)), given


def slots_have_one_owner(world: World, _effects) -> None:
    """A slot is granted, of one place, and of one worker that accepts, or is spare."""
    state = world.core._state
    for app_state in state.apps.values():
        owned = [p.slot for p in instances_of(world, app_state.name)]
        assert len(owned) == len(set(owned)), (app_state, owned)
        crew = crew_of(world, app_state.name)
        accepting = [each.slot for each in crew if each.state != w.LINGERING]
        assert len(accepting) == len(set(accepting)), (app_state, crew)
        taken = {*owned, *(each.slot for each in crew)}
        assert not taken & set(app_state.spare), (app_state, taken)
        assert len(app_state.spare) == len(set(app_state.spare)), app_state
        assert taken | set(app_state.spare) == set(range(app_state.slots)), (app_state, taken)


def the_port_is_steered_to_who_is_ready(world: World, _effects) -> None:
    """New connections go to all ready workers and to no one else, while there is one.

    Else to those that were ready and whose checks fail: somebody may answer.
    """
    if is_stopping(world):
        return
    for app_state in world.core._state.apps.values():
        steered = app_state.spec.share in ("slots", "generations")
        if not steered or world.lacks(app_state.name, f.RouteTo):
            continue
        if app_state.online:
            assert world.routed[app_state.name] == app_state.online, app_state
        elif sick := _slots(world, app_state.name, w.SICK):
            assert world.routed[app_state.name] == sick, app_state


def deadlines_have_an_owner(world: World, _effects) -> None:
    """A deadline is of a worker that is not gone, and of its state."""
    state = world.core._state
    waiting = {p.restart_timer for p in instances_of(world) if p.state == w.WAITING_RESTART}
    meant = {
        "launch": (w.LAUNCHING,),
        "probe": (w.LAUNCHING, w.ONLINE, w.SICK),
        "prove": (w.LAUNCHING, w.ONLINE, w.SICK),
        "health": (w.LAUNCHING, w.ONLINE, w.SICK),
        "watchdog": (w.LAUNCHING, w.ONLINE, w.SICK),
        "stall": (w.SICK,),
        "retire": (w.RETIRING,),
        "kill": (w.RETIRING, w.TERMINATING, w.LINGERING),
        "abandon": (w.KILLING, w.LINGERING),
    }
    for timer in world.timers:
        if timer.kind == "restart":
            assert timer.incarnation in waiting, timer
        elif timer.kind == "orphans":
            assert timer.incarnation in dict(state.apps[timer.app].orphans), timer
        elif timer.kind == "widen":
            assert state.apps[timer.app].starting is not None, timer
        elif timer.kind == "port":
            assert timer.app in state.apps, timer
        elif timer.kind in meant:
            worker = state.workers.get(timer.incarnation)
            assert worker is not None and worker.state in meant[timer.kind], (timer, worker)
        else:
            assert timer.kind in ("drain", "shutdown", "remaining"), timer


def nothing_waits_for_ever(world: World, _effects) -> None:
    """Whoever waits for the world has a deadline."""
    if world.exit_code is not None:
        assert not world.timers
        return
    armed = {(timer.kind, timer.incarnation) for timer in world.timers}
    kinds = {
        w.LAUNCHING: ("launch",),
        w.SICK: ("health", "stall"),
        w.RETIRING: ("retire", "kill"),
        w.TERMINATING: ("kill",),
        w.LINGERING: ("kill", "abandon"),
    }
    for worker in world.core._state.workers.values():
        wanted = kinds.get(worker.state, ())
        # One that is late is waited for: it is ready when that is seen, or ends.
        late = worker.state == w.LAUNCHING and worker.overdue
        if worker.pid and wanted and not late:
            assert any((kind, worker.incarnation) in armed for kind in wanted), worker
    for instance in instances_of(world):
        if instance.state == w.WAITING_RESTART:
            assert ("restart", instance.restart_timer) in armed, instance
    if world.core._state.run.phase == "draining":
        assert ("drain", 0) in armed
    for app_state in world.core._state.apps.values():
        if (
            app_state.created < app_state.wanted
            and app_state.mode == "running"
            and is_running(world)
        ):
            assert any(t.kind == "widen" and t.app == app_state.name for t in world.timers), (
                app_state
            )


def instances_have_no_gap(world: World, _effects) -> None:
    """The next instance to be launched is the number of those that are there."""
    for name, instances in world.core._state.instances.items():
        assert sorted(instances) == list(range(len(instances))), name


def who_serves_is_checked(world: World, _effects) -> None:
    """Where the file asks for checks, who is online or sick is checked for ever, nobody else."""
    armed = {timer.incarnation for timer in world.timers if timer.kind == "health"}
    for worker in world.core._state.workers.values():
        serves = worker.state in (w.ONLINE, w.SICK)
        begun = worker.state == w.LAUNCHING and worker.check
        asked = worker.spec.health is not None
        assert (worker.incarnation in armed) == bool(asked and (serves or begun)), worker
        process = world.processes.get(worker.incarnation)
        if process is not None:
            assert bool(process.check) == worker.checking, (worker, process)
        if worker.state == w.SICK:
            assert worker.stalled_at or (worker.sick and worker.failures), worker
        assert not worker.stalled_at or worker.state not in (w.ONLINE, w.LAUNCHING), worker


def who_serves_is_watched(world: World, _effects) -> None:
    """Whoever is to give signs of life is waited for while it serves, nobody else.

    Where nothing is known of readiness, from its exec on.
    """
    armed = {timer.incarnation for timer in world.timers if timer.kind == "watchdog"}
    for worker in world.core._state.workers.values():
        process = world.processes.get(worker.incarnation)
        running = process is not None and process.execed
        plain = worker.state == w.LAUNCHING and running and not awaits_readiness(worker.spec)
        watched = worker.watchdog > 0 and (worker.state in w.SERVING_STATES or plain)
        assert (worker.incarnation in armed) == watched, worker


def readiness_is_checked(world: World, effects) -> None:
    """Where the file asks for checks, whoever is ready has passed one."""
    for effect in effects:
        if isinstance(effect, f.Report) and effect.event == "worker ready":
            said = dict(effect.fields)
            spec = world.core._state.apps[said["app"]].spec
            crew = world.core._state.workers.values()
            [worker] = [each for each in crew if each.pid == said["pid"]]
            if worker.spec.health is not None and spec.health is not None:
                assert worker.healthy, worker


def a_stop_starts_nothing(world: World, effects) -> None:
    """Once the workers are told to stop, none is started.

    One event may start some and begin the stop, as a new file of an app that is errored by its
    terms: those are told to stop in the same turn.
    """
    if not is_stopping(world):
        return
    begins = any(
        isinstance(each, f.Report) and each.event == "shutdown started" for each in effects
    )
    for n, effect in enumerate(effects):
        if isinstance(effect, f.Spawn):
            stops = (f.SendSignal, f.SendShutdownMessage)
            later = [each.incarnation for each in effects[n:] if isinstance(each, stops)]
            assert begins and effect.incarnation in later, effect


def errored_ends_the_container(world: World, _effects) -> None:
    """An errored app with `on_errored: exit` has begun the end."""
    run = world.core._state.run
    for app_state in world.core._state.apps.values():
        waits = app_state.spec.on_errored == "wait" and app_state.edited
        if app_state.errored and app_state.spec.on_errored != "keep" and not waits:
            assert run.phase != "running", app_state


def dependencies_come_first(world: World, effects) -> None:
    """No worker of an app is started before what it depends on was there once."""
    for effect in effects:
        if isinstance(effect, f.Spawn):
            assert world.core._state.apps[effect.spec.name].mode != "waiting"


def it_can_be_seen(world: World, _effects) -> None:
    """The view is whole: every process is in one row, every place too."""
    view = world.core.view()
    for app in view.apps:
        rows = [(row.instance, row.incarnation) for row in app.workers]
        assert len(rows) == len(set(rows))
        assert 0 <= app.reloaded <= app.to_reload
        instances = {row.instance for row in app.workers}
        assert {p.number for p in instances_of(world, app.name)} <= instances


def is_running(world: World) -> bool:
    return world.core._state.run.phase == "running"


def _slots(world: World, name: str, state: str) -> tuple[int, ...]:
    return tuple(sorted({each.queue for each in crew_of(world, name) if each.state == state}))


def is_stopping(world: World) -> bool:
    return world.core._state.run.phase in ("stopping", "finished")


STATE = (
    counts_are_a_recount,
    a_place_knows_its_own,
    nobody_is_doubled,
    ids_name_one_instance,
    slots_have_one_owner,
    instances_have_no_gap,
    errored_ends_the_container,
    it_can_be_seen,
)
STEP = (
    no_process_is_forgotten,
    what_cannot_live_side_by_side_does_not,
    reloads_are_bounded,
    the_port_is_steered_to_who_is_ready,
    deadlines_have_an_owner,
    nothing_waits_for_ever,
    who_serves_is_checked,
    who_serves_is_watched,
    readiness_is_checked,
    a_stop_starts_nothing,
    dependencies_come_first,
)


def check(world: World, effects) -> None:
    seen = moment(world)
    if not seen.checked:
        for holds in STATE:
            holds(world, effects)
        seen.checked = True
    for holds in STEP:
        holds(world, effects)


def settle(world: World) -> None:
    """Leave it alone until all has come to rest, or should have.

    A program that is never ready is started `max_restarts` times again, each time for as long
    as the slowest start that was seen makes the core wait; a reload does that one by one.
    """
    world.advance(400)
    state = world.core._state
    bound = world.now
    for app_state in state.apps.values():
        spec = app_state.spec
        life = max(spec.listen_timeout, 3 * app_state.slowest) + spec.kill_timeout + 90
        bound += (spec.max_restarts + 1 + app_state.wanted) * (life + max(15.0, spec.restart_delay))
    while world.exit_code is None and world.now < bound and _is_moving(world):
        world.advance(50)


def _is_moving(world: World) -> bool:
    state = world.core._state
    apps = {
        app_state.name for app_state in state.apps.values() if not _undying(world, app_state.name)
    }
    starting = {
        each.app for each in state.workers.values() if each.state == w.LAUNCHING and each.due
    }
    starting |= {
        instance.app for instance in instances_of(world) if instance.state == w.WAITING_RESTART
    }
    starting |= {
        app_state.name for app_state in state.apps.values() if app_state.reload is not None
    }
    return bool(apps & starting)


def came_to_rest(world: World) -> None:
    """Left alone with healthy programs, every app is where it is meant to be."""
    state = world.core._state
    for app_state in state.apps.values():
        if app_state.live != app_state.ready and _undying(world, app_state.name):
            continue  # whoever waits for it waits until the kernel lets it end
        assert app_state.reload is None, app_state
        assert app_state.mode in ("running", "stopped", "waiting"), app_state
        late = [each for each in _crew(world, app_state.name) if each.overdue]
        assert app_state.live == app_state.ready + len(late), app_state
        for instance in instances_of(world, app_state.name):
            if app_state.mode == "stopped":
                assert instance.state == w.STOPPED, instance
            elif instance.state not in (w.FINISHED, w.ERRORED, w.IDLE):
                worker = state.workers.get(instance.current)
                assert worker is not None, instance
                assert worker.state == w.ONLINE or worker in late, (instance, worker)
        assert not app_state.undone, app_state
        if app_state.spec.share == "slots" and app_state.online:
            assert world.routed[app_state.name] == app_state.online, app_state
        if app_state.mode == "running":
            assert app_state.port or app_state.name not in world.refusing, app_state
            assert len(state.instances.get(app_state.name, {})) == app_state.wanted, app_state


def _crew(world: World, name: str):
    """Its workers that are launching."""
    return [each for each in crew_of(world, name) if each.state == w.LAUNCHING]


def _undying(world: World, name: str) -> bool:
    return any(p.script.undying or p.spared for p in world.live(name))


def longest_stop(world: World) -> float:
    """The sum of the bounds that the plan sets to a shutdown which begins now, seconds."""
    state = world.core._state
    settings = state.run.shutdown
    specs = [app_state.spec for app_state in state.apps.values()]
    specs += [each.spec for each in state.workers.values()]
    bounds = {}
    for spec in specs:
        bound = spec.retire_delay + 2 * spec.kill_timeout + 3.0 + 0.1
        bounds[spec.name] = max(bounds.get(spec.name, 0.0), bound)
    # One that is leaving may have asked for more time before.
    asked = max((each.due - world.now for each in state.workers.values()), default=0.0)
    remaining = max((spec.kill_timeout for spec in specs), default=0.0)
    total = settings.drain_delay + sum(bounds.values()) + max(0.0, asked) + remaining + 0.1
    return min(total, settings.timeout + 3.2) if settings.timeout else total


def replays(world: World) -> None:
    """The same history gives the same effects.

    So does what the flight recorder keeps of it, secrets hashed: of each fourth history, for it
    takes longer than the history itself.
    """
    core = type(world)().core
    recorded = len(world.history) % 4 == 0
    # So small that most histories need several segments.
    recorder = Recorder(core.state, limit=60_000)
    if recorded:
        recorder.begin()
    ordered = []
    for at, event in world.history:
        effects = core.handle(event, at)
        if recorded:
            recorder.append((at, event, effects, ""))
        ordered += [(at, effect) for effect in effects]
    assert ordered == world.effects
    if not recorded:
        return
    known = kinds()
    journal = document.read(document.lines(recorder.dump("test"), known), known)
    assert not journal.dropped
    assert not replay(journal)
