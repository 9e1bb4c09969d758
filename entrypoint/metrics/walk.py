"""Reads in a child (child.py) what the workers' processes use, as bytes for PID 1.

Every process is read once, in one pass over /proc, and given to the worker it descends from
(`proc.owner`'s rule: by ancestors, else by its process group). PSS costs more, so another child
reads it, of as many workers as its time allows.
"""

from __future__ import annotations

import time

from entrypoint.kernel import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.kernel.proc import Usage

    # Workers by incarnation, and the processes of each.
    Members = list[tuple[int, tuple[int, ...]]]

# What a child spends on PSS (s). The kernel looks at every page: 10 ms for a gigabyte.
BUDGET = 0.05
# Of one process, bytes: above it the call takes more than 10 ms, in which the worker would
# wait when it allocates. What is shared is little beside so much.
PSS_AT_MOST = 1 << 30
PSS_PROCESSES = 64


class Reading:
    """A worker and its descendants. Bytes; None: not known.

    `members`: the pids, None where they are too many or too big to read their PSS.
    """

    __slots__ = ("cpu", "fds", "members", "processes", "pss", "rss", "threads")

    def __init__(self) -> None:
        self.cpu = 0.0
        self.rss = 0
        self.pss: int | None = None
        self.fds: int | None = None
        self.processes = 0
        self.threads = 0
        self.members: tuple[int, ...] | None = ()


def read_usage(incarnations: dict[int, int]) -> bytes:
    """A line for each worker: `INCARNATION CPU RSS THREADS PROCESSES FDS PIDS`.

    The first line is the CPU time that this process has spent on it (s). `incarnations` by pid.
    """
    readings = {incarnation: Reading() for incarnation in incarnations.values()}
    used: dict[int, Usage] = {}
    for pid in proc.processes():
        usage = proc.usage(pid)
        if usage is not None:
            used[pid] = usage
    owners: dict[int, int] = dict(incarnations)
    for pid, usage in used.items():
        owner = _owner(pid, used, owners, incarnations)
        if owner:
            _add(readings[owner], pid, usage, proc.open_files(pid))
    lines = [
        f"{incarnation} {each.cpu!r} {each.rss} {each.threads} {each.processes} "
        f"{_text(each.fds)} {_text(each.members and ','.join(map(str, each.members)))}\n"
        for incarnation, each in readings.items()
    ]
    return "".join([f"{time.process_time()}\n", *lines]).encode()


def _text(value: object) -> str:
    return "-" if value is None or value == () else str(value)


def parse_usage(answer: bytes) -> tuple[float, dict[int, Reading]]:
    """What the child has spent (s), and the readings by incarnation."""
    found: dict[int, Reading] = {}
    spent, *lines = answer.decode().splitlines()
    for line in lines:
        incarnation, cpu, rss, threads, processes, fds, pids = line.split(" ")
        reading = found[int(incarnation)] = Reading()
        reading.cpu, reading.rss = float(cpu), int(rss)
        reading.threads, reading.processes = int(threads), int(processes)
        reading.fds = None if fds == "-" else int(fds)
        reading.members = None if pids == "-" else tuple(map(int, pids.split(",")))
    return float(spent), found


def read_pss(members: Members) -> bytes:
    """Read until the budget is spent: a line `INCARNATION PSS` for each worker."""
    lines = []
    ends = time.monotonic() + BUDGET
    for incarnation, pids in members:
        parts = [proc.proportional(pid) for pid in pids]
        known = parts and None not in parts
        lines.append(f"{incarnation} {sum(filter(None, parts)) if known else '-'}\n")
        if time.monotonic() > ends:
            break
    return "".join(lines).encode()


def parse_pss(answer: bytes) -> dict[int, int | None]:
    """A PSS in bytes by incarnation; None: not known."""
    found: dict[int, int | None] = {}
    for line in answer.splitlines():
        incarnation, _, pss = line.partition(b" ")
        found[int(incarnation)] = int(pss) if pss.isdigit() else None
    return found


def _add(reading: Reading, pid: int, usage: Usage, fds: int | None) -> None:
    reading.cpu += usage.cpu
    reading.rss += usage.rss
    reading.threads += usage.threads
    reading.processes += 1
    if fds is not None:
        reading.fds = (reading.fds or 0) + fds
    if usage.rss > PSS_AT_MOST or reading.processes > PSS_PROCESSES:
        reading.members = None
    elif reading.members is not None:
        reading.members += (pid,)


def _owner(
    pid: int, used: dict[int, Usage], owners: dict[int, int], incarnations: dict[int, int]
) -> int:
    """The incarnation that a process belongs to, 0 for none; remembered in `owners`."""
    way: list[int] = []
    member = pid
    # A process that was read twice under different parents could make a circle.
    while member not in owners and member in used and len(way) < 256:
        way.append(member)
        owners[member] = 0
        member = used[member].parent
    found = owners.get(member, 0)
    for passed in reversed(way):
        # One whose parents are gone is known by its process group.
        found = found or incarnations.get(used[passed].group, 0)
        owners[passed] = found
    return found
