"""Listening sockets: created, watched, steered, revived; never closed while they are needed.

Facts of the kernel that shape this file:

- `SO_REUSEPORT` sockets of one user share an address silently, so a port that
  another process uses is detected by a bind *without* it first (`probe`).
- A group's program returns an index into the group's array. A socket joins the array at
  its end when it starts to listen. When it stops, the last one takes its place
  (`reuseport_detach_sock`). Code that steers must keep the same order.
- O_NONBLOCK and TCP_NODELAY belong to the open file, shared by all its holders.
- `shutdown(2)` on a listener resets its queue and ends its listening for all holders; the
  port stays bound, and listen(2) revives it.
- A second listen(2) on a listener sets its backlog anew.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from entrypoint.core.record import Record

from .credentials import act_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Mapping

    from .credentials import Credentials
else:
    import _socket

_SO_ATTACH_FILTER = 26
_SO_DETACH_FILTER = 27
_SO_ATTACH_REUSEPORT_CBPF = 51
_TCP_CLOSE, _TCP_LISTEN = 7, 10
# struct tcp_info: the state is byte 0, tcpi_unacked at 24. For a listener that is the
# length of its accept queue.
_UNACKED_AT = 24
# An array of u32; drops are the ninth (linux/sock_diag.h).
_SO_MEMINFO = 55
_SK_MEMINFO_DROPS_AT = 8 * 4

_FLAGS = _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
_FAMILIES = {"inet": _socket.AF_INET, "inet6": _socket.AF_INET6, "unix": _socket.AF_UNIX}

# Level and number of the option.
V6ONLY = (_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY)


def stream(family: str) -> _socket.socket:
    """A non-blocking, close-on-exec stream socket. Raises OSError (EMFILE)."""
    kind = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    return _socket.socket(_FAMILIES[family], kind)


def socket_name(family: str, host: str, port: int, scope: int) -> tuple[str | int, ...]:
    """A TCP address as Python's sockets take it."""
    return (host, port, 0, scope) if family == "inet6" else (host, port)


def probe(
    family: str,
    host: str,
    port: int,
    *,
    v6only: bool,
    scope: int = 0,
    credentials: Credentials | None = None,
) -> None:
    """Raise OSError (EADDRINUSE, EACCES, EADDRNOTAVAIL, …) if the address is not available.

    With SO_REUSEADDR, so that connections in TIME_WAIT do not matter. `credentials`:
    for whom.
    """
    trial = stream(family)
    try:
        trial.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        if family == "inet6":
            trial.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, int(v6only))
        act_as(credentials, lambda: trial.bind(socket_name(family, host, port, scope)))
    finally:
        trial.close()


def free_port(family: str, host: str, *, v6only: bool) -> int:
    """A TCP port that is unused at this moment. Raises OSError."""
    trial = stream(family)
    try:
        if family == "inet6":
            trial.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, int(v6only))
        trial.bind(socket_name(family, host, 0, 0))
        port: int = trial.getsockname()[1]
        return port
    finally:
        trial.close()


def may_bind(port: int, credentials: Credentials, *, datagram: bool = False) -> bool:
    """Whether a process could bind this port if it were free.

    bind(2) checks CAP_NET_BIND_SERVICE before it checks whether the port is in use.
    """
    kind = _socket.SOCK_DGRAM if datagram else _socket.SOCK_STREAM
    trial = _socket.socket(_socket.AF_INET, kind | _socket.SOCK_CLOEXEC)
    try:
        act_as(credentials, lambda: trial.bind(("127.0.0.1", port)))
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EPERM)
    finally:
        trial.close()
    return True


def bind_shared(
    family: str,
    host: str,
    port: int,
    *,
    v6only: bool,
    scope: int = 0,
    credentials: Credentials | None = None,
) -> _socket.socket:
    """A socket of the address's `SO_REUSEPORT` group, bound and not yet listening.

    Non-blocking, with TCP_NODELAY, which accepted connections inherit. `credentials`: for
    whom it is bound. The socket itself is pyinit's in any case, so that no other process of
    that user can join the group. Raises OSError.
    """
    sock = stream(family)
    try:
        allow_sharing(sock)
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        if family == "inet6":
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, int(v6only))
        act_as(credentials, lambda: sock.bind(socket_name(family, host, port, scope)))
    except BaseException:
        sock.close()
        raise
    return sock


def bind_own(
    sock: _socket.socket,
    host: str,
    port: int,
    *,
    v6only: bool,
    scope: int = 0,
    credentials: Credentials | None = None,
) -> None:
    """Bind a worker's own socket into the address's `SO_REUSEPORT` group. Raises OSError.

    `credentials`: for whom it is bound. Other sockets of the group are pyinit's, and the kernel
    lets only sockets of one owner share an address: so this one becomes pyinit's, too. (Its
    owner is only visible in /proc/net/tcp.)
    """
    fd = sock.fileno()
    if os.fstat(fd).st_uid != os.geteuid():
        os.fchown(fd, os.geteuid(), -1)
    allow_sharing(sock)
    family = "inet6" if sock.family == _socket.AF_INET6 else "inet"
    if family == "inet6":
        sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, int(v6only))
    act_as(credentials, lambda: sock.bind(socket_name(family, host, port, scope)))


def allow_sharing(sock: _socket.socket) -> None:
    """Let a bind of this socket, by any holder, join the address's group."""
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)


def listen_alone(
    family: str, host: str, port: int, *, v6only: bool, backlog: int, buffers: tuple[int, int]
) -> _socket.socket:
    """A listener of pyinit's own. `buffers`: of accepted sockets, in bytes (`tcp(7)`).

    Raises OSError.
    """
    sock = stream(family)
    try:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVBUF, buffers[0])
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, buffers[1])
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        if family == "inet6":
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, int(v6only))
        sock.bind(socket_name(family, host, port, 0))
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def create(family: int, kind: int, protocol: int) -> _socket.socket:
    """As socket(2), always close-on-exec. Raises OSError."""
    sock = _socket.socket(family, (kind & ~_FLAGS) | _socket.SOCK_CLOEXEC, protocol)
    if kind & _socket.SOCK_NONBLOCK:
        os.set_blocking(sock.fileno(), False)
    return sock


def has_ipv6() -> bool:
    """Whether a socket of this host can be bound to `::`."""
    try:
        trial = stream("inet6")
    except OSError:
        return False
    try:
        trial.bind(("::", 0))
    except OSError:
        return False
    finally:
        trial.close()
    return True


def is_fresh_v6only() -> bool:
    """IPV6_V6ONLY of a socket on which it was never set (net.ipv6.bindv6only)."""
    fresh = stream("inet6")
    try:
        return is_v6only(fresh)
    finally:
        fresh.close()


def is_v6only(sock: _socket.socket) -> bool:
    """IPV6_V6ONLY of a socket."""
    return bool(sock.getsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY))


def port_of(sock: _socket.socket) -> int:
    """The port that a TCP socket is bound to; 0 for none."""
    port: int = sock.getsockname()[1]
    return port


def is_client(sock: _socket.socket) -> bool:
    """Whether a TCP socket is or was connected: neither new nor a listener."""
    state = sock.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, 1)[0]
    return state not in (_TCP_CLOSE, _TCP_LISTEN)


def bind_datagram(
    family: str, host: str, port: int, *, v6only: bool, credentials: Credentials
) -> _socket.socket:
    """A UDP socket for all workers of a Node app, bound for one of them. Raises OSError."""
    kind = _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    sock = _socket.socket(_FAMILIES[family], kind)
    try:
        if family == "inet6":
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, int(v6only))
        act_as(credentials, lambda: sock.bind(socket_name(family, host, port, 0)))
    except BaseException:
        sock.close()
        raise
    return sock


def is_listening(sock: _socket.socket) -> bool:
    """Whether it takes connections (False after a shutdown(2) by any holder)."""
    if sock.family == _socket.AF_UNIX:
        return bool(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN))
    return sock.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, 1)[0] == _TCP_LISTEN


def queue_length(sock: _socket.socket) -> int:
    """Connections that wait to be accepted; 0 if it does not listen."""
    info = sock.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, _UNACKED_AT + 4)
    if info[0] != _TCP_LISTEN or len(info) < _UNACKED_AT + 4:
        return 0
    length: int = struct.unpack_from("=I", info, _UNACKED_AT)[0]
    return length


class Depth(Record):
    """The accept queue of a listener: waiting now, the maximum, and drops.

    `drops`: attempts the kernel dropped since the socket was made; None: unknown.
    """

    waiting: int
    limit: int
    drops: int | None


def depth(sock: _socket.socket) -> Depth | None:
    """The accept queue of a TCP listener; None if it does not listen or cannot be read."""
    try:
        # For a listener tcpi_unacked is its queue and tcpi_sacked its backlog.
        info = sock.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_INFO, _UNACKED_AT + 8)
    except OSError:
        return None
    if info[0] != _TCP_LISTEN or len(info) < _UNACKED_AT + 8:
        return None
    waiting, limit = struct.unpack_from("=II", info, _UNACKED_AT)
    drops = None
    try:
        memory = sock.getsockopt(_socket.SOL_SOCKET, _SO_MEMINFO, _SK_MEMINFO_DROPS_AT + 4)
    except OSError:
        memory = b""
    if len(memory) == _SK_MEMINFO_DROPS_AT + 4:
        drops = struct.unpack_from("=I", memory, _SK_MEMINFO_DROPS_AT)[0]
    return Depth(waiting, limit, drops)


def channel(lowest: int) -> tuple[_socket.socket, int]:
    """Both ends of a unix stream: pyinit's, non-blocking, and a descriptor from `lowest` up.

    Raises OSError (EMFILE).
    """
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    ours.setblocking(False)
    try:
        return ours, fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, lowest)
    finally:
        theirs.close()


def unix_stream() -> _socket.socket:
    """A unix socket that is not bound yet. Raises OSError (EMFILE)."""
    return stream("unix")


def set_blocking(sock: _socket.socket, blocking: bool) -> None:
    """Set the blocking mode for all holders of the open file."""
    os.set_blocking(sock.fileno(), blocking)


def stop_listening(sock: _socket.socket) -> None:
    """Refuse connections from now on, keep the port. Resets queued connections."""
    try:
        sock.shutdown(_socket.SHUT_RD)
    except OSError as error:
        if error.errno != errno.ENOTCONN:  # it was not listening
            raise


def accept(sock: _socket.socket) -> _socket.socket:
    """Accept the next connection of the queue. Raises OSError.

    Never waits. O_NONBLOCK belongs to the open file, so a worker that shares the listener controls
    it, and it may take the connection first: then the wait is interrupted. (By ctypes:
    Python would repeat the call.)
    """
    import ctypes

    from .interrupt import bounded

    libc = ctypes.CDLL(None, use_errno=True)
    flags = _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    with bounded():
        fd = libc.accept4(sock.fileno(), None, None, flags)
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    accepted = _socket.socket(fileno=fd)
    # A worker may have set SO_LINGER on the listener, and it is inherited: close(2) would then
    # wait for the client, whether or not the socket is non-blocking.
    accepted.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, bytes(8))
    return accepted


def _attach(sock: _socket.socket, option: int, program: bytes) -> None:
    import ctypes  # array would do, but its import brings `collections` along

    code = ctypes.create_string_buffer(program)
    described = struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    sock.setsockopt(_socket.SOL_SOCKET, option, described)


def steer(
    member: _socket.socket, indices: tuple[int, ...], directed: Mapping[int, int] | None = None
) -> None:
    """Route new connections of the group of `member` to these indexes of its array.

    `directed`: those of this host from that source port go to that index instead.
    Unprivileged. Raises OSError (EINVAL: not in a group; ENOPROTOOPT: gVisor).
    """
    from . import bpf

    _attach(member, _SO_ATTACH_REUSEPORT_CBPF, bpf.pack(bpf.steering(indices, directed)))


def take_no_more(sock: _socket.socket) -> None:
    """Leave the queue to accepting processes, and drop new connections.

    Their SYN is dropped, so a client tries again after a second, and is refused once the listener
    is closed. A shutdown(2) would reset the queue and make servers spin on EINVAL.
    """
    from . import bpf

    _attach(sock, _SO_ATTACH_FILTER, bpf.pack(bpf.no_new_connections()))


def take_again(sock: _socket.socket) -> None:
    """End `take_no_more`. Raises OSError."""
    try:
        sock.setsockopt(_socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    except OSError as error:
        if error.errno != errno.ENOENT:  # there is none
            raise
