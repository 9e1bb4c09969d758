"""Descriptors that others send along (SCM_RIGHTS, `unix(7)`), which PID 1 never keeps.

The last close of a file may wait: that of a TCP socket with SO_LINGER, until the peer has
acknowledged all data. The sender of such a socket can close its own copy first. So a message
that carries descriptors is received without room for them, and the kernel drops them; a
wait in that is interrupted (interrupt.py). Whether a message carries any is found by
peeking, with room for the credentials alone: the kernel then says MSG_CTRUNC.

Dropped, not closed: close(2) of a file on a network file system would also flush it.
"""

from __future__ import annotations

import _socket
import errno

from . import interrupt

_CREDENTIALS = _socket.CMSG_SPACE(12)  # struct ucred
_SO_PASSRIGHTS = 83  # Linux 6.16
_PEEK = _socket.MSG_PEEK | _socket.MSG_DONTWAIT | _socket.MSG_CMSG_CLOEXEC
# What a socket may still hold when it is closed: more than net.unix.max_dgram_qlen.
_MOST_LEFT = 4096


def refuse(sock: _socket.socket) -> bool:
    """Make the kernel refuse descriptors (the sender gets EPERM); False before Linux 6.16."""
    try:
        sock.setsockopt(_socket.SOL_SOCKET, _SO_PASSRIGHTS, 0)
    except OSError:
        return False
    return True


def receive(sock: _socket.socket, size: int) -> bytes:
    """recv(2) on a stream socket that never waits; descriptors are dropped.

    Raises BlockingIOError if there is nothing, and OSError as recv(2).
    """
    if sock.family != _socket.AF_UNIX:
        return sock.recv(size)
    data, _, flags, _ = sock.recvmsg(size, 0, _PEEK)
    if not data:
        return data  # end of file
    return _take(sock, len(data), carries=bool(flags & _socket.MSG_CTRUNC))


def peek_message(sock: _socket.socket, size: int) -> tuple[bytes, bytes, int] | None:
    """The next datagram: content, credentials (struct ucred, b"" for none) and flags.

    `take_message` removes it. None when there is none. Raises OSError as recvmsg(2).
    """
    try:
        content, ancillary, flags, _ = sock.recvmsg(size, _CREDENTIALS, _PEEK)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EINTR):
            return None
        raise
    for level, kind, data in ancillary:
        # SCM_CREDENTIALS, which _socket does not name everywhere.
        if level == _socket.SOL_SOCKET and kind == 2:
            return content, data, flags
    return content, b"", flags


def take_message(sock: _socket.socket, flags: int) -> None:
    """Remove the datagram that was peeked at with `flags`."""
    _take(sock, 1, carries=bool(flags & _socket.MSG_CTRUNC))


def _take(sock: _socket.socket, size: int, *, carries: bool) -> bytes:
    """Remove the peeked message."""
    if not carries:
        return sock.recv(size, _socket.MSG_DONTWAIT)
    with interrupt.bounded():
        return sock.recv(size, _socket.MSG_DONTWAIT)


def close(sock: _socket.socket) -> None:
    """Close a unix socket: its remaining messages are dropped as above."""
    try:
        sock.shutdown(_socket.SHUT_RD)
    except OSError:
        pass  # not connected: nothing can arrive any more
    try:
        for _ in range(_MOST_LEFT):
            data, _, flags, _ = sock.recvmsg(65536, _CREDENTIALS, _PEEK)
            if not data and sock.type != _socket.SOCK_DGRAM:
                break  # end of file
            _take(sock, max(1, len(data)), carries=bool(flags & _socket.MSG_CTRUNC))
    except OSError:
        pass  # it is empty
    sock.close()
