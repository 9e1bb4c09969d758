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
    SendSignal,
    StartTimer,
    Steer,
    TrimPort,
)
from .events import Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .events import MessageNotSent, PortFailed, QueueUnwatched
    from .turn import Turn
    from .worker import Worker

# Pauses before an order about a port is given again: the first and the longest (s).
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0

_AGAIN = frozenset(("grow", "steer", "trim", "refuse", "pause", "resume"))


def message_not_sent(turn: Turn, worker: Worker, event: MessageNotSent) -> None:
    """It would never hear that it is to stop."""
    turn.report_of(worker, "warning", "shutdown message not sent", reason=event.reason)
    if worker.state == w.TERMINATING:
        scope = lifecycle.reach(worker)
        turn.emit(SendSignal(worker.incarnation, worker.stop_signal, scope, stop=True))


def queue_unwatched(turn: Turn, worker: Worker, event: QueueUnwatched) -> None:
    """Whether connections wait for it is not known: they are not waited for."""
    turn.report_of(worker, "warning", "accept queue not watched", reason=event.reason)
    lifecycle.queue_unknown(turn, worker)


def port_failed(turn: Turn, event: PortFailed) -> None:
    """Give the order again after a pause, twice as long each time."""
    turn.report("error", "port not changed", app=event.app, order=event.order, reason=event.reason)
    pool = turn.pool(event.app)
    if pool is None or event.order not in _AGAIN:
        return
    again = event.order if event.order not in pool.undone else ""
    pause = min(LONGEST_PAUSE, 2 * pool.port_pause) if pool.port_pause else FIRST_PAUSE
    if pool.undone:  # its timer runs already
        pause = pool.port_pause
    else:
        turn.emit(StartTimer(Timer("port", pool.name), pause))
    undone = (*pool.undone, again) if again else pool.undone
    turn.put_pool(pool.replace(undone=undone, port_pause=pause))


def port_due(turn: Turn, app: str) -> None:
    """The pause is over."""
    pool = turn.pool(app)
    if pool is None:
        return
    if not pool.undone:
        turn.put_pool(pool.replace(port_pause=0.0))  # it went well
        return
    orders = {
        "grow": GrowPort(app, pool.slots),
        "steer": Steer(app, pool.steered),
        "trim": TrimPort(app),
        "refuse": RefuseConnections(app),
        "pause": PausePort(app),
        "resume": ResumePort(app),
    }
    # What is no longer asked for is left out.
    known = {
        "refuse": pool.port == "refusing" or pool.told,
        "pause": pool.port == "paused",
        "resume": not pool.port,
    }
    undone = [order for order in pool.undone if known.get(order, True)]
    chosen = [effect for order, effect in orders.items() if order in undone]
    turn.put_pool(pool.replace(undone=()))
    # If nothing is heard of them until then, the pauses begin anew.
    turn.emit(*chosen, StartTimer(Timer("port", app), pool.port_pause))
