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
    from .turn import Turn
    from .worker import Worker

MEMORY = "max_memory_restart"

_SOON = 5.0
_SHORTEST, _LONGEST = 1.0, 30.0
_MUCH = 4


def exceeded(turn: Turn, worker: Worker, rss: int) -> None:
    """The worker and its descendants hold `rss` bytes."""
    pool = turn.the_pool(worker.app)
    place = turn.place(worker.app, worker.instance)
    # One that is being replaced already will be gone soon.
    if worker.purpose or place is None or place.current != worker.incarnation:
        return
    if place.successor or pool.mode != "running" or turn.run.phase != "running":
        return
    if pool.reload is not None and worker.instance in pool.reload.queue:
        return  # its turn comes
    limit = worker.spec.max_memory_restart
    lived = turn.now - worker.launched_at
    if lived < place.memory_patience and rss < _MUCH * limit:
        return
    turn.put_place(place.replace(memory_patience=_patience(place.memory_patience, lived)))
    turn.put_worker(worker.replace(because=MEMORY))
    turn.report_of(
        worker,
        "warning",
        "memory limit exceeded",
        rss=rss,
        max_memory_restart=limit,
    )
    rolling.repair(turn, pool, worker.instance, MEMORY)


def _patience(before: float, lived: float) -> float:
    if lived >= before + _SOON:
        return 0.0
    return min(_LONGEST, max(_SHORTEST, 2 * before))
