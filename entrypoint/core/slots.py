"""Slots of an app: the numbers of its sockets, one for each worker, plus spare ones for surges."""

from __future__ import annotations

from . import worker as w
from .effects import GrowPort, RelayQueue, ReleaseSlot, StartTimer, StopTimer
from .events import Timer
from .lifecycle import is_steered, shares_port
from .queues import is_used

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .transaction import Transaction
    from .worker import AppState, Instance, Worker


def surges(app_state: AppState) -> bool:
    """Whether two workers of one instance can run side by side."""
    return shares_port(app_state.spec)


def fit_slots(tx: Transaction, app_state: AppState) -> AppState:
    """Have as many slots as instances, plus spare ones for surges."""
    slots = app_state.wanted + app_state.spec.surge if surges(app_state) else app_state.wanted
    if slots <= app_state.slots:
        return app_state
    used = {instance.slot for instance in tx.instances(app_state.name)}
    fresh = tuple(n for n in range(app_state.slots, slots) if n not in used)
    app_state = tx.put_app(app_state.replace(slots=slots, spare=(*app_state.spare, *fresh)))
    return grow_port(tx, app_state)


def grow_port(tx: Transaction, app_state: AppState) -> AppState:
    """Grow each shared address to the number of slots of the app."""
    if not shares_port(app_state.spec):
        return app_state
    tx.emit(GrowPort(app_state.name, app_state.slots))
    return tx.put_app(app_state.replace(granted=app_state.slots))


def take_slot(tx: Transaction, app_state: AppState) -> int:
    """Take a slot that no instance has; the lowest, so that numbers stay small.

    There is none while workers that were scaled away, or that do not die, still have theirs.
    """
    if not app_state.spare:
        app_state = tx.put_app(
            app_state.replace(slots=app_state.slots + 1, spare=(app_state.slots,))
        )
        app_state = grow_port(tx, app_state)
    slot = min(app_state.spare)
    at = app_state.spare.index(slot)
    tx.put_app(app_state.replace(spare=(*app_state.spare[:at], *app_state.spare[at + 1 :])))
    return slot


def free_slot(tx: Transaction, app: str, slot: int) -> None:
    """Release a slot, unless an instance or remaining processes of a group use it."""
    app_state = tx.the_app(app)
    if slot in app_state.spare or any(instance.slot == slot for instance in tx.instances(app)):
        return
    if not any(worker.slot == slot for worker in tx.workers(app)):
        tx.put_app(app_state.replace(spare=(*app_state.spare, slot)))
        # A file that shares no port keeps its sockets until its workers are replaced, and a file
        # that follows soon may share them again.
        steered = is_steered(app_state.spec)
        kept = app_state.untrimmed and slot < app_state.granted
        if (steered or kept) and not is_used(tx, app, slot):
            tx.emit(ReleaseSlot(app, slot))


def free_queue(tx: Transaction, owner: Worker | Instance) -> None:
    """Release the queue of a worker that is gone, unless another worker shares it."""
    app_state, queue = tx.the_app(owner.app), owner.queue
    # The queue of a slot that is free now was released already.
    said = owner.shared_queue < 0 and queue in app_state.spare
    if is_steered(app_state.spec) and not said and not is_used(tx, owner.app, queue):
        tx.emit(ReleaseSlot(owner.app, queue))


# -- queues of workers that have crashed -------------------------------------------------
# Connections wait in the slot of a crashed worker while its siblings are idle. If the
# slot's next worker boots quickly, it takes them. Otherwise they are relayed to the siblings,
# if a worker then still sees the client's address (`RelayQueue`).

# Time for the next worker of the slot to be there for its queue (s).
BOOT_AT_MOST = 0.3


def queue_left(tx: Transaction, worker: Worker) -> None:
    """Handle the queue of a worker that ended without a stop."""
    app_state = tx.the_app(worker.app)
    if is_steered(worker.spec) and app_state.ready:
        orphans = (*app_state.orphans, (worker.incarnation, worker.queue))
        tx.put_app(app_state.replace(orphans=orphans))
        tx.emit(StartTimer(Timer("orphans", worker.app, worker.incarnation), BOOT_AT_MOST))


def queue_due(tx: Transaction, timer: Timer) -> None:
    """Relay the queue if the next worker has not come in time."""
    app_state = tx.app(timer.app)
    slot = dict(app_state.orphans).get(timer.incarnation) if app_state is not None else None
    if app_state is None or slot is None:
        return
    orphans = tuple(each for each in app_state.orphans if each[0] != timer.incarnation)
    app_state = tx.put_app(app_state.replace(orphans=orphans))
    serves = any(
        each.queue == slot and each.state in w.SERVING_STATES for each in tx.workers(app_state.name)
    )
    if app_state.ready and not serves and tx.run.phase in ("running", "draining"):
        tx.emit(RelayQueue(app_state.name, slot))


def forget_queues(tx: Transaction, app_state: AppState) -> AppState:
    """Relay no connections of this app any more: it ends."""
    if not app_state.orphans:
        return app_state
    tx.emit(
        *(StopTimer(Timer("orphans", app_state.name, number)) for number, _ in app_state.orphans)
    )
    return tx.put_app(app_state.replace(orphans=()))
