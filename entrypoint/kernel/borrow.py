"""A worker's own socket: a duplicate of it, and what else refers to its open file.

- A duplicate is had by pidfd_getfd(2), which needs what ptrace(2) needs and, in Docker's
  default seccomp profile, CAP_SYS_PTRACE as well. Where it is refused there is none.
- Other references cannot follow when a descriptor is replaced: an epoll set, another
  descriptor, an owner for SIGIO. /proc/PID/fdinfo lists what an epoll set holds (proc(5)).
  What io_uring has registered is not to be seen.
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
    """A duplicate of a process's socket; None where the kernel refuses one.

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
    """A duplicate of a process's descriptor, with a number above that; -1 where it is refused."""
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
    """pidfd_getfd(2); -1 where it is refused."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    words = (ctypes.c_long(_PIDFD_GETFD), ctypes.c_long(pidfd), ctypes.c_long(fd))
    return int(libc.syscall(*words, ctypes.c_ulong(0)))


def is_sure() -> bool:
    """No worker's socket will be refused: neither by a seccomp profile nor by its user.

    Without CAP_SYS_PTRACE a root may not have those of another user, which its workers can
    become; and where Yama (ptrace_scope 2 or 3) keeps it for CAP_SYS_PTRACE, nobody's.
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
    """ptrace(2) is for CAP_SYS_PTRACE alone."""
    try:
        with open("/proc/sys/kernel/yama/ptrace_scope", "rb") as scope:
            return int(scope.read(16)) > 1
    except (OSError, ValueError):
        return False


def is_tcp(sock: _socket.socket) -> bool:
    """Plain TCP: a socket of Multipath TCP is another kind, and in other groups."""
    return sock.getsockopt(_socket.SOL_SOCKET, _SO_PROTOCOL) == _socket.IPPROTO_TCP


def reuses_port(pid: int, fd: int) -> bool | None:
    """SO_REUSEPORT of a process's socket; None when it cannot be known."""
    own = socket_of(pid, fd)
    if own is None:
        return None
    try:
        return bool(own.getsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT))
    finally:
        own.close()


def is_async(pid: int, fd: int) -> bool:
    """A process gets SIGIO for this descriptor. Raises OSError where it may not be looked."""
    return bool(calling_process.descriptor_flags(pid, fd) & _ASYNC)


def is_tied(pid: int, fd: int, inode: int, others: Collection[int] = ()) -> bool:
    """Something else refers to the open file of this descriptor.

    `others` are processes that may hold it too. Raises OSError where it may not be looked.
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
    """IPV6_V6ONLY of a process's socket; None when it cannot be known."""
    theirs = socket_of(pid, fd)
    if theirs is None:
        return None
    try:
        return bool(theirs.getsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY))
    except OSError:
        return None
    finally:
        theirs.close()
