"""Stalled workers: connections wait for the worker, and it accepts none.

Its event loop is blocked, or all threads of its pool wait for a database.

::

    5 s    detected by the shell (`AcceptStalled`): no new connections; waiting ones are relayed
           to its siblings if they then see the client's address
    10 s   a replacement starts beside it, one at a time; it takes part at once
    then   the next accept makes it online again, and its replacement is stopped
    later  `stall_timeout`: it is stopped. Its health checks or its watchdog stop it sooner

A request that takes half a minute is no reason to end a worker. So without `stall_timeout` in
the file it gets at least a minute, and three times the longest such pause from which a worker
of the app has recovered.
"""

from __future__ import annotations

from . import addresses, rolling
from . import worker as w
from .effects import ProbeAccept, RelayQueue, StartTimer, StopTimer
from .events import Timer
from .lifecycle import has_slots, route, stop_worker, stop_workers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .events import AcceptStalled
    from .transaction import Transaction
    from .worker import AppState, Instance, Worker

STALLED: Final = "stalled"

# Time from its last accept to the start of a replacement (s).
REPLACE_AFTER = 10.0
# The pause before another attempt to start one (s).
AGAIN = 5.0
# It is stopped after at least this long, and after this multiple of the app's longest pause.
AT_LEAST = 60.0
TIMES = 3.0
# The patience of a probe if siblings share the socket (s).
PATIENCE = 2.0


def stall_timeout(app_state: AppState, worker: Worker) -> float:
    """Seconds without an accept after which it is stopped; 0: never."""
    if worker.spec.stall_timeout is not None:
        return worker.spec.stall_timeout
    return max(AT_LEAST, TIMES * app_state.longest_stall)


def seen(tx: Transaction, event: AcceptStalled) -> None:
    """Handle a stall: connections wait on a slot, and its worker has accepted none for a while."""
    app_state = tx.app(event.app)
    if app_state is None or tx.run.phase != "running" or not has_slots(app_state.spec):
        return
    for worker in tx.workers(event.app):
        serves = worker.state in w.SERVING_STATES and not worker.stalled_at
        # Connections left in the queue by the previous worker are no sign of a stall of this one.
        if serves and worker.slot == event.slot and worker.up_at <= event.since:
            # A worker under a debugger stands still on purpose.
            if not addresses.debugger_ports(worker.spec):
                _steer_away(tx, worker, event)
            return


def _steer_away(tx: Transaction, worker: Worker, event: AcceptStalled) -> None:
    if worker.state == w.ONLINE:
        worker = worker.after(w.SICKEN)
    worker = tx.put_worker(worker.replace(stalled_at=event.since))
    tx.report_of(
        worker,
        "warning",
        "worker stalled",
        address=event.address,
        waiting=event.waiting,
        after=round(tx.now - event.since, 3),
    )
    tx.count("stall", worker.app)
    # Before they are relayed: otherwise they might come back.
    route(tx, worker.app)
    if tx.the_app(worker.app).ready:
        tx.emit(RelayQueue(worker.app, worker.slot, stalled=True))
    limit = stall_timeout(tx.the_app(worker.app), worker)
    first = event.since + min(REPLACE_AFTER, limit or REPLACE_AFTER)
    tx.emit(
        # A connection of pyinit's own shows when it accepts again.
        ProbeAccept(
            worker.incarnation,
            worker.app,
            worker.slot,
            event.declared or event.address,
            event.declared,
            PATIENCE,
        ),
        StartTimer(_timer(worker), max(0.0, first - tx.now)),
    )


def accepted(tx: Transaction, worker: Worker) -> None:
    """Handle an accept: the worker is no longer stalled and needs no replacement."""
    if not worker.stalled_at or worker.state != w.SICK:
        return
    paused = tx.now - worker.stalled_at
    app_state = tx.the_app(worker.app)
    if paused > app_state.longest_stall:
        tx.put_app(app_state.replace(longest_stall=paused))
    replaced = worker.requested_by == STALLED and not worker.sick
    requested_by = "" if replaced else worker.requested_by
    worker = worker.replace(stalled_at=0.0, stall_over=False, requested_by=requested_by)
    tx.put_worker(worker if worker.sick else worker.after(w.READY))
    tx.emit(StopTimer(_timer(worker)))
    tx.report_of(worker, "info", "worker accepts again", after=round(paused, 3))
    if replaced:
        _without_replacement(tx, worker)


def due(tx: Transaction, worker: Worker) -> None:
    """Replace the worker, or stop it if its time is over."""
    instance = tx.instance(worker.app, worker.instance)
    if not worker.stalled_at or instance is None:
        return
    app_state = tx.the_app(worker.app)
    limit = stall_timeout(app_state, worker)
    left = worker.stalled_at + limit - tx.now if limit else AGAIN
    if left <= 0:
        _stop(tx, worker, instance, limit)
        return
    if _may_replace(tx, app_state, worker, instance):
        tx.put_worker(worker.replace(requested_by=STALLED))
        rolling.repair(tx, app_state, worker.instance, STALLED)
    tx.emit(StartTimer(_timer(worker), min(left, AGAIN)))


def _stop(tx: Transaction, worker: Worker, instance: Instance, limit: float) -> None:
    why = f"accepted no connection for {limit:g} s"
    if not (worker.sick or worker.stall_over):
        tx.report_of(worker, "error", "worker stall overdue", reason=why)
    if instance.successor in (0, worker.incarnation):
        # There is no replacement, or it is the replacement that has stalled too.
        stop_worker(tx, worker, STALLED, why)
        return
    worker = tx.put_worker(worker.replace(stall_over=True))
    # Stop waiting for it: its replacement takes over when it is ready.
    rolling.resume(tx, worker.app)
    left = tx.worker(worker.incarnation)
    if left is not None and not left.stop_reason:
        tx.emit(StartTimer(_timer(worker), AGAIN))


def _may_replace(tx: Transaction, app_state: AppState, worker: Worker, instance: Instance) -> bool:
    """Whether one more worker may be started beside it."""
    running = app_state.mode == "running" and tx.run.phase == "running"
    if instance.successor or not running or not worker.spec.autorestart:
        return False
    reload = app_state.reload
    if reload is not None and worker.instance in (*reload.queue, *reload.active):
        return False
    if len(instance.unstable) > worker.spec.max_restarts or tx.now < instance.repair_at:
        return False
    held = sum(1 for each in tx.workers(worker.app) if rolling.is_held(tx, each))
    return held < max(1, worker.spec.reload_parallel)


def _without_replacement(tx: Transaction, worker: Worker) -> None:
    """Keep only this worker: stop its replacement."""
    number = worker.instance
    instance = tx.instance(worker.app, number)
    app_state = tx.the_app(worker.app)
    reload = app_state.reload
    if instance is None or reload is None or number not in reload.repairs:
        return
    successor = tx.worker(instance.successor)
    tx.put_instance(instance.replace(successor=0))
    fresh = tuple(each for each in reload.fresh if each != instance.successor)
    queue = tuple(each for each in reload.queue if each != number)
    repairs = tuple(each for each in reload.repairs if each != number)
    reload = reload.replace(queue=queue, repairs=repairs, fresh=fresh, total=reload.total - 1)
    tx.put_app(app_state.replace(reload=reload))
    rolling.done(tx, worker.app, number)
    if successor is not None:
        stop_workers(tx, worker.app, [successor], "scale", requested_by="worker accepts again")


def _timer(worker: Worker) -> Timer:
    return Timer("stall", worker.app, worker.incarnation)
