"""The log pump: from the workers' pipes to stdout, and pyinit's own events between.

Order: a stream's lines come out as they went in. Between streams it is the order in
which the kernel said they were readable.

Back-pressure: nothing is dropped because a reader is slow. When stdout takes no more,
streams are read no more, their pipes fill, and the workers' writes wait. The loop goes
on: nothing here blocks but `flush`, the last thing pyinit does.

Memory, whatever workers do: at most output.HIGH_WATER unwritten plus what one read may
become, `READ_LIMIT` of it (32 KiB of empty lines: 6 MB of records); for each stream its
unfinished line, at most wrap.LINE_LIMIT, and for all streams together `_HELD_LIMIT`:
above it lines are cut at `_FAIR_LIMIT`; the last 4 KiB of stderr for each worker; and
what event_output.py allows of pyinit's own events.

Fairness: a turn of the loop reads `_TURN_LIMIT` for all streams that have something,
evenly, so signals and probes wait some milliseconds at most.

A worker's grandchildren may hold its pipes when it is gone. They are read until the last
holder closes them; `closed` tells when.
"""

from __future__ import annotations

import os
import time

from .event_output import EventOutput
from .events import Events
from .log_format import LogFormat
from .multiline import PAUSE
from .output import Output
from .schema import STDERR, STDOUT, encode
from .stream import PIPE_READS, PIPE_SIZE, READ_LIMIT, Shares, Stream, count_lines
from .tails import Tails
from .unfinished import Unfinished
from .wrap import LINE_LIMIT, JsonWrapper, RawWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from entrypoint.core.spec import AppSpec, LogSpec
    from entrypoint.loop import Loop


READ = 1  # select.EPOLLIN
_READ_LEAST = 4 * 1024
_TURN_LIMIT = 256 * 1024
_HELD_LIMIT = 8 << 20
_FAIR_LIMIT = 64 * 1024
# With this much unwritten, a dead worker's pipe is left to itself for its last lines.
_TAIL_PENDING = 2 << 20
# Between two tries where there was no memory for what was read (s).
_MEMORY_PAUSE = 0.05


class LogPump:
    """Workers' lines and pyinit's events, to `fd_out` in the format of `spec`.

    With `raw` workers hold the real stdout, which is theirs alone; events go to `fd_raw`,
    stderr.
    """

    def __init__(
        self,
        loop: Loop,
        fd_out: int,
        spec: LogSpec,
        *,
        environ: Mapping[str, str] | None = None,
        fd_raw: int = 2,
    ) -> None:
        self._loop = loop
        self._fds = (fd_out, fd_raw)
        self.form = LogFormat(spec, self._fds, os.environ if environ is None else environ)
        self._streams: dict[int, Stream] = {}
        self._paused: list[Stream] = []
        self._open: dict[int, int] = {}  # incarnation: its streams not at their end
        self._closed: dict[int, list[Callable[[], None]]] = {}
        self._tails = Tails()
        self._held = 0
        # (app, stream): lines and bytes that its workers wrote, for the metrics.
        self.counters: dict[tuple[str, str], list[int]] = {}
        self._shares = Shares(_TURN_LIMIT)
        # Told of all records on their way to stdout, with their app ("": pyinit itself).
        self.tap: Callable[[str, bytes], None] | None = None
        # Where lines go, and our own events: the same, but for `raw`.
        raw = self.form.raw
        self._out = Output(loop, fd_out, self._resume, shared=raw)
        self._outs = {self._out}
        if raw:
            self._outs.add(Output(loop, fd_raw, self._resume, shared=True))
        self._events_out = EventOutput(
            self._other_output() if raw else self._out, self._report_lost
        )
        self._unfinished = Unfinished(
            loop, self._take_part, self._write_part, self._tap, self._stamp
        )
        self._follow_format()
        self._events = Events(
            self._write_event,
            level=spec.level,
            style=self.form.style,
            layout=self.form.layout,
        )

    def configure(self, spec: LogSpec, apps: Sequence[AppSpec] = ()) -> None:
        """Go on as `spec` says, also for the streams that are open.

        To and from `raw` counts for workers that start from now on: the others keep the
        descriptors that they have.
        """
        form = self.form
        form.set_apps(apps)
        raw = form.raw
        self._unfinished.break_line()
        form.choose(spec)
        form.expect(apps)
        self._events.configure(level=spec.level, style=form.style, layout=form.layout)
        if raw != form.raw:
            # Some workers write past us from now on, or still do.
            self._out.share()
            if len(self._outs) == 1:
                self._outs.add(Output(self._loop, self._fds[1], self._resume, shared=True))
            self._events_out.out = self._other_output() if form.raw else self._out
        self._follow_format()
        for stream in self._streams.values():
            self._wrap(stream)

    def _other_output(self) -> Output:
        return next(iter(self._outs - {self._out}))

    def _follow_format(self) -> None:
        self._unfinished.configure(
            console=self.form.style is not None,
            terminal=self._out if self.form.terminal else None,
        )

    def _wrap(self, stream: Stream) -> None:
        """Give the stream a wrapper of the present format, with what the old one held."""
        if self.form.raw and stream.tty:
            # It cannot write past us.
            before = getattr(stream, "wrapper", None)
            if before is not None:
                self._held -= before.held
                self._write(stream.app, before.end(self._stamp()), stream)
            stream.wrapper = RawWrapper()
            return
        wrapper = self.form.wrapper(stream)
        old = getattr(stream, "wrapper", None)
        if old is not None:
            self._held -= old.held
            self._write(stream.app, wrapper.go_on(old, self._stamp()))
            self._held += wrapper.held
        stream.wrapper = wrapper

    # -- workers --------------------------------------------------------------------

    def attach(
        self,
        app: str,
        instance: int,
        incarnation: int,
        pid: int,
        stdout_fd: int | None,
        stderr_fd: int | None,
        with_time: bool = False,
        multiline: str = "",
        *,
        tty: bool = False,
    ) -> None:
        """Read a worker's pipes from now on, and close them at their end.

        Takes ownership of both descriptors (`worker_pipe`'s first); None or -1 for a
        stream that does not come here. `with_time` is PM2's `time`: it puts the time
        before each line of `console`; JSON has it anyway. `multiline` is a rule of
        multiline.py, or "". `tty`: the first is a terminal, and both streams.
        """
        self.form.add_app(app, with_time=with_time, multiline=multiline)
        self._open.setdefault(incarnation, 0)
        for fd, name in ((stdout_fd, STDOUT), (stderr_fd, STDERR)):
            if fd is None or fd < 0:
                continue
            os.set_blocking(fd, False)
            stream = self._streams[fd] = Stream(
                self.readable, fd, name, app, instance, incarnation, pid
            )
            stream.tty = tty
            stream.counters = self.counters.setdefault((app, name), stream.counters)
            self._wrap(stream)
            self._open[incarnation] += 1
            self._loop.register(fd, READ, stream.readable, owner=incarnation)
        if not self._open[incarnation]:
            self._worker_closed(incarnation)

    def reads(self, fd: int) -> bool:
        """This descriptor is a stream of a worker."""
        return fd in self._streams

    def closed(self, incarnation: int, callback: Callable[[], None]) -> None:
        """Call once when both streams of that worker have reached their end.

        All that it wrote is then in the queue to stdout. At once when they have already,
        or were never here.
        """
        if incarnation in self._open:
            self._closed.setdefault(incarnation, []).append(callback)
        else:
            callback()

    def forget(self, app: str) -> None:
        """The app is no longer in the file: its count begins anew if it comes again."""
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
                # Its size bounds what can be in the pipe; a grandchild may go on writing.
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

    # -- reading --------------------------------------------------------------------

    def readable(self, stream: Stream) -> None:
        """Read a share of what `stream` has, or pause it when stdout takes no more."""
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
        """Read once; the number of bytes, 0 when there is nothing (more) to read.

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

    def _take_part(self, stream: Stream) -> bytes:
        held = stream.wrapper.held
        record = stream.wrapper.show_part(self._stamp())
        self._held += stream.wrapper.held - held
        return record

    def _write_part(self, stream: Stream, record: bytes) -> None:
        self._write(stream.app, record, stream)

    def _tap(self, app: str, record: bytes) -> None:
        if self.tap is not None:
            self.tap(app, record)

    def _stamp(self) -> str:
        return self.form.layout.stamp(time.time_ns())

    def _pause_for_memory(self, stream: Stream) -> None:
        """Read no more of it until there is memory for what was read."""
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

        self._loop.call_at((stream, "memory"), self._loop.now() + _MEMORY_PAUSE, again)

    def _flush_record(self, stream: Stream) -> None:
        """Nothing came for a while: what is held back is whole."""
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

    # -- pyinit's own events ----------------------------------------------------------

    def event(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        """Tell of an event: `level` is debug, info, warning, error or critical."""
        self._events.emit(time.time_ns(), level, event, fields)

    def load_structlog(self) -> None:
        """Import structlog and tell the events that waited for it (structlog_import.py: 25 ms)."""
        problem = self._events.load()
        if problem:
            self.event("warning", "structlog cannot be imported", {"error": problem})

    def _write_event(self, record: bytes) -> None:
        if not self._events_out.takes():
            return
        self._unfinished.break_line()
        self._events_out.out.write(record)
        if self.tap is not None:
            self.tap("", record)

    def _write(self, app: str, records: bytes, stream: Stream | None = None) -> None:
        self._out.write(self._unfinished.shown(stream, records))
        if self.tap is not None:
            self.tap(app, records)

    def _report_lost(self, lost: int) -> None:
        fields = {"events": lost, "reason": "stdout was blocked"}
        self.event("warning", "events of pyinit were dropped", fields)

    # -- the end ------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Bytes of records that are not written yet."""
        return sum(out.pending for out in self._outs)

    @property
    def lost(self) -> int:
        """Lines dropped so far, because nobody reads stdout any more."""
        return self._out.lost

    def drained(self, callback: Callable[[], None]) -> None:
        """Call once when all records made so far are written (at once when they are)."""
        self._out.drained(callback)

    def flush(self, deadline: float) -> int:
        """Read and write all that is left, and return the number of lines not delivered.

        Blocks until it is done or it is `deadline` (monotonic seconds): for the end of
        pyinit. Pipes that somebody still holds open are read as far as they are filled.
        """
        self._events.release()
        for out in self._outs:
            out.drain(deadline)
        for stream in list(self._streams.values()):
            reads = 0
            while True:
                if self._out.pending:
                    self._out.drain(deadline)
                # Late, what is in the pipe is still taken if stdout takes it, yet not
                # what a grandchild adds all the time.
                late = self._loop.now() >= deadline
                if late and (self._out.pending or reads >= PIPE_READS):
                    break
                try:
                    if not self._read(stream, READ_LIMIT):
                        break
                except MemoryError:
                    if late:
                        break
                    time.sleep(_MEMORY_PAUSE)
                reads += 1
        left = self._end_all()
        self._out.drain(deadline)
        left += sum(out.lost + out.lines for out in self._outs)
        return left + self._events_out.lost

    def last_word(self, level: str, event: str, fields: Mapping[str, object]) -> bytes:
        """An event as a record of this log, for where it does not go."""
        when = self._stamp()
        return encode(self.form.layout.record(when, level, event, fields)) + b"\n"

    def _end_all(self) -> int:
        """Tell the unfinished lines; the number of further lines left in the pipes."""
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

    def close(self) -> None:
        """Close the pipes and what was opened for stdout; nothing is written any more."""
        for stream in list(self._streams.values()):
            if not stream.paused:
                self._loop.unregister(stream.fd)
            os.close(stream.fd)
        self._streams.clear()
        self._open.clear()
        for out in self._outs:
            out.close()
