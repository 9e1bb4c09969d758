"""Checks over a connection: `tcp`, which must be accepted, and `http`, which must be answered.

No deadline here: the core cancels a check when its time is over, so a server that sends
a byte now and then fails like one that sends nothing.
"""

from __future__ import annotations

import errno
import os

from entrypoint import __version__
from entrypoint.kernel import clients
from entrypoint.loop import READ, WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Callable

    from entrypoint.loop import Loop

    from .target import Target

# The longest head of an answer.
HEAD_AT_MOST = 16384
# How long, and for how many bytes, the rest of an answer is read and dropped, so that
# the client does not close the connection while the server still writes.
LINGER = 1.0
LINGER_AT_MOST = 1 << 20


class TcpCheck:
    """Connects; success when the connection is accepted."""

    def __init__(self, loop: Loop, target: Target, ended: Callable[[str], None]) -> None:
        self._loop = loop
        self._target = target
        self._ended = ended
        self._left = list(target.endpoints)
        self._sock: _socket.socket | None = None
        self._fd = -1
        self._waits = 0
        self._directed = 0

    def begin(self) -> None:
        """Connect; `ended(reason)` may be called before this returns."""
        endpoint = self._left.pop(0)
        try:
            self._sock, self._directed = self._target.connect(endpoint)
        except OSError as error:
            self._refused(error.errno or 0)
            return
        self._fd = self._sock.fileno()
        # On loopback the handshake is over when connect(2) returns; else the direction
        # stays, for a SYN that is dropped comes again.
        if endpoint.family == "unix" or clients.is_connected(self._sock):
            self._connected()
        else:
            self._wait(WRITE)

    def give_up(self) -> None:
        """Cancel the check."""
        self._close()

    def _ready(self, _events: int) -> None:
        if self._sock is None:
            return
        if self._waits == WRITE:
            error = clients.pending_error(self._sock)
            if error:
                self._close()
                self._refused(error)
                return
            self._connected()
            return
        self._readable(self._sock)

    def _refused(self, number: int) -> None:
        if self._left:
            self.begin()
        elif number == errno.EAGAIN:
            self._end("connect: the backlog is full")
        else:
            self._end(f"connect: {os.strerror(number)}")

    def _undirect(self) -> None:
        if self._directed and self._target.group is not None:
            self._target.group.undirect(self._directed)
        self._directed = 0

    def _connected(self) -> None:
        self._undirect()
        self._close()
        self._end("")

    def _readable(self, sock: _socket.socket) -> None:
        """Something came."""

    def _wait(self, events: int) -> None:
        if self._waits == 0:
            self._loop.register(self._fd, events, self._ready)
        elif self._waits != events:
            self._loop.modify(self._fd, events)
        self._waits = events

    def _close(self) -> None:
        self._undirect()
        if self._waits:
            self._loop.unregister(self._fd)
            self._waits = 0
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _end(self, reason: str) -> None:
        self._ended(reason)


class HttpCheck(TcpCheck):
    """Sends a GET; an answer from 200 to 399 is success, as for the kubelet."""

    def __init__(self, loop: Loop, target: Target, ended: Callable[[str], None]) -> None:
        super().__init__(loop, target, ended)
        self._head = b""
        self._lingered = 0

    def _connected(self) -> None:
        self._undirect()
        target = self._target
        asked = (
            f"GET {target.path} HTTP/1.1\r\nHost: {target.host}\r\n"
            f"User-Agent: pyinit/{__version__} (health check)\r\nAccept: */*\r\n"
            "Connection: close\r\n\r\n"
        )
        if self._sock is None:
            return
        try:
            # A new connection's buffer holds it.
            self._sock.send(asked.encode("ascii", "replace"))
        except OSError as error:
            self._close()
            self._end(os.strerror(error.errno or 0))
            return
        self._wait(READ)

    def _readable(self, sock: _socket.socket) -> None:
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._over(os.strerror(error.errno or 0))
            return
        if self._lingered:
            self._lingered += len(data)
            if not data or self._lingered > LINGER_AT_MOST:
                self._close_lingering()
            return
        if not data:
            self._over("the connection was closed before an answer")
            return
        self._head += data
        try:
            status, reason = status_of(self._head)
        except ValueError as error:
            self._over(str(error))
            return
        if status:
            self._linger()
            good = 200 <= status < 400
            self._end("" if good else f"HTTP {status} {reason}".rstrip())

    def _over(self, reason: str) -> None:
        if self._lingered:
            self._close_lingering()
            return
        self._close()
        self._end(reason)

    def _linger(self) -> None:
        self._lingered = 1
        self._head = b""
        self._loop.call_at(("linger", id(self)), self._loop.now() + LINGER, self._close_lingering)

    def _close_lingering(self) -> None:
        self._loop.cancel(("linger", id(self)))
        self._close()


def status_of(head: bytes) -> tuple[int, str]:
    """Status and reason of an HTTP answer with a complete head; 0 while it is incomplete.

    Interim answers (1xx) are skipped. Raises ValueError with what is wrong.
    """
    while True:
        line, newline, rest = head.partition(b"\n")
        if not newline:
            if len(head) > HEAD_AT_MOST or not b"HTTP/1.".startswith(head[:7]):
                raise ValueError("the answer is not HTTP/1")
            return 0, ""
        words = line.rstrip(b"\r").split(b" ", 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or len(words[1]) != 3:
            raise ValueError("the answer is not HTTP/1")
        if not words[1].isdigit():
            raise ValueError("the answer is not HTTP/1")
        ends = [at for end in (b"\n\r\n", b"\n\n") if (at := head.find(end)) >= 0]
        if not ends:
            if len(head) > HEAD_AT_MOST:
                raise ValueError("the head of the answer is too long")
            return 0, ""
        status = int(words[1])
        if status >= 200 or status == 101:
            return status, words[2][:100].decode("ascii", "replace") if len(words) > 2 else ""
        at = min(ends)
        head = head[at + (3 if head[at : at + 3] == b"\n\r\n" else 2) :]
        if len(rest) > HEAD_AT_MOST:
            raise ValueError("the head of the answer is too long")
