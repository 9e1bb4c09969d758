"""Reads the workers' pipes: in fair shares, within a bound of memory.

Memory, whatever workers do: at most output.HIGH_WATER unwritten plus what one read may
become, `READ_LIMIT` of it (32 KiB of empty lines: 6 MB of records); for each stream its
unfinished line, at most wrap.LINE_LIMIT, and for all streams together `_HELD_LIMIT`:
above it lines are cut at `_FAIR_LIMIT`; the last 4 KiB of stderr for each worker; and
and the limits of events.py for pyinit's own events.

Fairness: a turn of the loop reads `_TURN_LIMIT` for all readable streams,
evenly, so signals and probes wait some milliseconds at most.

A worker's grandchildren may hold its pipes after its end. They are read until the last
holder closes them; `closed` calls back then.
"""

from __future__ import annotations

import os

from entrypoint.kernel.pipes import PIPE_SIZE, READ_LIMIT, count_lines

from .multiline import PAUSE
from .schema import STDERR
from .stream import Shares, Stream, Tails
from .wrap import LINE_LIMIT, JsonWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.loop import Loop

    from .output import Output
    from .unfinished import Unfinished

READ = 1  # select.EPOLLIN
_READ_LEAST = 4 * 1024
_TURN_LIMIT = 256 * 1024
_HELD_LIMIT = 8 << 20
_FAIR_LIMIT = 64 * 1024
# With this much unwritten, a dead worker's pipe is not read for its last lines.
_TAIL_PENDING = 2 << 20
# The pause after a lack of memory for read data (s).
MEMORY_PAUSE = 0.05


class Reader:
    """The streams of all workers. The pump, a subclass, writes what is read from them."""

    # The output of lines; reading pauses while it is full.
    _out: Output
    _unfinished: Unfinished

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._streams: dict[int, Stream] = {}
        self._paused: list[Stream] = []
        self._open: dict[int, int] = {}  # incarnation: its streams not at their end
        self._closed: dict[int, list[Callable[[], None]]] = {}
        self._tails = Tails()
        self._held = 0  # bytes of lines that are not written yet
        # (app, stream): lines and bytes that its workers wrote, for the metrics.
        self.counters: dict[tuple[str, str], list[int]] = {}
        self._shares = Shares(_TURN_LIMIT)

    def _write(self, app: str, records: bytes, stream: Stream | None = None) -> None:
        raise NotImplementedError

    def _stamp(self) -> str:
        raise NotImplementedError

    def reads(self, fd: int) -> bool:
        """Whether this descriptor is a stream of a worker."""
        return fd in self._streams

    def closed(self, incarnation: int, callback: Callable[[], None]) -> None:
        """Call a function once when both streams of that worker have reached their end.

        All its output is then in the queue to stdout. Called at once if they have ended already,
        or were never here.
        """
        if incarnation in self._open:
            self._closed.setdefault(incarnation, []).append(callback)
        else:
            callback()

    def forget(self, app: str) -> None:
        """Forget an app that left the file: its count starts anew if it is added again."""
        for key in [key for key in self.counters if key[0] == app]:
            del self.counters[key]

    def last_lines(self, incarnation: int) -> tuple[str, ...]:
        """The last lines that a worker wrote to stderr: at most 10, of 4 KiB.

        This reads the rest of its pipes first. So call it when the exit is known and not yet
        logged: the worker's last lines then precede it. The pump drops the lines when many other
        workers have ended since.
        """
        for stream in list(self._streams.values()):
            if stream.incarnation == incarnation:
                # Its size limits what can be in the pipe; a grandchild may keep writing.
                for _ in range(PIPE_SIZE // READ_LIMIT):
                    if self._out.pending > _TAIL_PENDING or not self._read_tail(stream):
                        break
        return self._tails.lines(incarnation)

    def _read_tail(self, stream: Stream) -> int:
        try:
            return self._read(stream, READ_LIMIT)
        except MemoryError:
            self._pause_for_memory(stream)
            return 0

    # -- reading ----------------------------------------------------------------------

    def readable(self, stream: Stream) -> None:
        """Read a share of the data of `stream`, or pause it if stdout takes no more."""
        if not self._out.has_room():
            # Not `modify(fd, 0)`: a closed pipe would be reported again and again.
            self._loop.unregister(stream.fd)
            stream.paused = True
            self._paused.append(stream)
            return
        share = self._shares.next(self._loop.wakeups)
        if stream.heavy:
            share //= 8
        try:
            self._read(stream, min(READ_LIMIT, max(_READ_LEAST, share)))
        except MemoryError:
            self._pause_for_memory(stream)
            raise

    def _resume(self) -> None:
        paused, self._paused = self._paused, []
        for stream in paused:
            if self._streams.get(stream.fd) is stream:
                stream.paused = False
                self._loop.register(stream.fd, READ, stream.readable, owner=stream.incarnation)

    def _read(self, stream: Stream, size: int) -> int:
        """Read once; returns the number of bytes, 0 if there is nothing (more) to read.

        Raises MemoryError when there is none for the records: the next call begins with what
        was read.
        """
        if stream.unread:
            data = stream.unread
            self._feed(stream, data)
            stream.unread = b""
            return len(data)
        try:
            data = os.read(stream.fd, size)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""  # a terminal's EIO: its other end is closed
        wrapper = stream.wrapper
        if not data:
            if stream.cut:
                self._feed(stream, stream.cut)
                stream.cut = b""
            if wrapper.held > wrapper.waiting:
                stream.counters[0] += 1
            held = wrapper.held
            self._write(stream.app, wrapper.end(self._stamp()), stream)
            self._held -= held
            self._end(stream)
            return 0
        size = len(data)
        if stream.tty:
            # A program may have set it so, whose lines a terminal would show.
            data = (stream.cut + data).replace(b"\r\n", b"\n")
            stream.cut = b"\r" if data.endswith(b"\r") else b""
            data = data.removesuffix(b"\r")
        stream.counters[0] += data.count(b"\n")
        stream.counters[1] += len(data)
        if stream.name is STDERR or stream.tty:
            self._tails.keep(stream.incarnation, data)
        stream.unread = data
        self._feed(stream, data)
        stream.unread = b""
        return size

    def _feed(self, stream: Stream, data: bytes) -> None:
        wrapper = stream.wrapper
        when = self._stamp()
        held = wrapper.held
        limit = LINE_LIMIT if self._held < _HELD_LIMIT else _FAIR_LIMIT
        if isinstance(wrapper, JsonWrapper):
            slow = wrapper.slow
            records = wrapper.feed(data, when, limit)
            stream.heavy = wrapper.slow != slow
        else:
            records = wrapper.feed(data, when, limit)
        self._write(stream.app, records, stream)
        self._held += wrapper.held - held
        if wrapper.waiting:
            self._loop.call_at(stream, self._loop.now() + PAUSE, lambda: self._flush_record(stream))
        if wrapper.may_show_part:
            self._unfinished.fed(stream, len(data))

    def _pause_for_memory(self, stream: Stream) -> None:
        """Stop reading it until there is memory for the data already read."""
        if not stream.paused:
            self._loop.unregister(stream.fd)
            stream.paused = True

        def again() -> None:
            if self._streams.get(stream.fd) is not stream:
                return
            try:
                if stream.unread:
                    self._read(stream, _READ_LEAST)
            except MemoryError:
                self._pause_for_memory(stream)
                return
            self._paused.append(stream)
            self._resume()

        self._loop.call_at((stream, "memory"), self._loop.now() + MEMORY_PAUSE, again)

    def _flush_record(self, stream: Stream) -> None:
        """Write the held record: nothing came for a while, so it is complete."""
        if self._streams.get(stream.fd) is not stream:
            return
        if stream.paused:
            # More may be in its pipe, which is not read now.
            self._loop.call_at(stream, self._loop.now() + PAUSE, lambda: self._flush_record(stream))
            return
        self._held -= stream.wrapper.waiting
        self._write(stream.app, stream.wrapper.flush_record(self._stamp()))

    def _end(self, stream: Stream) -> None:
        if not stream.paused:
            self._loop.unregister(stream.fd)
        self._loop.cancel(stream)
        self._unfinished.forget(stream)
        del self._streams[stream.fd]
        os.close(stream.fd)
        self._open[stream.incarnation] -= 1
        if not self._open[stream.incarnation]:
            self._worker_closed(stream.incarnation)

    def _worker_closed(self, incarnation: int) -> None:
        del self._open[incarnation]
        self._tails.ended(incarnation, self._open)
        for callback in self._closed.pop(incarnation, ()):
            callback()

    def _end_all(self) -> int:
        """Write the unfinished lines; returns the number of further lines left in the pipes."""
        self._unfinished.break_line()
        when = self._stamp()
        left = 0
        for stream in self._streams.values():
            in_pipe = count_lines(stream.fd)
            held = stream.wrapper.held
            unfinished = held > stream.wrapper.waiting
            self._out.write(stream.wrapper.end(when, more=in_pipe > 0))
            self._held -= held
            # A line that goes on in the pipe is one, and counted with its beginning.
            left += in_pipe - (unfinished and in_pipe > 0)
        return left
