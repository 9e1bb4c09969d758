"""The process that makes a call, as /proc shows it: its descriptors and its view of files.

Reading requires what ptrace(2) requires: the same user and a dumpable process, or CAP_SYS_PTRACE,
which Docker does not give to root. A root pyinit therefore assumes the worker's effective
user while it reads (`credentials.look_at`).
"""

from __future__ import annotations

import errno
import os

from . import proc
from .credentials import look_at


def _read_file(path: str, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, size)
    finally:
        os.close(fd)


def protocol_of(pid: int, fd: int) -> str:
    """The kernel's name for the protocol of a process's socket; "" if it is no socket.

    `TCP`, `TCPv6`, `MPTCP`, `MPTCPv6`, `UNIX-STREAM`; `UNIX` for a datagram socket, and
    for a stream one before Linux 5.15. Raises OSError if it may not be inspected.
    """
    pinned = _pin_socket(pid, fd)
    if pinned < 0:
        return ""
    try:
        name = os.getxattr(f"/proc/self/fd/{pinned}", "system.sockprotoname")
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP, errno.ENOENT):
            return ""
        raise
    finally:
        os.close(pinned)
    return bytes(name).rstrip(b"\0").decode("ascii", "replace")


def _pin_socket(pid: int, fd: int) -> int:
    """An O_PATH descriptor of a process's socket; -1 if the descriptor is no socket.

    Pinned, because the process may replace it by a file meanwhile, and a call on a file may
    wait for its file system. Raises OSError.
    """
    path = f"/proc/{pid}/fd/{fd}"
    try:
        pinned = int(look_at(pid, lambda: os.open(path, os.O_PATH | os.O_CLOEXEC)))
    except FileNotFoundError:
        return -1
    try:
        if os.readlink(f"/proc/self/fd/{pinned}").startswith("socket:["):
            return pinned
    except OSError:
        os.close(pinned)
        raise
    os.close(pinned)
    return -1


def socket_inode(pid: int, fd: int) -> int:
    """The inode of a process's socket, 0 if the descriptor is no socket."""
    try:
        target = look_at(pid, lambda: os.readlink(f"/proc/{pid}/fd/{fd}"))
    except OSError:
        return 0
    if not target.startswith("socket:["):
        return 0
    return int(target[8:-1])


def descriptor_flags(pid: int, fd: int) -> int:
    """O_NONBLOCK and O_CLOEXEC of a process's descriptor (`proc(5)`, fdinfo)."""
    text = look_at(pid, lambda: _read_file(f"/proc/{pid}/fdinfo/{fd}", 4096))
    for line in text.splitlines():
        if line.startswith(b"flags:"):
            return int(line[6:], 8)
    return 0


def same_network(pid: int) -> bool:
    """Whether the process is in pyinit's network namespace.

    The files below /proc/PID/net differ between namespaces, and may be read without
    any rights to the process.
    """
    if not proc.is_ours():
        return False
    try:
        theirs, ours = os.stat(f"/proc/{pid}/net/tcp"), os.stat("/proc/self/net/tcp")
    except OSError:
        return False
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)


# What determines the meaning of a process's paths: its root, mounts and working directory.
_VIEW = ("root", "ns/mnt", "cwd")


def directory_of(pid: int) -> str | None:
    """The process's working directory; None if it sees other files."""
    try:
        root, mounts, folder = look_at(
            pid, lambda: tuple(os.readlink(f"/proc/{pid}/{name}") for name in _VIEW)
        )
        if root != os.readlink("/proc/self/root") or mounts != os.readlink("/proc/self/ns/mnt"):
            return None
        return str(folder)
    except OSError:
        return None


def target_of(pid: int, fd: int) -> str:
    """The path of a process's descriptor of a folder. Raises OSError."""
    return str(look_at(pid, lambda: os.readlink(f"/proc/{pid}/fd/{fd}")))


def command_line(pid: int) -> tuple[str, ...]:
    """The first words of the process's command line; () if it cannot be read."""
    if not proc.is_ours():
        return ()
    try:
        data = b"" if proc.is_fetched(pid) else _read_file(f"/proc/{pid}/cmdline", 4096)
    except OSError:
        return ()
    return tuple(os.fsdecode(word) for word in data.split(b"\0")[:-1])


def socket_mode(pid: int, fd: int) -> int:
    """The mode of a process's socket, which bind(2) gives to its file. Raises OSError."""
    pinned = _pin_socket(pid, fd)
    if pinned < 0:
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    try:
        return os.fstat(pinned).st_mode & 0o7777
    finally:
        os.close(pinned)
