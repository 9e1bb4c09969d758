"""What the workers' processes use, read from /proc in small steps.

Every process is read once, in one pass over /proc, and given to the worker it descends from
(`proc.owner`'s rule: by ancestors, else by its process group). PSS is apart: a child reads it
(pss.py), the oldest figures first. A pass waits for the child a moment; if that takes
longer, the page shows the figures of before.
"""

from __future__ import annotations

import time

from entrypoint.kernel import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from entrypoint.core.view import WorkerView
    from entrypoint.kernel.proc import Usage

    from .pss import Found, Members

    class Reader(Protocol):
        """What reads PSS (pss.py)."""

        @property
        def under_way(self) -> bool:
            """It is not done yet."""

        def begin(self, members: Members) -> None:
            """Read, unless it is under way."""


# Of one process, bytes: above it the call takes more than 10 ms, in which the worker would
# wait when it allocates. What is shared is little beside so much.
PSS_AT_MOST = 1 << 30
PSS_PROCESSES = 64
# How long a pass waits for the child, and how often it looks (s).
WAIT = 0.2
PAUSE = 0.005


class Reading:
    """A worker and its descendants. Bytes; None: not known."""

    __slots__ = ("cpu", "fds", "processes", "pss", "rss", "threads")

    def __init__(self) -> None:
        self.cpu = 0.0
        self.rss = 0
        self.pss: int | None = None
        self.fds: int | None = None
        self.processes = 0
        self.threads = 0


class Readings:
    """The last pass, and what is remembered from those before it.

    `reader(done)`: what reads PSS, and calls `done` with the figures.
    """

    def __init__(self, reader: Callable[[Callable[[Found], None]], Reader]) -> None:
        self._pss_reader = reader(self._pss_read)
        self.of: dict[int, Reading] = {}  # by incarnation
        # (app, instance): seconds of workers before, and of those there are.
        self._cpu: dict[tuple[str, int], tuple[float, dict[int, float]]] = {}
        self._pss: dict[int, tuple[float, int | None]] = {}  # incarnation: when, bytes
        self._started: dict[int, float] = {}

    def cpu(self, app: str, instance: int) -> float:
        """Seconds of CPU of all workers that this instance has had; never goes down."""
        before, now = self._cpu.get((app, instance), (0.0, {}))
        return round(before + sum(now.values()), 2)

    def started_at(self, worker: WorkerView, now: float) -> float:
        """Seconds since the epoch; the same at each call, also when the clock is set."""
        found = self._started.get(worker.incarnation)
        if found is None:
            found = round(time.time() - (now - worker.started_at), 3)
            self._started[worker.incarnation] = found
        return found

    def take(self, workers: list[WorkerView]) -> Iterator[float]:
        """Read them all; each step is one or a few system calls. Yields how long to pause (s)."""
        incarnations = {worker.pid: worker.incarnation for worker in workers if worker.pid}
        members: dict[int, list[int]] = {incarnation: [] for incarnation in incarnations.values()}
        readings = {incarnation: Reading() for incarnation in members}
        used: dict[int, Usage] = {}
        for pid in proc.processes():
            usage = proc.usage(pid)
            if usage is not None:
                used[pid] = usage
            yield 0.0
        owners: dict[int, int] = dict(incarnations)
        for pid, usage in used.items():
            owner = _owner(pid, used, owners, incarnations)
            if owner:
                members[owner].append(pid)
                _add(readings[owner], usage, proc.open_files(pid))
                yield 0.0
        self._forget(workers)
        self._count_cpu(workers, readings)
        yield from self._read_pss(members, used)
        for incarnation, reading in readings.items():
            reading.pss = self._pss.get(incarnation, (0.0, None))[1]
        # One that ended while we looked has no process to speak of.
        self.of = {n: reading for n, reading in readings.items() if reading.processes}

    def _forget(self, workers: list[WorkerView]) -> None:
        """What is no longer in the view."""
        living = {worker.incarnation for worker in workers}
        for kept in (self._pss, self._started):
            for incarnation in kept.keys() - living:
                del kept[incarnation]
        for place in self._cpu.keys() - {(w.app, w.instance) for w in workers}:
            del self._cpu[place]

    def _count_cpu(self, workers: list[WorkerView], readings: dict[int, Reading]) -> None:
        living: dict[tuple[str, int], dict[int, float]] = {}
        for worker in workers:
            now = living.setdefault((worker.app, worker.instance), {})
            if worker.incarnation:
                reading = readings.get(worker.incarnation)
                now[worker.incarnation] = reading.cpu if reading else 0.0
        for place, now in living.items():
            before, then = self._cpu.get(place, (0.0, {}))
            gone = [seconds for incarnation, seconds in then.items() if incarnation not in now]
            for incarnation in now:
                # A descendant that ended unseen takes its seconds along: not here.
                now[incarnation] = max(now[incarnation], then.get(incarnation, 0.0))
            self._cpu[place] = (before + sum(gone), now)

    def _read_pss(self, members: dict[int, list[int]], used: dict[int, Usage]) -> Iterator[float]:
        now = time.monotonic()
        wanted = []
        for incarnation in sorted(members, key=lambda n: self._pss.get(n, (0.0, None))[0]):
            pids = members[incarnation]
            fits = all(used[pid].rss <= PSS_AT_MOST for pid in pids)
            if not pids or not fits or len(pids) > PSS_PROCESSES:
                self._pss[incarnation] = (now, None)
            else:
                wanted.append((incarnation, tuple(pids)))
        self._pss_reader.begin(wanted)
        while self._pss_reader.under_way and time.monotonic() - now < WAIT:
            yield PAUSE

    def _pss_read(self, found: Found) -> None:
        now = time.monotonic()
        self._pss.update((incarnation, (now, pss)) for incarnation, pss in found.items())


def _add(reading: Reading, usage: Usage, fds: int | None) -> None:
    reading.cpu += usage.cpu
    reading.rss += usage.rss
    reading.threads += usage.threads
    reading.processes += 1
    if fds is not None:
        reading.fds = (reading.fds or 0) + fds


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
