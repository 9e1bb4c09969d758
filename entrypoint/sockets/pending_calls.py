"""Retries calls of workers that could not be answered in time.

Some answers wait until the calling thread runs (kernel/interrupt.py), or until a child has
read memory of the worker (fetched_pages.py). An attempt is bounded
to a few milliseconds, in which PID 1 serves no one else. So the attempts of all workers share
one queue: at most one failing attempt a turn of the loop, and a pause after it that grows
with each failure. From the sixth failure on a worker costs less than a tenth of PID 1's
time, and the longest pause is a second (its thread may be frozen for ever).

An attempt succeeds when the thread runs while PID 1 waits. A thread that seldom gets a CPU
therefore needs several attempts, which is why the pause grows slowly at the end.
"""

from __future__ import annotations

from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from entrypoint.kernel.memory import NotPresentError
    from entrypoint.loop import Loop

    from .fetched_pages import Adopt, FetchedPages

    # True: this call is done, answered or not. False: not in time.
    Attempt = Callable[[], bool]

# Pauses after the first failures; then each grows by this factor, up to the longest (s).
_FIRST = (0.001, 0.002, 0.004, 0.008, 0.016)
_BASE = 0.036
_STEP = 0.001
_LONGEST = 1.0
# An attempt that succeeds may have waited too: the time for them in one turn (s).
_TURN = 0.004
# The most waiting calls of one worker; at this number no more of it are read.
AT_MOST = 64


def pause(failures: int) -> float:
    """Seconds until the next attempt, after so many failures in a row."""
    if failures <= len(_FIRST):
        return _FIRST[failures - 1]
    return min(_LONGEST, _BASE + _STEP * (failures - len(_FIRST)))


class _Owner:
    """The waiting calls of one worker, in order, and how many attempts failed in a row."""

    def __init__(self, due: float) -> None:
        self.attempts: deque[Attempt] = deque()
        self.failures = 1
        self.due = due
        self.resume: Callable[[], None] | None = None


class Pending:
    """The calls of all workers that are to be tried again.

    `adopt(pid, ended)`: this child reads memory for pyinit, and has to be reaped.
    """

    def __init__(self, loop: Loop, adopt: Adopt) -> None:
        self._adopt = adopt
        self._pages: FetchedPages | None = None
        self._loop = loop
        self._owners: dict[Hashable, _Owner] = {}

    def has(self, owner: Hashable) -> bool:
        """Whether calls of this worker wait: its next call queues behind them."""
        return owner in self._owners

    def add(self, owner: Hashable, attempt: Attempt, resume: Callable[[], None]) -> bool:
        """Queue a retry. True: read no more calls of this worker until `resume`."""
        found = self._owners.get(owner)
        if found is None:
            found = self._owners[owner] = _Owner(self._loop.now() + pause(1))
            self._schedule()
        found.attempts.append(attempt)
        if len(found.attempts) < AT_MOST:
            return False
        found.resume = resume
        return True

    def drop(self, owner: Hashable) -> None:
        """Drop the calls of a worker whose notifier is closed: no answer is possible."""
        self._owners.pop(owner, None)
        if self._pages is not None:
            self._pages.drop(owner)

    def fetch(self, owner: Hashable, call: int, missing: NotPresentError) -> bool:
        """Read memory of this worker in a child; see `FetchedPages.fetch`."""
        if self._pages is None:
            from .fetched_pages import FetchedPages

            self._pages = FetchedPages(self._adopt)
        return self._pages.fetch(owner, call, missing)

    def reads_memory(self, owner: Hashable) -> bool:
        """Whether a child still reads memory of this worker: its calls must wait."""
        return self._pages is not None and self._pages.waits(owner)

    def _schedule(self) -> None:
        if self._owners:
            due = min(owner.due for owner in self._owners.values())
            self._loop.call_at(self, due, self._try)

    def _try(self) -> None:
        """Retry due calls, until one attempt of this turn fails."""
        try:
            now = self._loop.now()
            until = now + _TURN
            for key, owner in sorted(self._owners.items(), key=lambda item: item[1].due):
                if owner.due > now or not self._try_owner(key, owner, until):
                    break
        finally:
            self._schedule()

    def _try_owner(self, key: Hashable, owner: _Owner, until: float) -> bool:
        """Retry calls of one worker. False: enough for this turn."""
        while owner.attempts and key in self._owners:
            if self._loop.now() > until:
                return False
            attempt = owner.attempts.popleft()
            if not attempt():
                owner.attempts.append(attempt)  # its other threads may run
                owner.failures += 1
                owner.due = self._loop.now() + pause(owner.failures)
                return False
            owner.failures = 1
            if owner.resume is not None and len(owner.attempts) < AT_MOST // 2:
                resume, owner.resume = owner.resume, None
                resume()
        self._owners.pop(key, None)
        return True
