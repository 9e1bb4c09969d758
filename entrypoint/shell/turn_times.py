"""Measures how long the turns of the loop took, and what caused it.

The histogram and the longest turn are always recorded. With PYINIT_MEASURE_TURNS=1 each turn is
also measured without the time in which PID 1 was runnable and had no CPU (schedstat), and with
the page faults that read from a disk: those are the machine's, the rest is pyinit's. A turn without
a voluntary context switch (getrusage(2)) waited for nothing, so its own time is its CPU time:
interrupts and the host of a virtual machine took the remainder, which schedstat does
not count. A wait while the kernel reclaims memory is the machine's too: a reached memory limit
delays each process that needs a page (/proc/pressure/memory, which counts all
processes and divides by the CPUs). The measurement costs some system calls a turn.
"""

from __future__ import annotations

import os
import time
from collections import deque

from entrypoint.core.record import Record
from entrypoint.kernel import proc
from entrypoint.loop import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.loop import Loop
    from entrypoint.metrics.counters import Histogram

VARIABLE = "PYINIT_MEASURE_TURNS"
# A turn that took longer is reported (s), and how many of the last ones.
LONG = 0.05
_KEPT = 20


class Counters(Record):
    """The kernel's counters of this process so far."""

    waited: float = 0.0  # seconds in which it was runnable and had no CPU
    cpu: float = 0.0  # seconds
    faults: int = 0  # page faults that read from a disk
    switches: int = 0  # voluntary context switches: it waited for something
    stalled: float = 0.0  # seconds in which any process waited for memory


class Turns:
    """Measures the turns of `loop` into `histogram`."""

    def __init__(self, loop: Loop, histogram: Histogram, environ: Mapping[str, str]) -> None:
        self._loop = loop
        self._histogram = histogram
        self.longest = 0.0
        self._callback = ""
        self._schedstat = self._pressure = -1
        self._cpus = os.cpu_count() or 1
        self._before = Counters()
        # Turns longer than LONG without the machine's part.
        self.long = 0
        # Turns that were long only because the kernel reclaimed memory.
        self.starved = 0
        # The last of these, and of those that were long because of the machine.
        self._last: deque[dict[str, object]] = deque(maxlen=_KEPT)
        self._slowed: deque[dict[str, object]] = deque(maxlen=_KEPT)
        loop.observe = self._ended
        if environ.get(VARIABLE, "") not in ("", "0"):
            try:
                self._schedstat = os.open("/proc/self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return  # no /proc, or a kernel without it
            loop.begun = self._begun
            try:
                self._pressure = os.open("/proc/pressure/memory", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return  # a kernel without pressure stall information

    @property
    def measured(self) -> bool:
        """Whether the machine's part is known."""
        return self._schedstat >= 0

    def _counters(self) -> Counters:
        try:
            waited = int(os.pread(self._schedstat, 128, 0).split()[1])
        except (OSError, IndexError, ValueError):
            waited = 0
        return Counters(
            waited / 1e9, time.process_time(), *proc.faults_and_waits(), self._stalled()
        )

    def _stalled(self) -> float:
        """`some avg10=0.00 avg60=0.00 avg300=0.00 total=MICROSECONDS`."""
        try:
            line = os.pread(self._pressure, 128, 0).partition(b"\n")[0]
            return int(line.rpartition(b"total=")[2]) / 1e6 * self._cpus
        except (OSError, ValueError):
            return 0.0

    def _begun(self) -> None:
        self._before = self._counters()

    def _ended(self, seconds: float) -> None:
        self._histogram.observe(seconds)
        if seconds > self.longest:
            self.longest, self._callback = seconds, self._slowest()
        if seconds <= LONG or not self.measured:
            return
        before, now = self._before, self._counters()
        lost, cpu = now.waited - before.waited, now.cpu - before.cpu
        faults, switches = now.faults - before.faults, now.switches - before.switches
        stalled = now.stalled - before.stalled
        own = seconds - lost if switches else min(cpu, seconds - lost)
        faultless = own > LONG and not faults
        if switches:
            own = max(cpu, own - stalled)
        ours = own > LONG and not faults
        self.long += ours
        self.starved += faultless and not ours
        (self._last if ours else self._slowed).append(
            {
                "seconds": round(seconds, 4),
                "own": round(own, 4),
                "cpu": round(cpu, 4),
                "without_cpu": round(lost, 4),
                "major_faults": faults,
                "memory_stall": round(stalled, 4),
                "waits": switches,
                "callback": self._slowest(),
                "callback_seconds": round(self._loop.slowest_time, 4),
            }
        )

    def _slowest(self) -> str:
        return name_of(self._loop.slowest) if self._loop.slowest is not None else ""

    def status(self) -> dict[str, object]:
        """For `/status`."""
        found: dict[str, object] = {"longest": round(self.longest, 4), "callback": self._callback}
        if self.measured:
            found |= {"limit": LONG, "long": self.long, "starved": self.starved}
            found |= {"last": list(self._last), "slowed": list(self._slowed)}
        return found
