"""Changing an app while it runs: rolling reloads, restarts, scaling.

A rolling reload surges: for each instance a successor is started on a spare slot; when
it is ready it becomes current and the old worker is retired; the next instance follows
when the old one is gone. So the number of ready workers never falls below where it
began. An app without a shared port cannot have two workers side by side (both would
want the port): its instances are stopped and started one after the other, as PM2's
`reload` does in fork mode.
"""

from __future__ import annotations

from . import reasons
from . import worker as w
from .effects import FreeSlot, GrowPort, StopTimer
from .events import Timer
from .lifecycle import has_slots, launch, shares_port, stop_worker, stop_workers
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
    stop_workers(turn, pool.name, leaving, "scale")
    if pool.mode == "running":
        advance(turn, pool.name)


def leave_out(turn: Turn, pool: Pool, instances: tuple[int, ...]) -> None:
    """A reload under way no longer waits for these: they go, or are restarted."""
    if pool.reload is not None:
        reload = pool.reload.replace(
            queue=tuple(n for n in pool.reload.queue if n not in instances),
            active=tuple(n for n in pool.reload.active if n not in instances),
        )
        turn.put_pool(pool.replace(reload=reload))


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
    reload = Reload(queue, active, total, turn.now, reason, repairs)
    turn.put_pool(pool.replace(reload=reload))
    turn.report("info", "reload started", app=pool.name, workers=len(queue), reason=reason)
    advance(turn, pool.name)


def repair(turn: Turn, pool: Pool, instance: int, reason: str) -> None:
    """Replace the worker of this instance, which is no good or ends, by what it ran itself.

    A reload under way does it in its turn.
    """
    pool = fit_slots(turn, pool)
    reload = pool.reload
    if reload is None:
        reload = Reload((), started_at=turn.now, reason=reason)
        turn.report("info", "reload started", app=pool.name, workers=1, reason=reload.reason)
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
            how = "aborted" if reload.aborted else "finished"
            turn.count("reload", app, how, turn.now - reload.started_at)
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
    # Where nothing serves just now, what ran there may still be what worked.
    waits = place.state == w.WAITING_RESTART
    if surges(pool) and (shares_port(current.spec) if current else waits):
        if waits:
            turn.emit(StopTimer(Timer("restart", pool.name, place.waits_for)))
            place = place.replace(state=w.RUNNING, waits_for=0)
        # Repaired by what worked: the newest may be what was given up.
        spec = place.spec if _repairs(pool, place) else pool.spec
        launch(turn, place, spec, take_slot(turn, pool), successor=True)
    elif current is None:
        # It finished, is errored, or waits for a restart: start.
        turn.emit(StopTimer(Timer("restart", pool.name, place.waits_for)))
        place = place.replace(unstable=(), delay=0.0)
        launch(turn, place, pool.spec, place.slot)
    else:
        because = pool.reload.reason if pool.reload else ""
        stop_worker(turn, current, "reload", because)


def successor_ready(turn: Turn, place: Place, worker: Worker) -> None:
    """The successor becomes current; the old worker leaves."""
    old = turn.worker(place.current)
    pool = turn.the_pool(place.app)
    repairs = _repairs(pool, place)
    after = place.replace(
        current=worker.incarnation,
        successor=0,
        slot=worker.slot,
        spec=worker.spec,
        state=w.RUNNING,
        waits_for=0,
    )
    if not repairs:
        # In a repair what failed before still counts: this one may be as sick in a moment.
        after = after.replace(unstable=(), delay=0.0)
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


def abort(turn: Turn, place: Place, failed: Worker, why: str) -> None:
    """A successor failed: the old workers stay, and no further instance is begun."""
    place = turn.put_place(place.replace(successor=0))
    halt(turn, failed, why)
    if turn.worker(place.current) is None and place.state == w.RUNNING:
        # The old worker crashed meanwhile: what worked before is started again.
        launch(turn, place, place.spec, place.slot)


def halt(turn: Turn, failed: Worker, why: str) -> None:
    """A new worker failed: no further instance is begun.

    Unless the file says something else by now: then what failed is not what is asked for,
    and its instance waits in the queue for its turn.
    """
    app, instance = failed.app, failed.instance
    pool = turn.the_pool(app)
    if pool.reload is None or instance not in pool.reload.active:
        return
    active = tuple(n for n in pool.reload.active if n != instance)
    if failed.spec != pool.spec and instance in pool.reload.queue:
        turn.put_pool(pool.replace(reload=pool.reload.replace(active=active)))
        return
    reload = pool.reload.replace(queue=(), active=active, aborted=True) if active else None
    turn.put_pool(pool.replace(reload=reload))
    if reload is None:
        turn.count("reload", app, "aborted", turn.now - pool.reload.started_at)
    then = "the old workers stay" if turn.the_pool(app).ready else "none is ready"
    turn.report("error", "reload aborted", app=app, instance=instance, because=why, then=then)
