"""The log pump: writes lines of the workers' pipes and pyinit's own events to stdout.

Order: the lines of a stream keep their order. Between streams it is the order in
which the kernel reported them as readable.

Back-pressure: nothing is dropped because a reader is slow. When stdout takes no more,
streams are no longer read, their pipes fill, and the workers' writes wait. The loop continues:
nothing here blocks except `flush`, the last thing that pyinit does.

How the pipes are read, and the bounds of memory, are in reader.py.
"""

from __future__ import annotations

import os
import time

from entrypoint.kernel.pipes import PIPE_READS, READ_LIMIT

from .events import EventOutput, Events
from .log_format import LogFormat
from .output import Output
from .reader import MEMORY_PAUSE, READ, Reader
from .schema import STDERR, STDOUT, encode
from .stream import Stream
from .unfinished import Unfinished
from .wrap import RawWrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from entrypoint.core.spec import AppSpec, LogSpec
    from entrypoint.loop import Loop


class LogPump(Reader):
    """Workers' lines and pyinit's events, to `fd_out` in the format of `spec`.

    With `raw` workers hold the real stdout, which is only theirs; events go to `fd_raw`,
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
        super().__init__(loop)
        self._fds = (fd_out, fd_raw)
        self.form = LogFormat(spec, self._fds, os.environ if environ is None else environ)
        # Called with all records on their way to stdout, with their app ("": pyinit itself).
        self.tap: Callable[[str, bytes], None] | None = None
        # Outputs of lines and of pyinit's own events: the same, except with `raw`.
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
        """Apply `spec`, also to the streams that are open.

        A change to or from `raw` applies to workers that start from now on: the others keep
        their descriptors.
        """
        form = self.form
        form.set_apps(apps)
        raw = form.raw
        self._unfinished.break_line()
        form.choose(spec)
        form.expect(apps)
        self._events.configure(level=spec.level, style=form.style, layout=form.layout)
        if raw != form.raw:
            # Some workers write directly from now on, or still do.
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
        """Give the stream a wrapper of the present format, with the old wrapper's data."""
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

    # -- pyinit's own events ----------------------------------------------------------

    def event(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        """Log an event: `level` is debug, info, warning, error or critical."""
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
        """Lines dropped so far, because stdout has no reader any more."""
        return self._out.lost

    def drained(self, callback: Callable[[], None]) -> None:
        """Call once when all records made so far are written (at once when they are)."""
        self._out.drained(callback)

    def flush(self, deadline: float) -> int:
        """Read and write all that remains; returns the number of lines not delivered.

        Blocks until it is done or until `deadline` (monotonic seconds): for the end of
        pyinit. Pipes that another process still holds open are read as far as they are filled.
        """
        self._events.release()
        for out in self._outs:
            out.drain(deadline)
        for stream in list(self._streams.values()):
            reads = 0
            while True:
                if self._out.pending:
                    self._out.drain(deadline)
                # After the deadline the present content of the pipe is still written if stdout
                # takes it, but not what a grandchild keeps adding.
                late = self._loop.now() >= deadline
                if late and (self._out.pending or reads >= PIPE_READS):
                    break
                try:
                    if not self._read(stream, READ_LIMIT):
                        break
                except MemoryError:
                    if late:
                        break
                    time.sleep(MEMORY_PAUSE)
                reads += 1
        left = self._end_all()
        self._out.drain(deadline)
        left += sum(out.lost + out.lines for out in self._outs)
        return left + self._events_out.lost

    def last_word(self, level: str, event: str, fields: Mapping[str, object]) -> bytes:
        """An event as a record of this log, for another output."""
        when = self._stamp()
        return encode(self.form.layout.record(when, level, event, fields)) + b"\n"

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
