"""What a worker's processes hold and do, observed from outside: sockets, listeners, CPU time.

A call that a worker once made (`bind`, `listen`) is a hint. The present holders of a socket are in
/proc/PID/fd of the worker and its descendants, and the kernel's list of listeners says which
of those sockets listen, and where.

Rules that shape this file:

- Reading /proc/PID/fd requires what ptrace(2) requires: the same user and a dumpable process, or
  CAP_SYS_PTRACE, which Docker does not give to root. A root pyinit reads with the effective
  user of the process; a worker that dropped root without exec refuses even that. Then the
  answer is *unknown* (None), never "no".
- A look is bounded in processes and in descriptors (about 4 us each), so that a worker with
  many connections does not hold up PID 1. At the bound the rest is unknown too.
- A process that was killed closes its descriptors before its parent can reap it. It did not
  close its listener in order to continue, so for one without any descriptor the answer is unknown
  until it is gone. A zombie below the worker holds nothing.
"""

from __future__ import annotations

import errno
import os

from entrypoint.core.record import Record

from . import proc, sockdiag
from .credentials import look_at
from .tree import descendants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from .sockdiag import Listener

# The bounds of one look. Of a larger tree only this many processes are inspected.
PROCESSES = 256
DESCRIPTORS = 8192

_SOCKET = "socket:["


class Look(Record):
    """The sockets that some processes hold.

    `holders`: inode → pids. `refused`: pids whose descriptors may not be read. `ending`: pids
    of processes that are about to end. `cut`: a bound was reached.
    """

    holders: dict[int, tuple[int, ...]]
    refused: tuple[int, ...] = ()
    cut: bool = False
    ending: tuple[int, ...] = ()

    @property
    def unknown(self) -> bool:
        """Whether they may hold more than what was seen."""
        return bool(self.refused or self.ending) or self.cut

    def holds(self, inode: int) -> bool | None:
        """Whether one of them holds that socket; None: unknown."""
        if inode in self.holders:
            return True
        return None if self.unknown else False


def tree(pid: int) -> tuple[int, ...]:
    """`pid` and its descendants, at most `PROCESSES` of them, parents first."""
    return (pid, *descendants(pid, limit=PROCESSES))


def sockets(pids: Collection[int], wanted: Collection[int] = ()) -> Look:
    """The sockets that these processes hold.

    With `wanted` (inodes) the look ends as soon as a holder of each is found, and nothing
    else is in the answer.
    """
    holders: dict[int, list[int]] = {}
    refused: list[int] = []
    missing = set(wanted)
    left = DESCRIPTORS
    cut = len(pids) > PROCESSES + 1
    ending: list[int] = []
    first = next(iter(pids), 0)
    for pid in list(pids)[: PROCESSES + 1]:
        if left <= 0 or (wanted and not missing):
            break
        try:
            inodes, read = _inodes_as_user(pid, left, missing)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM):
                refused.append(pid)
            continue  # ENOENT, ESRCH: it has ended
        if not read and _is_ending(pid, first):
            ending.append(pid)
        left -= read
        missing -= inodes
        for inode in inodes:
            holders.setdefault(inode, []).append(pid)
    cut = cut or left <= 0
    if wanted:
        holders = {inode: held for inode, held in holders.items() if inode in wanted}
    found = {inode: tuple(held) for inode, held in holders.items()}
    return Look(found, tuple(refused), cut, tuple(ending))


def _is_ending(pid: int, first: int) -> bool:
    """Whether it has no descriptors because it ends; a zombie only if it is the worker itself."""
    seen = proc.stat(pid)
    return seen is not None and (pid == first or seen.state not in "ZX")


def _inodes(pid: int, at_most: int, missing: Collection[int]) -> tuple[set[int], int]:
    """The sockets among its descriptors, and how many descriptors were read."""
    found: set[int] = set()
    left = set(missing)
    read = 0
    folder = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if read >= at_most:
                    break
                read += 1
                try:
                    target = os.readlink(entry.name, dir_fd=folder)
                except FileNotFoundError:  # closed meanwhile
                    continue
                if target.startswith(_SOCKET):
                    inode = int(target[len(_SOCKET) : -1])
                    found.add(inode)
                    left.discard(inode)
                    if missing and not left:
                        break
    finally:
        os.close(folder)
    return found, read


def _inodes_as_user(pid: int, at_most: int, missing: Collection[int]) -> tuple[set[int], int]:
    """The same with the process's effective user if pyinit's own may not. Raises OSError."""
    found: tuple[set[int], int] = look_at(pid, lambda: _inodes(pid, at_most, missing))
    return found


def number_of(pid: int, inode: int) -> int:
    """The lowest descriptor of a process that is this socket; -1 for none or unknown."""

    def find() -> int:
        for number in sorted(map(int, os.listdir(f"/proc/{pid}/fd"))):
            try:
                if os.readlink(f"/proc/{pid}/fd/{number}") == f"{_SOCKET}{inode}]":
                    return number
            except FileNotFoundError:
                continue  # closed meanwhile
        return -1

    try:
        return int(look_at(pid, find))
    except OSError:
        return -1


def listening(pids: Collection[int]) -> tuple[tuple[Listener, ...], Look] | None:
    """The listeners that these processes hold, and the look that found them.

    None if the kernel does not list its listeners.
    """
    known = sockdiag.listeners()
    if known is None:
        return None
    look = sockets(pids)
    return tuple(each for each in known if each.inode in look.holders), look


def cpu_seconds(pids: Collection[int]) -> float:
    """CPU time of these processes, and of their children that they have waited for."""
    spent = 0.0
    for pid in list(pids)[: PROCESSES + 1]:
        used = proc.usage(pid)
        if used is not None:
            spent += used.cpu
    return spent
