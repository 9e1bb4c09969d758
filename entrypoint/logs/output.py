"""The queue of records for stdout, which is written without waiting (kernel/pipes.py).

A slow reader makes the queue grow; `has_room` then lets the pump stop reading the workers.
pyinit does not wait for a reader that is gone (EPIPE, a closed terminal), because workers
must not hang on it. Records for it are counted as lost and dropped. At most once a second a
write tests whether there is a reader again (a named pipe may get a new one). A full disk may
get space again: a write is tried each second, and workers wait.
"""

from __future__ import annotations

import errno
import time

from entrypoint.kernel.pipes import Sink
from entrypoint.loop import WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from entrypoint.loop import Loop
else:
    from _collections import deque

# Above this many unwritten bytes workers wait; below half of it they continue.
HIGH_WATER = 256 * 1024
_RETRY = 1.0  # seconds
_DONE, _FULL, _LATER = 0, 1, 2  # how an attempt to write everything ended
# writev(2) takes at most IOV_MAX (1024) buffers.
_BUFFERS = 512
_GONE = frozenset(
    (errno.EPIPE, errno.EBADF, errno.EIO, errno.ECONNRESET, errno.ENXIO, errno.ENOTCONN,
     errno.EINVAL, errno.ECONNREFUSED, errno.EDESTADDRREQ)
)  # fmt: skip


class Output:
    """A queue of whole records for one descriptor.

    `on_room` is called when the queue was above HIGH_WATER and is below half of it.
    `shared`: workers may write to the same description (`raw`).
    """

    def __init__(
        self, loop: Loop, fd: int, on_room: Callable[[], None], *, shared: bool = False
    ) -> None:
        self._loop = loop
        self._queue: deque[bytes | memoryview] = deque()
        self.pending = 0  # bytes not written yet
        self.lost = 0  # lines dropped because stdout has no reader any more
        self._on_room = on_room
        self._drained: list[Callable[[], None]] = []
        self._scheduled = self._waiting = self._throttled = False
        self._gone_until = 0.0
        self._key = ("log output", id(self))
        self._sink = Sink(fd, shared=shared)
        if not self._sink.is_open:  # stdout was closed before pyinit began
            self._gone_until = float("inf")

    def share(self) -> None:
        """Workers may write to the same description from now on."""
        self._sink.share()

    # -- the queue ------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether workers may be read; when not, `on_room` will be called."""
        if self.pending >= HIGH_WATER:
            self._throttled = True
            self.flush()
        return self.pending < HIGH_WATER

    def write(self, records: bytes) -> None:
        """Queue whole records; they are written at the end of this turn of the loop."""
        if not records:
            return
        if self._gone_until and self._loop.now() < self._gone_until:
            self.lost += records.count(b"\n")
            return
        self._queue.append(records)
        self.pending += len(records)
        if not self._scheduled and not self._waiting:
            # One write for all records of a turn; timers are served after it.
            self._scheduled = True
            self._loop.call_at(self._key, 0.0, self.flush)

    def drained(self, callback: Callable[[], None]) -> None:
        """Call a function once when everything is written (now, if it is already)."""
        if not self.pending:
            callback()
        else:
            self._drained.append(callback)

    def flush(self) -> None:
        """Write what is possible now; wait on the loop for the rest."""
        self._scheduled = False
        state = self._write_queue()
        if state == _FULL:
            if not self._waiting:
                self._waiting = True
                self._loop.register(self._sink.fd, WRITE, self._writable)
        else:
            self._stop_waiting()
            if state == _LATER:
                self._scheduled = True
                self._loop.call_at(self._key, self._loop.now() + _RETRY, self.flush)
        if self._throttled and self.pending < HIGH_WATER // 2:
            self._throttled = False
            self._on_room()
        if not self.pending and self._drained:
            callbacks, self._drained = self._drained, []
            for callback in callbacks:
                callback()

    def _writable(self, _events: int) -> None:
        self.flush()

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting = False
            self._loop.unregister(self._sink.fd)

    def _write_queue(self) -> int:
        """Write until the queue is empty (_DONE) or the descriptor takes no more."""
        queue = self._queue
        while queue:
            count = min(len(queue), _BUFFERS)
            try:
                written = self._sink.write([queue[n] for n in range(count)])
            except BlockingIOError:
                return _FULL
            except OSError as error:
                if error.errno not in _GONE:
                    return _LATER  # ENOSPC, ENOBUFS
                self._drop()
                return _DONE
            self._gone_until = 0.0
            self._advance(written)
        return _DONE

    def _advance(self, written: int) -> None:
        self.pending -= written
        queue = self._queue
        while written:
            first = queue.popleft()
            if len(first) > written:
                queue.appendleft(memoryview(first)[written:])
                return
            written -= len(first)

    def _drop(self) -> None:
        self.lost += self.lines
        self._queue.clear()
        self.pending = 0
        self._gone_until = self._loop.now() + _RETRY

    @property
    def lines(self) -> int:
        """Lines in the queue, including one that is half written."""
        return sum(bytes(records).count(b"\n") for records in self._queue)

    # -- the end --------------------------------------------------------------------

    def drain(self, deadline: float) -> None:
        """Write, waiting for the reader until `deadline` (monotonic seconds).

        For the end of pyinit only: it blocks.
        """
        self._stop_waiting()
        while (state := self._write_queue()) != _DONE:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            if state == _FULL:
                self._sink.is_ready(max(1, int(left * 1000)))
            else:
                time.sleep(min(left, 0.05))  # a full disk cannot be polled

    def close(self) -> None:
        """Drop the queue and close what was opened here."""
        self._stop_waiting()
        self._loop.cancel(self._key)
        self._queue.clear()
        self.pending = 0
        self._sink.close()
