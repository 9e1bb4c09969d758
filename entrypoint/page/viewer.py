"""One browser that shows the page: it gets the newest event, and never more than it reads.

All viewers share the bytes of an event. A viewer that is still busy with the event before gets
the newest one when it is through, so nothing piles up for it, and what it missed is old. One
that does not take an event within `PATIENCE` seconds is closed, however it trickles: the browser
connects again by itself. It counts as idle in its limiter: for a probe that needs the place it is
the first to go.
"""

from __future__ import annotations

import _socket

from entrypoint import loop as loops
from entrypoint.api.reading_client import ReadingClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.http.listening import ConnectionLimiter
    from entrypoint.loop import Loop

PATIENCE = 15.0  # seconds
NOTHING = memoryview(b"")


class Viewer(ReadingClient):
    """`newest()` is the latest event; `closed(viewer)` is called once, when the browser is gone."""

    INPUT_LIMIT = 1 << 14

    def __init__(
        self,
        loop: Loop,
        sock: _socket.socket,
        limiter: ConnectionLimiter,
        newest: Callable[[], bytes],
        closed: Callable[[Viewer], None],
    ) -> None:
        super().__init__(loop, sock, limiter)
        self._newest = newest
        self._closed = closed
        self._rest = NOTHING
        self._behind = False
        # `body` is what it has to take, shared with others.

    def begin(self, head: bytes) -> None:
        """Send the head of the answer, then every event."""
        self._loop.register(self._sock.fileno(), loops.READ, self._ready)
        self._limiter.admit(self)
        self.offer(head)

    @property
    def pending(self) -> int:
        """Bytes that wait for the browser."""
        return len(self._rest)

    def offer(self, event: bytes) -> None:
        """Send it, now or when the event before is taken and this one is still the newest."""
        if not self.is_open:
            return
        if self._rest:
            self._behind = True
            return
        self.body = event
        self._rest = memoryview(event)
        self._flush()
        if self._rest:
            self._loop.call_at(self, self._loop.now() + PATIENCE, self.close)
            self._wait(loops.READ | loops.WRITE)
            self._limiter.relieve()

    def _release(self) -> None:
        self._rest, self.body = NOTHING, b""
        self._closed(self)

    # -- steps ------------------------------------------------------------------------

    def _ready(self, events: int) -> None:
        try:
            if events & ~loops.WRITE:
                self._listen()
            if self._rest:
                self._flush()
        except (OSError, MemoryError):
            self.close()
        if not self._rest and self._events != loops.READ:
            self._taken()

    def _taken(self) -> None:
        if self.is_open:
            self._loop.cancel(self)
            self._wait(loops.READ)
            if self._behind:
                self._behind = False
                self.offer(self._newest())

    def _flush(self) -> None:
        try:
            sent = self._sock.send(self._rest, _socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._rest = self._rest[sent:] if sent < len(self._rest) else NOTHING
        if not self._rest:
            self.body = b""
