"""How much of the container's memory and CPUs each worker may use.

Each runtime assumes that the container is its own: four Node workers in 512 MiB each size their
heap to 259 MiB. So the limit, minus what PID 1 and the kernel need, is divided by the number of
workers plus one: a reload runs the next worker beside the old one.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .spec import AppSpec

MIB = 1 << 20
# Reserved for PID 1, buffers and the kernel: a tenth of the limit, at least this much, and at
# most a quarter of the limit.
RESERVE = 64 * MIB
RESERVE_SHARE = 0.1
RESERVE_AT_MOST = 0.25
# Below this there is no budget: the limit is too small for so many workers.
AT_LEAST = 16 * MIB


def share(limit: int, apps: Iterable[tuple[AppSpec, int]]) -> int:
    """Bytes for one worker out of `limit`. `apps`: each app with its number of workers.

    An app with a fixed `max_memory_restart` uses that much for each worker.
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
