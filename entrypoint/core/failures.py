"""Effects that could not be performed, as the shell reports them.

An operation that is needed and may succeed later is repeated, for the state at that time.
"""

from __future__ import annotations

from . import lifecycle
from . import worker as w
from .effects import (
    GrowPort,
    PausePort,
    RefuseConnections,
    ResumePort,
    RouteTo,
    SendSignal,
    StartTimer,
    StopTimer,
    TrimPort,
)
from .events import Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .events import MessageNotSent, PortFailed, QueueUnwatched
    from .transaction import Transaction
    from .worker import AppState, Worker

# Pauses before a port operation is repeated: the first and the longest (s).
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0

_AGAIN = frozenset(("grow", "steer", "trim", "refuse", "pause", "resume"))


def message_not_sent(tx: Transaction, worker: Worker, event: MessageNotSent) -> None:
    """Send the stop signal instead: the worker never got the message."""
    tx.report_of(worker, "warning", "shutdown message not sent", reason=event.reason)
    if worker.state == w.TERMINATING:
        scope = lifecycle.signal_scope(worker)
        tx.emit(SendSignal(worker.incarnation, worker.stop_signal, scope, stop=True))


def queue_unwatched(tx: Transaction, worker: Worker, event: QueueUnwatched) -> None:
    """Stop waiting for the queue: whether connections wait in it is unknown."""
    tx.report_of(worker, "warning", "accept queue not watched", reason=event.reason)
    if worker.state == w.RETIRING:
        lifecycle.queue_emptied(tx, worker)


def port_failed(tx: Transaction, event: PortFailed) -> None:
    """Repeat the operation after a pause, which doubles each time."""
    tx.report("error", "port not changed", app=event.app, order=event.order, reason=event.reason)
    app_state = tx.app(event.app)
    if app_state is None or event.order not in _AGAIN or tx.run.remaining:
        return
    again = event.order if event.order not in app_state.undone else ""
    pause = min(LONGEST_PAUSE, 2 * app_state.port_pause) if app_state.port_pause else FIRST_PAUSE
    if app_state.undone:  # its timer is already running
        pause = app_state.port_pause
    else:
        tx.emit(StartTimer(Timer("port", app_state.name), pause))
    undone = (*app_state.undone, again) if again else app_state.undone
    tx.put_app(app_state.replace(undone=undone, port_pause=pause))


def forget(tx: Transaction, app_state: AppState) -> None:
    """Drop repeats: the port is closed or now belongs to another app."""
    if app_state.port_pause:
        tx.emit(StopTimer(Timer("port", app_state.name)))
        tx.put_app(app_state.replace(undone=(), port_pause=0.0))


def port_due(tx: Transaction, app: str) -> None:
    """Repeat the failed operations after the pause."""
    app_state = tx.app(app)
    if app_state is None:
        return
    if not app_state.undone:
        tx.put_app(app_state.replace(port_pause=0.0))  # it succeeded
        return
    orders = {
        "grow": GrowPort(app, app_state.slots),
        "steer": RouteTo(app, app_state.routed),
        "trim": TrimPort(app),
        "refuse": RefuseConnections(app),
        "pause": PausePort(app),
        "resume": ResumePort(app),
    }
    # Operations that are no longer needed are dropped.
    known = {
        "refuse": app_state.port == "refusing" or app_state.stop_sent,
        "pause": app_state.port == "paused",
        "resume": not app_state.port,
    }
    undone = [order for order in app_state.undone if known.get(order, True)]
    chosen = [effect for order, effect in orders.items() if order in undone]
    tx.put_app(app_state.replace(undone=()))
    # If none of them fails until then, the pauses start over.
    tx.emit(*chosen, StartTimer(Timer("port", app), app_state.port_pause))
