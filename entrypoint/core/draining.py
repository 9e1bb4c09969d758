"""`drain`: a worker replaced by a reload keeps running until its clients have left.

For connections that last for hours (WebSocket, server-sent events, streams). The worker gets no
new connections and keeps its slot, and the reload does not wait for it. It gets its stop
signal when its last connection is closed, when `drain` is over, when it exceeds
`max_memory_restart`, or when more than `instances` workers of the app drain and it is the oldest.
"""

from __future__ import annotations

from . import retiring
from . import worker as w
from .lifecycle import has_slots, stop_worker, terminate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .transaction import Transaction
    from .worker import Worker


def replaced(tx: Transaction, old: Worker) -> bool:
    """Handle a worker that a reload has replaced and that has to leave. True: it drains."""
    if not old.spec.drain or not has_slots(old.spec) or old.state != w.ONLINE:
        return False
    stop_worker(tx, old, "drain", old.requested_by)
    draining = [each for each in tx.workers(old.app) if _drains(each)]
    for oldest in draining[: -max(1, tx.the_app(old.app).wanted)]:
        _end(tx, oldest, "more workers drain than the app has instances")
    return True


def exceeded(tx: Transaction, worker: Worker) -> bool:
    """Handle a worker above its memory limit. True: it was draining and is stopped for that."""
    if not _drains(worker):
        return False
    _end(tx, worker, "max_memory_restart")
    return True


def _drains(worker: Worker) -> bool:
    return worker.state == w.RETIRING and retiring.drains(worker)


def _end(tx: Transaction, worker: Worker, reason: str) -> None:
    tx.report_of(worker, "warning", "worker drain over", reason=reason)
    terminate(tx, worker)
