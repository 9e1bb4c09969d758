"""Slots of an app: numbers of its sockets, one for each worker, and spare ones to surge into."""

from __future__ import annotations

from .effects import GrowPort, ReleaseSlot
from .lifecycle import has_slots, shares_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .transaction import Transaction
    from .worker import AppState


def surges(app_state: AppState) -> bool:
    """Two workers of one instance can live side by side."""
    return shares_port(app_state.spec)


def fit_slots(tx: Transaction, app_state: AppState) -> AppState:
    """As many slots as instances, and spare ones to surge into."""
    slots = app_state.wanted + app_state.spec.surge if surges(app_state) else app_state.wanted
    if slots <= app_state.slots:
        return app_state
    used = {instance.slot for instance in tx.instances(app_state.name)}
    fresh = tuple(n for n in range(app_state.slots, slots) if n not in used)
    app_state = tx.put_app(app_state.replace(slots=slots, spare=(*app_state.spare, *fresh)))
    return grow_port(tx, app_state)


def grow_port(tx: Transaction, app_state: AppState) -> AppState:
    """Have as many slots on each shared address as the app counts."""
    if not shares_port(app_state.spec):
        return app_state
    tx.emit(GrowPort(app_state.name, app_state.slots))
    return tx.put_app(app_state.replace(granted=app_state.slots))


def take_slot(tx: Transaction, app_state: AppState) -> int:
    """A slot that no instance has; the lowest, so that numbers stay small.

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
    """Keep it for others, unless an instance or the rest of a worker's group has it."""
    app_state = tx.the_app(app)
    if slot in app_state.spare or any(instance.slot == slot for instance in tx.instances(app)):
        return
    if not any(worker.slot == slot for worker in tx.workers(app)):
        tx.put_app(app_state.replace(spare=(*app_state.spare, slot)))
        # A file that shares no port keeps its sockets until its workers are replaced, and one
        # that comes soon after may share them again.
        if has_slots(app_state.spec) or (app_state.untrimmed and slot < app_state.granted):
            tx.emit(ReleaseSlot(app, slot))
