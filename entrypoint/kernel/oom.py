"""The kernel's out-of-memory killer: whether it killed a process, and which it prefers.

A worker that it killed looks like any other killed by SIGKILL; only the counter of the
memory cgroup shows it (`memory.events` in v2, `memory.oom_control` in v1).
"""

from __future__ import annotations

import os

_ROOT = "/sys/fs/cgroup"

# Memory that PID 1 may use, with a margin, and the most that a worker's score is raised by. A
# point of oom_score_adj is a thousandth of the memory, also for the machine's own killer: more
# than this would make small workers the first to die on a machine that is full.
_OWN = 40 << 20
_MOST = 100


def workers_adjustment(limit: int | None, proc: str = "/proc") -> int | None:
    """The oom_score_adj of workers: above PID 1's by PID 1's own possible share.

    So the kernel kills a worker before PID 1, even a smaller one. `limit` is the memory of
    the container in bytes. None if it is not known.
    """
    try:
        with open(os.path.join(proc, "self/oom_score_adj"), encoding="ascii") as file:
            own = int(file.read())
    except (OSError, ValueError):
        return None
    if not limit:
        return None
    return min(1000, own + min(_MOST, 1 + _OWN * 1000 // limit))


def oom_kills(root: str = _ROOT, proc: str = "/proc") -> int | None:
    """How many processes of this cgroup it has killed, None if no counter exists.

    In a container `root` shows its own cgroup; outside of one the path in
    /proc/self/cgroup leads to it (`cgroups(7)`).
    """
    for path in _candidates(root, proc):
        try:
            with open(path, encoding="ascii") as file:
                for line in file:
                    name, _, value = line.partition(" ")
                    if name == "oom_kill":
                        return int(value)
        except (OSError, ValueError):
            continue
    return None


def _candidates(root: str, proc: str) -> list[str]:
    below_v1, below_v2 = "", ""
    try:
        with open(os.path.join(proc, "self/cgroup"), encoding="utf-8") as file:
            for line in file:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                if not controllers:
                    below_v2 = path
                elif "memory" in controllers.split(","):
                    below_v1 = path
    except (OSError, ValueError):
        pass
    found = []
    for folder, below, name in (
        (root, below_v2, "memory.events"),
        (f"{root}/memory", below_v1, "memory.oom_control"),
    ):
        insides = dict.fromkeys((below.strip("/"), ""))
        found += [os.path.join(folder, inside, name) for inside in insides]
    return found
