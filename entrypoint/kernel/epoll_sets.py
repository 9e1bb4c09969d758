"""Finds a process's epoll sets that contain a socket, and replaces the socket in them.

An entry of a set belongs to an open file and to the number with which it was added (epoll(7)). When
the descriptor is replaced the entry disappears with the old open file. A new one is added here, on
a duplicate of the set, while the new open file has that same number in this process: then the
worker can change and remove the entry as if it were its own.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal

from . import calling_process, look, proc
from .borrow import duplicate, is_async
from .credentials import look_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_CTL_ADD = 1
_FDINFO_SIZE = 1 << 20
# The search stops at more sets than this that contain one listener.
_MOST = 8


class EpollSets:
    """Sets that contain a descriptor of a process: our duplicates, and (events, data) in each.

    The duplicates are closed with it.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[select.epoll, int, int]] = []

    def add(self, fd: int, events: int, data: int) -> None:
        """Add a set; takes ownership of `fd`, its duplicate."""
        self._entries.append((select.epoll.fromfd(fd), events, data))

    def put(self, sock: int, number: int) -> None:
        """Add pyinit's descriptor `sock` to each as descriptor `number`. Raises OSError."""

        def enter() -> None:
            for copy, events, data in self._entries:
                _control(copy.fileno(), number, events, data)

        _with_number(sock, number, enter)


def find(thread: int, fd: int, others: Collection[int]) -> EpollSets | None:
    """The sets that contain the socket which is descriptor `fd` of a thread's process.

    None: something else refers to it too, or they cannot be duplicated. `others`: processes that
    may hold it. Raises OSError if they may not be inspected.
    """
    pid = proc.process_of(thread)
    inode = calling_process.socket_inode(pid, fd)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if not inode or not 0 <= fd < most or is_async(pid, fd):
        return None
    if look.sockets([each for each in others if each != pid], {inode}).holders:
        return None
    found = look_at(pid, lambda: _entries(pid, fd, inode))
    if found is None or len(found) > _MOST:
        return None
    sets = EpollSets()
    for number, events, data in found:
        copy = duplicate(pid, number, above=fd)
        if copy < 0:
            return None
        sets.add(copy, events, data)
    return sets


def _entries(pid: int, fd: int, inode: int) -> list[tuple[int, int, int]] | None:
    """(descriptor of the set, events, data) of each entry of that socket.

    None if it has another descriptor, or was added with another number.
    """
    found = []
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder)[: look.DESCRIPTORS]:
        try:
            target = os.readlink(f"{folder}/{name}")
            if target == f"socket:[{inode}]" and int(name) != fd:
                return None
            if not target.endswith("[eventpoll]"):
                continue
            with open(f"/proc/{pid}/fdinfo/{name}", "rb") as info:
                text = info.read(_FDINFO_SIZE)
        except FileNotFoundError:
            continue  # closed meanwhile
        for line in text.splitlines():
            # tfd:        5 events:       19 data:                5  pos:0 ino:2f3 sdev:9
            words = line.replace(b":", b": ").split()
            if not line.startswith(b"tfd:") or b"ino:" not in words:
                continue
            fields = dict(zip(words[::2], words[1::2], strict=False))
            if int(fields[b"ino:"], 16) != inode:
                continue
            if int(fields[b"tfd:"]) != fd:
                return None
            found.append((int(name), int(fields[b"events:"], 16), int(fields[b"data:"], 16)))
    return found


def _with_number(fd: int, number: int, action: Callable[[], None]) -> None:
    """Run `action()` while `number` is a duplicate of `fd` in this process. Raises OSError.

    A descriptor with that number here is restored afterwards. Signals are blocked meanwhile:
    a handler could write to that number.
    """
    if fd == number:
        action()
        return
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    saved = -1
    try:
        flags = _flags(number)
        if flags is not None:
            saved = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 0)
        os.dup2(fd, number, inheritable=False)
        try:
            action()
        finally:
            if flags is None:
                os.close(number)
            else:
                os.dup2(saved, number, inheritable=not flags & fcntl.FD_CLOEXEC)
    finally:
        if saved >= 0:
            os.close(saved)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _flags(fd: int) -> int | None:
    """FD_CLOEXEC of a descriptor of this process; None: it is not open."""
    try:
        return fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return None


def _control(fd: int, number: int, events: int, data: int) -> None:
    """epoll_ctl(2) with all 64 bits of the entry's data. Raises OSError."""
    import ctypes

    # `struct epoll_event` is packed on x86-64, and nowhere else.
    room = b"" if os.uname().machine == "x86_64" else bytes(4)
    event = events.to_bytes(4, "little") + room + data.to_bytes(8, "little")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.epoll_ctl(fd, _CTL_ADD, number, event) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
