"""`pyinit logs`: what was logged lately, then what comes.

A follower that reads too slowly misses lines, and a record says how many. pyinit and the
workers never wait for it.
"""

from __future__ import annotations

import time

from entrypoint.logs.schema import encode

from .line_stream import QUEUE_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.logs.layout import Flat

    from .line_stream import Stream
    from .recent_logs import Choice, Recent


class Follower:
    """One client that is sent the lines of the chosen apps."""

    def __init__(self, recent: Recent, choice: Choice, layout: Flat) -> None:
        self._recent = recent
        self._layout = layout
        self._choice = choice
        self._skipped = 0
        self._stream: Stream | None = None

    def begin(self, stream: Stream) -> None:
        """Send what comes from now on, until the client leaves (`end`)."""
        if stream.is_open:
            self._stream = stream
            stream.room_again = self._tell_skipped
            self._recent.follow(self.take)

    def end(self) -> None:
        """The client is gone."""
        self._recent.unfollow(self.take)

    def take(self, app: str, records: bytes) -> None:
        """Records on their way to stdout."""
        if not self._choice.takes(app, records):
            return
        stream = self._stream
        if stream is not None and (self._skipped or not stream.send(records)):
            self._skipped += records.count(b"\n")

    def _tell_skipped(self) -> None:
        stream = self._stream
        if not self._skipped or stream is None or stream.pending > QUEUE_LIMIT // 2:
            return
        fields = {"lines": self._skipped, "because": "this reader is too slow"}
        self._skipped = 0
        when = self._layout.stamp(time.time_ns())
        record = self._layout.record(when, "warning", "log lines skipped", fields)
        stream.send(encode(record) + b"\n")
