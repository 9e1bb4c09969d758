"""Pipes of workers, and writing to stdout without ever waiting for it.

`O_NONBLOCK` belongs to the open file description (`open(2)`), which pyinit shares with
all other holders of that stdout: the shell it was started from, workers under `log.format:
raw`. Setting it would make their writes fail. So, depending on what stdout is:

* a pipe or a terminal: opened again through `/proc/self/fd`, which gives a description
  of pyinit's own, non-blocking. A container's user may lack the right (the pipe is
  root's): then as PID 1 the flag is set after all, unless workers write to it too (the
  other holders of a container's stdout are its workers), and elsewhere only pieces are
  written that a ready pipe takes whole (`pipe(7)`, PIPE_BUF);
* a socket: `MSG_DONTWAIT`;
* a regular file or /dev/null, which are always ready: plain writes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ_LIMIT = 32 * 1024
# A pipe's size: what a worker may write ahead of us. 64 KiB by default; more means
# fewer switches between the two. Pages are only used while there is something in them.
PIPE_SIZE = 256 * 1024
# Reads that empty a pipe of the greatest size, 1 MiB (fs.pipe-max-size).
PIPE_READS = (1 << 20) // READ_LIMIT


def worker_pipe(uid: int | None = None, gid: int | None = None) -> tuple[int, int]:
    """A pipe for one stream of a worker: (pyinit's end, non-blocking; the worker's end).

    With `uid` the pipe belongs to the worker's user: `open("/dev/stdout")`, which many web
    servers' configurations have, opens the pipe again and needs that right.
    Raises OSError (EMFILE).
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(ours, False)
    try:
        fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    except OSError:
        pass  # over /proc/sys/fs/pipe-user-pages-soft: it also works with 64 KiB
    if uid is not None:
        try:
            os.fchown(theirs, uid, -1 if gid is None else gid)
        except OSError:
            pass  # without CAP_CHOWN there is no other user to give it to
    return ours, theirs


def count_lines(fd: int) -> int:
    """Read and count the lines that remain in a pipe."""
    lines = 0
    last = b"\n"
    for _ in range(PIPE_READS):
        try:
            data = os.read(fd, READ_LIMIT)
        except OSError:
            break
        if not data:
            break
        lines += data.count(b"\n")
        last = data[-1:]
    return lines + (last != b"\n")


class Sink:
    """A descriptor that is written to without waiting. `write(buffers)` raises OSError.

    `write` returns how many bytes were taken. `shared`: workers may write to the same
    description (`raw`). The descriptor itself is never closed, and `close` restores its flags.
    `is_open` is False when there is no such descriptor.
    """

    def __init__(self, fd: int, *, shared: bool) -> None:
        self.fd = fd
        self._own = self._flagged = -1
        self.write: Callable[[list[bytes | memoryview]], int] = self._writev
        self.is_open = True
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            self.is_open = False
            return
        if stat.S_ISSOCK(mode):
            import _socket

            self._socket = _socket.socket(fileno=os.dup(fd))
            self.write = self._send
        elif stat.S_ISFIFO(mode) or os.isatty(fd):
            self._open_again(shared)

    def _open_again(self, shared: bool) -> None:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            self._own = self.fd = os.open(f"/proc/self/fd/{self.fd}", flags)
        except OSError:
            if os.getpid() == 1 and not shared:
                current = fcntl.fcntl(self.fd, fcntl.F_GETFL)
                fcntl.fcntl(self.fd, fcntl.F_SETFL, current | os.O_NONBLOCK)
                if not current & os.O_NONBLOCK:
                    self._flagged = self.fd
            else:
                self._take_pieces()

    def _take_pieces(self) -> None:
        # A ready descriptor takes at least this much at once: pipe(7), tty_io.c.
        self._piece = 256 if os.isatty(self.fd) else select.PIPE_BUF
        self.write = self._write_small

    def share(self) -> None:
        """Leave the flags alone: workers may write to the same description from now on."""
        if self._flagged >= 0:
            os.set_blocking(self._flagged, True)
            self._flagged = -1
            self._take_pieces()

    def is_ready(self, milliseconds: int) -> bool:
        """Whether it takes data now, or within that time."""
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        return bool(poll.poll(milliseconds))

    def close(self) -> None:
        """Close what was opened here."""
        if self._flagged >= 0:
            os.set_blocking(self._flagged, True)
            self._flagged = -1
        if self._own >= 0:
            os.close(self._own)
            self._own = -1

    def _writev(self, buffers: list[bytes | memoryview]) -> int:
        return os.writev(self.fd, buffers)

    def _send(self, buffers: list[bytes | memoryview]) -> int:
        import _socket

        return self._socket.sendmsg(buffers, [], _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)

    def _write_small(self, buffers: list[bytes | memoryview]) -> int:
        if not self.is_ready(0):
            raise BlockingIOError(errno.EAGAIN, "not ready")
        return os.write(self.fd, memoryview(buffers[0])[: self._piece])
