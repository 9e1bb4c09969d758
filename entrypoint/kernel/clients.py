"""Connections that pyinit makes itself: for checks, probes of a listener, and the relay."""

from __future__ import annotations

from . import unixpath
from .sockets import socket_name, stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
else:
    import _socket

_TCP_ESTABLISHED = 1


def client(family: str, host: str = "") -> _socket.socket:
    """An unconnected client socket; with `host` it is bound to that and to a free port.

    Raises OSError.
    """
    sock = stream(family)
    if host:
        try:
            sock.bind(socket_name(family, host, 0, 0))
        except OSError:
            sock.close()
            raise
    return sock


def is_connected(sock: _socket.socket) -> bool:
    """Whether the handshake of a TCP client is complete."""
    return sock.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, 1)[0] == _TCP_ESTABLISHED


def connect(family: str, host: str, port: int) -> _socket.socket:
    """Start a connection: the socket is writable when it is established. Raises OSError."""
    sock = stream(family)
    try:
        begin_connect(sock, host, port)
    except OSError:
        sock.close()
        raise
    return sock


def begin_connect(sock: _socket.socket, host: str, port: int) -> None:
    """As `connect`, for an existing socket. Raises OSError."""
    family = "inet6" if sock.family == _socket.AF_INET6 else "inet"
    try:
        sock.connect(socket_name(family, host, port, 0))
    except BlockingIOError:
        pass


def connect_unix(path: str) -> _socket.socket:
    """A connection to a unix socket. Raises OSError (EAGAIN: its backlog is full)."""
    sock = stream("unix")
    try:
        sock.connect(unixpath.address(path))
    except OSError:
        sock.close()
        raise
    return sock


def pending_error(sock: _socket.socket) -> int:
    """The errno of a failed connection; 0 for none."""
    return sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)


def connect_to_self(sock: _socket.socket) -> _socket.socket:
    """Connect to a listener's own address, without blocking; the socket."""
    host, port, *rest = sock.getsockname()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared
    client = _socket.socket(sock.family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    client.setblocking(False)
    try:
        client.connect((host, port, *rest))
    except OSError:
        pass  # EINPROGRESS; after any other error one foreign connection takes the queue's place
    return client
