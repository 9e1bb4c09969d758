"""Proportional memory (PSS) of workers, read by a child process.

/proc/PID/smaps_rollup needs the lock of the address space of its process. A thread of a low
priority may hold that lock while others have the CPU, for seconds, and the wait ends by no
signal but SIGKILL. So a short-lived child reads, one at a time, and PID 1 never waits for it.
"""

from __future__ import annotations

import time

from entrypoint.kernel import forked, proc
from entrypoint.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.loop import Loop

    # Workers by incarnation, and the processes of each.
    Members = list[tuple[int, tuple[int, ...]]]
    # A PSS in bytes by incarnation; None: not known.
    Found = dict[int, int | None]

# What a child spends on it (s). The kernel looks at every page: 10 ms for a gigabyte.
BUDGET = 0.05
# A child that takes longer is given up (s).
GIVEN_UP = 10.0


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


class PssReader:
    """`adopt(pid, ended)`: this child is a helper, to be reaped; `done(found)` gets its answer."""

    def __init__(
        self,
        loop: Loop,
        adopt: Callable[[int, Callable[[int], None]], None],
        done: Callable[[Found], None],
    ) -> None:
        self._loop = loop
        self._adopt = adopt
        self._done = done
        self._child: forked.Child | None = None

    @property
    def under_way(self) -> bool:
        """A child reads."""
        return self._child is not None

    def begin(self, members: Members) -> None:
        """Start a child, unless one still reads or none can be started (EAGAIN, EMFILE)."""
        if self.under_way or not members:
            return
        try:
            child = forked.Child(lambda: read_pss(members), "read the memory of workers")
        except OSError:
            return  # the figures of before stay
        self._child = child
        self._adopt(child.pid, child.ended)
        self._loop.register(child.fd, READ, lambda _events: self._read(child))
        self._loop.call_at(self, self._loop.now() + GIVEN_UP, self.close)

    def close(self) -> None:
        """Give up what is under way."""
        if self._child is not None:
            self._loop.unregister(self._child.fd)
            self._child.abandon()
            self._ended()

    def _read(self, child: forked.Child) -> None:
        answer = child.take(before_close=self._loop.unregister)
        if answer is not None:
            self._ended()
            self._done(_parse(answer))

    def _ended(self) -> None:
        self._loop.cancel(self)
        self._child = None


def _parse(answer: bytes) -> Found:
    found: Found = {}
    for line in answer.splitlines():
        incarnation, _, pss = line.partition(b" ")
        found[int(incarnation)] = int(pss) if pss.isdigit() else None
    return found
