"""A child process that reads what may block PID 1.

/proc/PID/smaps_rollup needs the lock of the address space of its process, /proc/PID/stat waits
for an execve(2) that is under way. A thread of a low priority may hold such a lock while others
have the CPU, for seconds, and the wait ends by no signal but SIGKILL. So a short-lived child
reads, and PID 1 never waits for it.
"""

from __future__ import annotations

from entrypoint.kernel import forked
from entrypoint.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.loop import Loop

# A child that takes longer is killed (s).
GIVEN_UP = 10.0


class ChildReader:
    """One child at a time.

    `adopt(pid, ended)`: this child is a helper, to be reaped; `done(answer)` gets its answer, b""
    of a child that failed.
    """

    def __init__(
        self,
        loop: Loop,
        adopt: Callable[[int, Callable[[int], None]], None],
        done: Callable[[bytes], None],
    ) -> None:
        self._loop = loop
        self._adopt = adopt
        self._done = done
        self._child: forked.Child | None = None

    @property
    def under_way(self) -> bool:
        """Whether a child reads."""
        return self._child is not None

    def begin(self, read: Callable[[], bytes]) -> None:
        """Start a child, unless one still reads or none can be started (EAGAIN, EMFILE)."""
        if self.under_way:
            return
        try:
            child = forked.Child(read, "read what workers use")
        except OSError:
            return  # the previous figures stay
        self._child = child
        self._adopt(child.pid, child.ended)
        self._loop.register(child.fd, READ, lambda _events: self._read(child))
        self._loop.call_at(self, self._loop.now() + GIVEN_UP, self.close)

    def close(self) -> None:
        """Stop the child under way."""
        if self._child is not None:
            self._loop.unregister(self._child.fd)
            self._child.abandon()
            self._ended()

    def _read(self, child: forked.Child) -> None:
        answer = child.take(before_close=self._loop.unregister)
        if answer is not None:
            self._ended()
            self._done(answer)

    def _ended(self) -> None:
        self._loop.cancel(self)
        self._child = None
