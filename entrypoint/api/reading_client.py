"""A client that has sent its request and only reads from then on: what its streams share.

Its further input is dropped up to a bound, so that its hang-up is seen.
"""

from __future__ import annotations

from entrypoint import loop as loops
from entrypoint.kernel import rights

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from entrypoint.http.listening import ConnectionLimiter
    from entrypoint.loop import Loop


class ReadingClient:
    """The owner of the connection, as the limiter sees it.

    A subclass registers `self._sock`, answers its events, and says what `_release` frees.
    """

    INPUT_LIMIT = 1 << 16  # bytes

    def __init__(self, loop: Loop, sock: _socket.socket, limiter: ConnectionLimiter) -> None:
        self._loop = loop
        self._sock = sock
        self._limiter = limiter
        self._events = loops.READ
        self._dropped = 0
        self.is_open = True
        self.idle = True
        self.awaiting = False
        self.body = b""

    @property
    def pending(self) -> int:
        """Bytes that wait for the client."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the client at once; a no-op if that has happened."""
        if self.is_open:
            self.is_open = False
            self._loop.cancel(self)
            self._loop.unregister(self._sock.fileno())
            self._sock.close()
            self._limiter.forget(self)
            self._release()

    def _release(self) -> None:
        raise NotImplementedError

    def _listen(self) -> None:
        """Only whether the client is still there is of interest."""
        try:
            data = rights.receive(self._sock, 4096)
        except BlockingIOError:
            return
        self._dropped += len(data)
        if not data or self._dropped > self.INPUT_LIMIT:
            self.close()

    def _wait(self, events: int) -> None:
        if events != self._events and self.is_open:
            self._events = events
            self._loop.modify(self._sock.fileno(), events)
