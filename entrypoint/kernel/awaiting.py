"""Whether a process waits for connections at a listening socket, observed from outside.

/proc/PID/task/TID/syscall shows the call in which a thread sleeps, and its arguments: accept(2)
of that descriptor, or a poll, select or epoll_wait(2) that has it among others. Reading it, and
the memory that poll and select point to, requires what ptrace(2) requires to attach. A running
thread is in no call: a caller that has to be sure checks again.
"""

from __future__ import annotations

import errno
import os
import struct
from functools import partial

from . import look, memory
from .credentials import look_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

# Numbers of the calls by `os.uname().machine`; both architectures are 64-bit, little endian.
_CALLS = {
    "x86_64": {
        43: "accept", 288: "accept", 7: "poll", 271: "poll", 23: "select", 270: "select",
        232: "epoll", 281: "epoll", 441: "epoll",
    },
    "aarch64": {202: "accept", 242: "accept", 73: "poll", 72: "select", 22: "epoll", 441: "epoll"},
}  # fmt: skip
_POLLFD = struct.Struct("=ihh")
_POLLIN = 1
# Descriptors of one poll(2) or select(2) that are read, and threads of one process.
_POLLED = 4096
_THREADS = 512
# An epoll set of more entries than fit here is not read to its end.
_FDINFO_SIZE = 1 << 20


def waits_at(pids: Collection[int], inodes: Collection[int]) -> bool | None:
    """Whether a thread of these processes waits for a connection at one of these sockets.

    None: not found, and some of them may not be inspected.
    """
    refused = False
    for pid in list(pids)[: look.PROCESSES]:
        try:
            if look_at(pid, partial(_waits, pid, inodes)):
                return True
        except FileNotFoundError:
            continue  # it has ended
        except OSError:
            refused = True
    return None if refused else False


def _waits(pid: int, inodes: Collection[int]) -> bool:
    listeners, sets = _descriptors(pid, inodes)
    if not listeners and not sets:
        return False
    calls = _CALLS.get(os.uname().machine, {})
    for thread in os.listdir(f"/proc/{pid}/task")[:_THREADS]:
        try:
            words = _read(f"/proc/{pid}/task/{thread}/syscall", 4096).split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # `running`, or the number and six arguments in hexadecimal (proc_pid_syscall(5)).
        if len(words) < 7 or not words[0].isdigit():
            continue
        kind = calls.get(int(words[0]), "")
        first, second = int(words[1], 16), int(words[2], 16)
        if kind == "accept" and first & 0xFFFFFFFF in listeners:
            return True
        if kind == "epoll" and first & 0xFFFFFFFF in sets:
            return True
        if kind == "poll" and _polls(pid, first, second, listeners):
            return True
        if kind == "select" and _selects(pid, first, second, listeners):
            return True
    return False


def _descriptors(pid: int, inodes: Collection[int]) -> tuple[set[int], set[int]]:
    """Descriptors that are one of the sockets, and those of epoll sets that contain one."""
    listeners: set[int] = set()
    sets: set[int] = set()
    names = {f"socket:[{inode}]" for inode in inodes}
    entries = [b" ino:%x " % inode for inode in inodes]
    folder = f"/proc/{pid}/fd"
    for number in os.listdir(folder)[: look.DESCRIPTORS]:
        try:
            target = os.readlink(f"{folder}/{number}")
            if target in names:
                listeners.add(int(number))
            elif target.endswith("[eventpoll]"):
                info = _read(f"/proc/{pid}/fdinfo/{number}", _FDINFO_SIZE)
                if any(entry in info for entry in entries):
                    sets.add(int(number))
        except FileNotFoundError:
            continue  # closed meanwhile
    return listeners, sets


def _polls(pid: int, address: int, count: int, listeners: set[int]) -> bool:
    data = _memory(pid, address, min(count, _POLLED) * _POLLFD.size)
    whole = len(data) // _POLLFD.size * _POLLFD.size
    return any(
        fd in listeners and events & _POLLIN for fd, events, _ in _POLLFD.iter_unpack(data[:whole])
    )


def _selects(pid: int, count: int, address: int, listeners: set[int]) -> bool:
    data = _memory(pid, address, (min(count, _POLLED) + 7) // 8)
    return any(fd // 8 < len(data) and data[fd // 8] >> fd % 8 & 1 for fd in listeners)


def _memory(pid: int, address: int, size: int) -> bytes:
    if size <= 0:
        return b""
    try:
        return memory.read(pid, address, size)
    except memory.NotPresentError:
        raise OSError(errno.EAGAIN, "not in memory") from None
    except OSError as error:
        if error.errno in (errno.EIO, errno.EFAULT):
            return b""  # no longer mapped
        raise


def _read(path: str, size: int) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = b""
        while len(content) < size and (chunk := os.read(fd, 65536)):
            content += chunk
        return content
    finally:
        os.close(fd)
