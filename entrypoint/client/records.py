"""JSON records for people, for `pyinit logs`: the console's form of what stdout has."""

from __future__ import annotations

import json

from entrypoint.core.record import Record
from entrypoint.logs.layout import LEVEL_NAMES, PRESETS
from entrypoint.logs.schema import LEVELS, STDERR, STDOUT, stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.logs.console import Style
    from entrypoint.logs.layout import Keys

RED_BAR = b"\x1b[31m|\x1b[0m"
_ORIGIN = ("app", "instance", "stream", "pid")


class Facts(Record):
    """Fields of a record for filters: its origin, its level as written, and all its fields."""

    app: str
    instance: str
    stream: str  # empty: one of pyinit's own events
    level: object
    fields: dict[str, object]


class Rendering:
    """Lines as the console shows them; what is no record of ours stays as it is.

    `preset` and `names` are those of `log.keys`. Lines from before the file said so may
    have the names of another preset.
    """

    def __init__(
        self, style: Style, preset: str = "default", names: dict[str, str] | None = None
    ) -> None:
        self._style = style
        first = _Reading(PRESETS[preset].replace(**(names or {})), model=preset == "otel")
        self._readings = [first] + [
            _Reading(keys, model=name == "otel") for name, keys in PRESETS.items()
        ]

    def line(self, line: bytes) -> bytes:
        """One line with its end, for one with its end."""
        try:
            record = json.loads(line)
        except ValueError:
            return line
        if not isinstance(record, dict):
            return line
        for reading in self._readings:
            shown = reading.show(record, self._style)
            if shown is not None:
                return shown
        return line

    def facts(self, line: bytes) -> Facts | None:
        """The facts of a record; None for a line that is not a record of a pyinit."""
        try:
            record = json.loads(line)
        except ValueError:
            return None
        for reading in self._readings if isinstance(record, dict) else ():
            found = reading.facts(record)
            if found is not None:
                return found
        return None

    def text_of(self, line: bytes) -> bytes:
        """What a worker wrote, with its end; empty for a line that is not a worker's."""
        stream, text = self._worker_line(line)
        return text.encode("utf-8", "replace") + b"\n" if stream else b""

    def _worker_line(self, line: bytes) -> tuple[str, str]:
        try:
            record = json.loads(line)
        except ValueError:
            return "", ""
        for reading in self._readings if isinstance(record, dict) else ():
            found = reading.worker_line(record)
            if found[0]:
                return found
        return "", ""


class _Reading:
    """Records by the names of one preset."""

    def __init__(self, keys: Keys, *, model: bool) -> None:
        self._keys = keys
        self._model = model
        self._levels = {word: level for level, word in keys.levels}
        self._names = {
            new: name for name, new in keys.as_dict().items() if name in (*_ORIGIN, "exception")
        }

    def show(self, record: dict[str, object], style: Style) -> bytes | None:
        """The record for people; None when it has other names."""
        record = _flat(record) if self._model else dict(record)
        keys = self._keys
        if keys.timestamp not in record:
            return None
        if keys.stream in record or "pyinit_stream" in record:
            named = keys.app in record or "pyinit_app" in record
            return self._worker(record, style) if named else None
        if keys.event not in record or keys.level not in record:
            return None
        when, level, event = (
            str(record.pop(k, "")) for k in (keys.timestamp, keys.level, keys.event)
        )
        for name, value in keys.constants:
            if record.get(name) == value:
                del record[name]
        fields = {self._names.get(name, name): value for name, value in record.items()}
        level = self._levels.get(level, level)
        return style.event(when, level if level in LEVELS else "info", event, fields)

    def facts(self, record: dict[str, object]) -> Facts | None:
        """What the record says; None when it has other names."""
        record = _flat(record) if self._model else dict(record)
        keys = self._keys
        stream = self._stream_of(record)
        if keys.timestamp not in record or stream is None:
            return None
        body = record.get(keys.event)
        if self._model and isinstance(body, dict):
            record |= body  # a worker's own object
        named = (keys.level, *sorted(LEVEL_NAMES - {keys.level}))
        level = next((record[name] for name in named if name in record), "info")
        app, instance = (
            record.get(f"pyinit_{role}", record.get(getattr(keys, role), ""))
            for role in ("app", "instance")
        )
        return Facts(str(app), str(instance), stream, level, record)

    def worker_line(self, record: dict[str, object]) -> tuple[str, str]:
        """Stream and text of a worker's record."""
        record = _flat(record) if self._model else dict(record)
        keys = self._keys
        stream = self._stream_of(record)
        if keys.timestamp not in record or stream not in {STDOUT, STDERR}:
            return "", ""
        ours = {keys.timestamp, keys.level, *(getattr(keys, role) for role in _ORIGIN)}
        ours |= {f"pyinit_{role}" for role in _ORIGIN} | set(dict(keys.constants))
        rest = {name: value for name, value in record.items() if name not in ours}
        text = rest.get(keys.event)
        if set(rest) == {keys.event} and isinstance(text, str):
            return stream, text
        return stream, json.dumps(rest, ensure_ascii=False)

    def _stream_of(self, record: dict[str, object]) -> str | None:
        """The stream of a worker's line, empty for an event; None: other names."""
        keys = self._keys
        stream = str(record.get("pyinit_stream") or record.get(keys.stream) or "")
        if stream:
            return stream if keys.app in record or "pyinit_app" in record else None
        return "" if keys.event in record and keys.level in record else None

    def _worker(self, record: dict[str, object], style: Style) -> bytes:
        # A worker's own object keeps its fields; what we added says whose it is.
        keys = self._keys
        app, instance, stream, _ = (
            record.pop(f"pyinit_{role}" if f"pyinit_{role}" in record else getattr(keys, role), "")
            for role in _ORIGIN
        )
        for name in ("partial", "base64", "pyinit.partial", "pyinit.base64", *dict(keys.constants)):
            record.pop(name, None)
        rest = {k: v for k, v in record.items() if k not in (keys.timestamp, keys.level)}
        text = rest.get(keys.event)
        if set(rest) != {keys.event} or not isinstance(text, str):
            shown = text if self._model else rest
            text = json.dumps(shown, ensure_ascii=False)
        bar = RED_BAR if stream == STDERR and style.colour else b"|"
        label = style.label(f"{app}:{instance}", str(app))
        start = label + b" " + bar + b" "
        lines = text.encode("utf-8", "replace").split(b"\n")
        return b"".join(start + each + b"\n" for each in lines)


def _flat(record: dict[str, object]) -> dict[str, object]:
    """A record of OpenTelemetry's data model with all its fields side by side."""
    record = dict(record)
    record.pop("SeverityNumber", None)
    for part in ("Attributes", "Resource"):
        inside = record.pop(part, None)
        if isinstance(inside, dict):
            record |= inside
    time = record.get("Timestamp")
    if isinstance(time, str) and time.isdigit():
        record["Timestamp"] = stamp(int(time))
    return record
