"""Connections that wait for a worker that has crashed, while its siblings are idle.

They wait in the dead worker's own slot, for the worker that is started again there. Where that
boots quickly it takes them. Else they are relayed to the siblings, as far as a worker then still
sees the client's address (`RelayQueue`).
"""

from __future__ import annotations

from . import worker as w
from .effects import RelayQueue, StartTimer, StopTimer
from .events import Timer
from .lifecycle import has_slots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .transaction import Transaction
    from .worker import AppState, Worker

# How long the next worker of the slot has to be there for its queue (s).
BOOT_AT_MOST = 0.3


def left(tx: Transaction, worker: Worker) -> None:
    """A worker has ended that was not stopped."""
    app_state = tx.the_app(worker.app)
    if has_slots(worker.spec) and app_state.ready:
        orphans = (*app_state.orphans, (worker.incarnation, worker.slot))
        tx.put_app(app_state.replace(orphans=orphans))
        tx.emit(StartTimer(Timer("orphans", worker.app, worker.incarnation), BOOT_AT_MOST))


def due(tx: Transaction, timer: Timer) -> None:
    """The next worker has had its time."""
    app_state = tx.app(timer.app)
    slot = dict(app_state.orphans).get(timer.incarnation) if app_state is not None else None
    if app_state is None or slot is None:
        return
    orphans = tuple(each for each in app_state.orphans if each[0] != timer.incarnation)
    app_state = tx.put_app(app_state.replace(orphans=orphans))
    serves = any(
        each.slot == slot and each.state in w.SERVING_STATES for each in tx.workers(app_state.name)
    )
    if app_state.ready and not serves and tx.run.phase in ("running", "draining"):
        tx.emit(RelayQueue(app_state.name, slot))


def forget(tx: Transaction, app_state: AppState) -> AppState:
    """The app ends: its connections are relayed to no worker any more."""
    if not app_state.orphans:
        return app_state
    tx.emit(
        *(StopTimer(Timer("orphans", app_state.name, number)) for number, _ in app_state.orphans)
    )
    return tx.put_app(app_state.replace(orphans=()))
