"""Memory of workers, read again and again: paths of the files that they remove.

Opening `/proc/PID/mem` needs what ptrace(2) needs, and for that a root pyinit has to become
the worker's user (`credentials.look_at`): some twenty system calls. What was opened can be
read without any of it. It stands for the memory that the process had then: after execve(2)
or the end of the process nothing is read from it, and it is opened anew.

Where the memory of a process is shared (vfork(2)) and the process executes another program,
the old memory goes on in its parent, and a path is read that is not there. So this is not
for calls whose answer must be right (bind).
"""

from __future__ import annotations

import os

from .credentials import look_at

# Descriptors that are kept open for one worker.
_KEPT = 8
_FIRST_READ = 256
_PATH_MAX = 4096


class Memory:
    """Descriptors of the memory of some processes, the latest ones."""

    def __init__(self) -> None:
        self._open: dict[int, int] = {}

    def text(self, pid: int, address: int) -> bytes:
        """The string at `address`, at most PATH_MAX bytes, without its zero.

        b"" for none. Raises OSError: it may not be read, or there is no such address.
        """
        data = self.read(pid, address, _FIRST_READ)
        if b"\0" not in data and len(data) == _FIRST_READ:
            data += self.read(pid, address + _FIRST_READ, _PATH_MAX - _FIRST_READ)
        text, ended, _ = data.partition(b"\0")
        return text if ended else b""

    def read(self, pid: int, address: int, size: int) -> bytes:
        """Up to `size` bytes. Raises OSError."""
        if not 0 < address < 1 << 63:
            return b""
        fd = self._open.get(pid)
        if fd is not None:
            data = os.pread(fd, size, address)
            if data:
                return data
            self._forget(pid)
        fd = look_at(pid, lambda: os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC))
        while len(self._open) >= _KEPT:
            self._forget(next(iter(self._open)))
        self._open[pid] = fd
        return os.pread(fd, size, address)

    def _forget(self, pid: int) -> None:
        os.close(self._open.pop(pid))

    def close(self) -> None:
        """Give up all descriptors."""
        for pid in tuple(self._open):
            self._forget(pid)
