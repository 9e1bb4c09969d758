"""One epoll loop: descriptors and deadlines in, callbacks out.

Single-threaded. It never wakes without cause: `epoll_wait(2)` sleeps until a
descriptor is ready or the earliest deadline has come, for ever when there is none.
Every callback is guarded: an exception is handed to `on_error` and the loop turns on,
for after the first spawn nothing may end PID 1.
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

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
HANGUP = select.EPOLLHUP
ERROR = select.EPOLLERR


class Loop:
    """Readiness and deadlines.

    `on_error(where, exception)` is told of everything a callback raises.
    """

    def __init__(self, on_error: Callable[[str, BaseException], None]) -> None:
        self._epoll = select.epoll(flags=select.EPOLL_CLOEXEC)
        self._ready: dict[int, Ready] = {}
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
        self._epoll.register(fd, events)
        self._ready[fd] = ready

    def modify(self, fd: int, events: int) -> None:
        """Change what is waited for; 0 leaves only HANGUP and ERROR."""
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Forget `fd`. Call it before closing; unknown descriptors are ignored."""
        if self._ready.pop(fd, None) is not None:
            try:
                self._epoll.unregister(fd)
            except OSError as error:
                if error.errno not in (errno.EBADF, errno.ENOENT):
                    raise

    # -- deadlines --------------------------------------------------------------

    def call_at(self, key: Hashable, deadline: float, callback: Callable[[], None]) -> None:
        """Call once at `deadline` (monotonic seconds); replaces what `key` had."""
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
        # epoll_wait counts in ms and rounds up, so a deadline is never early.
        found = self._epoll.poll(timeout)
        began = self.now()
        for fd, events in found:
            ready = self._ready.get(fd)
            # An earlier callback of this turn may have dropped this descriptor.
            if ready is not None:
                self._guarded(ready, events)
        self.wakeups += 1
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
