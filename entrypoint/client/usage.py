"""CPU and memory of workers, measured by the command itself.

Read here and not by PID 1: we share its PID namespace, and it has better things to do.
"""

from __future__ import annotations

import time

from entrypoint.kernel import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# Between two looks at the CPU time (s).
CPU_INTERVAL = 0.25


def measure(apps: list[dict[str, Any]]) -> None:
    """CPU (% of one core, just now) and memory of each worker with all below it."""
    workers = [worker for app in apps for worker in app["workers"] if worker["pid"]]
    before = {worker["pid"]: _cpu(worker["pid"]) for worker in workers}
    began = time.monotonic()
    if workers:
        time.sleep(CPU_INTERVAL)
    took = max(time.monotonic() - began, 0.001)
    for worker in workers:
        pid = worker["pid"]
        used = max(0.0, _cpu(pid) - before[pid])
        worker["cpu"] = round(100 * used / took, 1)
        worker["memory"] = proc.tree_rss(pid)


def _cpu(pid: int) -> float:
    members = (proc.stat(member) for member in proc.tree(pid))
    return sum(member.cpu for member in members if member is not None)
