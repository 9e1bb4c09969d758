"""What the kernel tells of a unix listener's queue: `sock_diag(7)`, for TCP has TCP_INFO."""

from __future__ import annotations

import os
import struct

from .sockets import Depth

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
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
_ATTRIBUTE_QUEUE = 4
_ANY_COOKIE = 0xFFFFFFFF


def unix_depth(sock: _socket.socket) -> Depth | None:
    """The accept queue of a unix listener; None where the kernel does not tell."""
    inode = os.fstat(sock.fileno()).st_ino
    if inode > 0xFFFFFFFF:
        return None
    try:
        answer = _ask(inode)
    except OSError:  # no such protocol (gVisor), not permitted
        return None
    return _queue_in(answer)


def _ask(inode: int) -> bytes:
    kind = _socket.SOCK_RAW | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    netlink = _socket.socket(_socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
    try:
        body = struct.pack(
            _REQUEST,
            _socket.AF_UNIX,
            0,
            0,
            0xFFFFFFFF,
            inode,
            _SHOW_QUEUE,
            _ANY_COOKIE,
            _ANY_COOKIE,
        )
        size = struct.calcsize(_NLMSG_HEADER) + len(body)
        head = struct.pack(_NLMSG_HEADER, size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0)
        netlink.send(head + body)
        # The answer is there when send(2) returns: the kernel made it meanwhile.
        return netlink.recv(4096)
    finally:
        netlink.close()


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
            # Of a listener: connections that wait, and the backlog.
            waiting, limit = struct.unpack_from("=II", answer, at + 4)
            return Depth(waiting, limit, None)
        if length < 4:
            break
        at += (length + 3) & ~3
    return None
