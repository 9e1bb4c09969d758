"""Whether the kernel's out-of-memory killer was at work in this container.

A worker that it ended looks like any other that SIGKILL ended; only the counter of the
memory cgroup tells (`memory.events` in v2, `memory.oom_control` in v1).
"""

from __future__ import annotations

import os

_ROOT = "/sys/fs/cgroup"


def oom_kills(root: str = _ROOT, proc: str = "/proc") -> int | None:
    """How many processes of this cgroup it has ended, None where nothing tells.

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
