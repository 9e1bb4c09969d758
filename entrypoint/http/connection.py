"""One client of the probe server, from accept to close.

A connection does one small thing each time the loop calls it (at most one `recv`, one
answer, one `send`) and never waits: so no client, whatever it sends or does not send,
holds up the loop for longer than that. Requests that came in one packet are answered in
as many turns: with input left the connection asks to be called when it can write, which
is at once.

Its deadline moves only when a request begins, when an answer is on its way, and when it
falls idle; a client that sends a byte now and then does not move it.
"""

from __future__ import annotations

import _socket

from entrypoint import loop as loops
from entrypoint.api.probes import Answer, Handover, Later
from entrypoint.kernel import rights

from . import http1

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.loop import Loop

    from .listening import ConnectionLimiter

# Seconds.
REQUEST_TIMEOUT = 5.0  # from accept, or the first byte, to the end of the answer
IDLE_TIMEOUT = 10.0  # between two requests
LINGER_TIMEOUT = 1.0

RECEIVE_SIZE = 4096
# How much input of a refused client is read and dropped: see `_finish`.
LINGER_LIMIT = 1 << 16
# A body of more bytes is not copied behind its header.
SHARED_SIZE = 1 << 14

REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class Connection:
    """A client. It reports to its limiter when it is gone and when its answer is not read."""

    def __init__(
        self,
        loop: Loop,
        sock: _socket.socket,
        respond: Callable[[http1.Request | http1.Refused], Answer | Handover | Later],
        date: Callable[[], bytes],
        limiter: ConnectionLimiter,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._respond = respond
        self._date = date
        self._limiter = limiter
        self._parser = http1.RequestParser()
        # The rest of the answer; the body of a big one is shared with others'.
        self._output: list[memoryview] = []
        self.body: bytes = b""
        self._forget_later: Callable[[], None] | None = None
        self.awaiting = False
        self._events = loops.READ
        self._last = False  # close when the output is gone
        self._lingering = False
        self._lingered = 0
        self._open = True
        self.idle = False
        loop.register(sock.fileno(), loops.READ, self.ready)
        self._due_in(REQUEST_TIMEOUT)

    @property
    def pending(self) -> int:
        """Bytes of an answer that the client has not read yet."""
        return sum(len(part) for part in self._output)

    def ready(self, _events: int = 0) -> None:
        """Do the next small step. An exception (a bug of pyinit) closes the connection."""
        try:
            self._step()
        except (OSError, MemoryError):
            self.close()  # reset, broken pipe: the client's affair
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the client at once; a no-op if that has happened."""
        if self._open:
            self._open = False
            self._loop.unregister(self._sock.fileno())
            self._loop.cancel(self)
            self._sock.close()
            self._output = []
            self.body = b""
            if self._forget_later is not None:
                self._forget_later()
            self._limiter.forget(self)

    # -- steps ----------------------------------------------------------------------

    def _step(self) -> None:
        if self._lingering:
            self._drop_input()
            return
        if self.awaiting:
            self.close()  # only a hang-up is reported meanwhile
            return
        if self._output:
            self._send()
            return
        event = self._parser.next_event()
        if event is None:
            event = self._read()
        if event is None:
            self._wait(loops.READ)
            if self.idle and self._parser.begun:
                self.idle = False
                self._due_in(REQUEST_TIMEOUT)
        elif isinstance(event, http1.Ended):
            self.close()
        else:
            self._answer(event)

    def _read(self) -> http1.Request | http1.Refused | http1.Ended | None:
        try:
            data = rights.receive(self._sock, RECEIVE_SIZE)
        except BlockingIOError:
            return None
        # b"" is the end of the input, not of the connection: a client that has shut
        # down its half (`printf … | nc`) still reads.
        self._parser.receive(data)
        return self._parser.next_event()

    def _answer(self, event: http1.Request | http1.Refused) -> None:
        self.idle = False
        self._due_in(REQUEST_TIMEOUT)
        try:
            answer = self._respond(event)
        except Exception:
            self._tell(http1.Refused(500, "an error of pyinit's own; its log tells more"))
            raise
        if isinstance(answer, Handover):
            self._hand_over(answer)
        elif isinstance(answer, Later):
            self._await(event, answer)
        else:
            self._reply(event, answer)

    def _await(self, event: http1.Request | http1.Refused, later: Later) -> None:
        self.awaiting = True
        self._wait(0)
        forget = later.begin(lambda answer: self._made(event, answer))
        if self.awaiting:
            self._forget_later = forget

    def _made(self, event: http1.Request | http1.Refused, answer: Answer) -> None:
        self.awaiting = False
        self._forget_later = None
        try:
            self._reply(event, answer)
        except (OSError, MemoryError):
            self.close()

    def _reply(self, event: http1.Request | http1.Refused, answer: Answer) -> None:
        if isinstance(event, http1.Request):
            self._last = not event.keep_alive or answer.status == 413
            self._parser.answered(close=self._last)
            whole = event.method != "HEAD"
            # An HTTP/1.0 client keeps the connection only when the answer says so.
            connection = b"close" if self._last else b"keep-alive" if event.minor == 0 else b""
        else:
            self._last, whole, connection = True, True, b"close"
        if whole and len(answer.body) > SHARED_SIZE:
            head = encode(answer, self._date(), connection, whole=False)
            self.body = answer.body
            self._output = [memoryview(head), memoryview(answer.body)]
        else:
            self._output = [memoryview(encode(answer, self._date(), connection, whole=whole))]
        self._send()

    def _hand_over(self, handover: Handover) -> None:
        self._open = False
        self._loop.unregister(self._sock.fileno())
        self._loop.cancel(self)
        self._limiter.forget(self)
        try:
            handover.begin(self._sock, self._limiter)
        except BaseException:
            self._sock.close()
            raise

    def _send(self) -> None:
        try:
            sent = self._sock.sendmsg(self._output, (), _socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        while self._output and sent >= len(self._output[0]):
            sent -= len(self._output.pop(0))
        if self._output:
            self._output[0] = self._output[0][sent:]
            # Nothing is read meanwhile: a client that does not read its answers gets no further
            # requests served.
            self._wait(loops.WRITE)
            self._limiter.relieve()
            return
        self.body = b""
        if self._last:
            self._finish()
        elif self._parser.buffered:
            self._wait(loops.WRITE)
        else:
            self.idle = True
            self._due_in(IDLE_TIMEOUT)
            self._wait(loops.READ)

    def _finish(self) -> None:
        # close(2) with unread input resets the connection, and a reset may overtake the
        # answer (RFC 9112 §9.6): end our half, drop what still comes for a while.
        self._sock.shutdown(_socket.SHUT_WR)
        self._lingering = True
        self.idle = True
        self._due_in(LINGER_TIMEOUT)
        self._wait(loops.READ)
        self._drop_input()

    def _drop_input(self) -> None:
        try:
            dropped = len(rights.receive(self._sock, RECEIVE_SIZE))
        except BlockingIOError:
            return
        self._lingered += dropped
        if not dropped or self._lingered > LINGER_LIMIT:
            self.close()

    def _wait(self, events: int) -> None:
        if events != self._events:
            self._events = events
            self._loop.modify(self._sock.fileno(), events)

    def _due_in(self, seconds: float) -> None:
        self._loop.call_at(self, self._loop.now() + seconds, self._expired)

    def _expired(self) -> None:
        if not self._lingering and not self._output and self._parser.begun:
            # Send the client the reason, if it reads it; it gets no more time.
            self._tell(http1.Refused(408, "the request took too long"))
        self.close()

    def _tell(self, refused: http1.Refused) -> None:
        answer = self._respond(refused)
        assert isinstance(answer, Answer)  # there is nothing to hand over for
        data = encode(answer, self._date(), b"close")
        try:
            self._sock.send(data, _socket.MSG_NOSIGNAL)
        except OSError:
            return


def encode(answer: Answer, date: bytes, connection: bytes = b"", *, whole: bool = True) -> bytes:
    """The bytes of a response; `connection` is that field's value, `whole` with its body."""
    fields = [
        b"HTTP/1.1 %d %s" % (answer.status, REASONS.get(answer.status, "").encode("ascii")),
        b"Date: " + date,
        b"Content-Type: " + answer.content_type.encode("ascii"),
        b"Content-Length: %d" % len(answer.body),
        b"Cache-Control: no-store",
        b"X-Content-Type-Options: nosniff",
    ]
    fields.extend(answer.fields)
    if answer.allow:
        fields.append(b"Allow: " + answer.allow.encode("ascii"))
    if connection:
        fields.append(b"Connection: " + connection)
    return b"\r\n".join(fields) + b"\r\n\r\n" + (answer.body if whole else b"")
