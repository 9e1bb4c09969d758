"""Streams an answer: lines to one client of the private socket, as they come.

The client sent one request and only reads from then on; the answer ends with the
connection. Unread lines are stored up to `QUEUE_LIMIT` bytes, and nothing waits for the client:
`send` reports when the queue is full, and the sender decides what to omit. A client that
reads nothing at all for `STALLED` seconds while lines wait for it is closed, and so
is one that hangs up; the operation that it requested continues.
"""

from __future__ import annotations

import _socket
import time

from entrypoint import loop as loops
from entrypoint.logs.schema import encode

from .reading_client import ReadingClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.http.listening import ConnectionLimiter
    from entrypoint.logs.layout import Flat
    from entrypoint.loop import Loop

    from .recent_logs import Choice, Recent

# Bytes stored for a client that does not read, beside the kernel's buffer.
QUEUE_LIMIT = 64 * 1024
STALLED = 30.0  # seconds


class Stream(ReadingClient):
    """One client, from the head of the answer to its end.

    `idle`: the limiter may close this client for another one. `closed` is
    called once when the client is gone or has got everything.
    """

    def __init__(
        self,
        loop: Loop,
        sock: _socket.socket,
        limiter: ConnectionLimiter,
        head: bytes,
        closed: Callable[[], None],
        *,
        idle: bool = False,
    ) -> None:
        super().__init__(loop, sock, limiter)
        self._closed = closed
        self._queue = bytearray(head)
        self._ending = False
        self.idle = idle
        self.room_again: Callable[[], None] | None = None
        loop.register(sock.fileno(), loops.READ, self._ready)
        limiter.admit(self)
        self._flush()

    @property
    def pending(self) -> int:
        """Bytes that wait for the client."""
        return len(self._queue)

    def send(self, lines: bytes, *, must: bool = False) -> bool:
        """Queue and write; False when the queue is full, and `lines` are not sent.

        `must`: also to a full queue, for the last lines of an answer.
        """
        if not self.is_open or self._ending:
            return False
        if self._queue and len(self._queue) + len(lines) > QUEUE_LIMIT and not must:
            return False
        self._queue += lines
        self._flush()
        return True

    def end(self, lines: bytes = b"") -> None:
        """Close when everything, `lines` as the last, has been taken."""
        if self.is_open and not self._ending:
            self._queue += lines
            self._ending = True
            self._flush()

    def _release(self) -> None:
        self._queue.clear()
        self._closed()

    # -- steps ------------------------------------------------------------------------

    def _ready(self, events: int) -> None:
        try:
            if events & ~loops.WRITE:
                self._listen()
            if self.is_open and self._queue:
                self._flush()
        except OSError:
            self.close()

    def _flush(self) -> None:
        if not self.is_open:
            return
        sent = 0
        try:
            if self._queue:
                sent = self._sock.send(self._queue, _socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        del self._queue[:sent]
        if not self._queue:
            if self._ending:
                self.close()
                return
            self._wait(loops.READ)
            self._loop.cancel(self)
        else:
            if sent or not self._events & loops.WRITE:
                self._loop.call_at(self, self._loop.now() + STALLED, self.close)
            self._wait(loops.READ | loops.WRITE)
            self._limiter.relieve()
        if sent and self.room_again is not None:
            self.room_again()


# -- pyinit logs -------------------------------------------------------------------------
# `pyinit logs` prints recent lines and then new ones. A follower that reads too slowly misses
# lines, and a record says how many. pyinit and the workers never wait for it.


class Follower:
    """One client that is sent the lines of the chosen apps."""

    def __init__(self, recent: Recent, choice: Choice, layout: Flat) -> None:
        self._recent = recent
        self._layout = layout
        self._choice = choice
        self._skipped = 0
        self._stream: Stream | None = None

    def begin(self, stream: Stream) -> None:
        """Send what comes from now on, until the client leaves (`end`)."""
        if stream.is_open:
            self._stream = stream
            stream.room_again = self._tell_skipped
            self._recent.follow(self.take)

    def end(self) -> None:
        """The client is gone."""
        self._recent.unfollow(self.take)

    def take(self, app: str, records: bytes) -> None:
        """Records on their way to stdout."""
        if not self._choice.takes(app, records):
            return
        stream = self._stream
        if stream is not None and (self._skipped or not stream.send(records)):
            self._skipped += records.count(b"\n")

    def _tell_skipped(self) -> None:
        stream = self._stream
        if not self._skipped or stream is None or stream.pending > QUEUE_LIMIT // 2:
            return
        fields = {"lines": self._skipped, "because": "this reader is too slow"}
        self._skipped = 0
        when = self._layout.stamp(time.time_ns())
        record = self._layout.record(when, "warning", "log lines skipped", fields)
        stream.send(encode(record) + b"\n")
