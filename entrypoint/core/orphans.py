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
    from .turn import Turn
    from .worker import Pool, Worker

# How long the next worker of the slot has to be there for its queue (s).
BOOT_AT_MOST = 0.3


def left(turn: Turn, worker: Worker) -> None:
    """A worker has ended that nobody had told to."""
    pool = turn.the_pool(worker.app)
    if has_slots(worker.spec) and pool.ready:
        orphans = (*pool.orphans, (worker.incarnation, worker.slot))
        turn.put_pool(pool.replace(orphans=orphans))
        turn.emit(StartTimer(Timer("orphans", worker.app, worker.incarnation), BOOT_AT_MOST))


def due(turn: Turn, timer: Timer) -> None:
    """The next worker has had its time."""
    pool = turn.pool(timer.app)
    slot = dict(pool.orphans).get(timer.incarnation) if pool is not None else None
    if pool is None or slot is None:
        return
    orphans = tuple(each for each in pool.orphans if each[0] != timer.incarnation)
    pool = turn.put_pool(pool.replace(orphans=orphans))
    serves = any(
        each.slot == slot and each.state in w.SERVING_STATES for each in turn.workers(pool.name)
    )
    if pool.ready and not serves and turn.run.phase in ("running", "draining"):
        turn.emit(RelayQueue(pool.name, slot))


def forget(turn: Turn, pool: Pool) -> Pool:
    """The app ends: its connections are relayed to no worker any more."""
    if not pool.orphans:
        return pool
    turn.emit(*(StopTimer(Timer("orphans", pool.name, number)) for number, _ in pool.orphans))
    return turn.put_pool(pool.replace(orphans=()))
