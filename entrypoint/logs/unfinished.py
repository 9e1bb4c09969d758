"""Shows lines that have not ended: a prompt, a progress line.

After a while the content of such a line is shown as a part of it (wrap.py). On a terminal the
cursor stays behind the part, and the rest of that line goes there, unless something else was
written meanwhile: then the line is broken, and the rest has its own label.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.loop import Loop

    from .output import Output
    from .stream import Stream

# How long a line may stay unfinished before it is shown so far (s): for people, and for
# programs, which must put its parts together.
AFTER = 0.2
AFTER_JSON = 2.0
# Input typed at a terminal comes back as output.
AFTER_KEYS = 0.03
# Buffers of C libraries and languages are multiples of it; a full one ends within a line.
_BUFFER = 1024


class Unfinished:
    """The unfinished lines of all streams of a pump.

    `take(stream)` makes a record of one, `write(stream, record)` passes it on, and
    `tap(app, record)` only shows it to followers.
    """

    def __init__(
        self,
        loop: Loop,
        take: Callable[[Stream], bytes],
        write: Callable[[Stream, bytes], None],
        tap: Callable[[str, bytes], None],
        stamp: Callable[[], str],
    ) -> None:
        self._loop = loop
        self._take = take
        self._write = write
        self._tap = tap
        self._stamp = stamp
        self._after = AFTER_JSON
        # A terminal; None: only whole lines are written.
        self._out: Output | None = None
        # The stream whose line the cursor is behind.
        self._cursor: Stream | None = None

    def configure(self, *, console: bool, terminal: Output | None) -> None:
        """Another format."""
        self.break_line()
        self._after = AFTER if console else AFTER_JSON
        self._out = terminal

    def fed(self, stream: Stream, size: int) -> None:
        """Handle a read of `size` bytes that left an unfinished line."""
        if size % _BUFFER == 0 and not stream.tty:
            return
        stream.fed_at = self._loop.now()
        if not stream.showing:
            stream.showing = True
            self._show_at(stream, stream.fed_at + self._wait(stream))

    def _wait(self, stream: Stream) -> float:
        return AFTER_KEYS if stream.tty and self._out is not None else self._after

    def _show_at(self, stream: Stream, when: float) -> None:
        self._loop.call_at((stream, "show"), when, lambda: self._due(stream))

    def _due(self, stream: Stream) -> None:
        now = self._loop.now()
        if stream.paused or stream.unread:
            self._show_at(stream, now + self._after)  # more of it may be there already
        elif now < stream.fed_at + self._wait(stream):
            self._show_at(stream, stream.fed_at + self._wait(stream))
        else:
            stream.showing = False
            if stream.wrapper.may_show_part:
                self._show(stream)

    def _show(self, stream: Stream) -> None:
        record = self._take(stream)
        if self._out is None:
            self._write(stream, record)
            return
        label = stream.wrapper.label_length(self._stamp()) if self._cursor is stream else 0
        if self._cursor is not stream:
            self.break_line()
        self._cursor = stream
        self._out.write(record[label:-1])
        self._tap(stream.app, record)

    def shown(self, stream: Stream | None, records: bytes) -> bytes:
        """The bytes to write for these records, without the first label if the cursor waits."""
        if self._cursor is None or not records:
            return records
        if self._cursor is not stream:
            self.break_line()
            return records
        self._cursor = None
        return records[stream.wrapper.label_length(self._stamp()) :]

    def break_line(self, stream: Stream | None = None) -> None:
        """Move the cursor off the unfinished line (of `stream`)."""
        if self._cursor is not None and stream in (None, self._cursor):
            self._cursor = None
            if self._out is not None:
                self._out.write(b"\n")

    def forget(self, stream: Stream) -> None:
        """Forget a stream that has ended."""
        self.break_line(stream)
        self._loop.cancel((stream, "show"))
