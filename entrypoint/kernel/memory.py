"""Reads the memory of workers, and only pages that are present.

A page that is not in memory is read from its file. /proc/PID/mem waits for that and ignores
signals, even SIGKILL, while it holds the lock of the address space. A page of
a dead network file system, or of one that the worker itself serves (fuse(4)), would block PID 1.
/proc/PID/pagemap shows which pages are present (Documentation/admin-guide/mm/pagemap.rst); a
child reads the others first (`Fetch`). A page of `userfaultfd(2)` is refused at once: a
read of another process's memory does not wait for its handler.

Opening `/proc/PID/mem` requires what ptrace(2) requires, so a root pyinit has to assume
the worker's user (`credentials.look_at`): some twenty system calls. An open descriptor can be
read without them, so `Memory` keeps it. It refers to the memory that the process had
then: after execve(2) or the end of the process nothing can be read, and it is reopened.

If the memory of a process is shared (vfork(2)) and the process executes another program,
the old memory lives on in its parent, and a wrong path may be read. So a kept descriptor is
not used for calls whose answer must be right (bind).
"""

from __future__ import annotations

import errno
import os
import struct

from . import proc
from .credentials import look_at
from .proc import PAGE

# Descriptors that are kept open for one worker.
_KEPT = 8
_FIRST_READ = 256
_PATH_MAX = 4096
# Bits of an entry of pagemap: the page is present; it is a file's, or shared.
_PRESENT = 1 << 63
_OF_A_FILE = 1 << 61
_FETCHED = b"+"


class NotPresentError(Exception):
    """Pages of a process are not in memory, so reading them may wait for a file system.

    `pages` are their addresses. Nothing was done: fetch them, and retry.
    """

    def __init__(self, pid: int, pages: tuple[int, ...]) -> None:
        super().__init__(pid, pages)
        self.pid = pid
        self.pages = pages


class _Opened:
    """The memory of a process, and the map of its present pages."""

    def __init__(self, pid: int, mode: int) -> None:
        self._pid = pid
        self._memory = os.open(f"/proc/{pid}/mem", mode | os.O_CLOEXEC)
        try:
            self._map = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._map = -1  # a kernel without it: present pages are unknown

    def close(self) -> None:
        for fd in (self._memory, self._map):
            if fd >= 0:
                os.close(fd)

    def read(self, address: int, size: int) -> bytes:
        self._check(address, size)
        return os.pread(self._memory, size, address)

    def write(self, address: int, data: bytes) -> None:
        if any(entry & _OF_A_FILE for entry in self._check(address, len(data))):
            # The file system is consulted before its page is written to.
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        os.pwrite(self._memory, data, address)

    def _check(self, address: int, size: int) -> tuple[int, ...]:
        if proc.is_fetched(self._pid):
            raise NotPresentError(self._pid, ())
        if self._map < 0 or size <= 0:
            return ()
        first, last = address // PAGE, (address + size - 1) // PAGE
        # Nothing is read if the process has ended, or for an impossible address.
        data = os.pread(self._map, (last - first + 1) * 8, first * 8)
        entries = struct.unpack(f"={len(data) // 8}Q", data)
        missing = [n for n, entry in enumerate(entries, first) if not entry & _PRESENT]
        if missing:
            raise NotPresentError(self._pid, tuple(number * PAGE for number in missing))
        return entries


def _check_address(address: int) -> None:
    if not 0 < address < 1 << 63:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))


def read(pid: int, address: int, size: int) -> bytes:
    """Up to `size` bytes of the process's memory.

    Raises OSError (EIO: no such address) and NotPresentError.
    """
    _check_address(address)

    def look() -> bytes:
        opened = _Opened(pid, os.O_RDONLY)
        try:
            return opened.read(address, size)
        finally:
            opened.close()

    return bytes(look_at(pid, look))


def write(pid: int, address: int, data: bytes) -> None:
    """Write into private memory of the process that belongs to no file.

    Raises OSError (EIO, EFAULT: no such address) and NotPresentError.
    """
    _check_address(address)

    def change() -> None:
        opened = _Opened(pid, os.O_WRONLY)
        try:
            opened.write(address, data)
        finally:
            opened.close()

    look_at(pid, change)


class Fetch:
    """A child that reads pages of a process to make them present. Raises OSError.

    `pid` is the child's, to be reaped, and `ended` is called afterwards: the memory is not
    read again before that, even if the child was killed.
    """

    def __init__(self, missing: NotPresentError) -> None:
        from . import forked

        path = f"/proc/{missing.pid}/mem"
        fd: int = look_at(missing.pid, lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        try:
            self._child = forked.Child(
                lambda: _touch(fd, missing.pages), "read the memory of a worker"
            )
        finally:
            os.close(fd)
        self.pid = self._child.pid
        self._process = proc.process_of(missing.pid)
        proc.fetched.append(self._process)
        self._abandoned = False
        # None while the child reads; True: the pages are present.
        self.found: bool | None = None

    def ended(self, status: int) -> None:
        """Record that the child was reaped."""
        self._child.ended(status)
        proc.fetched.remove(self._process)
        if not self._abandoned:
            self.found = self._child.take(before_close=lambda _fd: None) == _FETCHED

    def abandon(self) -> None:
        """Stop waiting for it."""
        if self.found is None and not self._abandoned:
            self._abandoned = True
            self._child.abandon()


def _touch(fd: int, pages: tuple[int, ...]) -> bytes:
    try:
        for page in pages:
            os.pread(fd, 1, page)
    except OSError:
        return b"-"
    return _FETCHED


class Memory:
    """Descriptors of the memory of some processes, the latest ones."""

    def __init__(self) -> None:
        self._open: dict[int, _Opened] = {}

    def text(self, pid: int, address: int) -> bytes:
        """The string at `address`, at most PATH_MAX bytes, without its NUL.

        b"" for a null address. Raises OSError (not readable, or no such address) and
        NotPresentError.
        """
        text, ended = b"", b""
        most = _FIRST_READ
        while not ended and len(text) < _PATH_MAX:
            at = address + len(text)
            # Not beyond its page: the next one need not be present.
            data = self.read(pid, at, min(most, PAGE - at % PAGE, _PATH_MAX - len(text)))
            if not data:
                break
            more, ended, _ = data.partition(b"\0")
            text += more
            most = _PATH_MAX
        return text if ended else b""

    def read(self, pid: int, address: int, size: int) -> bytes:
        """Up to `size` bytes. Raises OSError and NotPresentError."""
        if not 0 < address < 1 << 63:
            return b""
        opened = self._open.get(pid)
        if opened is not None:
            data = opened.read(address, size)
            if data:
                return data
            self._forget(pid)
        opened = self._opened(pid)
        while len(self._open) >= _KEPT:
            self._forget(next(iter(self._open)))
        self._open[pid] = opened
        return opened.read(address, size)

    @staticmethod
    def _opened(pid: int) -> _Opened:
        found: _Opened = look_at(pid, lambda: _Opened(pid, os.O_RDONLY))
        return found

    def _forget(self, pid: int) -> None:
        self._open.pop(pid).close()

    def close(self) -> None:
        """Close all descriptors."""
        for pid in tuple(self._open):
            self._forget(pid)
