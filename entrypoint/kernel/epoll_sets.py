"""The epoll sets of a process that contain one of its sockets, and another socket in its place.

An entry of a set belongs to an open file and to the number by which it was added (epoll(7)). When
the descriptor is replaced the entry goes with the old open file. A new one is made here, on a
duplicate of the set, while the new open file has that same number in this process: then the
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
# More sets than this that contain one listener are not looked for.
_MOST = 8


class EpollSets:
    """Sets that contain a descriptor of a process: our duplicates, and (events, data) in each.

    The duplicates are closed with it.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[select.epoll, int, int]] = []

    def add(self, fd: int, events: int, data: int) -> None:
        """Takes ownership of `fd`, a duplicate of a set."""
        self._entries.append((select.epoll.fromfd(fd), events, data))

    def put(self, sock: int, number: int) -> None:
        """Add our descriptor `sock` to each as descriptor `number`. Raises OSError."""

        def enter() -> None:
            for copy, events, data in self._entries:
                _control(copy.fileno(), number, events, data)

        _with_number(sock, number, enter)


def find(thread: int, fd: int, others: Collection[int]) -> EpollSets | None:
    """The sets that contain the socket which is descriptor `fd` of a thread's process.

    None: it is tied to something else too, or they cannot be had. `others` are processes that
    may hold it. Raises OSError where it may not be looked.
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

    None where it has another descriptor, or was added by another number.
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
    """`action()` while `number` is a duplicate of `fd` in this process. Raises OSError.

    What has that number here keeps its open file, and gets it back. No signal comes meanwhile:
    its handler could write to that number.
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
