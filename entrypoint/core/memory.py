"""`max_memory_restart`: a worker that takes too much is replaced by what it ran itself.

As after a crash: the newest may be a release that was given up, and the worker that grows
would be left with none to follow it.

A worker that was too big so soon after it might first be replaced most likely needs so
much: the next one is left in peace for twice as long, up to the 30 s between two looks of
PM2's. Not one that takes many times its limit: that is a leak.
"""

from __future__ import annotations

from . import rolling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .transaction import Transaction
    from .worker import Worker

MEMORY = "max_memory_restart"

_SOON = 5.0
_SHORTEST, _LONGEST = 1.0, 30.0
_MUCH = 4


def exceeded(tx: Transaction, worker: Worker, rss: int) -> None:
    """The worker and its descendants hold `rss` bytes."""
    app_state = tx.the_app(worker.app)
    instance = tx.instance(worker.app, worker.instance)
    # One that is being replaced already will be gone soon.
    if worker.stop_reason or instance is None or instance.current != worker.incarnation:
        return
    if instance.successor or app_state.mode != "running" or tx.run.phase != "running":
        return
    if app_state.reload is not None and worker.instance in app_state.reload.queue:
        return  # its turn comes
    limit = worker.spec.max_memory_restart
    lived = tx.now - worker.launched_at
    if lived < instance.memory_patience and rss < _MUCH * limit:
        return
    tx.put_instance(instance.replace(memory_patience=_patience(instance.memory_patience, lived)))
    tx.put_worker(worker.replace(requested_by=MEMORY))
    tx.report_of(
        worker,
        "warning",
        "memory limit exceeded",
        rss=rss,
        max_memory_restart=limit,
    )
    rolling.repair(tx, app_state, worker.instance, MEMORY)


def _patience(before: float, lived: float) -> float:
    if lived >= before + _SOON:
        return 0.0
    return min(_LONGEST, max(_SHORTEST, 2 * before))
