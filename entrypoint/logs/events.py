"""pyinit's own events, through structlog once it is loaded.

The first workers are spawned before structlog is imported (lean.py), so events wait
until `load`, with the time they happened at. An event is told in order or not at all:
what waits is rendered first.
"""

from __future__ import annotations

from . import schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .console import Style

# Events that wait for structlog; beyond that they are rendered by schema.record.
_QUEUE_LIMIT = 1000


class Events:
    """Renders events and hands them, as bytes with a newline, to `sink`.

    `level` is the lowest that is told; unknown names count as `info`. With a `style`
    events are rendered for people, else as JSON.
    """

    def __init__(
        self,
        sink: Callable[[bytes], None],
        *,
        level: str = "info",
        style: Style | None = None,
        keys: schema.Keys | None = None,
    ) -> None:
        self._sink = sink
        self._lowest = schema.LEVELS.get(level, 20)
        self._style = style
        self._keys = keys or schema.Keys()
        self._queue: list[tuple[int, str, str, dict[str, object]]] = []
        self._logger: Any = None
        self._queued = True

    def emit(self, nanoseconds: int, level: str, event: str, fields: Mapping[str, object]) -> None:
        """Tell of something that happened at `nanoseconds` since the epoch.

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
        """Import structlog and tell what waited. Returns why it could not be, or ""."""
        problem = ""
        if self._logger is None:
            try:
                self._logger = self._make_logger()
            except Exception as error:  # noqa: BLE001  logs go on without it
                problem = f"{type(error).__name__}: {error}"
        self.release()
        return problem

    def release(self) -> None:
        """Tell what waited, with or without structlog, and wait no more."""
        self._queued = False
        self._tell_queue()

    def _tell_queue(self) -> None:
        queue, self._queue = self._queue, []
        for waiting in queue:
            self._tell(*waiting)

    def _tell(self, at: int, level: str, event: str, fields: dict[str, object]) -> None:
        when = schema.stamp(at)
        if level not in schema.LEVELS:
            level = "info"
        if self._logger is not None:
            # Fields may have any name, also those of the methods' own parameters.
            self._logger.bind(**{_AT: when, _FIELDS: fields}).log(schema.LEVELS[level], event)
            return
        error = fields.pop("exc_info", None)
        if isinstance(error, BaseException):
            from traceback import format_exception

            fields["exception"] = "".join(format_exception(error)).rstrip("\n")
        if self._style is not None:
            self._sink(self._style.event(when, level, event, fields))
        else:
            self._sink(schema.record(when, level, event, fields, self._keys))

    def _make_logger(self) -> Any:
        from .lean import import_structlog

        structlog = import_structlog()
        processors = structlog.processors
        return structlog.wrap_logger(
            _Sink(self._sink),
            processors=[
                processors.add_log_level,
                self._in_order,
                processors.format_exc_info,
                processors.UnicodeDecoder(errors="replace"),
                self._for_people if self._style is not None else self._json(processors),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(self._lowest),
            context_class=dict,
            cache_logger_on_first_use=False,
        )

    def _in_order(self, _logger: Any, _method: str, event: Any) -> dict[str, Any]:
        """The keys of the schema first, then the fields as they were given."""
        keys = self._keys
        ordered = {
            keys.timestamp: event[_AT],
            keys.level: event["level"],
            keys.event: event["event"],
        }
        for name, value in event[_FIELDS].items():
            ordered.setdefault(name, value)
        return ordered

    @staticmethod
    def _json(processors: Any) -> Callable[..., bytes]:
        render = processors.JSONRenderer(separators=(",", ":"), ensure_ascii=False, default=str)

        def to_bytes(logger: Any, method: str, event: Any) -> bytes:
            text: str = render(logger, method, event)
            return text.encode("utf-8", "replace") + b"\n"

        return to_bytes

    def _for_people(self, _logger: Any, _method: str, event: Any) -> bytes:
        assert self._style is not None
        keys = self._keys
        when, level, text = (event.pop(k) for k in (keys.timestamp, keys.level, keys.event))
        return self._style.event(when, level, text, event)


_AT = "_at"
_FIELDS = "_fields"


class _Sink:
    """What structlog calls with the rendered event: one method for each level."""

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.msg = sink
