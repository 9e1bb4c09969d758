"""Relays connections from a socket without an accepting worker to other sockets.

There are two causes. A bare port is bound for both families before any worker
runs; if the workers then use AF_INET sockets (addresses.py), those are different ones, and
connections queued before are stranded. And a few handshakes end after the worker that
the kernel had chosen for them has left (unowned_slots.py).

The kernel cannot move such connections; so pyinit accepts them and relays them to the
address's other sockets, byte for byte. The worker sees a connection from this host; of a client
on this host it sees the client's address.
"""

from __future__ import annotations

import errno
import os
from collections import deque

from entrypoint.kernel import clients, limits, sockets
from entrypoint.loop import (
    ERROR,
    HANGUP,
    READ,
    WRITE,
)

from .sockaddr import MAPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Callable

    from entrypoint.loop import Loop

    from .addresses import Form
else:
    import _socket

# Relayed connections; each takes two descriptors. Further clients wait.
AT_MOST = 200
# The share of pyinit's own limit of descriptors for clients that wait here.
_PART = 4
# A resource is short just now: retried after a pause (s).
_SHORT = (
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EADDRNOTAVAIL,
    errno.EADDRINUSE,
    errno.EAGAIN,
)
# Those of them that concern the address of the client.
_IN_USE = (errno.EADDRNOTAVAIL, errno.EADDRINUSE)
PAUSE = 0.05
# How long a client may keep a connection that the worker has closed while others wait (s).
ANSWERED = 1.0
_SIZE = 65536


# The client addresses of connections that PID 1 has accepted, the latest ones.
_accepted: deque[tuple[str, int]] = deque(maxlen=4096)


def was_relayed(client: _socket.socket) -> bool:
    """Whether PID 1 itself, and no worker, accepted the connection of this client."""
    name = client.getsockname()
    return isinstance(name, tuple) and (name[0], name[1]) in _accepted


class ConnectionRelay:
    """Moves connections from one listener's queue to other listeners.

    `AT_MOST` are relayed at a time, if there are descriptors for them. Others wait:
    in the queue of their listener, or here if that is closed, at most a quarter of pyinit's
    own limit of descriptors.
    """

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._pairs: set[_Pair] = set()
        # Accepted connections that are not relayed yet.
        self._waiting: deque[tuple[_socket.socket, tuple[Form, ...]]] = deque()
        self._most = max(AT_MOST, limits.open_files() // _PART)

    def take(
        self,
        listener: _socket.socket,
        waiting: int,
        forms: tuple[Form, ...],
        *,
        closing: bool = False,
    ) -> None:
        """Accept `waiting` connections of `listener`, whose address `forms` serve now.

        Those that no form takes are reset, as if they had been refused. `closing`: it
        takes no connections after this turn, and those left in its
        queue are reset. So more are accepted than can be relayed at once; and they are
        relayed after it is closed, so that they do not return to it.
        """
        if len(self._pairs) >= AT_MOST:
            self._end_answered()
        capacity = (self._most if closing else AT_MOST) - len(self._pairs) - len(self._waiting)
        # Another process may have accepted them meanwhile: then nothing may wait here.
        blocking = listener.getblocking() and os.get_blocking(listener.fileno())
        os.set_blocking(listener.fileno(), False)
        try:
            for _ in range(min(waiting, capacity)):
                if not _has_room(listener.fileno()):
                    self._end_answered()
                    break
                try:
                    client = sockets.accept(listener)
                except OSError:
                    break
                _remember(client)
                self._waiting.append((client, forms))
                if not closing and not self._go_on():
                    break
        finally:
            if blocking:
                os.set_blocking(listener.fileno(), True)
        if closing:
            self._later(0.0)

    def _later(self, pause: float) -> None:
        """Continue at the end of the turn, when the listener is closed, or after a pause."""
        self._loop.call_at(("relay", id(self)), self._loop.now() + pause, self._again)

    def _again(self) -> None:
        self._go_on()

    def _go_on(self) -> bool:
        """Relay as many as possible; False: some still wait."""
        while self._waiting and len(self._pairs) < AT_MOST:
            client, forms = self._waiting[0]
            try:
                self._pass_on(client, forms)
            except OSError as error:
                stuck = error.errno == errno.EMFILE and not self._pairs and len(self._waiting) > 1
                if error.errno in _SHORT and not stuck:
                    if error.errno in _IN_USE:
                        self._waiting.rotate(-1)  # another one may succeed
                    self._end_answered()
                    self._later(PAUSE)
                    return False
                # It has given up, or nothing listens; or the waiting clients use all descriptors
                # and none could continue.
                client.close()
            self._waiting.popleft()
        if self._waiting:
            self._end_answered()
            self._later(ANSWERED)
        return not self._waiting

    def _end_answered(self) -> None:
        """End connections that only an answered client keeps open, because others wait.

        A client may send all requests first and read the answers later, in its own order.
        """
        before = self._loop.now() - ANSWERED
        for pair in tuple(self._pairs):
            if pair.answered_at and pair.answered_at <= before:
                pair.close()

    def _pass_on(self, client: _socket.socket, forms: tuple[Form, ...]) -> None:
        host, port, here = _destination(client)
        if not any(form.takes4 if here == "inet" else form.takes6 for form in forms):
            client.close()
            return
        self._pairs.add(_Pair(self._loop, self._ended, client, here, host, port))

    def _ended(self, pair: _Pair) -> None:
        self._pairs.discard(pair)
        if self._waiting:
            self._later(0.0)

    def close(self) -> None:
        """Drop what is left."""
        self._loop.cancel(("relay", id(self)))
        for client, _ in self._waiting:
            client.close()
        self._waiting.clear()
        for pair in tuple(self._pairs):
            pair.close()


def _has_room(fd: int) -> bool:
    """Whether there are descriptors for one more client and its worker. `fd`: any."""
    found: list[int] = []
    try:
        found = [os.dup(fd)]
        found.append(os.dup(fd))
    except OSError:
        return False
    finally:
        for each in found:
            os.close(each)
    return True


def _remember(client: _socket.socket) -> None:
    try:
        name = client.getpeername()
    except OSError:
        return  # it has given up
    _accepted.append((str(name[0]).removeprefix(MAPPED), name[1]))


def _destination(client: _socket.socket) -> tuple[str, int, str]:
    """The client's destination: host, port and family."""
    name = client.getsockname()
    host = str(name[0])
    if host.startswith(MAPPED):
        return host.removeprefix(MAPPED), name[1], "inet"
    return host, name[1], "inet6" if ":" in host else "inet"


def _connect(client: _socket.socket, family: str, host: str, port: int) -> _socket.socket:
    """Connect to a worker, from the client's own address if that is this host's.

    Raises OSError.
    """
    theirs = str(client.getpeername()[0]).removeprefix(MAPPED)
    try:
        server = clients.client(family, theirs)
    except OSError:  # another host's
        return clients.connect(family, host, port)
    try:
        clients.begin_connect(server, host, port)
    except OSError:
        server.close()
        raise
    return server


class _Pair:
    """A client and its worker, each with the data still to be written to it."""

    def __init__(
        self,
        loop: Loop,
        ended: Callable[[_Pair], None],
        client: _socket.socket,
        family: str,
        host: str,
        port: int,
    ) -> None:
        """Raises OSError, in which case the client still belongs to the caller."""
        self._loop = loop
        self._over = ended
        client.setblocking(False)
        server = _connect(client, family, host, port)
        self._ends = (client, server)
        self._pending = [b"", b""]  # data for that end
        self._ended = [False, False]  # that end has sent everything
        self._shut_down = [False, False]  # that end was told that the other has ended
        self._waits = [0, 0]
        # When the worker had closed it, and the client was told (monotonic s).
        self.answered_at = 0.0
        try:
            self._go_on()
        except OSError:
            self._loop.unregister(client.fileno())
            self._loop.unregister(server.fileno())
            server.close()
            raise

    def close(self) -> None:
        for sock in self._ends:
            if sock.fileno() >= 0:
                self._loop.unregister(sock.fileno())
                sock.close()
        self._waits = [0, 0]
        self._over(self)

    def _ready(self, end: int, events: int) -> None:
        try:
            if events & WRITE:
                self._write(end)
            if events & (READ | HANGUP | ERROR) and not self._pending[1 - end]:
                self._read(end)
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._go_on()

    def _write(self, end: int) -> None:
        if self._pending[end]:
            sent = self._ends[end].send(self._pending[end], _socket.MSG_NOSIGNAL)
            self._pending[end] = self._pending[end][sent:]

    def _read(self, end: int) -> None:
        if self._ended[end]:
            return
        data = self._ends[end].recv(_SIZE)
        if data:
            self._pending[1 - end] = data
        else:
            self._ended[end] = True

    def _go_on(self) -> None:
        for end in (0, 1):
            if self._ended[1 - end] and not self._pending[end] and not self._shut_down[end]:
                self._shut_down[end] = True
                if end == 0:
                    self.answered_at = self._loop.now()
                try:
                    self._ends[end].shutdown(_socket.SHUT_WR)
                except OSError as error:
                    if error.errno != errno.ENOTCONN:
                        raise
        if all(self._shut_down):
            self.close()
            return
        for end in (0, 1):
            events = WRITE if self._pending[end] else 0
            if not self._ended[end] and not self._pending[1 - end]:
                events |= READ
            self._wait(end, events)

    def _wait(self, end: int, events: int) -> None:
        fd = self._ends[end].fileno()
        if events == self._waits[end]:
            return
        # An end that waits for nothing leaves the loop: its hang-up would be reported forever.
        if self._waits[end]:
            self._loop.unregister(fd)
        if events:
            self._loop.register(fd, events, lambda got: self._ready(end, got))
        self._waits[end] = events
