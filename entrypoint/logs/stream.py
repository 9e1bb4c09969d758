"""The pipe of a worker's stream: how it is made, what is known of it, what is left in it."""

from __future__ import annotations

import fcntl
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .wrap import Wrapper


READ_LIMIT = 32 * 1024
# A pipe's size: what a worker may write ahead of us. 64 KiB by default; more means
# fewer switches between the two. Pages are only used while there is something in them.
PIPE_SIZE = 256 * 1024
# Reads that empty a pipe of the greatest size, 1 MiB (fs.pipe-max-size).
PIPE_READS = (1 << 20) // READ_LIMIT


def worker_pipe(uid: int | None = None, gid: int | None = None) -> tuple[int, int]:
    """A pipe for one stream of a worker: (our end, non-blocking; the worker's end).

    With `uid` the pipe is given to the worker's user: `open("/dev/stdout")`, which web
    servers' configurations are fond of, opens the pipe again and asks for the right to.
    Raises OSError (EMFILE).
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(ours, False)
    try:
        fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    except OSError:
        pass  # over /proc/sys/fs/pipe-user-pages-soft: it works with 64 KiB as well
    if uid is not None:
        try:
            os.fchown(theirs, uid, -1 if gid is None else gid)
        except OSError:
            pass  # without CAP_CHOWN there is no other user to give it to
    return ours, theirs


class Stream:
    """One pipe of one worker."""

    __slots__ = (
        "_on_readable", "app", "counters", "cut", "fd", "fed_at", "heavy", "incarnation",
        "instance", "name", "paused", "pid", "showing", "tty", "unread", "wrapper",
    )  # fmt: skip

    def __init__(
        self,
        on_readable: Callable[[Stream], None],
        fd: int,
        name: str,
        app: str,
        instance: int,
        incarnation: int,
        pid: int,
    ) -> None:
        self._on_readable = on_readable
        self.fd = fd
        self.name = name
        self.app = app
        self.instance = instance
        self.incarnation = incarnation
        self.pid = pid
        self.counters = [0, 0]
        self.paused = False
        self.tty = False
        self.cut = b""  # a CR at the end of a read: a newline may follow
        self.unread = b""  # read, and not passed on yet: there was no memory for it
        self.fed_at = 0.0
        self.showing = False  # a timer will show the line that has not ended
        self.heavy = False  # its last lines cost ten times the others
        self.wrapper: Wrapper

    def readable(self, _events: int) -> None:
        """What the loop calls."""
        self._on_readable(self)


def count_lines(fd: int) -> int:
    """Read and count the lines that are left in a pipe."""
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


class Shares:
    """Shares `size` bytes of a turn of the loop evenly among the streams that are readable."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._turn = self._now = self._before = 0

    def next(self, turn: int) -> int:
        """The share of another stream, by how many there are, or were in the turn before."""
        if self._turn != turn:
            self._turn = turn
            self._before, self._now = self._now, 0
        self._now += 1
        return self._size // max(self._before, self._now)
