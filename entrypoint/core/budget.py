"""What each worker of a container may take of its memory and its CPUs.

Each runtime believes that the container is its own: four Node workers in 512 MiB give their heaps
259 MiB each. So the limit, less what PID 1 and the kernel need, is divided by the workers that
there are, and one more: a reload has the next worker beside the old one.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .spec import AppSpec

MIB = 1 << 20
# Kept for PID 1, buffers and the kernel: a tenth of the limit, so much at least, and no more
# than a quarter of it.
RESERVE = 64 * MIB
RESERVE_SHARE = 0.1
RESERVE_AT_MOST = 0.25
# Less than this is no budget: the limit is too small for so many workers.
AT_LEAST = 16 * MIB


def share(limit: int, apps: Iterable[tuple[AppSpec, int]]) -> int:
    """Bytes for one worker, of a limit of so many; `apps`: each with its number of workers.

    An app with a fixed `max_memory_restart` has that for each worker.
    """
    room = limit - int(min(max(RESERVE, limit * RESERVE_SHARE), limit * RESERVE_AT_MOST))
    workers, surge = 0, 0
    for spec, number in apps:
        if spec.max_memory_restart > 0:
            room -= number * spec.max_memory_restart
        else:
            workers += number
            surge = max(surge, spec.reload_parallel if spec.share != "none" else 0)
    return max(AT_LEAST, room // max(1, workers + surge))
