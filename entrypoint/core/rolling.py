"""Changes of a running app: rolling reloads, restarts, scaling.

A rolling reload surges: for each instance a successor is started on a spare slot; when
it is ready it becomes current and the old worker retires; the next instance follows
when the old one is gone. So the number of ready workers never falls below its initial
value. An app without a shared port cannot have two workers side by side (both would
need the port): its instances are stopped and started one after the other, like PM2's
`reload` does in fork mode.

A reload observes the workers that it starts. No old worker is stopped before the first successor
has accepted a connection and lived `min_ready`. The exit of any successor until the reload is
over aborts it: successors that have not replaced a worker are stopped, old workers stay,
and what has been replaced is restarted with the previous revision of the file.
"""

from __future__ import annotations

from . import draining, listeners, reasons
from . import worker as w
from .addresses import accepts
from .effects import LookAt, ReportOutcome, StartTimer, StopTimer
from .events import Timer
from .lifecycle import (
    await_leftover,
    awaits_readiness,
    launch,
    shares_port,
    stop_worker,
    stop_workers,
)
from .overdue import shortfall
from .readiness import launch_bound, min_ready, recall
from .restarts import restarted
from .slots import fit_slots, free_queue, free_slot, surges, take_slot
from .worker import AppState, Instance, Reload, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .transaction import Transaction


def scale(tx: Transaction, app_state: AppState, wanted: int) -> None:
    """Retire the highest surplus instances; missing ones start by themselves."""
    before = app_state.wanted
    ids = (*app_state.ids[:wanted], *tx.new_ids(max(0, wanted - before)))
    app_state = tx.put_app(app_state.replace(wanted=wanted, ids=ids))
    if wanted != before:
        tx.report("info", "app scaled", app=app_state.name, was=before, instances=wanted)
    drop_from_reload(tx, app_state, tuple(range(wanted, before)))
    leaving: list[Worker] = []
    for instance in list(tx.instances(app_state.name)):
        if instance.number >= wanted:
            leaving += _remove_instance(tx, instance)
    if wanted == 0:
        listeners.refuse(tx, tx.the_app(app_state.name))
    stop_workers(tx, app_state.name, leaving, "scale")
    if app_state.mode == "running":
        advance(tx, app_state.name)


def drop_from_reload(tx: Transaction, app_state: AppState, instances: tuple[int, ...]) -> None:
    """Stop waiting for these instances in a reload: they are removed or restarted."""
    if app_state.reload is None:
        return
    reload = app_state.reload.replace(
        queue=tuple(n for n in app_state.reload.queue if n not in instances),
        active=tuple(n for n in app_state.reload.active if n not in instances),
    )
    proving = tx.worker(reload.proving)
    if proving is not None and proving.instance in instances:
        reload = unproven(tx, reload, proving.app)
    tx.put_app(app_state.replace(reload=reload))
    resume(tx, app_state.name)


def unproven(tx: Transaction, reload: Reload, app: str) -> Reload:
    """Let another successor prove that the release works."""
    tx.emit(StopTimer(Timer("prove", app, reload.proving)))
    return reload.replace(proving=0, lives=False)


def forget_proof(tx: Transaction, worker: Worker) -> None:
    """Let another worker prove the release if the one that had to has ended."""
    app_state = tx.app(worker.app)
    if (
        app_state is None
        or app_state.reload is None
        or app_state.reload.proving != worker.incarnation
    ):
        return
    tx.put_app(app_state.replace(reload=unproven(tx, app_state.reload, worker.app)))
    resume(tx, worker.app)


def _remove_instance(tx: Transaction, instance: Instance) -> list[Worker]:
    """Remove an instance; returns its workers, which have to be stopped."""
    tx.emit(StopTimer(Timer("restart", instance.app, instance.restart_timer)))
    tx.drop_instance(instance)
    free_slot(tx, instance.app, instance.slot)
    free_queue(tx, instance)
    both = (tx.worker(instance.current), tx.worker(instance.successor))
    return [worker for worker in both if worker is not None]


def begin(
    tx: Transaction, app_state: AppState, reason: str, only: tuple[int, ...] | None = None
) -> None:
    """Reload every instance, or `only` these, to the app's newest spec.

    During another reload the queue starts over: an instance that is being replaced now gets
    another turn, because its successor started before this request.
    """
    if app_state.mode != "running":
        return
    app_state = fit_slots(tx, app_state)
    active = app_state.reload.active if app_state.reload else ()
    repairs: tuple[int, ...] = ()
    # A finished instance is not run again.
    if only is None:
        over = (w.FINISHED, w.IDLE)
        queue = tuple(p.number for p in tx.instances(app_state.name) if p.state not in over)
    else:
        before = app_state.reload.queue if app_state.reload else ()
        queue = (*before, *(n for n in only if n not in before))
        # Instances waiting for a repair are replaced by the newest spec now.
        known = app_state.reload.repairs if app_state.reload else ()
        repairs = tuple(n for n in known if n in active or n not in only)
    total = len({*queue, *active})
    if app_state.reload is not None and app_state.reload.proving:
        unproven(tx, app_state.reload, app_state.name)
    # What the last reload started is the previous spec of this one.
    _forget_before(tx, app_state.name, active)
    fresh = tuple(
        n
        for n in (app_state.reload.fresh if app_state.reload else ())
        if (each := tx.worker(n)) is not None and each.instance in active
    )
    reload = Reload(queue, active, total, tx.now, reason, repairs, fresh)
    tx.put_app(app_state.replace(reload=reload))
    tx.report("info", "reload started", app=app_state.name, workers=len(queue), reason=reason)
    tx.emit(ReportOutcome(app_state.name, "reload", "started", len(queue)))
    resume(tx, app_state.name)
    advance(tx, app_state.name)


def _forget_before(tx: Transaction, app: str, but: tuple[int, ...] = ()) -> None:
    for instance in list(tx.instances(app)):
        if instance.before is not None and instance.number not in but:
            tx.put_instance(instance.replace(before=None))


def repair(tx: Transaction, app_state: AppState, number: int, reason: str) -> None:
    """Replace the worker of this instance, which fails or ends, by one of the same spec.

    A reload under way does so when it reaches the instance.
    """
    app_state = fit_slots(tx, app_state)
    reload = app_state.reload
    if reload is None:
        reload = Reload((), started_at=tx.now, reason=reason)
        tx.report("info", "reload started", app=app_state.name, workers=1, reason=reload.reason)
        tx.emit(ReportOutcome(app_state.name, "reload", "started", 1))
    reload = reload.replace(
        queue=(*reload.queue, number),
        repairs=(*reload.repairs, number),
        total=reload.total + 1,
    )
    tx.put_app(app_state.replace(reload=reload))
    advance(tx, app_state.name)


def advance(tx: Transaction, app: str) -> None:
    """Begin as many further instances as may be reloaded in parallel."""
    while True:
        app_state = tx.app(app)
        if app_state is None or app_state.reload is None:
            return
        reload = app_state.reload
        if not reload.queue and not reload.active:
            tx.put_app(app_state.replace(reload=None))
            _forget_before(tx, app)
            tx.count("reload", app, "finished", tx.now - reload.started_at)
            tx.emit(ReportOutcome(app, "reload", "finished", reload.total))
            tx.report(
                "info",
                "reload finished",
                app=app,
                workers=reload.total,
                took=round(tx.now - reload.started_at, 3),
            )
            return
        # An instance that was requested again waits until its present turn is over.
        startable = [n for n in reload.queue if n not in reload.active]
        busy = [n for n in reload.active if not _is_held(tx, app_state, n)]
        may_begin = len(busy) < max(1, app_state.spec.reload_parallel)
        if not startable or not may_begin:
            return
        number = startable[0]
        tx.put_app(
            app_state.replace(
                reload=reload.replace(
                    queue=tuple(n for n in reload.queue if n != number),
                    active=(*reload.active, number),
                )
            )
        )
        instance = tx.instance(app, number)
        if instance is None:
            done(tx, app, number)
        else:
            _replace(tx, tx.the_app(app), instance)


def _replace(tx: Transaction, app_state: AppState, instance: Instance) -> None:
    current = tx.worker(instance.current)
    instance = tx.put_instance(recall(tx, instance, current))
    # If no worker serves at present, the spec that ran there may still be the one that worked.
    waits = instance.state == w.WAITING_RESTART
    if surges(app_state) and (shares_port(current.spec) if current else waits):
        if waits:
            tx.emit(StopTimer(Timer("restart", app_state.name, instance.restart_timer)))
            instance = instance.replace(state=w.RUNNING, restart_timer=0)
        # Repaired with the spec that worked: the newest one may have been given up.
        spec = instance.spec if _repairs(app_state, instance) else app_state.spec
        note_fresh(tx, launch(tx, instance, spec, take_slot(tx, app_state), successor=True))
    elif current is None:
        # It is finished, errored, or waiting for a restart: start it.
        tx.emit(StopTimer(Timer("restart", app_state.name, instance.restart_timer)))
        if await_leftover(tx, instance, app_state.spec, "reload"):
            return
        instance = instance.replace(unstable=(), delay=0.0, loop=(), before=instance.spec)
        note_fresh(tx, launch(tx, instance, app_state.spec, instance.slot))
    else:
        if not current.spec.listen:
            tx.emit(LookAt(current.incarnation, current.app, once=True))
        because = app_state.reload.reason if app_state.reload else ""
        stop_worker(tx, current, "reload", because)


def succeed_again(tx: Transaction, instance: Instance) -> None:
    """Start a successor again that was stopped to be started with another method."""
    instance = tx.put_instance(instance.replace(successor=0))
    app_state = tx.the_app(instance.app)
    spec = instance.spec if _repairs(app_state, instance) else app_state.spec
    note_fresh(tx, launch(tx, instance, spec, take_slot(tx, app_state), successor=True))


def note_fresh(tx: Transaction, worker: Worker) -> None:
    """Record a worker that the reload under way has started, if its instance is among those."""
    app_state = tx.the_app(worker.app)
    if app_state.reload is not None and worker.instance in app_state.reload.active:
        fresh = (*app_state.reload.fresh, worker.incarnation)
        tx.put_app(app_state.replace(reload=app_state.reload.replace(fresh=fresh)))


# -- the first successor ----------------------------------------------------------------


def _is_proven(tx: Transaction, instance: Instance, worker: Worker) -> bool:
    """Whether old workers may be stopped; if not, arrange that this will be known."""
    app_state = tx.the_app(instance.app)
    reload = app_state.reload
    if reload is None or reload.proven or _repairs(app_state, instance):
        return True
    if reload.proving not in (0, worker.incarnation):
        return False
    timer = Timer("prove", worker.app, worker.incarnation)
    if worker.probed and not accepts(tx, worker):
        # It has reported that it is ready. Its accept shows that it serves.
        if not reload.proving:
            tx.emit(StartTimer(timer, launch_bound(tx, worker)))
            reload = reload.replace(proving=worker.incarnation)
            tx.put_app(app_state.replace(reload=reload))
        return False
    watching = reasons.label(reload.reason) == "watch"
    delay = min_ready(instance.to_accept, worker.spec, watching=watching)
    if delay <= 0:
        tx.emit(StopTimer(timer))
        _proven(tx, app_state, reload, worker)
        return True
    if not reload.lives:
        tx.emit(StartTimer(timer, delay))
        reload = reload.replace(proving=worker.incarnation, lives=True)
        tx.put_app(app_state.replace(reload=reload))
    return False


def _proven(tx: Transaction, app_state: AppState, reload: Reload, worker: Worker) -> None:
    """Record that its spec works: the requested release, or a previous one."""
    newest = reload.proven or worker.spec == app_state.spec
    reload = reload.replace(proven=newest, proving=0, lives=False)
    tx.put_app(app_state.replace(reload=reload))


def prove_over(tx: Transaction, worker: Worker) -> None:
    """Handle the end of `min_ready` of the first successor, or of its time to accept."""
    app_state = tx.the_app(worker.app)
    reload = app_state.reload
    if reload is None or reload.proving != worker.incarnation:
        return
    if not reload.lives or worker.state != w.ONLINE:
        reason = shortfall(tx, worker)
        stop_worker(tx, worker, "failed start", requested_by=reason)
        return
    _proven(tx, app_state, reload, worker)
    instance = tx.instance(worker.app, worker.instance)
    if instance is not None and instance.successor == worker.incarnation:
        _take_over(tx, instance, worker)
    else:
        done(tx, worker.app, worker.instance)
    resume(tx, worker.app)


def resume(tx: Transaction, app: str) -> None:
    """Continue with successors that are ready and waited for another to prove the release."""
    app_state = tx.the_app(app)
    for number in app_state.reload.active if app_state.reload is not None else ():
        instance = tx.instance(app, number)
        ready = tx.worker(instance.successor) if instance is not None else None
        if instance is not None and ready is not None and ready.ready:
            successor_ready(tx, instance, ready)
        elif instance is not None and not instance.successor:
            ready = tx.worker(instance.current)
            fresh = ready is not None and ready.ready and is_fresh(tx, ready)
            if ready is not None and fresh and not has_leaving(tx, ready):
                in_place_ready(tx, instance, ready)


def has_leaving(tx: Transaction, worker: Worker) -> bool:
    """Whether the old worker of its instance is leaving."""
    crew = tx.workers(worker.app)
    return any(each.instance == worker.instance and each.stop_reason == "reload" for each in crew)


def execed(tx: Transaction, worker: Worker) -> None:
    """Finish a repair when the new worker runs, if nothing is known of readiness.

    The next repair may be needed before `listen_timeout` is over: a leak does not wait.
    """
    instance = tx.instance(worker.app, worker.instance)
    if instance is None or instance.current != worker.incarnation or awaits_readiness(worker.spec):
        return
    if _repairs(tx.the_app(worker.app), instance):
        done(tx, worker.app, worker.instance)


def in_place_ready(tx: Transaction, instance: Instance, worker: Worker) -> None:
    """Handle a ready worker that was started after its old worker had ended."""
    reload = tx.the_app(instance.app).reload
    if reload is None or instance.number not in reload.active:
        return
    if _is_proven(tx, instance, worker):
        done(tx, instance.app, instance.number)


def successor_ready(tx: Transaction, instance: Instance, worker: Worker) -> None:
    """Make the successor current and retire the old worker."""
    old = tx.worker(instance.current)
    if old is not None and is_held(tx, old):
        return
    if old is None or _is_proven(tx, instance, worker):
        _take_over(tx, instance, worker)


def is_held(tx: Transaction, old: Worker) -> bool:
    """Whether a stalled worker keeps its slot beside its replacement for a while.

    It does so until a reload reaches its instance, or `stall_timeout` is over (stalls.py).
    """
    reload = tx.the_app(old.app).reload
    if reload is None or not old.stalled_at or old.stall_over or old.sick or old.stop_reason:
        return False
    return old.instance in reload.repairs and old.instance not in reload.queue


def _is_held(tx: Transaction, app_state: AppState, number: int) -> bool:
    instance = tx.instance(app_state.name, number)
    old = tx.worker(instance.current) if instance is not None else None
    return old is not None and is_held(tx, old)


def _take_over(tx: Transaction, instance: Instance, worker: Worker) -> None:
    old = tx.worker(instance.current)
    app_state = tx.the_app(instance.app)
    repairs = _repairs(app_state, instance)
    after = instance.replace(
        current=worker.incarnation,
        successor=0,
        slot=worker.slot,
        shared_queue=worker.shared_queue,
        spec=worker.spec,
        before=instance.before or instance.spec,
        state=w.RUNNING,
        restart_timer=0,
    )
    if not repairs:
        # In a repair earlier failures still count: this worker may soon be as sick.
        after = after.replace(unstable=(), delay=0.0, loop=())
    if old is not None:
        # A worker that had ended before was counted at its end.
        why = app_state.reload.reason if app_state.reload else ""
        label = reasons.of_repair(old) if repairs else reasons.label(why)
        tx.put_instance(restarted(tx, after, label))
        if repairs or not draining.replaced(tx, old):
            stop_worker(tx, old, "reload")
        else:
            done(tx, instance.app, instance.number)
    else:
        tx.put_instance(after)
        tx.emit(StopTimer(Timer("restart", instance.app, instance.restart_timer)))
        free_slot(tx, instance.app, instance.slot)
        free_queue(tx, instance)
        done(tx, instance.app, instance.number)


def _repairs(app_state: AppState, instance: Instance) -> bool:
    return app_state.reload is not None and instance.number in app_state.reload.repairs


def done(tx: Transaction, app: str, number: int) -> None:
    """Finish this instance: its new worker is ready and its old one is gone."""
    app_state = tx.app(app)
    if app_state is None or app_state.reload is None or number not in app_state.reload.active:
        return
    active = tuple(n for n in app_state.reload.active if n != number)
    repairs = tuple(n for n in app_state.reload.repairs if n != number)
    tx.put_app(app_state.replace(reload=app_state.reload.replace(active=active, repairs=repairs)))
    advance(tx, app)


def go_without(tx: Transaction, old: Worker) -> None:
    """Continue without waiting for an old worker that even SIGKILL does not end."""
    instance = tx.instance(old.app, old.instance)
    if instance is None:
        return
    if instance.current != old.incarnation:
        # Its successor serves. The old worker keeps its slot.
        tx.put_worker(old.replace(stop_reason="lost"))
    # Otherwise two would need one port: the new one starts when the old one is gone.
    if not instance.successor:
        done(tx, old.app, old.instance)


def is_fresh(tx: Transaction, worker: Worker) -> bool:
    """Whether the reload under way has started it."""
    app_state = tx.the_app(worker.app)
    return app_state.reload is not None and worker.incarnation in app_state.reload.fresh
