"""Orders of ours that could not be carried out, as the shell reports them.

What is needed and can be had later is ordered again, by the state as it is then.
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

# Pauses before an order about a port is given again: the first and the longest (s).
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0

_AGAIN = frozenset(("grow", "steer", "trim", "refuse", "pause", "resume"))


def message_not_sent(tx: Transaction, worker: Worker, event: MessageNotSent) -> None:
    """It would never hear that it is to stop."""
    tx.report_of(worker, "warning", "shutdown message not sent", reason=event.reason)
    if worker.state == w.TERMINATING:
        scope = lifecycle.signal_scope(worker)
        tx.emit(SendSignal(worker.incarnation, worker.stop_signal, scope, stop=True))


def queue_unwatched(tx: Transaction, worker: Worker, event: QueueUnwatched) -> None:
    """Whether connections wait for it is not known: they are not waited for."""
    tx.report_of(worker, "warning", "accept queue not watched", reason=event.reason)
    if worker.state == w.RETIRING:
        lifecycle.queue_emptied(tx, worker)


def port_failed(tx: Transaction, event: PortFailed) -> None:
    """Give the order again after a pause, twice as long each time."""
    tx.report("error", "port not changed", app=event.app, order=event.order, reason=event.reason)
    app_state = tx.app(event.app)
    if app_state is None or event.order not in _AGAIN or tx.run.remaining:
        return
    again = event.order if event.order not in app_state.undone else ""
    pause = min(LONGEST_PAUSE, 2 * app_state.port_pause) if app_state.port_pause else FIRST_PAUSE
    if app_state.undone:  # its timer runs already
        pause = app_state.port_pause
    else:
        tx.emit(StartTimer(Timer("port", app_state.name), pause))
    undone = (*app_state.undone, again) if again else app_state.undone
    tx.put_app(app_state.replace(undone=undone, port_pause=pause))


def forget(tx: Transaction, app_state: AppState) -> None:
    """Its port is closed, or another app's from now on: no order is given again."""
    if app_state.port_pause:
        tx.emit(StopTimer(Timer("port", app_state.name)))
        tx.put_app(app_state.replace(undone=(), port_pause=0.0))


def port_due(tx: Transaction, app: str) -> None:
    """The pause is over."""
    app_state = tx.app(app)
    if app_state is None:
        return
    if not app_state.undone:
        tx.put_app(app_state.replace(port_pause=0.0))  # it went well
        return
    orders = {
        "grow": GrowPort(app, app_state.slots),
        "steer": RouteTo(app, app_state.routed),
        "trim": TrimPort(app),
        "refuse": RefuseConnections(app),
        "pause": PausePort(app),
        "resume": ResumePort(app),
    }
    # What is no longer asked for is left out.
    known = {
        "refuse": app_state.port == "refusing" or app_state.stop_sent,
        "pause": app_state.port == "paused",
        "resume": not app_state.port,
    }
    undone = [order for order in app_state.undone if known.get(order, True)]
    chosen = [effect for order, effect in orders.items() if order in undone]
    tx.put_app(app_state.replace(undone=()))
    # If nothing is heard of them until then, the pauses begin anew.
    tx.emit(*chosen, StartTimer(Timer("port", app), app_state.port_pause))
