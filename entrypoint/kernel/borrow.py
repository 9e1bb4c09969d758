"""Duplicates a worker's own socket, and finds other references to its open file.

- pidfd_getfd(2) makes the duplicate; it requires what ptrace(2) requires and, in Docker's
  default seccomp profile, CAP_SYS_PTRACE as well. If it is refused there is no duplicate.
- Other references cannot follow when a descriptor is replaced: an epoll set, another
  descriptor, an owner for SIGIO. /proc/PID/fdinfo lists the contents of an epoll set (proc(5)).
  Registrations of io_uring are not visible.
"""

from __future__ import annotations

import os

from . import calling_process, look, proc
from .credentials import look_at, own

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Collection
else:
    import _socket

_CAP_SYS_PTRACE = 1 << 19
_PIDFD_GETFD = 438  # the same number in both architectures
_SO_PROTOCOL = 38
_ASYNC = 0o20000  # O_ASYNC
# An epoll set of more entries than fit here is not read to its end.
_FDINFO_SIZE = 1 << 20


def socket_of(pid: int, fd: int) -> _socket.socket | None:
    """A duplicate of a process's socket; None if the kernel refuses one.

    `pid` may be a thread's.
    """
    copy = duplicate(pid, fd)
    if copy < 0:
        return None
    try:
        return _socket.socket(fileno=copy)
    except OSError:
        os.close(copy)
        return None


def duplicate(pid: int, fd: int, above: int = -1) -> int:
    """A duplicate of a process's descriptor, numbered above the given one; -1 if it is refused."""
    import fcntl

    try:
        pidfd = os.pidfd_open(proc.process_of(pid))
    except OSError:
        return -1
    try:
        copy = _get(pidfd, fd)
    finally:
        os.close(pidfd)
    if copy < 0 or copy > above:
        return copy
    try:
        return fcntl.fcntl(copy, fcntl.F_DUPFD_CLOEXEC, above + 1)
    except OSError:
        return -1
    finally:
        os.close(copy)


def _get(pidfd: int, fd: int) -> int:
    """pidfd_getfd(2); -1 if it is refused."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    words = (ctypes.c_long(_PIDFD_GETFD), ctypes.c_long(pidfd), ctypes.c_long(fd))
    return int(libc.syscall(*words, ctypes.c_ulong(0)))


def is_sure() -> bool:
    """Whether duplicates are never refused, neither by a seccomp profile nor by the worker's user.

    Without CAP_SYS_PTRACE root may not duplicate descriptors of other users, which its workers can
    become; and if Yama (ptrace_scope 2 or 3) reserves ptrace for CAP_SYS_PTRACE, of no process.
    """
    try:
        ours = os.pidfd_open(os.getpid())
    except OSError:  # a profile that refuses this, too
        return False
    try:
        copy = _get(ours, ours)
    finally:
        os.close(ours)
    if copy < 0:
        return False
    os.close(copy)
    mine = own()
    return bool(mine.capabilities & _CAP_SYS_PTRACE) or (mine.uid != 0 and not _is_kept())


def _is_kept() -> bool:
    """Whether ptrace(2) requires CAP_SYS_PTRACE."""
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope", "rb") as scope:
            return int(scope.read(16)) > 1
    except (OSError, ValueError):
        return False


def is_tcp(sock: _socket.socket) -> bool:
    """Whether it is plain TCP: a Multipath TCP socket is of another kind, and in other groups."""
    return sock.getsockopt(_socket.SOL_SOCKET, _SO_PROTOCOL) == _socket.IPPROTO_TCP


def reuses_port(pid: int, fd: int) -> bool | None:
    """SO_REUSEPORT of a process's socket; None if it cannot be known."""
    own = socket_of(pid, fd)
    if own is None:
        return None
    try:
        return bool(own.getsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT))
    finally:
        own.close()


def is_async(pid: int, fd: int) -> bool:
    """Whether a process gets SIGIO for this descriptor. Raises OSError if it is not readable."""
    return bool(calling_process.descriptor_flags(pid, fd) & _ASYNC)


def is_tied(pid: int, fd: int, inode: int, others: Collection[int] = ()) -> bool:
    """Whether something else refers to the open file of this descriptor.

    `others`: processes that may hold it too. Raises OSError if they may not be inspected.
    """
    if is_async(pid, fd):
        return True
    if look_at(pid, lambda: _is_tied(pid, inode)):
        return True
    apart = (pid, proc.process_of(pid))
    return bool(look.sockets([each for each in others if each not in apart], {inode}).holders)


def _is_tied(pid: int, inode: int) -> bool:
    folder = f"/proc/{pid}/fd"
    held = 0
    entry = b" ino:%x " % inode
    for number in os.listdir(folder)[: look.DESCRIPTORS]:
        try:
            target = os.readlink(f"{folder}/{number}")
            if target == f"socket:[{inode}]":
                held += 1
                if held > 1:
                    return True
            elif target.endswith("[eventpoll]"):
                with open(f"/proc/{pid}/fdinfo/{number}", "rb") as info:
                    if entry in info.read(_FDINFO_SIZE):
                        return True
        except FileNotFoundError:
            continue  # closed meanwhile
    return False


def v6only_of(pid: int, fd: int) -> bool | None:
    """IPV6_V6ONLY of a process's socket; None if it cannot be known."""
    theirs = socket_of(pid, fd)
    if theirs is None:
        return None
    try:
        return bool(theirs.getsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY))
    except OSError:
        return None
    finally:
        theirs.close()
