"""pyinit as the parent process, and the cluster primary, of a Node worker.

The channel lives as long as the worker: when it closes, a cluster worker exits at once.
pyinit stops reading from a worker that sends without reading (`_FULL`), so what it
stores for the worker is bounded; descriptors that it sends are dropped (kernel/rights.py).
"""

from __future__ import annotations

import errno
import os
import struct
from collections import deque

from entrypoint.kernel import credentials, rights, sockets
from entrypoint.loop import (
    ERROR,
    HANGUP,
    READ,
    WRITE,
)

from . import addresses, node_protocol
from .app_sockets import Wanted
from .claims import inode_of
from .node_protocol import Decoder, Query
from .opened import NO_IPV6

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Callable
    from typing import Any

    from entrypoint.core.spec import AppSpec
    from entrypoint.loop import Loop

    from .address import Assignment
    from .listeners import Listeners
    from .sockaddr import Asked

    Observed = Callable[[int, str, dict[str, object]], None]
else:
    import _socket

_READ_SIZE = 65536
_FULL = 256 * 1024
# How long one call handles messages, so that a flood cannot hold up the loop (s).
_TIME = 0.002
# The most of anything that a worker can make pyinit store.
_MANY = 256
# Above what LISTEN_FDS can use; the worker's own numbers do not matter before exec.
_LOW_FD = 64


class Shared:
    """What the workers of an app share: TLS ticket keys, UDP sockets."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.datagrams: dict[str, _socket.socket] = {}
        self.random: dict[str, Assignment] = {}  # the results of listen(0)

    def close(self) -> None:
        """Close the UDP sockets."""
        for sock in self.datagrams.values():
            sock.close()
        self.datagrams.clear()


class NodeChannel:
    """The channel of one worker; `primary`: it is a cluster worker, else only a child."""

    def __init__(
        self,
        loop: Loop,
        app: AppSpec,
        listeners: Listeners,
        shared: Shared,
        listen_visible: Observed,
        *,
        incarnation: int,
        slot: int,
        primary: bool,
    ) -> None:
        self._loop = loop
        self._app = app
        self._listeners = listeners
        self._shared = shared
        self._tell = listen_visible
        self._incarnation = incarnation
        self._slot = slot
        self._primary = primary
        ours, self.child_fd = sockets.channel(max(_LOW_FD, 3 + len(app.listen)))
        self._sock: _socket.socket | None = ours
        self._fd = ours.fileno()
        self._decoder = Decoder()
        # (bytes, descriptor or None); the descriptor goes with the first byte.
        self._outgoing: deque[tuple[bytes, _socket.socket | None]] = deque()
        self._size = 0
        self._awaits_ack = False
        self._pending: deque[tuple[bytes, _socket.socket]] = deque()
        self._keys: dict[str, tuple[Asked | None, Assignment | None]] = {}
        self._leaving = False
        self._pid = 0
        self._events = READ
        # Lines that were read and not handled yet.
        self._lines: deque[bytes] = deque()
        loop.register(self._fd, READ, self._ready, owner=incarnation)

    @property
    def env(self) -> dict[str, str]:
        """The variables that tell Node about the channel."""
        env = {
            "NODE_CHANNEL_FD": str(self.child_fd),
            "NODE_CHANNEL_SERIALIZATION_MODE": "json",
        }
        if self._primary:
            env["NODE_UNIQUE_ID"] = str(self._incarnation)
        return env

    def started(self, pid: int = 0) -> None:
        """Close the child's end, which the child has. `pid`: the process on the other end."""
        self._pid = pid or self._pid
        if self.child_fd >= 0:
            os.close(self.child_fd)
            self.child_fd = -1

    def close(self) -> None:
        """Close. A cluster worker that still runs exits with 0 on that."""
        self.started()
        if self._sock is not None:
            self._loop.unregister(self._fd)
            rights.close(self._sock)
            self._sock = None
        self._outgoing.clear()
        self._pending.clear()

    # -- out --------------------------------------------------------------------------

    def send(self, message: Any) -> None:
        """Send a message of pyinit's own; dropped if the worker does not read."""
        if self._size < _FULL:
            self._put(node_protocol.encode(message), None)

    def disconnect(self) -> None:
        """Ask a cluster worker to close its servers, finish, and leave."""
        if self._primary:
            self.send(node_protocol.DISCONNECT)

    def leaving(self) -> None:
        """Close the channel of a worker that is being stopped once it has closed its servers.

        An open channel keeps Node's loop alive, so a server that only calls
        `server.close()` (`serve` does) would hang until SIGKILL. Not before it has
        closed them: how it handles the signal is its own decision.
        """
        self._leaving = True

    def _put(self, data: bytes, sock: _socket.socket | None) -> None:
        if self._sock is None:
            return
        if sock is not None and self._awaits_ack:
            self._pending.append((data, sock))
            self._size += len(data)
            return
        if sock is not None:
            self._awaits_ack = True
        self._outgoing.append((data, sock))
        self._size += len(data)
        self._flush()

    def _flush(self) -> None:
        while self._outgoing and self._sock is not None:
            data, sock = self._outgoing[0]
            rights = []
            if sock is not None:
                rights = [
                    (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack("=i", sock.fileno()))
                ]
            try:
                sent = self._sock.sendmsg([data], rights, _socket.MSG_NOSIGNAL)
            except BlockingIOError:
                break
            except OSError:
                self._outgoing.clear()  # it is leaving; the end of file shows when it is gone
                break
            self._size -= sent
            if sent < len(data):
                self._outgoing[0] = (data[sent:], None)
            else:
                self._outgoing.popleft()
        self._want()

    def _want(self) -> None:
        if self._sock is None:
            return
        events = WRITE if self._outgoing else 0
        if self._size < _FULL:
            events |= READ
        if events != self._events:
            self._events = events
            self._loop.modify(self._fd, events)

    # -- in ---------------------------------------------------------------------------

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & (READ | HANGUP | ERROR):
            self._read()

    def _read(self) -> None:
        if self._sock is None:
            return
        if self._lines:
            self._handle()
            return
        try:
            data = rights.receive(self._sock, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.unregister(self._fd)
            self._sock.close()
            self._sock = None
            self._tell(self._incarnation, "disconnected", {})
            return
        self._lines.extend(self._decoder.feed(data))
        self._handle()

    def _handle(self) -> None:
        """Handle lines for a while; the rest is handled in the next turn, before more is read."""
        until = self._loop.now() + _TIME
        while self._lines and self._sock is not None:
            if self._loop.now() > until:
                self._loop.call_again(self._fd)
                return
            self._message(node_protocol.decode(self._lines.popleft()))

    def _message(self, message: Any) -> None:
        if message == "ready":
            self._tell(self._incarnation, "ready", {})
            return
        if not isinstance(message, dict):
            if message is not None:
                self._tell(self._incarnation, "message", {"message": message})
            return
        cmd = message.get("cmd")
        if cmd == "NODE_CLUSTER":
            if self._primary:
                self._cluster(message)
        elif cmd in ("NODE_HANDLE_ACK", "NODE_HANDLE_NACK"):
            self._awaits_ack = False
            if self._pending:
                data, sock = self._pending.popleft()
                self._size -= len(data)
                self._put(data, sock)
        elif cmd == "NODE_HANDLE":
            self._put(node_protocol.encode(node_protocol.HANDLE_ACK), None)
        elif not (isinstance(cmd, str) and cmd.startswith("NODE_")):
            self._tell(self._incarnation, "message", {"message": message})

    def _cluster(self, message: dict[str, Any]) -> None:
        act = message.get("act")
        seq = message.get("seq")
        if act == "queryServer":
            self._query(node_protocol.parse_query(message))
        elif act == "listening":
            self._listening(message)
        elif act == "close":
            _, assignment = self._keys.pop(str(message.get("key")), (None, None))
            if assignment is not None:
                self._listeners.node_closed(self._incarnation, assignment.group)
            if self._leaving and not self._keys:
                self.disconnect()
        elif act == "exitedAfterDisconnect" and isinstance(seq, int):
            self._put(node_protocol.encode(node_protocol.acknowledge(seq)), None)
        elif act == "online":
            self._tell(self._incarnation, "online", {})

    def _listening(self, message: dict[str, Any]) -> None:
        if message.get("addressType") in ("udp4", "udp6"):
            return
        for asked, assignment in self._keys.values():
            if assignment is None or asked is None:
                continue
            port = message.get("port")
            if asked.family == "unix" or port in (assignment.group.form.port, asked.port):
                where: dict[str, object] = {"address": assignment.group.form.text}
                self._tell(
                    self._incarnation, "listening", {**where, "chosen": assignment.address.chosen}
                )
                return

    # -- queryServer ------------------------------------------------------------------

    def _query(self, query: Query) -> None:
        try:
            sock, assignment = self._find(query)
        except (OSError, ValueError) as error:  # ValueError: a path that cannot be encoded
            number = getattr(error, "errno", None) or errno.EINVAL
            if number == errno.ENOENT:
                number = errno.EACCES  # as libuv reports it (uv_pipe_bind2)
            reply = node_protocol.answer(query, errno=-number)
            self._put(node_protocol.encode(reply), None)
            return
        self._keys[query.key] = (query.asked, assignment)
        data = self._shared.data.get(query.key)
        if query.data and data is None and len(self._shared.data) < _MANY:
            data = self._shared.data[query.key] = query.data
        reply = node_protocol.with_handle(node_protocol.answer(query, data=data), query.kind)
        self._put(node_protocol.encode(reply), sock)

    def _find(self, query: Query) -> tuple[_socket.socket, Assignment | None]:
        """The socket to hand over. Raises OSError, whose errno is sent to the worker."""
        if query.kind == "datagram":
            return self._datagram(query), None
        if query.kind == "fd":
            index = query.fd - 3  # the worker's number, as LISTEN_FDS gave it
            given = self._listeners.descriptors(self._slot)
            known = 0 <= index < len(given)
            assignment = self._listeners.of_descriptor(given[index][0]) if known else None
            if assignment is None:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            assignment.group.users.add(self._incarnation)
        elif query.asked is None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        elif len(self._keys) >= _MANY:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        elif self._has(query.asked):
            # As in Node's primary: this worker already listens there.
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        else:
            assignment = self._assign(query, query.asked)
        try:
            sock = assignment.group.hand(self._slot, self._incarnation)
            inode = inode_of(sock.fileno())
            self._listeners.hold(self._incarnation, self._slot, assignment, inode).reported = True
            self._listeners.begin(assignment, inode)
        except OSError:
            self._listeners.abandon(assignment)
            raise
        # libuv uses the socket as it is, and would block in accept(2).
        assignment.group.set_blocking(self._slot, False)
        return sock, assignment

    def _has(self, wanted: Asked) -> bool:
        if wanted.family != "unix" and wanted.port == 0:
            return False
        return any(asked == wanted for asked, _ in self._keys.values())

    def _assign(self, query: Query, asked: Asked) -> Assignment:
        command = self._app.command
        if asked.family != "unix" and asked.port == 0:
            ports = addresses.ports_of_serve(command)
            found = (
                self._listeners.assign_port(self._incarnation, ports)
                if addresses.means_serve(command)
                else self._shared.random.get(query.key)
            )
            if found is not None:
                found.group.users.add(self._incarnation)
                return found
        assignment = self._obtain(query, asked)
        if asked.family != "unix" and asked.port == 0 and len(self._shared.random) < _MANY:
            # In a cluster, listen(0) means one random port for all workers.
            self._shared.random[query.key] = assignment
        return assignment

    def _obtain(self, query: Query, asked: Asked) -> Assignment:
        listeners, incarnation = self._listeners, self._incarnation
        caller = credentials.caller(self._pid)
        wanted = Wanted(caller.credentials, mode=0o777 & ~caller.umask)
        try:
            return listeners.obtain(incarnation, asked, wanted=wanted, v6only=query.v6only)
        except OSError as error:
            if not query.any_family or error.errno not in NO_IPV6:
                raise
        asked = asked.replace(family="inet", host=addresses.ANY4)
        return listeners.obtain(incarnation, asked, wanted=wanted, v6only=False)

    def _datagram(self, query: Query) -> _socket.socket:
        asked = query.asked
        assert asked is not None
        wanted = credentials.caller(self._pid).credentials
        sock = self._shared.datagrams.get(query.key)
        if sock is not None:
            if asked.port and not sockets.may_bind(asked.port, wanted, datagram=True):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
            return sock
        if len(self._shared.datagrams) >= _MANY:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        sock = sockets.bind_datagram(
            asked.family, asked.host, asked.port, v6only=query.v6only, credentials=wanted
        )
        self._shared.datagrams[query.key] = sock
        return sock
