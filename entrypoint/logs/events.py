"""Logs pyinit's own events, through structlog once it is loaded.

The first workers are spawned before structlog is imported (structlog_import.py), so events wait
until `load`, with the time of their occurrence. Events are written in order or dropped:
waiting events are rendered first.
"""

from __future__ import annotations

from . import schema
from .layout import Flat, Keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .console import Style
    from .output import Output

# The most events that wait for structlog; further ones are rendered by schema.record.
_QUEUE_LIMIT = 1000


class Events:
    """Renders events and hands them, as bytes with a newline, to `sink`.

    `level` is the lowest that is written; unknown names count as `info`. With a `style`
    events are rendered for people, else as JSON in `layout`.
    """

    def __init__(
        self,
        sink: Callable[[bytes], None],
        *,
        level: str = "info",
        style: Style | None = None,
        layout: Flat | None = None,
    ) -> None:
        self._sink = sink
        self._queue: list[tuple[int, str, str, dict[str, object]]] = []
        self._logger: Any = None
        self._queued = True
        self.configure(level=level, style=style, layout=layout)

    def configure(
        self, *, level: str = "info", style: Style | None = None, layout: Flat | None = None
    ) -> None:
        """Change the settings for later events."""
        self._lowest = schema.LEVELS.get(level, 20)
        self._style = style
        self._layout = Flat(Keys()) if style is not None or layout is None else layout

    def emit(self, nanoseconds: int, level: str, event: str, fields: Mapping[str, object]) -> None:
        """Log an event that occurred at `nanoseconds` since the epoch.

        `exc_info` among the fields, an exception, becomes its traceback in `exception`.
        """
        if schema.LEVELS.get(level, 20) < self._lowest:
            return
        if self._queued and len(self._queue) < _QUEUE_LIMIT:
            self._queue.append((nanoseconds, level, event, dict(fields)))
            return
        self._queued = False
        self._tell_queue()
        self._tell(nanoseconds, level, event, dict(fields))

    def load(self) -> str:
        """Import structlog and log waiting events. Returns why that failed, or ""."""
        problem = ""
        if self._logger is None:
            try:
                self._logger = self._make_logger()
            except Exception as error:  # noqa: BLE001  logs go on without it
                problem = f"{type(error).__name__}: {error}"
        self.release()
        return problem

    def release(self) -> None:
        """Log waiting events, with or without structlog, and stop waiting."""
        self._queued = False
        self._tell_queue()

    def _tell_queue(self) -> None:
        queue, self._queue = self._queue, []
        for waiting in queue:
            self._tell(*waiting)

    def _tell(self, at: int, level: str, event: str, fields: dict[str, object]) -> None:
        when = self._layout.stamp(at)
        if level not in schema.LEVELS:
            level = "info"
        error = fields.pop("exc_info", None)
        if isinstance(error, BaseException):
            from traceback import format_exception

            fields["exception"] = "".join(format_exception(error)).rstrip("\n")
        if self._logger is not None:
            # Fields may have any name, also those of the methods' own parameters.
            self._logger.bind(**{_AT: when, _FIELDS: fields}).log(schema.LEVELS[level], event)
        elif self._style is not None:
            self._sink(self._style.event(when, level, event, fields))
        else:
            self._sink(schema.encode(self._layout.record(when, level, event, fields)) + b"\n")

    def _make_logger(self) -> Any:
        from .structlog_import import import_structlog

        structlog = import_structlog()
        processors = structlog.processors
        render = processors.JSONRenderer(separators=(",", ":"), ensure_ascii=False, default=str)

        def as_told(logger: Any, method: str, event: Any) -> bytes:
            when, level, text, fields = (event[key] for key in (_AT, "level", "event", _FIELDS))
            if self._style is not None:
                return self._style.event(when, level, text, fields)
            line: str = render(logger, method, self._layout.record(when, level, text, fields))
            return line.encode("utf-8", "replace") + b"\n"

        return structlog.wrap_logger(
            _Sink(self._sink),
            processors=[
                processors.add_log_level,
                processors.UnicodeDecoder(errors="replace"),
                as_told,
            ],
            # `emit` already chose what is written: the level may change at run time.
            wrapper_class=structlog.make_filtering_bound_logger(0),
            context_class=dict,
            cache_logger_on_first_use=False,
        )


_AT = "_at"
_FIELDS = "_fields"


class _Sink:
    """What structlog calls with the rendered event: one method for each level."""

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.msg = sink


# -- where they go -----------------------------------------------------------------------

# Unwritten bytes (of all data on that output) above which events are dropped, and counted.
_LIMIT = 1 << 20


class EventOutput:
    """The output of events. `report_lost` gets the number of lost ones when there is room."""

    def __init__(self, out: Output, report_lost: Callable[[int], None]) -> None:
        self.out = out
        self.lost = 0
        self._report_lost = report_lost

    def takes(self) -> bool:
        """Whether another event may be written now; counts it as lost if not."""
        if self.out.pending <= _LIMIT:
            return True
        self.lost += 1
        if self.lost == 1:
            self.out.drained(self._drained)
        return False

    def _drained(self) -> None:
        lost, self.lost = self.lost, 0
        self._report_lost(lost)
