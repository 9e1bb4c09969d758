"""`sock_diag(7)`: the queue of a unix listener (TCP has TCP_INFO), and lists of listeners.

gVisor has no `sock_diag`; there the listeners are read from the tables of /proc/net (proc(5)).
"""

from __future__ import annotations

import errno
import os
import struct

from entrypoint.core.record import Record

from . import proc
from .sockets import Depth

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Iterator
else:
    import _socket

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_HEADER = "=IHHII"
# linux/unix_diag.h: family, protocol, pad, states, inode, show, cookie (any).
_REQUEST = "=BBHIIIII"
_MESSAGE_SIZE = 16
_SHOW_QUEUE = 0x10
_SHOW_PEER = 4
_ATTRIBUTE_PEER = 2
_ATTRIBUTE_QUEUE = 4
_ANY_COOKIE = 0xFFFFFFFF

_NLM_F_DUMP = 0x300
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
# linux/inet_diag.h: family, protocol, ext, pad, states, then an id of 48 bytes (any).
_INET_REQUEST = "=BBBBI48x"
# family, state, timer, retrans, sport, dport, src, dst, if, cookie, expires, rqueue, wqueue,
# uid, inode. Ports and addresses are in network order.
_INET_MESSAGE = struct.Struct("=BBBBHH16s16sIQIIIII")
_COOKIE_AT = 44
_UNIX_MESSAGE = struct.Struct("=BBBBIQ")
_ATTRIBUTE_V6ONLY = 11
_ATTRIBUTE_NAME = 0
_SHOW_NAME = 1
_ESTABLISHED, _CLOSE_WAIT = 1, 8
_LOOPBACK6 = b"\0" * 15 + b"\1"
_MAPPED = b"\0" * 10 + b"\xff\xff"
_LISTEN = 10  # TCP_LISTEN, of unix sockets too
_TABLE_SIZE = 1 << 20
_CONNECTED = b"03"
# One answer holds as many as fit; the kernel fills up to 32 KiB.
_DUMP_SIZE = 65536
# A network namespace with more listeners than this is not read to its end.
_AT_MOST = 65536


class Listener(Record):
    """A socket in state LISTEN. `path` of a unix one, `@name` for an abstract one.

    `waiting` and `backlog`: its accept queue; -1 if the kernel does not report it.
    """

    inode: int
    family: str  # inet | inet6 | unix
    host: str = ""
    port: int = 0
    path: str = ""
    v6only: bool = False
    waiting: int = -1
    backlog: int = -1


def unix_depth(sock: _socket.socket) -> Depth | None:
    """The accept queue of a unix listener; None if the kernel does not report it."""
    inode = os.fstat(sock.fileno()).st_ino
    if inode > 0xFFFFFFFF:
        return None
    try:
        answer = _ask(inode)
    except OSError:  # no such protocol (gVisor), not permitted
        return None
    return _queue_in(answer)


def _ask(inode: int) -> bytes:
    return _one(
        struct.pack(
            _REQUEST,
            _socket.AF_UNIX,
            0,
            0,
            0xFFFFFFFF,
            inode,
            _SHOW_QUEUE | _SHOW_PEER,
            _ANY_COOKIE,
            _ANY_COOKIE,
        )
    )


def _send(body: bytes, flags: int = 0) -> _socket.socket:
    """Send a request; the socket to read the answer from, never blocking. Raises OSError."""
    kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    netlink = _socket.socket(_socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
    try:
        size = struct.calcsize(_NLMSG_HEADER) + len(body)
        head = struct.pack(_NLMSG_HEADER, size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST | flags, 0, 0)
        netlink.send(head + body)
    except BaseException:
        netlink.close()
        raise
    return netlink


def _one(body: bytes) -> bytes:
    """The answer to a request about one socket. Raises OSError."""
    netlink = _send(body)
    try:
        # The answer is ready when send(2) returns: the kernel made it meanwhile.
        return netlink.recv(4096)
    finally:
        netlink.close()


def accepted_as(client: _socket.socket) -> int | None:
    """The inode of the accepted end of a connection that a client of this host has made.

    0: it waits in the listener's queue; accept(2) gives a socket its inode. None: it is gone,
    or the kernel does not report it.
    """
    try:
        if client.family == _socket.AF_UNIX:
            return _unix_peer(_ask(os.fstat(client.fileno()).st_ino))
        return _tcp_peer(client)
    except (OSError, struct.error):
        return None


def _unix_peer(answer: bytes) -> int | None:
    start = struct.calcsize(_NLMSG_HEADER)
    if len(answer) < start or struct.unpack_from(_NLMSG_HEADER, answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    peer = _attributes(answer[start:], _MESSAGE_SIZE).get(_ATTRIBUTE_PEER)
    return struct.unpack("=I", peer[:4])[0] if peer is not None else None


def _tcp_peer(client: _socket.socket) -> int | None:
    here, there = client.getsockname(), client.getpeername()
    # The request is for the accepted socket: its own address first, then the client's.
    ends = b"".join(
        _socket.inet_pton(client.family, str(end[0]).partition("%")[0]).ljust(16, b"\0")
        for end in (there, here)
    )
    body = struct.pack(
        "=BBBBIHH32sIII",
        client.family,
        _socket.IPPROTO_TCP,
        0,
        0,
        0xFFFFFFFF,
        _socket.htons(there[1]),
        _socket.htons(here[1]),
        ends,
        0,
        _ANY_COOKIE,
        _ANY_COOKIE,
    )
    answer = _one(body)
    start = struct.calcsize(_NLMSG_HEADER)
    if len(answer) < start + _INET_MESSAGE.size:
        return None
    if struct.unpack_from(_NLMSG_HEADER, answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    found = _INET_MESSAGE.unpack_from(answer, start)
    # If there is no such connection the kernel answers with the listener.
    return found[-1] if found[1] != _LISTEN else None


def _queue_in(answer: bytes) -> Depth | None:
    start = struct.calcsize(_NLMSG_HEADER)
    if len(answer) < start:
        return None
    size, kind, *_ = struct.unpack_from(_NLMSG_HEADER, answer)
    if kind != _SOCK_DIAG_BY_FAMILY:
        return None  # NLMSG_ERROR: there is no such socket (any more)
    at = start + _MESSAGE_SIZE
    while at + 4 <= min(size, len(answer)):
        length, attribute = struct.unpack_from("=HH", answer, at)
        if attribute == _ATTRIBUTE_QUEUE and length >= 12:
            # For a listener: waiting connections, and the backlog.
            waiting, limit = struct.unpack_from("=II", answer, at + 4)
            return Depth(waiting, limit, None)
        if length < 4:
            break
        at += (length + 3) & ~3
    return None


def accepted(paths: tuple[str, ...]) -> set[int] | None:
    """Connections that were accepted from unix listeners of these paths (`@name`), by inode.

    An accepted socket has the name of its listener. None if it is not known, or there
    are too many sockets to read.
    """
    try:
        with open("/proc/net/unix", "rb", buffering=0) as table:
            data = table.read(_TABLE_SIZE)
    except OSError:
        return None
    if data is None or len(data) >= _TABLE_SIZE:
        return None
    names = {os.fsencode(path) for path in paths}
    found = set()
    for line in data.splitlines():
        # Num RefCount Protocol Flags Type St Inode Path (`proc(5)`)
        columns = line.split(None, 7)
        if len(columns) == 8 and columns[5] == _CONNECTED and columns[7] in names:
            found.add(int(columns[6]))
    return found


_works: bool | None = None


def works() -> bool:
    """Whether the kernel reports TCP connections."""
    global _works  # noqa: PLW0603  asked often, and it does not change
    if _works is None:
        try:
            _dump(_socket.AF_INET)
            _works = True
        except OSError as error:
            _works = error.errno == errno.E2BIG
    return _works


def listeners() -> tuple[Listener, ...] | None:
    """All listening TCP and unix sockets of pyinit's network namespace.

    None if neither `sock_diag` nor /proc/net is available, or there are too many.
    """
    try:
        found = [*_dump(_socket.AF_INET), *_dump(_socket.AF_INET6), *_dump(_socket.AF_UNIX)]
    except OSError:  # no such protocol (gVisor), not permitted
        return _of_tables()
    return tuple(found)


def waits_from_here(port: int) -> bool:
    """Whether all connections waiting to be accepted on this TCP port come from this host.

    False if the kernel does not report them.
    """
    try:
        for family in (_socket.AF_INET, _socket.AF_INET6):
            for message in _messages(_of_port(family, port)):
                found = _INET_MESSAGE.unpack_from(message)
                here, there, inode = found[6], found[7], found[-1]
                if not inode and here != there and not _is_loopback(family, there):
                    return False
    except (OSError, struct.error):
        return False
    return True


def waiting_at(port: int) -> frozenset[bytes] | None:
    """The connections waiting to be accepted on this TCP port, by the kernel's cookies.

    None if the kernel does not report them, or there are too many.
    """
    found = set()
    try:
        for family in (_socket.AF_INET, _socket.AF_INET6):
            for message in _messages(_of_port(family, port)):
                if not _INET_MESSAGE.unpack_from(message)[-1]:
                    found.add(message[_COOKIE_AT : _COOKIE_AT + 8])
    except (OSError, struct.error):
        return None
    return frozenset(found)


def _of_port(family: int, port: int) -> bytes:
    """A request for all connections to this port."""
    states = (1 << _ESTABLISHED) | (1 << _CLOSE_WAIT)
    return struct.pack("=BBBBIH46x", family, _socket.IPPROTO_TCP, 0, 0, states, _socket.htons(port))


def _is_loopback(family: int, packed: bytes) -> bool:
    if family == _socket.AF_INET:
        return packed[0] == 127
    return packed == _LOOPBACK6 or (packed[:12] == _MAPPED and packed[12] == 127)


def _dump(family: int) -> list[Listener]:
    if family == _socket.AF_UNIX:
        show = _SHOW_NAME | _SHOW_QUEUE
        body = struct.pack(_REQUEST, family, 0, 0, 1 << _LISTEN, 0, show, 0, 0)
    else:
        body = struct.pack(_INET_REQUEST, family, _socket.IPPROTO_TCP, 0, 0, 1 << _LISTEN)
    return [found for message in _messages(body) if (found := _parse(message)) is not None]


def dump(body: bytes) -> Iterator[list[bytes]]:
    """The answers to a request about many sockets, in parts as they come. Raises OSError."""
    head_size = struct.calcsize(_NLMSG_HEADER)
    netlink = _send(body, _NLM_F_DUMP)
    try:
        while True:
            # Each recv(2) makes the kernel prepare the next part, so none of them waits.
            answer = netlink.recv(_DUMP_SIZE)
            found: list[bytes] = []
            at, over = 0, False
            while not over and at + head_size <= len(answer):
                size, message, *_ = struct.unpack_from(_NLMSG_HEADER, answer, at)
                if message == _NLMSG_DONE:
                    over = True
                elif message == _NLMSG_ERROR or size < head_size:
                    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
                else:
                    found.append(answer[at + head_size : at + size])
                    at += (size + 3) & ~3
            yield found
            if over:
                return
    finally:
        netlink.close()


def _messages(body: bytes) -> list[bytes]:
    """All answers to a request about many sockets. Raises OSError."""
    found: list[bytes] = []
    for part in dump(body):
        found += part
        if len(found) > _AT_MOST:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    return found


def _parse(message: bytes) -> Listener | None:
    if message[:1] == bytes([_socket.AF_UNIX]):
        return _parse_unix(message)
    if len(message) < _INET_MESSAGE.size:
        return None
    family, _, _, _, port, _, source, _, _, _, _, waiting, backlog, _, inode = (
        _INET_MESSAGE.unpack_from(message)
    )
    inet6 = family == _socket.AF_INET6
    host = _socket.inet_ntop(family, source if inet6 else source[:4])
    only = _attributes(message, _INET_MESSAGE.size).get(_ATTRIBUTE_V6ONLY, b"\0")
    return Listener(
        inode,
        "inet6" if inet6 else "inet",
        host,
        _socket.ntohs(port),
        v6only=only[:1] == b"\1",
        waiting=waiting,
        backlog=backlog,
    )


def _parse_unix(message: bytes) -> Listener | None:
    if len(message) < _UNIX_MESSAGE.size:
        return None
    inode = _UNIX_MESSAGE.unpack_from(message)[4]
    attributes = _attributes(message, _UNIX_MESSAGE.size)
    queue = attributes.get(_ATTRIBUTE_QUEUE, b"")
    waiting, backlog = struct.unpack_from("=II", queue) if len(queue) >= 8 else (-1, -1)
    path = _path_of(attributes.get(_ATTRIBUTE_NAME, b""))
    return Listener(inode, "unix", path=path, waiting=waiting, backlog=backlog)


def _path_of(name: bytes) -> str:
    """The path as the file of apps writes it: an abstract name begins with `@` instead of NUL."""
    if name.startswith(b"\0"):
        return "@" + os.fsdecode(name[1:])
    return os.fsdecode(name.rstrip(b"\0"))


def _attributes(message: bytes, start: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = start
    while at + 4 <= len(message):
        length, attribute = struct.unpack_from("=HH", message, at)
        if length < 4:
            break
        found[attribute] = message[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


# -- without sock_diag -------------------------------------------------------------------


def _of_tables() -> tuple[Listener, ...] | None:
    """The same from /proc/net, which has neither queues nor IPV6_V6ONLY."""
    if not os.path.exists("/proc/net/tcp"):
        return None
    found: list[Listener] = []
    for name, family in (("tcp", _socket.AF_INET), ("tcp6", _socket.AF_INET6)):
        for line in proc.read(f"/proc/net/{name}").splitlines()[1:]:
            words = line.split()
            if len(words) > 9 and words[3] == b"0A":
                host, _, port = words[1].partition(b":")
                where = _address(host, family)
                kind = "inet" if family == _socket.AF_INET else "inet6"
                found.append(Listener(int(words[9]), kind, where, int(port, 16)))
    for line in proc.read("/proc/net/unix").splitlines()[1:]:
        words = line.split(None, 7)
        # The flag SO_ACCEPTCONN; a name may hold blanks.
        if len(words) > 7 and int(words[3], 16) & 0x10000:
            found.append(Listener(int(words[6]), "unix", path=os.fsdecode(words[7])))
    return tuple(found)


def _address(text: bytes, family: int) -> str:
    """An address of /proc/net/tcp: 32-bit words in the order of this host."""
    packed = b"".join(
        struct.pack("=I", int(text[at : at + 8], 16)) for at in range(0, len(text), 8)
    )
    return _socket.inet_ntop(family, packed)
