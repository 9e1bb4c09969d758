"""Changing an app while it runs: rolling reloads, restarts, scaling.

A rolling reload surges: for each instance a successor is started on a spare slot; when
it is ready it becomes current and the old worker is retired; the next instance follows
when the old one is gone. So the number of ready workers never falls below where it
began. An app without a shared port cannot have two workers side by side (both would
want the port): its instances are stopped and started one after the other, as PM2's
`reload` does in fork mode.

A reload watches what it has rolled. No old worker is stopped before the first successor has
accepted a connection and lived `min_ready`. The exit of any successor until the reload is
over aborts it: successors that have replaced nobody are stopped, no further old worker is,
and what has been replaced is restarted with the revision of the file from before.
"""

from __future__ import annotations

from . import reasons, trimming
from . import worker as w
from .addresses import accepts
from .effects import FreeSlot, GrowPort, LookAt, ReportOutcome, StartTimer, StopTimer
from .events import Timer
from .lifecycle import awaits_readiness, has_slots, launch, shares_port, stop_worker, stop_workers
from .readiness import launch_bound, min_ready, recall, shortfall
from .restarts import restarted
from .worker import Place, Pool, Reload, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .turn import Turn


def surges(pool: Pool) -> bool:
    """Two workers of one instance can live side by side."""
    return shares_port(pool.spec)


def fit_slots(turn: Turn, pool: Pool) -> Pool:
    """As many slots as instances, and spare ones to surge into."""
    slots = pool.wanted + pool.spec.surge if surges(pool) else pool.wanted
    if slots <= pool.slots:
        return pool
    used = {place.slot for place in turn.places(pool.name)}
    fresh = tuple(n for n in range(pool.slots, slots) if n not in used)
    pool = turn.put_pool(pool.replace(slots=slots, spare=(*pool.spare, *fresh)))
    return grow_port(turn, pool)


def grow_port(turn: Turn, pool: Pool) -> Pool:
    """Have as many slots on each shared address as the app counts."""
    if not shares_port(pool.spec):
        return pool
    turn.emit(GrowPort(pool.name, pool.slots))
    return turn.put_pool(pool.replace(granted=pool.slots))


def take_slot(turn: Turn, pool: Pool) -> int:
    """A slot that no place has; the lowest, so that numbers stay small.

    There is none while workers that were scaled away, or that do not die, still have theirs.
    """
    if not pool.spare:
        pool = turn.put_pool(pool.replace(slots=pool.slots + 1, spare=(pool.slots,)))
        pool = grow_port(turn, pool)
    slot = min(pool.spare)
    at = pool.spare.index(slot)
    turn.put_pool(pool.replace(spare=(*pool.spare[:at], *pool.spare[at + 1 :])))
    return slot


def free_slot(turn: Turn, app: str, slot: int) -> None:
    """Keep it for others, unless a place or something that is left of a worker has it."""
    pool = turn.the_pool(app)
    if slot in pool.spare or any(place.slot == slot for place in turn.places(app)):
        return
    if not any(worker.slot == slot for worker in turn.workers(app)):
        turn.put_pool(pool.replace(spare=(*pool.spare, slot)))
        if has_slots(pool.spec):
            turn.emit(FreeSlot(app, slot))


def scale(turn: Turn, pool: Pool, wanted: int) -> None:
    """Retire the highest instances of what is too many; what is missing starts by itself."""
    before = pool.wanted
    ids = (*pool.ids[:wanted], *turn.new_ids(max(0, wanted - before)))
    pool = turn.put_pool(pool.replace(wanted=wanted, ids=ids))
    if wanted != before:
        turn.report("info", "app scaled", app=pool.name, was=before, instances=wanted)
    leave_out(turn, pool, tuple(range(wanted, before)))
    leaving: list[Worker] = []
    for place in list(turn.places(pool.name)):
        if place.instance >= wanted:
            leaving += _remove_place(turn, place)
    if wanted == 0:
        trimming.refuse(turn, turn.the_pool(pool.name))
    stop_workers(turn, pool.name, leaving, "scale")
    if pool.mode == "running":
        advance(turn, pool.name)


def leave_out(turn: Turn, pool: Pool, instances: tuple[int, ...]) -> None:
    """A reload under way no longer waits for these: they go, or are restarted."""
    if pool.reload is None:
        return
    reload = pool.reload.replace(
        queue=tuple(n for n in pool.reload.queue if n not in instances),
        active=tuple(n for n in pool.reload.active if n not in instances),
    )
    proving = turn.worker(reload.proving)
    if proving is not None and proving.instance in instances:
        reload = _unproven(turn, reload, proving.app)
    turn.put_pool(pool.replace(reload=reload))
    _resume(turn, pool.name)


def _unproven(turn: Turn, reload: Reload, app: str) -> Reload:
    """Another successor is to prove that the release works."""
    turn.emit(StopTimer(Timer("prove", app, reload.proving)))
    return reload.replace(proving=0, lives=False)


def forget_proof(turn: Turn, worker: Worker) -> None:
    """The worker has ended: if it was to prove the release, another one is to."""
    pool = turn.pool(worker.app)
    if pool is None or pool.reload is None or pool.reload.proving != worker.incarnation:
        return
    turn.put_pool(pool.replace(reload=_unproven(turn, pool.reload, worker.app)))
    _resume(turn, worker.app)


def _remove_place(turn: Turn, place: Place) -> list[Worker]:
    """The instance is no longer wanted; its workers, which are to be stopped."""
    turn.emit(StopTimer(Timer("restart", place.app, place.waits_for)))
    turn.drop_place(place)
    free_slot(turn, place.app, place.slot)
    both = (turn.worker(place.current), turn.worker(place.successor))
    return [worker for worker in both if worker is not None]


def begin(turn: Turn, pool: Pool, reason: str, only: tuple[int, ...] | None = None) -> None:
    """Reload every instance, or `only` these, to the app's newest spec.

    During another reload the queue begins anew: what is being replaced right now gets
    its turn again, for its successor began before this was asked.
    """
    if pool.mode != "running":
        return
    pool = fit_slots(turn, pool)
    active = pool.reload.active if pool.reload else ()
    repairs: tuple[int, ...] = ()
    # What has done its work is not asked to do it again.
    if only is None:
        over = (w.FINISHED, w.IDLE)
        queue = tuple(p.instance for p in turn.places(pool.name) if p.state not in over)
    else:
        before = pool.reload.queue if pool.reload else ()
        queue = (*before, *(n for n in only if n not in before))
        # What would have been repaired is replaced by the newest now.
        known = pool.reload.repairs if pool.reload else ()
        repairs = tuple(n for n in known if n in active or n not in only)
    total = len({*queue, *active})
    if pool.reload is not None and pool.reload.proving:
        _unproven(turn, pool.reload, pool.name)
    # What the last reload has replaced is what was before this one.
    _forget_before(turn, pool.name, active)
    fresh = tuple(
        n
        for n in (pool.reload.fresh if pool.reload else ())
        if (each := turn.worker(n)) is not None and each.instance in active
    )
    reload = Reload(queue, active, total, turn.now, reason, repairs, fresh)
    turn.put_pool(pool.replace(reload=reload))
    turn.report("info", "reload started", app=pool.name, workers=len(queue), reason=reason)
    turn.emit(ReportOutcome(pool.name, "reload", "started", len(queue)))
    _resume(turn, pool.name)
    advance(turn, pool.name)


def _forget_before(turn: Turn, app: str, but: tuple[int, ...] = ()) -> None:
    for place in list(turn.places(app)):
        if place.before is not None and place.instance not in but:
            turn.put_place(place.replace(before=None))


def repair(turn: Turn, pool: Pool, instance: int, reason: str) -> None:
    """Replace the worker of this instance, which is no good or ends, by what it ran itself.

    A reload under way does it in its turn.
    """
    pool = fit_slots(turn, pool)
    reload = pool.reload
    if reload is None:
        reload = Reload((), started_at=turn.now, reason=reason)
        turn.report("info", "reload started", app=pool.name, workers=1, reason=reload.reason)
        turn.emit(ReportOutcome(pool.name, "reload", "started", 1))
    reload = reload.replace(
        queue=(*reload.queue, instance),
        repairs=(*reload.repairs, instance),
        total=reload.total + 1,
    )
    turn.put_pool(pool.replace(reload=reload))
    advance(turn, pool.name)


def advance(turn: Turn, app: str) -> None:
    """Begin as many further instances as may be reloaded side by side."""
    while True:
        pool = turn.pool(app)
        if pool is None or pool.reload is None:
            return
        reload = pool.reload
        if not reload.queue and not reload.active:
            turn.put_pool(pool.replace(reload=None))
            _forget_before(turn, app)
            turn.count("reload", app, "finished", turn.now - reload.started_at)
            turn.emit(ReportOutcome(app, "reload", "finished", reload.total))
            turn.report(
                "info",
                "reload finished",
                app=app,
                workers=reload.total,
                took=round(turn.now - reload.started_at, 3),
            )
            return
        # An instance asked for again waits until its own turn of before is over.
        startable = [n for n in reload.queue if n not in reload.active]
        room = len(reload.active) < max(1, pool.spec.reload_parallel)
        if not startable or not room:
            return
        instance = startable[0]
        turn.put_pool(
            pool.replace(
                reload=reload.replace(
                    queue=tuple(n for n in reload.queue if n != instance),
                    active=(*reload.active, instance),
                )
            )
        )
        place = turn.place(app, instance)
        if place is None:
            done(turn, app, instance)
        else:
            _replace(turn, turn.the_pool(app), place)


def _replace(turn: Turn, pool: Pool, place: Place) -> None:
    current = turn.worker(place.current)
    place = turn.put_place(recall(turn, place, current))
    # Where nothing serves just now, what ran there may still be what worked.
    waits = place.state == w.WAITING_RESTART
    if surges(pool) and (shares_port(current.spec) if current else waits):
        if waits:
            turn.emit(StopTimer(Timer("restart", pool.name, place.waits_for)))
            place = place.replace(state=w.RUNNING, waits_for=0)
        # Repaired by what worked: the newest may be what was given up.
        spec = place.spec if _repairs(pool, place) else pool.spec
        note_fresh(turn, launch(turn, place, spec, take_slot(turn, pool), successor=True))
    elif current is None:
        # It finished, is errored, or waits for a restart: start.
        turn.emit(StopTimer(Timer("restart", pool.name, place.waits_for)))
        place = place.replace(unstable=(), delay=0.0, loop=(), before=place.spec)
        note_fresh(turn, launch(turn, place, pool.spec, place.slot))
    else:
        if not current.spec.listen:
            turn.emit(LookAt(current.incarnation, current.app, once=True))
        because = pool.reload.reason if pool.reload else ""
        stop_worker(turn, current, "reload", because)


def succeed_again(turn: Turn, place: Place) -> None:
    """A successor that was stopped to be started in another way is started again."""
    place = turn.put_place(place.replace(successor=0))
    pool = turn.the_pool(place.app)
    if pool.reload is not None and place.instance in pool.reload.active:
        spec = place.spec if _repairs(pool, place) else pool.spec
        note_fresh(turn, launch(turn, place, spec, take_slot(turn, pool), successor=True))


def note_fresh(turn: Turn, worker: Worker) -> None:
    """The reload under way has started this worker, if its instance is among those."""
    pool = turn.the_pool(worker.app)
    if pool.reload is not None and worker.instance in pool.reload.active:
        fresh = (*pool.reload.fresh, worker.incarnation)
        turn.put_pool(pool.replace(reload=pool.reload.replace(fresh=fresh)))


# -- the first successor ----------------------------------------------------------------


def _is_proven(turn: Turn, place: Place, worker: Worker) -> bool:
    """Old workers may be stopped; else it is seen to that this will be known."""
    pool = turn.the_pool(place.app)
    reload = pool.reload
    if reload is None or reload.proven or _repairs(pool, place):
        return True
    if reload.proving not in (0, worker.incarnation):
        return False
    timer = Timer("prove", worker.app, worker.incarnation)
    if worker.probed and not accepts(turn, worker):
        # It has said that it is ready. That it serves is seen when it accepts.
        if not reload.proving:
            turn.emit(StartTimer(timer, launch_bound(turn, worker)))
            reload = reload.replace(proving=worker.incarnation)
            turn.put_pool(pool.replace(reload=reload))
        return False
    watching = reasons.label(reload.reason) == "watch"
    delay = min_ready(place.to_accept, worker.spec, watching=watching)
    if delay <= 0:
        turn.emit(StopTimer(timer))
        _proven(turn, worker)
        return True
    if not reload.lives:
        turn.emit(StartTimer(timer, delay))
        reload = reload.replace(proving=worker.incarnation, lives=True)
        turn.put_pool(pool.replace(reload=reload))
    return False


def _proven(turn: Turn, worker: Worker) -> None:
    """It shows that what it runs works: the release that is asked for, or one before that."""
    pool = turn.the_pool(worker.app)
    if pool.reload is not None:
        newest = pool.reload.proven or worker.spec == pool.spec
        reload = pool.reload.replace(proven=newest, proving=0, lives=False)
        turn.put_pool(pool.replace(reload=reload))


def prove_over(turn: Turn, worker: Worker) -> None:
    """The first successor has lived `min_ready`, or had its time to accept."""
    pool = turn.the_pool(worker.app)
    reload = pool.reload
    if reload is None or reload.proving != worker.incarnation:
        return
    if not reload.lives or worker.state != w.ONLINE:
        reason = shortfall(turn, worker)
        stop_worker(turn, worker, "failed start", because=reason)
        return
    _proven(turn, worker)
    place = turn.place(worker.app, worker.instance)
    if place is not None and place.successor == worker.incarnation:
        _take_over(turn, place, worker)
    elif place is not None:
        done(turn, worker.app, worker.instance)
    _resume(turn, worker.app)


def _resume(turn: Turn, app: str) -> None:
    """Successors that are ready, and waited for another to prove the release."""
    pool = turn.the_pool(app)
    for instance in pool.reload.active if pool.reload is not None else ():
        place = turn.place(app, instance)
        ready = turn.worker(place.successor) if place is not None else None
        if place is not None and ready is not None and ready.ready:
            successor_ready(turn, place, ready)
        elif place is not None and not place.successor:
            ready = turn.worker(place.current)
            fresh = ready is not None and ready.ready and is_fresh(turn, ready)
            if ready is not None and fresh and not _leaves(turn, ready):
                in_place_ready(turn, place, ready)


def _leaves(turn: Turn, worker: Worker) -> bool:
    """The old worker of its instance is on its way out."""
    crew = turn.workers(worker.app)
    return any(each.instance == worker.instance and each.purpose == "reload" for each in crew)


def execed(turn: Turn, worker: Worker) -> None:
    """A repair where nothing is known of readiness is done when the new worker runs.

    The next one may be needed before `listen_timeout` is over: a leak does not wait.
    """
    place = turn.place(worker.app, worker.instance)
    if place is None or place.current != worker.incarnation or awaits_readiness(worker.spec):
        return
    if _repairs(turn.the_pool(worker.app), place):
        done(turn, worker.app, worker.instance)


def late(turn: Turn, incarnation: int) -> None:
    """A worker started where the old one had been is waited for without a bound.

    The reload is not: it goes no further.
    """
    worker = turn.worker(incarnation)
    if worker is None or not worker.overdue or worker.due or worker.state != w.LAUNCHING:
        return
    if is_fresh(turn, worker):
        abort(turn, worker, shortfall(turn, worker))


def stopped_listening(turn: Turn, incarnation: int, address: str) -> None:
    """A worker that the reload has started is no longer ready: the reload goes no further."""
    worker = turn.worker(incarnation)
    if worker is None or worker.state != w.LAUNCHING or not worker.overdue or worker.due:
        return
    why = f"no longer listening on {address}"
    place = turn.place(worker.app, worker.instance)
    if place is not None and place.successor == incarnation:
        # It has replaced no worker yet. Its end aborts the reload.
        stop_worker(turn, worker, "failed start", because=why)
    elif is_fresh(turn, worker):
        abort(turn, worker, why)


def in_place_ready(turn: Turn, place: Place, worker: Worker) -> None:
    """A worker is ready that was started where the old one had been."""
    reload = turn.the_pool(place.app).reload
    if reload is None or place.instance not in reload.active:
        return
    if _is_proven(turn, place, worker):
        done(turn, place.app, place.instance)


def successor_ready(turn: Turn, place: Place, worker: Worker) -> None:
    """The successor becomes current; the old worker leaves."""
    if turn.worker(place.current) is None or _is_proven(turn, place, worker):
        _take_over(turn, place, worker)


def _take_over(turn: Turn, place: Place, worker: Worker) -> None:
    old = turn.worker(place.current)
    pool = turn.the_pool(place.app)
    repairs = _repairs(pool, place)
    after = place.replace(
        current=worker.incarnation,
        successor=0,
        slot=worker.slot,
        spec=worker.spec,
        before=place.before or place.spec,
        state=w.RUNNING,
        waits_for=0,
    )
    if not repairs:
        # In a repair what failed before still counts: this one may be as sick in a moment.
        after = after.replace(unstable=(), delay=0.0, loop=())
    if old is not None:
        # One that had ended before was counted with its end.
        why = pool.reload.reason if pool.reload else ""
        label = reasons.of_repair(old) if repairs else reasons.label(why)
        turn.put_place(restarted(turn, after, label))
        stop_worker(turn, old, "reload")
    else:
        turn.put_place(after)
        turn.emit(StopTimer(Timer("restart", place.app, place.waits_for)))
        free_slot(turn, place.app, place.slot)
        done(turn, place.app, place.instance)


def _repairs(pool: Pool, place: Place) -> bool:
    return pool.reload is not None and place.instance in pool.reload.repairs


def done(turn: Turn, app: str, instance: int) -> None:
    """This instance is reloaded: its new worker is ready and its old one gone."""
    pool = turn.pool(app)
    if pool is None or pool.reload is None or instance not in pool.reload.active:
        return
    active = tuple(n for n in pool.reload.active if n != instance)
    repairs = tuple(n for n in pool.reload.repairs if n != instance)
    turn.put_pool(pool.replace(reload=pool.reload.replace(active=active, repairs=repairs)))
    advance(turn, app)


def go_without(turn: Turn, old: Worker) -> None:
    """An old worker that even SIGKILL does not end holds up nobody but its own instance."""
    place = turn.place(old.app, old.instance)
    if place is None:
        return
    if place.current != old.incarnation:
        # Its successor serves. Its slot stays with it.
        turn.put_worker(old.replace(purpose="lost"))
    # Else two would want one port: it is started when the old one is gone.
    if not place.successor:
        done(turn, old.app, old.instance)


# -- a successor failed -----------------------------------------------------------------


def is_fresh(turn: Turn, worker: Worker) -> bool:
    """The reload under way has started it."""
    pool = turn.the_pool(worker.app)
    return pool.reload is not None and worker.incarnation in pool.reload.fresh


def abort(turn: Turn, failed: Worker, why: str) -> None:
    """A worker that the reload under way has started has ended: the rest stays as it is.

    Unless the file says something else by now: then what failed is not what is asked for,
    and its instance waits in the queue for its turn.
    """
    app, instance = failed.app, failed.instance
    place = turn.place(app, instance)
    if place is not None and place.successor == failed.incarnation:
        place = turn.put_place(place.replace(successor=0))
    pool = turn.the_pool(app)
    reload = pool.reload
    if reload is None:
        return
    if failed.spec != pool.spec and instance in reload.queue and instance in reload.active:
        if place is not None and turn.worker(place.successor) is not None:
            return  # its turn goes on: it has a successor already
        active = tuple(n for n in reload.active if n != instance)
        if reload.proving == failed.incarnation:
            reload = _unproven(turn, reload, app)
        turn.put_pool(pool.replace(reload=reload.replace(active=active)))
        _resume(turn, app)
        return
    if reload.proving:
        _unproven(turn, reload, app)
    turn.put_pool(pool.replace(reload=None))
    begun, rolled = [], 0
    for each in list(turn.places(app)):
        worker = turn.worker(each.successor)
        if worker is not None:
            turn.put_place(each.replace(successor=0))
            begun.append(worker)
        elif each.current in reload.fresh:
            rolled += 1
        current = turn.worker(each.current)
        if current is not None and current.purpose == "reload":
            # It was to make room for the release that has failed.
            turn.put_worker(current.replace(purpose="abort"))
        _run_before(turn, app, each.instance, reload)
    stop_workers(turn, app, begun, "abort", because=why)
    turn.count("reload", app, "aborted", turn.now - reload.started_at)
    kept = _kept(turn.the_pool(app).ready, rolled)
    turn.emit(ReportOutcome(app, "reload", "aborted", reload.total, why, instance, kept))
    turn.report(
        "error",
        "reload aborted",
        app=app,
        instance=instance,
        because=why,
        then=kept,
        note=NOTE,
    )
    for each in list(turn.places(app)):
        if each.current != failed.incarnation:
            _revive(turn, app, each.instance)


NOTE = (
    "restarts use the old revision of the file; code that was overwritten on disk cannot come back"
)


def _kept(ready: int, rolled: int) -> str:
    if not ready:
        return "none is ready"
    if rolled:
        return f"the other old workers stay, {rolled} of the new ones too"
    return "the old workers stay"


def _run_before(turn: Turn, app: str, instance: int, reload: Reload) -> None:
    """From now on a restart of this instance runs what ran before the reload."""
    place = turn.place(app, instance)
    if place is None or place.before is None:
        return
    mine = place.current in reload.fresh or instance in reload.active or not place.current
    spec = place.before if mine else place.spec
    turn.put_place(place.replace(spec=spec, before=None))


def _revive(turn: Turn, app: str, instance: int) -> None:
    """Where the old worker crashed during its reload: what worked before is started again."""
    place = turn.place(app, instance)
    if place is None or place.successor or place.state != w.RUNNING:
        return
    if turn.worker(place.current) is None:
        launch(turn, place, place.spec, place.slot)
