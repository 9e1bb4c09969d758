"""The log pump: from the workers' pipes to stdout, and pyinit's own events between.

Order: a stream's lines come out as they went in. Between streams it is the order in
which the kernel said they were readable.

Back-pressure: nothing is dropped because a reader is slow. When stdout takes no more,
streams are read no more, their pipes fill, and the workers' writes wait. The loop goes
on: nothing here blocks but `flush`, the last thing pyinit does.

Memory, whatever workers do: at most output.HIGH_WATER unwritten plus what one read may
become, `_READ_LIMIT` of it (32 KiB of empty lines: 6 MB of records); for each stream its
unfinished line, at most wrap.LINE_LIMIT, and for all streams together `_HELD_LIMIT`:
above it lines are cut at `_FAIR_LIMIT`; the last 4 KiB of stderr for each worker; and
`_EVENTS_LIMIT` of pyinit's own events.

Fairness: a turn of the loop reads `_TURN_LIMIT` for all streams that have something,
evenly, so signals and probes wait some milliseconds at most.

A worker's grandchildren may hold its pipes when it is gone. They are read until the last
holder closes them; `closed` tells when.
"""

from __future__ import annotations

import fcntl
import os
import time

from .events import Events
from .layout import Flat, Keys, layout
from .multiline import PAUSE, Joiner
from .output import Output
from .schema import STDERR, STDOUT, encode
from .tails import Tails
from .unfinished import Unfinished
from .wrap import LINE_LIMIT, JsonWrapper, RawWrapper, Wrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from entrypoint.core.spec import AppSpec, LogSpec
    from entrypoint.loop import Loop

    from .console import Style

READ = 1  # select.EPOLLIN
_READ_LIMIT = 32 * 1024
_READ_LEAST = 4 * 1024
_TURN_LIMIT = 256 * 1024
_HELD_LIMIT = 8 << 20
_FAIR_LIMIT = 64 * 1024
_EVENTS_LIMIT = 1 << 20
# With this much unwritten, a dead worker's pipe is left to itself for its last lines.
_TAIL_PENDING = 2 << 20
# A pipe's size: what a worker may write ahead of us. 64 KiB by default; more means
# fewer switches between the two. Pages are only used while there is something in them.
_PIPE_SIZE = 256 * 1024
# Between two tries where there was no memory for what was read (s).
_MEMORY_PAUSE = 0.05
# Reads that empty a pipe of the greatest size, 1 MiB (fs.pipe-max-size).
_PIPE_READS = (1 << 20) // _READ_LIMIT


def worker_pipe(uid: int | None = None, gid: int | None = None) -> tuple[int, int]:
    """A pipe for one stream of a worker: (our end, non-blocking; the worker's end).

    With `uid` the pipe is given to the worker's user: `open("/dev/stdout")`, which web
    servers' configurations are fond of, opens the pipe again and asks for the right to.
    Raises OSError (EMFILE).
    """
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(ours, False)
    try:
        fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
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
        "_pump", "app", "cut", "fd", "fed_at", "heavy", "incarnation", "instance", "name", "paused",
        "pid", "showing", "tally", "tty", "unread", "wrapper",
    )  # fmt: skip

    def __init__(
        self, pump: LogPump, fd: int, name: str, app: str, instance: int, incarnation: int, pid: int
    ) -> None:
        self._pump = pump
        self.fd = fd
        self.name = name
        self.app = app
        self.instance = instance
        self.incarnation = incarnation
        self.pid = pid
        self.tally = [0, 0]
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
        self._pump.readable(self)


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
        self._environ = os.environ if environ is None else environ
        self._streams: dict[int, Stream] = {}
        self._paused: list[Stream] = []
        self._open: dict[int, int] = {}  # incarnation: its streams not at their end
        self._closed: dict[int, list[Callable[[], None]]] = {}
        self._tails = Tails()
        self._timed: frozenset[str] = frozenset()  # apps with PM2's `time`
        self._rules: dict[str, str] = {}  # app: its rule for what is one record
        self._held = 0
        self._events_lost = 0
        # (app, stream): lines and bytes that its workers wrote, for the metrics.
        self.tallies: dict[tuple[str, str], list[int]] = {}
        self._turn = self._ready_now = self._ready_before = 0
        # Told of all records on their way to stdout, with their app ("": pyinit itself).
        self.tap: Callable[[str, bytes], None] | None = None
        self._style: Style | None = None
        self._choose(spec)
        # Where lines go, and our own events: the same, but for `raw`.
        self._out = self._events_out = Output(loop, fd_out, self._resume, shared=self._raw)
        if self._raw:
            self._events_out = Output(loop, fd_raw, self._resume, shared=True)
        self._outs = {self._out, self._events_out}
        self._unfinished = Unfinished(
            loop, self._take_part, self._write_part, self._tap, self._stamp
        )
        self._follow_format()
        self._events = Events(
            self._write_event, level=spec.level, style=self._style, layout=self.layout
        )

    def _choose(self, spec: LogSpec) -> None:
        """What `spec` means for the descriptors that are here."""
        self.spec = spec
        self.format = spec.format
        self._raw = spec.format == "raw"
        terminal = os.isatty(self._fds[self._raw])
        if self.format == "auto":
            self.format = "console" if terminal else "json"
        if self.format == "console" or (self.format == "raw" and terminal):
            if self._style is None:
                from .console import Style, wants_colour

                self._style = Style(colour=wants_colour(self._environ, terminal))
        else:
            self._style = None
        self._terminal = terminal and self.format == "console"
        self.layout = Flat(Keys()) if self._style is not None else layout(spec.keys, spec.names)

    def configure(self, spec: LogSpec, apps: Sequence[AppSpec] = ()) -> None:
        """Go on as `spec` says, also for the streams that are open.

        To and from `raw` counts for workers that start from now on: the others keep the
        descriptors that they have.
        """
        self._timed = frozenset(app.name for app in apps if app.time)
        self._rules = {app.name: app.multiline for app in apps if app.multiline}
        raw = self._raw
        self._unfinished.break_line()
        self._choose(spec)
        if self._style is not None:
            self._style.expect(f"{app.name}:{max(0, app.instances - 1)}" for app in apps)
        self._events.configure(level=spec.level, style=self._style, layout=self.layout)
        if raw != self._raw:
            # Some workers write past us from now on, or still do.
            self._out.share()
            others = self._outs - {self._out}
            if not others:
                others.add(Output(self._loop, self._fds[1], self._resume, shared=True))
                self._outs |= others
            self._events_out = others.pop() if self._raw else self._out
        self._follow_format()
        for stream in self._streams.values():
            self._wrap(stream)

    def _follow_format(self) -> None:
        self._unfinished.configure(
            console=self._style is not None, terminal=self._out if self._terminal else None
        )

    def _wrap(self, stream: Stream) -> None:
        """Give the stream a wrapper of the present format, with what the old one held."""
        wrapper: Wrapper
        if self._raw and stream.tty:
            # It cannot write past us.
            before = getattr(stream, "wrapper", None)
            if before is not None:
                self._held -= before.held
                self._write(stream.app, before.end(self._stamp()), stream)
            stream.wrapper = RawWrapper()
            return
        rule = self._rules.get(stream.app, "")
        joiner = Joiner(rule) if rule else None
        if self._style is not None:
            from .console import ConsoleWrapper

            timed = stream.app in self._timed
            wrapper = ConsoleWrapper(
                stream.app, stream.instance, stream.name, self._style, time=timed, joiner=joiner
            )
        else:
            form = self.layout.lines(stream.app, stream.instance, stream.pid, stream.name)
            wrapper = JsonWrapper(form, joiner)
        old = getattr(stream, "wrapper", None)
        if old is not None:
            self._held -= old.held
            self._write(stream.app, wrapper.go_on(old, self.layout.stamp(time.time_ns())))
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
        if with_time and app not in self._timed:
            self._timed |= {app}
        if multiline:
            self._rules[app] = multiline
        self._open.setdefault(incarnation, 0)
        for fd, name in ((stdout_fd, STDOUT), (stderr_fd, STDERR)):
            if fd is None or fd < 0:
                continue
            os.set_blocking(fd, False)
            stream = self._streams[fd] = Stream(self, fd, name, app, instance, incarnation, pid)
            stream.tty = tty
            stream.tally = self.tallies.setdefault((app, name), stream.tally)
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
        for key in [key for key in self.tallies if key[0] == app]:
            del self.tallies[key]

    def last_lines(self, incarnation: int) -> tuple[str, ...]:
        """The last lines that a worker wrote to stderr: at most 10, of 4 KiB.

        What is still in its pipes is read first, so ask when its exit is known, before
        it is told: its own last words then stand before it. The pump forgets them when many
        other workers have ended since.
        """
        for stream in list(self._streams.values()):
            if stream.incarnation == incarnation:
                # Its size bounds what can be in the pipe; a grandchild may go on writing.
                for _ in range(_PIPE_SIZE // _READ_LIMIT):
                    if self._out.pending > _TAIL_PENDING or not self._read_tail(stream):
                        break
        return self._tails.lines(incarnation)

    def _read_tail(self, stream: Stream) -> int:
        try:
            return self._read(stream, _READ_LIMIT)
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
        if self._turn != self._loop.wakeups:
            self._turn = self._loop.wakeups
            self._ready_before, self._ready_now = self._ready_now, 0
        self._ready_now += 1
        share = _TURN_LIMIT // max(self._ready_before, self._ready_now)
        if stream.heavy:
            share //= 8
        try:
            self._read(stream, min(_READ_LIMIT, max(_READ_LEAST, share)))
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
                stream.tally[0] += 1
            held = wrapper.held
            self._write(stream.app, wrapper.end(self.layout.stamp(time.time_ns())), stream)
            self._held -= held
            self._end(stream)
            return 0
        size = len(data)
        if stream.tty:
            # A program may have set it so, whose lines a terminal would show.
            data = (stream.cut + data).replace(b"\r\n", b"\n")
            stream.cut = b"\r" if data.endswith(b"\r") else b""
            data = data.removesuffix(b"\r")
        stream.tally[0] += data.count(b"\n")
        stream.tally[1] += len(data)
        if stream.name is STDERR or stream.tty:
            self._tails.keep(stream.incarnation, data)
        stream.unread = data
        self._feed(stream, data)
        stream.unread = b""
        return size

    def _feed(self, stream: Stream, data: bytes) -> None:
        wrapper = stream.wrapper
        when = self.layout.stamp(time.time_ns())
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
            self._loop.call_at(stream, self._loop.now() + PAUSE, lambda: self._settle(stream))
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
        return self.layout.stamp(time.time_ns())

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

    def _settle(self, stream: Stream) -> None:
        """Nothing came for a while: what is held back is whole."""
        if self._streams.get(stream.fd) is not stream:
            return
        if stream.paused:
            # More may be in its pipe, which is not read now.
            self._loop.call_at(stream, self._loop.now() + PAUSE, lambda: self._settle(stream))
            return
        self._held -= stream.wrapper.waiting
        self._write(stream.app, stream.wrapper.settle(self.layout.stamp(time.time_ns())))

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
        if self._events_out.pending > _EVENTS_LIMIT:
            self._events_lost += 1
            if self._events_lost == 1:
                self._events_out.drained(self._tell_events_lost)
            return
        self._unfinished.break_line()
        self._events_out.write(record)
        if self.tap is not None:
            self.tap("", record)

    def _write(self, app: str, records: bytes, stream: Stream | None = None) -> None:
        self._out.write(self._unfinished.shown(stream, records))
        if self.tap is not None:
            self.tap(app, records)

    def _tell_events_lost(self) -> None:
        lost, self._events_lost = self._events_lost, 0
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
                if late and (self._out.pending or reads >= _PIPE_READS):
                    break
                try:
                    if not self._read(stream, _READ_LIMIT):
                        break
                except MemoryError:
                    if late:
                        break
                    time.sleep(_MEMORY_PAUSE)
                reads += 1
        left = self._end_all()
        self._out.drain(deadline)
        left += sum(out.lost + out.lines for out in self._outs)
        return left + self._events_lost

    def last_word(self, level: str, event: str, fields: Mapping[str, object]) -> bytes:
        """An event as a record of this log, for where it does not go."""
        when = self.layout.stamp(time.time_ns())
        return encode(self.layout.record(when, level, event, fields)) + b"\n"

    def _end_all(self) -> int:
        """Tell the unfinished lines; the number of further lines left in the pipes."""
        self._unfinished.break_line()
        when = self.layout.stamp(time.time_ns())
        left = 0
        for stream in self._streams.values():
            in_pipe = _count_lines(stream.fd)
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


def _count_lines(fd: int) -> int:
    """Lines that are left in a pipe."""
    lines = 0
    last = b"\n"
    for _ in range(_PIPE_READS):
        try:
            data = os.read(fd, _READ_LIMIT)
        except OSError:
            break
        if not data:
            break
        lines += data.count(b"\n")
        last = data[-1:]
    return lines + (last != b"\n")
