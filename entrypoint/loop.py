"""One epoll loop: descriptors and deadlines in, callbacks out.

Single-threaded. It never wakes without cause: `epoll_wait(2)` sleeps until a
descriptor is ready or the earliest deadline has come, for ever when there is none.
Every callback is guarded: an exception is handed to `on_error` and the loop turns on,
for after the first spawn nothing may end PID 1.

Stale events. One `epoll_wait(2)` returns a batch. A callback of that batch may close a
descriptor, and another callback may open a new one, which gets the same number. The
remaining events of the batch were collected before; they belong to the closed file. So
each registration knows the turn in which it was made, and an event counts only for a
registration that is older than the batch. Epoll is level-triggered here: what is true of
the new descriptor is reported again in the next turn. This check is in `turn`, for every
callback. It relies on one rule: unregister a descriptor before closing it. (An open file
that another process still holds stays in the epoll set after close(2), under a number
that is no longer valid. `_rebuild` recovers from a caller that broke the rule.)
"""

from __future__ import annotations

import errno
import heapq
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    Ready = Callable[[int], None]

# The longest wait of one turn (s). epoll_wait(2) takes milliseconds as a C int: more than
# 2^31 ms, 24.8 days, raises OverflowError. A later deadline takes several turns.
LONGEST_WAIT = 86400.0

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
HANGUP = select.EPOLLHUP
ERROR = select.EPOLLERR
# Beside others: report a change once (epoll(7), edge-triggered).
EDGE = select.EPOLLET


class _Registration:
    """One descriptor: the events that are wanted, and the turn in which it was made."""

    __slots__ = ("events", "ready", "turn")

    def __init__(self, events: int, ready: Ready, turn: int) -> None:
        self.events = events
        self.ready = ready
        self.turn = turn


class Loop:
    """Readiness and deadlines.

    `on_error(where, exception)` is told of everything a callback raises.
    """

    def __init__(self, on_error: Callable[[str, BaseException], None]) -> None:
        self._epoll = select.epoll(flags=select.EPOLL_CLOEXEC)
        self._registered: dict[int, _Registration] = {}
        self._deadlines: dict[Hashable, tuple[float, int, Callable[[], None]]] = {}
        self._heap: list[tuple[float, int, Hashable]] = []
        self._count = 0
        self.on_error = on_error
        self._running = False
        self.wakeups = 0
        # Told how long each turn worked (s), that is, how long all others waited.
        self.observe: Callable[[float], None] | None = None

    @staticmethod
    def now() -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    # -- descriptors ------------------------------------------------------------

    def register(self, fd: int, events: int, ready: Ready) -> None:
        """Call `ready(events)` whenever `fd` has one of `events` (level-triggered).

        Raises PermissionError for a regular file (`epoll_ctl(2)`, EPERM).
        """
        try:
            self._epoll.register(fd, events)
        except FileExistsError:
            # The number is in the set, and nothing unregistered it: see `_rebuild`.
            self._epoll.modify(fd, events)
        self._registered[fd] = _Registration(events, ready, self.wakeups)

    def modify(self, fd: int, events: int) -> None:
        """Change what is waited for; 0 leaves only HANGUP and ERROR.

        Raises FileNotFoundError when `fd` is not registered.
        """
        registration = self._registered.get(fd)
        if registration is None:
            raise FileNotFoundError(errno.ENOENT, f"descriptor {fd} is not registered")
        self._epoll.modify(fd, events)
        registration.events = events

    def unregister(self, fd: int) -> None:
        """Forget `fd`. Call it before closing; unknown descriptors are ignored."""
        if self._registered.pop(fd, None) is not None:
            try:
                self._epoll.unregister(fd)
            except OSError as error:
                if error.errno not in (errno.EBADF, errno.ENOENT):
                    raise

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What is registered, for the status and for tests."""
        return tuple(self._registered)

    @property
    def deadlines(self) -> int:
        """How many deadlines are set, for the status and for tests."""
        return len(self._deadlines)

    def _rebuild(self) -> None:
        """Replace the epoll set by a new one that holds only what is registered.

        The kernel reports a file that nobody registered: its descriptor was closed while
        another process holds the file. It cannot be removed by its number any more, and
        would be reported in every turn.
        """
        try:
            fresh = select.epoll(flags=select.EPOLL_CLOEXEC)
        except OSError:
            return  # no descriptor is left: the next turn tries again
        for fd, registration in self._registered.items():
            try:
                fresh.register(fd, registration.events)
            except OSError:
                continue  # closed without `unregister` too
        self._epoll.close()
        self._epoll = fresh

    # -- deadlines --------------------------------------------------------------

    def call_at(self, key: Hashable, deadline: float, callback: Callable[[], None]) -> None:
        """Call once at `deadline` (monotonic seconds); replaces what `key` had.

        Raises ValueError for NaN, which has no order and would corrupt the heap.
        """
        if deadline != deadline:  # noqa: PLR0124  NaN
            raise ValueError(f"the deadline of {key!r} is not a number")
        self._count += 1
        self._deadlines[key] = (deadline, self._count, callback)
        heapq.heappush(self._heap, (deadline, self._count, key))
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._deadlines):
            # Cancelled entries stay in the heap until they surface: bound them.
            self._heap = [(when, n, k) for k, (when, n, _) in self._deadlines.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: Hashable) -> None:
        """Forget a deadline; an unknown key is ignored."""
        self._deadlines.pop(key, None)

    def _next_deadline(self) -> float | None:
        while self._heap:
            when, number, key = self._heap[0]
            current = self._deadlines.get(key)
            if current is not None and current[1] == number:
                return when
            heapq.heappop(self._heap)
        return None

    # -- turning ----------------------------------------------------------------

    def turn(self, limit: float | None = None) -> None:
        """Wait for the next descriptor or deadline (at most `limit` s) and serve all due."""
        deadline = self._next_deadline()
        timeout = -1.0
        if deadline is not None:
            timeout = max(0.0, deadline - self.now())
        if limit is not None and (timeout < 0 or limit < timeout):
            timeout = limit
        timeout = min(timeout, LONGEST_WAIT)
        # epoll_wait counts in ms and rounds up, so a deadline is never early.
        found = self._epoll.poll(timeout)
        began = self.now()
        self.wakeups += 1
        known = self._registered
        if any(fd not in known for fd, _ in found):
            self._rebuild()
        for fd, reported in found:
            registration = known.get(fd)
            # Dropped by an earlier callback of this batch, or made by one: see the top.
            if registration is None or registration.turn >= self.wakeups:
                continue
            # `modify` may have been called since: only what is still wanted counts.
            events = reported & (registration.events | HANGUP | ERROR)
            if events:
                self._guarded(registration.ready, events)
        self._serve_deadlines()
        if self.observe is not None:
            self.observe(self.now() - began)

    def _serve_deadlines(self) -> None:
        now = self.now()
        while (deadline := self._next_deadline()) is not None and deadline <= now:
            _, _, key = heapq.heappop(self._heap)
            _, _, callback = self._deadlines.pop(key)
            self._guarded(callback)

    def _guarded(self, callback: Callable[..., None], *args: int) -> None:
        try:
            callback(*args)
        except Exception as error:  # noqa: BLE001  PID 1 outlives every bug of its own
            self.on_error(getattr(callback, "__qualname__", repr(callback)), error)

    def run(self) -> None:
        """Turn until `stop`."""
        self._running = True
        while self._running:
            self.turn()

    def stop(self) -> None:
        """End `run` after the current turn."""
        self._running = False

    def close(self) -> None:
        """Release the epoll descriptor."""
        self._epoll.close()
