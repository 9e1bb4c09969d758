"""What this container may use: CPUs, processes and memory.

Read from the limits of a cgroup (v1, v2 or both, "hybrid") and of all its visible
ancestors, and the affinity mask; not from the host's cores. Sources: the kernel's
admin-guide/cgroup-v1 and cgroup-v2.rst, cgroup_namespaces(7), sched_setaffinity(2).
"""

from __future__ import annotations

import os

_ENOUGH = 1 << 16


def usable_cpus(root: str = "/sys/fs/cgroup", proc: str = "/proc") -> int:
    """CPUs for `instances: max`: the affinity mask, at most the limit rounded up.

    Rounded up as Java and Go do: with 1.5 CPUs, two workers use them, one cannot.
    """
    try:
        available = len(os.sched_getaffinity(0))
    except OSError:
        available = os.cpu_count() or 1
    limit = cpu_limit(root, proc)
    if limit is not None:
        available = min(available, -int(-limit // 1))
    return max(1, available)


def cpu_limit(root: str = "/sys/fs/cgroup", proc: str = "/proc") -> float | None:
    """The smallest CPU quota that applies to this process, in CPUs; None: no limit.

    A value that cannot be read or parsed counts as no limit.
    """
    quotas = [
        _quota_v2(folder) if unified else _quota_v1(folder)
        for unified, folder in _folders("cpu", root, proc)
    ]
    return min((quota for quota in quotas if quota is not None), default=None)


def cpu_limit_files(root: str = "/sys/fs/cgroup", proc: str = "/proc") -> tuple[str, ...]:
    """The files that are written when the CPU limit changes."""
    found = []
    for unified, folder in _folders("cpu", root, proc):
        names = ("cpu.max",) if unified else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        found += [f"{folder}/{name}" for name in names if os.path.exists(f"{folder}/{name}")]
    return tuple(dict.fromkeys(found))


def pids_limit(root: str = "/sys/fs/cgroup", proc: str = "/proc") -> tuple[int, int] | None:
    """The `pids` limit nearest to being hit, and how many there are; None: no limit.

    Processes and threads count, zombies too.
    """
    found = []
    for _, folder in _folders("pids", root, proc):
        most = _read(f"{folder}/pids.max").strip()
        now = _read(f"{folder}/pids.current").strip()
        if most.isdigit() and now.isdigit():
            found.append((int(most), int(now)))
    return min(found, key=lambda pair: pair[0] - pair[1], default=None)


def memory_limit(root: str = "/sys/fs/cgroup", proc: str = "/proc") -> int | None:
    """The memory that this process may use, in bytes: its limit, or what the machine has."""
    found = []
    for unified, folder in _folders("memory", root, proc):
        text = _read(f"{folder}/{'memory.max' if unified else 'memory.limit_in_bytes'}").strip()
        if text.isdigit():
            found.append(int(text))
    for line in _read(f"{proc}/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal" and value.split()[:1] and value.split()[0].isdigit():
            found.append(int(value.split()[0]) * 1024)
            break
    return min(found, default=None)


def memory_filled(root: str = "/sys/fs/cgroup", proc: str = "/proc") -> float:
    """The part of the tightest memory limit that is taken by what cannot be dropped; 0: no limit.

    Anonymous memory, without the pages of files.
    """
    tightest: tuple[int, float] | None = None
    for unified, folder in _folders("memory", root, proc):
        limit = _read(f"{folder}/{'memory.max' if unified else 'memory.limit_in_bytes'}").strip()
        if not limit.isdigit() or not int(limit):
            continue
        word = "anon" if unified else "total_rss"
        for line in _read(f"{folder}/memory.stat").splitlines():
            name, _, used = line.partition(" ")
            if name == word and used.isdigit() and (tightest is None or int(limit) < tightest[0]):
                tightest = (int(limit), int(used) / int(limit))
    return tightest[1] if tightest is not None else 0.0


def _folders(controller: str, root: str, proc: str) -> list[tuple[bool, str]]:
    """Our cgroups of this controller from the mount inwards; True: of the unified tree."""
    found: list[tuple[bool, str]] = []
    for controllers, path in _memberships(_read(f"{proc}/self/cgroup")):
        if controllers == "":
            # Mounted at the root, or, hybrid, beside the v1 controllers.
            for base in (root, f"{root}/unified"):
                found += [(True, folder) for folder in _lineage(base, path)]
        elif controller in controllers.split(","):
            # The mount is named after all its controllers; `cpu` is a link to it.
            for base in (f"{root}/{controllers}", f"{root}/{controller}"):
                found += [(False, folder) for folder in _lineage(base, path)]
    return found


def _memberships(text: str) -> list[tuple[str, str]]:
    """(controllers, path) of each line of /proc/PID/cgroup, cgroups(7)."""
    found = []
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            found.append((parts[1], parts[2]))
    return found


def _lineage(base: str, path: str) -> list[str]:
    """The cgroup's folder and its ancestors' down to the mount.

    Without a cgroup namespace a container sees its path on the host, but mounts only its
    own part of the tree: then none of the path's folders exist but the mount, which is
    the container's own cgroup. With one, a path that leaves it begins with `/..`.
    """
    names = [name for name in path.split("/") if name and name != ".."]
    folders = [base]
    for name in names:
        deeper = f"{folders[-1]}/{name}"
        if not os.path.isdir(deeper):
            break
        folders.append(deeper)
    return folders


def _quota_v2(folder: str) -> float | None:
    """`cpu.max`: "max 100000", or quota and period in µs."""
    parts = _read(f"{folder}/cpu.max").split()
    if len(parts) != 2 or parts[0] == "max":
        return None
    return _ratio(parts[0], parts[1])


def _quota_v1(folder: str) -> float | None:
    """`cpu.cfs_quota_us` (-1: none) and `cpu.cfs_period_us`."""
    quota = _read(f"{folder}/cpu.cfs_quota_us").strip()
    return _ratio(quota, _read(f"{folder}/cpu.cfs_period_us").strip())


def _ratio(quota: str, period: str) -> float | None:
    try:
        amount, every = int(quota), int(period)
    except ValueError:
        return None
    return amount / every if amount > 0 and every > 0 else None


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, _ENOUGH).decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
