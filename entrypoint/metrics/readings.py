"""What the workers' processes use, and what is kept of it from page to page.

Children read it (walk.py), because parts of it may block PID 1. A pass waits for each
child; if that takes longer, the page shows the previous figures.
"""

from __future__ import annotations

import time

from . import walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from entrypoint.core.view import WorkerView

    class Reader(Protocol):
        """What reads in a child (child.py)."""

        @property
        def under_way(self) -> bool:
            """It is not done yet."""

        def begin(self, read: Callable[[], bytes]) -> None:
            """Read, unless it is under way."""

        def close(self) -> None:
            """Cancel the reading under way."""


# How long a pass waits for what is used, and for PSS, and how often it looks (s).
USAGE_WAIT = 2.0
PSS_WAIT = 0.2
# How old the PSS of a worker is at least when it is read again (s): a fork costs PID 1 more than
# all that it reads itself, and PSS changes slowly.
PSS_EVERY = 5.0
PAUSE = 0.005


class Readings:
    """The last pass, and what is remembered from those before it.

    `reader(done)`: what reads in a child, and calls `done` with the child's answer.
    """

    def __init__(
        self, reader: Callable[[Callable[[bytes], None]], Reader], *, with_pss: bool = True
    ) -> None:
        self._with_pss = with_pss
        self._usage_reader = reader(self._usage_read)
        self._pss_reader = reader(self._pss_read)
        self.of: dict[int, walk.Reading] = {}  # by incarnation
        self.spent = 0.0  # of children, CPU seconds: whoever counts it sets it back
        # (app, instance): seconds of workers before, and of those there are.
        self._cpu: dict[tuple[str, int], tuple[float, dict[int, float]]] = {}
        self._pss: dict[int, tuple[float, int | None]] = {}  # incarnation: when, bytes
        self._started: dict[int, float] = {}

    def close(self) -> None:
        """Cancel the reading under way."""
        self._usage_reader.close()
        self._pss_reader.close()

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
        """Have them all read. Yields how long to pause (s)."""
        incarnations = {worker.pid: worker.incarnation for worker in workers if worker.pid}
        if incarnations:
            self._usage_reader.begin(lambda: walk.read_usage(incarnations))
            yield from _await(self._usage_reader, USAGE_WAIT)
        else:
            self.of.clear()
        self._forget(workers)
        self._count_cpu(workers)
        if self._with_pss:
            yield from self._read_pss()
        for incarnation, reading in self.of.items():
            reading.pss = self._pss.get(incarnation, (0.0, None))[1]

    def _usage_read(self, answer: bytes) -> None:
        if answer:  # else the child has failed
            spent, found = walk.parse_usage(answer)
            self.spent += spent
            # A worker that ended meanwhile has no process to report.
            self.of = {n: reading for n, reading in found.items() if reading.processes}

    def _forget(self, workers: list[WorkerView]) -> None:
        """What is no longer in the view."""
        living = {worker.incarnation for worker in workers}
        for kept in (self._pss, self._started, self.of):
            for incarnation in kept.keys() - living:
                del kept[incarnation]
        for place in self._cpu.keys() - {(w.app, w.instance) for w in workers}:
            del self._cpu[place]

    def _count_cpu(self, workers: list[WorkerView]) -> None:
        living: dict[tuple[str, int], dict[int, float]] = {}
        for worker in workers:
            now = living.setdefault((worker.app, worker.instance), {})
            if worker.incarnation:
                reading = self.of.get(worker.incarnation)
                now[worker.incarnation] = reading.cpu if reading else 0.0
        for place, now in living.items():
            before, then = self._cpu.get(place, (0.0, {}))
            gone = [seconds for incarnation, seconds in then.items() if incarnation not in now]
            for incarnation in now:
                # The seconds of a descendant that ended unseen are lost; not here.
                now[incarnation] = max(now[incarnation], then.get(incarnation, 0.0))
            self._cpu[place] = (before + sum(gone), now)

    def _read_pss(self) -> Iterator[float]:
        now = time.monotonic()
        wanted = []
        read_at = {n: self._pss.get(n, (float("-inf"), None))[0] for n in self.of}
        for incarnation in sorted(self.of, key=read_at.__getitem__):
            members = self.of[incarnation].members
            if members is None:
                self._pss[incarnation] = (now, None)
            elif now - read_at[incarnation] >= PSS_EVERY:
                wanted.append((incarnation, members))
        if wanted:
            self._pss_reader.begin(lambda: walk.read_pss(wanted))
        yield from _await(self._pss_reader, PSS_WAIT)

    def _pss_read(self, answer: bytes) -> None:
        now = time.monotonic()
        found = walk.parse_pss(answer)
        self._pss.update((incarnation, (now, pss)) for incarnation, pss in found.items())


def _await(reader: Reader, seconds: float) -> Iterator[float]:
    until = time.monotonic() + seconds
    while reader.under_way and time.monotonic() < until:
        yield PAUSE
