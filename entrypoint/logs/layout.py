"""Names and positions of a record's parts: `log.keys`.

A preset uses the names of one log service, so that its time, its severity and its
message are found without a parsing rule there. docs/reference/logs.md cites what each
service publishes about its names.

Two layouts: `Flat`, one object with other key names, and `DataModel`, the fields
of OpenTelemetry's log data model. Each makes

* the records of pyinit's own events (`record`), and
* for each stream of a worker the bytes around a line (`LineForm`), made once; a line
  costs no more than joining them (wrap.py).

A worker's line that is itself a JSON object keeps its fields. On a clash of names the
worker's value counts for itself and pyinit's for the origin of the line: the worker's time
and level stay, under whatever common name (`LEVEL_NAMES`), and pyinit's are
omitted; a worker's own `app`, `instance`, `pid` or `stream` stays as it is and
pyinit's is added as `pyinit_app` and so on.
"""

from __future__ import annotations

from entrypoint.core.record import Record

from .schema import encode, quote, stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Names = tuple[tuple[str, str], ...]


class Keys(Record):
    """Names of the keys, names of the levels, and constant fields of each record."""

    timestamp: str = "timestamp"
    level: str = "level"
    event: str = "event"
    app: str = "app"
    instance: str = "instance"
    pid: str = "pid"
    stream: str = "stream"
    exception: str = "exception"
    levels: Names = ()
    constants: Names = ()


# The keys that `log.keys` may rename: all that every record or every line has.
NAMEABLE = ("timestamp", "level", "event", "app", "instance", "pid", "stream")

PRESETS = {
    "default": Keys(),
    "gcp": Keys(
        timestamp="time",
        level="severity",
        event="message",
        # LogSeverity of the Cloud Logging API.
        levels=tuple((word, word.upper()) for word in
                     ("debug", "info", "warning", "error", "critical")),
    ),
    "ecs": Keys(
        timestamp="@timestamp",
        level="log.level",
        event="message",
        app="service.name",
        # Not a name of ECS, so under a name of pyinit's, as ECS recommends for custom fields.
        instance="pyinit.instance",
        pid="process.pid",
        stream="pyinit.stream",
        exception="error.stack_trace",
        constants=(("ecs.version", "8.11.0"),),
    ),
    "datadog": Keys(
        level="status",
        event="message",
        app="service",
        exception="error.stack",
    ),
    # Not flat: `DataModel`.
    "otel": Keys(
        timestamp="Timestamp",
        level="SeverityText",
        event="Body",
        app="service.name",
        instance="pyinit.instance",
        pid="process.pid",
        stream="log.iostream",
        exception="exception.stacktrace",
        levels=(
            ("debug", "DEBUG"), ("info", "INFO"), ("warning", "WARN"), ("error", "ERROR"),
            ("critical", "FATAL"),
        ),
    ),
}  # fmt: skip

# SeverityNumber of the data model: the smallest of each range.
_SEVERITIES = {"debug": 5, "info": 9, "warning": 13, "error": 17, "critical": 21}

# An object with one of these states its own level: pyinit's would contradict it.
LEVEL_NAMES = frozenset(
    ("level", "severity", "lvl", "levelname", "log.level", "log_level", "loglevel",
     "SeverityText", "severityText", "SeverityNumber", "severityNumber")
)  # fmt: skip

_ORIGIN = ("app", "instance", "pid", "stream")
# How often pyinit's prefix is put before a key that an object already has.
_PREFIXES = 3
# One logger writes one kind of object: more combinations are not worth caching.
_FRAMES_KEPT = 64


def layout(preset: str = "default", names: Names = ()) -> Flat:
    """The layout of a preset, with some keys renamed. Raises KeyError."""
    if preset == "otel":
        return DataModel(PRESETS[preset])
    return Flat(PRESETS[preset].replace(**dict(names)))


class LineForm:
    """The bytes around the lines of one stream of one worker.

    A line of text: `start`, the escaped text, `close` (`close_part` if the line
    continues), with `exact` between the two if it is not UTF-8. An object: see `frame`.
    `names` are the keys of an object that affect its frame.
    """

    def __init__(
        self,
        time_before: bytes,
        time_after: bytes,
        to_text: bytes,
        closes: tuple[bytes, bytes],
        exact: tuple[bytes, bytes],
        names: frozenset[str],
        make_frame: Callable[[frozenset[str]], tuple[bytes, bytes, bytes]],
    ) -> None:
        self._time_before = time_before
        self._to_text = time_after + to_text
        self.close, self.close_part = closes
        self._exact, self._close_start = exact
        self.names = names
        self._make_frame = make_frame
        self._frames: dict[frozenset[str], tuple[bytes, bytes, bytes]] = {}

    def start(self, when: str) -> bytes:
        """The bytes before the text of a line that was read at `when`."""
        return self._time_before + when.encode() + self._to_text

    def exact(self, base64: bytes, close: bytes) -> bytes:
        """The bytes after the readable text of a line that is not UTF-8."""
        return self._exact + base64 + b'",' + close.removeprefix(self._close_start)

    def frame(self, clashes: frozenset[str], when: str) -> tuple[bytes, bytes]:
        """The replacements of an object's first `{` and of its last `}`.

        `clashes`: its keys that are among `names`.
        """
        made = self._frames.get(clashes)
        if made is None:
            if len(self._frames) >= _FRAMES_KEPT:
                self._frames.clear()
            made = self._frames[clashes] = self._make_frame(clashes)
        before, after, end = made
        return (before + when.encode() + after if after else before), end


class Flat:
    """One object; `keys` has the names of its keys."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self._words = dict(keys.levels)
        self._renamed = {
            name: new
            for name, new in keys.as_dict().items()
            if name in (*_ORIGIN, "exception") and name != new
        }

    def stamp(self, nanoseconds: int) -> str:
        """A time in the format of this layout, for nanoseconds since the epoch."""
        return stamp(nanoseconds)

    def record(
        self, when: str, level: str, event: str, fields: Mapping[str, object]
    ) -> dict[str, object]:
        """One event of pyinit's own, its keys in order."""
        keys = self.keys
        made: dict[str, object] = {
            keys.timestamp: when,
            keys.level: self._words.get(level, level),
            keys.event: event,
        }
        made |= self.fields(fields, frozenset((*made, *dict(keys.constants))))
        return made | dict(keys.constants)

    def fields(self, fields: Mapping[str, object], taken: frozenset[str]) -> dict[str, object]:
        """`fields` under their names here; none is lost if its name is taken."""
        named = {}
        for name, value in fields.items():
            ours = self._renamed.get(name, name)
            while ours in taken or ours in named:
                ours = f"pyinit_{ours}"
            named[ours] = value
        return named

    def lines(self, app: str, instance: int, pid: int, stream: str) -> LineForm:
        """The form of the lines of one stream of one worker."""
        keys = self.keys
        origin = (
            ("app", keys.app, encode(app)),
            ("instance", keys.instance, encode(instance)),
            ("pid", keys.pid, encode(pid)),
            ("stream", keys.stream, encode(stream)),
        )
        constants = [(name, quote(value)) for name, value in keys.constants]
        level = quote(keys.level) + b":" + quote(self._words.get("info", "info")) + b","
        time = quote(keys.timestamp) + b':"'
        pairs = [(name, value) for _, name, value in origin]
        end = _joined([*pairs, *constants]) + b"}\n"
        level_names = LEVEL_NAMES | {keys.level, keys.level.partition(".")[0]}
        time_names = frozenset((keys.timestamp,))

        def frame(clashes: frozenset[str]) -> tuple[bytes, bytes, bytes]:
            ours = b"" if clashes & level_names else level
            added = []
            for role, name, value in origin:
                free = name
                if name in clashes or name.partition(".")[0] in clashes:
                    free = f"pyinit_{role}"
                while free in clashes:
                    free = f"pyinit_{free}"
                added.append((free, value))
            added += [pair for pair in constants if pair[0] not in clashes]
            last = b"," + _joined(added) + b"}\n"
            if clashes & time_names:
                return b"{" + ours, b"", last
            return b"{" + time, b'",' + ours, last

        roles = [f"{'pyinit_' * n}{role}" for role in _ORIGIN for n in range(1, _PREFIXES)]
        named = [key for _, key, _ in origin]
        heads = [key.partition(".")[0] for key in named]
        names = frozenset((*named, *heads, *roles, *dict(constants))) | level_names | time_names
        return LineForm(
            b"{" + time,
            b'",',
            level + quote(keys.event) + b':"',
            (b'",' + end, b'","partial":true,' + end),
            (b'","base64":"', b'",'),
            names,
            frame,
        )


class DataModel(Flat):
    """The fields of OpenTelemetry's log data model.

    Times are nanoseconds in a text, as its JSON writes 64-bit numbers. A worker's object
    is the `Body` unchanged, so no name in it can clash.
    """

    def stamp(self, nanoseconds: int) -> str:
        """Nanoseconds since the epoch."""
        return str(nanoseconds)

    def record(
        self, when: str, level: str, event: str, fields: Mapping[str, object]
    ) -> dict[str, object]:
        """One event of pyinit's own."""
        made: dict[str, object] = {
            "Timestamp": when,
            "SeverityText": self._words.get(level, level),
            "SeverityNumber": _SEVERITIES.get(level, 9),
            "Body": event,
        }
        resource = {k: v for k, v in fields.items() if k in ("app", "instance", "pid")}
        others = {k: v for k, v in fields.items() if k not in resource}
        if others:
            made["Attributes"] = self.fields(others, frozenset())
        if resource:
            made["Resource"] = self.fields(resource, frozenset())
        return made

    def lines(self, app: str, instance: int, pid: int, stream: str) -> LineForm:
        """The form of the lines of one stream of one worker."""
        keys = self.keys
        resource = encode({keys.app: app, keys.instance: instance, keys.pid: pid})
        begin = b'","Attributes":{'
        attributes = begin + quote(keys.stream) + b":" + quote(stream)
        end = b'},"Resource":' + resource + b"}\n"
        severity = b'"SeverityText":"INFO","SeverityNumber":9,'

        def frame(clashes: frozenset[str]) -> tuple[bytes, bytes, bytes]:
            ours = b"" if clashes else severity
            return b'{"Timestamp":"', b'",' + ours + b'"Body":{', b"}" + attributes[1:] + end

        return LineForm(
            b'{"Timestamp":"',
            b'",',
            severity + b'"Body":"',
            (attributes + end, attributes + b',"pyinit.partial":true' + end),
            (begin + b'"pyinit.base64":"', begin),
            LEVEL_NAMES,
            frame,
        )


def _joined(pairs: list[tuple[str, bytes]]) -> bytes:
    return b",".join(quote(name) + b":" + value for name, value in pairs)
