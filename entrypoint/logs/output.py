"""Writing to stdout without ever waiting for it.

`O_NONBLOCK` belongs to the open file description (`open(2)`), which pyinit shares with
whoever else holds that stdout: the shell it was started from, workers under `log.format:
raw`. Setting it would make their writes fail. So, by what stdout is:

* a pipe or a terminal: opened again through `/proc/self/fd`, which gives a description
  of our own, non-blocking. A container's user may lack the right to (the pipe is
  root's): then as PID 1 the flag is set after all, unless workers write to it too (the
  other holders of a container's stdout are its workers), and elsewhere pieces are
  written that a ready pipe takes whole (`pipe(7)`, PIPE_BUF);
* a socket: `MSG_DONTWAIT`;
* a regular file or /dev/null, which are always ready: plain writes.

A reader that is slow makes the queue grow; `has_room` then tells the pump to stop reading
the workers. A reader that has gone (EPIPE, a closed terminal) is not one to wait for:
what is written is counted as lost and dropped, for workers must not hang on it, and at
most once a second a write tries whether somebody reads again (a named pipe may get a new
reader). A full disk may get room: it is tried again each second, and workers wait.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import time

from entrypoint.loop import WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from entrypoint.loop import Loop
else:
    from _collections import deque

# Above this many bytes unwritten, workers wait; below half of it they go on.
HIGH_WATER = 256 * 1024
_RETRY = 1.0  # seconds
_DONE, _FULL, _LATER = 0, 1, 2  # how an attempt to write everything ended
# writev(2) takes at most IOV_MAX (1024) buffers.
_BUFFERS = 512
_GONE = frozenset(
    (errno.EPIPE, errno.EBADF, errno.EIO, errno.ECONNRESET, errno.ENXIO, errno.ENOTCONN,
     errno.EINVAL, errno.ECONNREFUSED, errno.EDESTADDRREQ)
)  # fmt: skip


class Output:
    """A queue of whole records before one descriptor.

    `on_room` is called when the queue was above HIGH_WATER and is below half of it.
    `shared` says that workers may write to the same description (`raw`). The descriptor
    itself is never closed, and its flags, if they had to change, are put back by `close`.
    """

    def __init__(
        self, loop: Loop, fd: int, on_room: Callable[[], None], *, shared: bool = False
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._own = self._flagged = -1
        self._queue: deque[bytes | memoryview] = deque()
        self.pending = 0  # bytes not written yet
        self.lost = 0  # lines dropped because nobody reads any more
        self._on_room = on_room
        self._drained: list[Callable[[], None]] = []
        self._scheduled = self._waiting = self._throttled = False
        self._gone_until = 0.0
        self._key = ("log output", id(self))
        self._send: Callable[[list[bytes | memoryview]], int] = self._writev
        self._open(shared)

    def _open(self, shared: bool) -> None:
        try:
            mode = os.fstat(self._fd).st_mode
        except OSError:  # stdout was closed before pyinit began
            self._gone_until = float("inf")
            return
        if stat.S_ISSOCK(mode):
            import _socket

            self._socket = _socket.socket(fileno=os.dup(self._fd))
            self._send = self._send_socket
        elif stat.S_ISFIFO(mode) or os.isatty(self._fd):
            self._open_again(shared)

    def _open_again(self, shared: bool) -> None:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            self._own = self._fd = os.open(f"/proc/self/fd/{self._fd}", flags)
        except OSError:
            if os.getpid() == 1 and not shared:
                current = fcntl.fcntl(self._fd, fcntl.F_GETFL)
                fcntl.fcntl(self._fd, fcntl.F_SETFL, current | os.O_NONBLOCK)
                if not current & os.O_NONBLOCK:
                    self._flagged = self._fd
            else:
                self._take_pieces()

    def _take_pieces(self) -> None:
        # What is ready takes at least this much at once: pipe(7), tty_io.c.
        self._piece = 256 if os.isatty(self._fd) else select.PIPE_BUF
        self._send = self._write_small

    def share(self) -> None:
        """Workers may write to the same description from now on: its flags are theirs."""
        if self._flagged >= 0:
            os.set_blocking(self._flagged, True)
            self._flagged = -1
            self._take_pieces()

    # -- the three ways to write; each returns how many bytes went, or raises OSError -----

    def _writev(self, buffers: list[bytes | memoryview]) -> int:
        return os.writev(self._fd, buffers)

    def _send_socket(self, buffers: list[bytes | memoryview]) -> int:
        import _socket

        return self._socket.sendmsg(buffers, [], _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)

    def _write_small(self, buffers: list[bytes | memoryview]) -> int:
        if not self._ready(0):
            raise BlockingIOError(errno.EAGAIN, "not ready")
        return os.write(self._fd, memoryview(buffers[0])[: self._piece])

    def _ready(self, milliseconds: int) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        return bool(poll.poll(milliseconds))

    # -- the queue ------------------------------------------------------------------

    def has_room(self) -> bool:
        """Whether workers may be read; when not, `on_room` will be called."""
        if self.pending >= HIGH_WATER:
            self._throttled = True
            self.flush()
        return self.pending < HIGH_WATER

    def write(self, records: bytes) -> None:
        """Queue whole records; they are written at the end of this turn of the loop."""
        if not records:
            return
        if self._gone_until and self._loop.now() < self._gone_until:
            self.lost += records.count(b"\n")
            return
        self._queue.append(records)
        self.pending += len(records)
        if not self._scheduled and not self._waiting:
            # One write for all that a turn brings; deadlines are served after it.
            self._scheduled = True
            self._loop.call_at(self._key, 0.0, self.flush)

    def drained(self, callback: Callable[[], None]) -> None:
        """Call once when everything is written (at once when it is)."""
        if not self.pending:
            callback()
        else:
            self._drained.append(callback)

    def flush(self) -> None:
        """Write what can be written now; wait on the loop for the rest."""
        self._scheduled = False
        state = self._write_queue()
        if state == _FULL:
            if not self._waiting:
                self._waiting = True
                self._loop.register(self._fd, WRITE, self._writable)
        else:
            self._stop_waiting()
            if state == _LATER:
                self._scheduled = True
                self._loop.call_at(self._key, self._loop.now() + _RETRY, self.flush)
        if self._throttled and self.pending < HIGH_WATER // 2:
            self._throttled = False
            self._on_room()
        if not self.pending and self._drained:
            callbacks, self._drained = self._drained, []
            for callback in callbacks:
                callback()

    def _writable(self, _events: int) -> None:
        self.flush()

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting = False
            self._loop.unregister(self._fd)

    def _write_queue(self) -> int:
        """Write until nothing is left (_DONE) or the descriptor takes no more."""
        queue = self._queue
        while queue:
            count = min(len(queue), _BUFFERS)
            try:
                written = self._send([queue[n] for n in range(count)])
            except BlockingIOError:
                return _FULL
            except OSError as error:
                if error.errno not in _GONE:
                    return _LATER  # ENOSPC, ENOBUFS
                self._drop()
                return _DONE
            self._gone_until = 0.0
            self._advance(written)
        return _DONE

    def _advance(self, written: int) -> None:
        self.pending -= written
        queue = self._queue
        while written:
            first = queue.popleft()
            if len(first) > written:
                queue.appendleft(memoryview(first)[written:])
                return
            written -= len(first)

    def _drop(self) -> None:
        self.lost += self.lines
        self._queue.clear()
        self.pending = 0
        self._gone_until = self._loop.now() + _RETRY

    @property
    def lines(self) -> int:
        """Lines in the queue, one that is half written included."""
        return sum(bytes(records).count(b"\n") for records in self._queue)

    # -- the end --------------------------------------------------------------------

    def drain(self, deadline: float) -> None:
        """Write, waiting for the reader until `deadline` (monotonic seconds).

        For the end of pyinit only: it blocks.
        """
        self._stop_waiting()
        while (state := self._write_queue()) != _DONE:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            if state == _FULL:
                self._ready(max(1, int(left * 1000)))
            else:
                time.sleep(min(left, 0.05))  # a full disk cannot be polled

    def close(self) -> None:
        """Forget the queue and give back what was opened here."""
        self._stop_waiting()
        self._loop.cancel(self._key)
        self._queue.clear()
        self.pending = 0
        if self._flagged >= 0:
            os.set_blocking(self._flagged, True)
            self._flagged = -1
        if self._own >= 0:
            os.close(self._own)
            self._own = -1
