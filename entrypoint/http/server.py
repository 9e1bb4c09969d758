"""The probe server: listeners and a bounded number of clients on the loop.

Everyone who reaches the port can use it, so all resources that a client can consume are
bounded: connections (the oldest idle one, else the oldest of all, makes room for a new
one, so that a probe gets through despite hundreds of slow clients), bytes stored for
each of them (an unfinished line, one answer), bytes of unread answers,
accepts in one turn, seconds of patience. No request changes any state.

Besides the listeners of the file there is a private one, a unix socket for our own user
and root, where `pyinit health` asks without the file (api/socket_path.py). Its
clients are counted separately: no flood on the port blocks the container's own HEALTHCHECK.
"""

from __future__ import annotations

import _socket
import errno
import os
import time

from entrypoint import loop as loops
from entrypoint.api import probes, socket_path
from entrypoint.core.spec import ListenSpec
from entrypoint.kernel import rights

from . import http1, listening
from .connection import Connection, encode
from .listening import ConnectionLimiter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from entrypoint.core.view import View
    from entrypoint.loop import Loop

CONNECTION_LIMIT = 128
# Above ACCEPT_BATCH too, and room for people who follow the logs.
PRIVATE_LIMIT = 64
# Accepted in one turn: so many, or as many as there is time for (s). Below the limit: a
# client is not thrown out again in the turn that accepted it. Many, for behind a flood a
# probe waits in the backlog, and its request has come by the time that it is accepted.
ACCEPT_BATCH = 48
ACCEPT_TIME = 0.005
# How long to leave a listener alone if the kernel has no descriptor or memory for it (s).
ACCEPT_PAUSE = 1.0

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class ProbeErrors(OSError):
    """Addresses that cannot be listened on: `sentences`, one for each."""

    def __init__(self, sentences: tuple[str, ...]) -> None:
        super().__init__(errno.EADDRNOTAVAIL, "; ".join(sentences))
        self.sentences = sentences


class ProbeServer:
    """Answers probes. `view` is called at most once in a turn of the loop, and only on a request.

    `extra_status` adds to `/status`: plain values for JSON, nothing secret. `metrics` answers
    `/metrics` for an Accept field, `page` answers `/` and `/events`. `private`
    False: no private socket. `control` answers what begins with `/control/`, on the
    private socket and nowhere else; `private_at` is a path for a second private socket,
    which must work when it is asked for. After `open`, `private_path` is where that socket lies, or
    `private_error` says why it is not there: a reason to log, not to fail.
    """

    def __init__(
        self,
        loop: Loop,
        listeners: tuple[ListenSpec, ...],
        view: Callable[[], View],
        ready_when: str,
        version: str,
        extra_status: Callable[[], dict[str, Any]],
        *,
        metrics: Callable[[str], probes.Answer | probes.Later] | None = None,
        page: Callable[[http1.Request], probes.Answer | probes.Handover] | None = None,
        private: bool = True,
        private_at: str = "",
        control: Callable[[http1.Request, socket_path.Peer], probes.Answer | probes.Handover]
        | None = None,
    ) -> None:
        self._loop = loop
        self._specs = listeners
        self._make_view = view
        self._ready_when = ready_when
        self._version = version
        self._extra_status = extra_status
        self._metrics = metrics
        self._page = page
        self._private = private
        self._private_at = private_at
        self._control = control
        self._open: dict[ListenSpec, Listener] = {}
        self._coming: dict[ListenSpec, _socket.socket] = {}
        self._limiter = ConnectionLimiter(CONNECTION_LIMIT)
        self._private_listener: Listener | None = None
        self._private_limiter = ConnectionLimiter(PRIVATE_LIMIT)
        self._second: Listener | None = None
        self._view: View | None = None
        self._view_turn = -1
        self._status = b""  # of this view; empty: not made yet
        self._date = b""
        self._date_second = -1
        self.private_path = ""
        self.private_error = ""
        self.answered = 0
        # (endpoint, status code): requests; for the metrics.
        self.requests: dict[tuple[str, int], int] = {}

    # -- life -------------------------------------------------------------------------

    def open(self) -> None:
        """Listen. Raises ProbeErrors, with nothing left open, when an address refuses."""
        second = self._listen_second()
        try:
            self.prepare(self._specs)
            self.change(self._specs, self._ready_when)
        except ProbeErrors:
            if second is not None:
                second.close()
                listening.leave(self._private_at)
            raise
        if second is not None:
            self._second = Listener(
                self._loop, second, self._private_limiter, self._welcome_private
            )
        if self._private and self._private_listener is None:
            self._open_private()

    def prepare(self, listeners: tuple[ListenSpec, ...]) -> None:
        """Bind what a file that was read again newly names; `change` or `discard` follows.

        Raises ProbeErrors and changes nothing when one of them cannot be listened on.
        """
        self.discard()
        here = {spec.text for spec in self._open}
        sentences = []
        for spec in dict.fromkeys(listeners):
            if spec.text in here:
                continue
            try:
                self._coming[spec] = listening.listen(spec)
            except listening.ListenError as error:
                sentences.append(str(error))
        if sentences:
            self.discard()
            raise ProbeErrors(tuple(sentences))

    def discard(self) -> None:
        """Close what was prepared."""
        for spec, sock in self._coming.items():
            sock.close()
            listening.leave(spec.path)
        self._coming.clear()

    def change(self, listeners: tuple[ListenSpec, ...], ready_when: str) -> None:
        """Listen on these, which were prepared; unchanged ones are not touched."""
        wanted = {spec.text: spec for spec in listeners}
        for spec in tuple(self._open):
            if spec.text not in wanted:
                self._drop(spec)
            else:
                self._open[wanted[spec.text]] = self._open.pop(spec)
        for spec, sock in self._coming.items():
            self._open[spec] = Listener(self._loop, sock, self._limiter, self._welcome)
        self._coming.clear()
        self._specs = listeners
        self._ready_when = ready_when

    def close(self) -> None:
        """Close listeners and clients, remove what lies in the file system."""
        for spec in tuple(self._open):
            self._drop(spec)
        self._limiter.close()
        self._private_limiter.close()
        if self._second is not None:
            self._second.close()
            self._second = None
            listening.leave(self._private_at)
        if self._private_listener is not None:
            self._private_listener.close()
            self._private_listener = None
            socket_path.leave(self.private_path)
            self.private_path = ""

    @property
    def connections(self) -> int:
        """Clients of the public listeners."""
        return len(self._limiter.clients)

    @property
    def evicted(self) -> int:
        """Public clients that were closed for others."""
        return self._limiter.evicted

    @property
    def addresses(self) -> tuple[Any, ...]:
        """`getsockname(2)` of each public listener, in the order of the file."""
        return tuple(self._open[spec].address for spec in self._specs if spec in self._open)

    def _drop(self, spec: ListenSpec) -> None:
        self._open.pop(spec).close()
        listening.leave(spec.path)

    def _open_private(self) -> None:
        try:
            sock, self.private_path = socket_path.bind(os.environ)
        except OSError as error:
            self.private_error = f"the commands will not find this pyinit: {error.strerror}"
            return
        self._private_listener = Listener(
            self._loop, sock, self._private_limiter, self._welcome_private
        )

    def _listen_second(self) -> _socket.socket | None:
        if not self._private_at or self._second is not None:
            return None
        spec = ListenSpec("unix", path=self._private_at, mode=0o600)
        try:
            return listening.listen(spec)
        except listening.ListenError as error:
            sentence = str(error).replace("probes.listen:", "control.path:", 1)
            raise ProbeErrors((sentence,)) from None

    # -- clients ----------------------------------------------------------------------

    def _welcome(self, sock: _socket.socket, limiter: ConnectionLimiter) -> None:
        client = Connection(self._loop, sock, self._respond, self._now_as_date, limiter)
        limiter.admit(client)
        # Its request has mostly come already.
        client.ready()

    def _welcome_private(self, sock: _socket.socket, limiter: ConnectionLimiter) -> None:
        peer = socket_path.Peer(sock)
        if socket_path.allowed(peer):
            client = Connection(
                self._loop,
                sock,
                lambda event: self._respond_private(event, peer),
                self._now_as_date,
                limiter,
            )
            limiter.admit(client)
            client.ready()
            return
        text = f"only root and user {os.geteuid()} may ask here, not user {peer.uid}\n"
        refusal = encode(probes.Answer(403, text.encode()), self._now_as_date(), b"close")
        try:
            sock.send(refusal, _socket.MSG_NOSIGNAL)
        except OSError:
            pass  # it has gone
        sock.close()

    def _respond_private(
        self, event: http1.Request | http1.Refused, peer: socket_path.Peer
    ) -> probes.Answer | probes.Handover | probes.Later:
        if isinstance(event, http1.Request) and event.path[0] == "control":
            self.answered += 1
            if event.has_body:
                return probes.Answer(413, b"no request body is taken here\n")
            if self._control is None:
                return probes.Answer(404, b"not found: control.enabled is false\n")
            return self._control(event, peer)
        return self._respond(event)

    def _respond(
        self, event: http1.Request | http1.Refused
    ) -> probes.Answer | probes.Handover | probes.Later:
        self.answered += 1
        if isinstance(event, http1.Refused):
            self._count(probes.OTHER, event.status)
            return probes.Answer(event.status, event.reason.encode() + b"\n")
        view = self._current_view()
        answer = probes.answer(
            event, view, self._ready_when, self.status_body, self._metrics, self._page
        )
        # What comes later, metrics or events: only a bug makes it anything but 200.
        self._count(
            probes.route(event), answer.status if isinstance(answer, probes.Answer) else 200
        )
        return answer

    def _count(self, route: str, status: int) -> None:
        key = (route, status)
        self.requests[key] = self.requests.get(key, 0) + 1

    def _current_view(self) -> View:
        # One view serves all requests of a turn: a flood of them costs one.
        if self._view is None or self._view_turn != self._loop.wakeups:
            self._view = self._make_view()
            self._view_turn = self._loop.wakeups
            self._status = b""
        return self._view

    def status_body(self) -> bytes:
        """The body of `/status`, as of this turn of the loop."""
        view = self._current_view()
        if not self._status:
            import json

            status = probes.status(
                view,
                now=self._loop.now(),
                version=self._version,
                ready_when=self._ready_when,
            )
            self._status = json.dumps({**status, **self._extra_status()}).encode() + b"\n"
        return self._status

    def _now_as_date(self) -> bytes:
        second = int(time.time())
        if second != self._date_second:
            self._date_second = second
            self._date = http_date(second)
        return self._date


class Listener:
    """One listening socket on the loop."""

    def __init__(
        self,
        loop: Loop,
        sock: _socket.socket,
        limiter: ConnectionLimiter,
        welcome: Callable[[_socket.socket, ConnectionLimiter], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._welcome = welcome
        self.limiter = limiter
        self.address: Any = sock.getsockname()
        # Given up for a moment to accept and close a client when there is no descriptor
        # left: a connection that stays in the backlog would wake the loop for ever.
        self._reserve = _reserve()
        self._resume()

    def close(self) -> None:
        """Stop listening."""
        self._loop.cancel(self)
        self._loop.unregister(self._sock.fileno())
        self._sock.close()
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1

    def _resume(self) -> None:
        if self._reserve < 0:
            self._reserve = _reserve()
        self._loop.register(self._sock.fileno(), loops.READ, self._ready)

    def _ready(self, _events: int) -> None:
        failure: BaseException | None = None
        enough = self._loop.now() + ACCEPT_TIME
        for _ in range(ACCEPT_BATCH):
            if self._loop.now() > enough:
                break
            try:
                sock = self._accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._relieve()
                    break
                if error.errno == errno.EAGAIN:
                    break
                # accept(2): errors of a connection that is gone again show here.
                continue
            try:
                self._welcome(sock, self.limiter)
            except Exception as error:  # noqa: BLE001  one client must not cost the others
                failure = failure or error
        if failure is not None:
            raise failure

    def _accept(self) -> _socket.socket:
        fd, _ = self._sock._accept()  # type: ignore[attr-defined]  # noqa: SLF001  accept4(2)
        sock = _socket.socket(self._sock.family, self._sock.type, self._sock.proto, fileno=fd)
        sock.setblocking(False)
        if sock.family == _socket.AF_UNIX:
            rights.refuse(sock)
        return sock

    def _relieve(self) -> None:
        if self.limiter.evict():
            return  # its descriptor is free: level-triggered, the next turn accepts
        if self._reserve >= 0:
            os.close(self._reserve)
            self._turn_away()
            self._reserve = _reserve()
            if self._reserve >= 0:
                return
        self._loop.unregister(self._sock.fileno())
        self._loop.call_at(self, self._loop.now() + ACCEPT_PAUSE, self._resume)

    def _turn_away(self) -> None:
        try:
            self._accept().close()
        except OSError:
            return  # gone by itself


def _reserve() -> int:
    try:
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(second: int) -> bytes:
    """RFC 9110 §5.6.7, whatever the locale is."""
    t = time.gmtime(second)
    day, month = _DAYS[t.tm_wday], _MONTHS[t.tm_mon - 1]
    clock = f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
    return f"{day}, {t.tm_mday:02} {month} {t.tm_year:04} {clock} GMT".encode("ascii")
