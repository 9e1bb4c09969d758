r"""Bytes of a worker in, whole records out. Pure: no descriptors, no clock.

Half a million lines a second leave two microseconds for each, reading and writing
included: Python code that runs once a line is too dear. So everything is done once a
*chunk*, by operations of `bytes` that run in C: `translate` tells whether any byte
needs care, `replace` escapes them, and one `replace(b"\n", …)` closes each line's
record and opens the next. Only chunks with lines that begin with `{`, or that are not
UTF-8, are looked at line by line.

What comes out for what goes in (tests/unit/logs undo it and compare):

* A line is what ends with `\n`, and what is left when the stream ends. An empty line is
  a record too. A `\r` before the `\n` belongs to the line: `"event":"text\r"`.
* NUL and other control characters are escaped as JSON has it (`\u0000`).
* A line that is not UTF-8 gets U+FFFD in its `event` where it is broken, so that people
  can read it and every parser takes it, and `base64` with its exact bytes, so that
  nothing is lost. (Lone surrogates, `\udcff`, would be shorter, but some parsers refuse
  the whole record for one, serde_json for example.)
* A line over `LINE_LIMIT` comes in parts, each but the last with `"partial":true`: join
  the `event`s of one stream until one has no `partial`. Nothing is dropped. The cut is
  never inside a UTF-8 character.
* A line whose first byte is `{` and which is one valid JSON object keeps its fields, byte
  for byte, and gains ours. On a clash of names the worker is right about itself and
  pyinit about where it came from: `timestamp` and `level` of the worker stay and ours
  are left out; a worker's own `app`, `instance`, `pid` or `stream` stays as it is and
  ours is added under another name, `pyinit_app` and so on. Anything else, NaN and a
  line longer than `LINE_LIMIT` included, is text.
"""

from __future__ import annotations

from .schema import Keys, encode, escape, escape_lines, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# The longest line that is one record, in bytes. What a stream may hold in memory.
LINE_LIMIT = 1 << 20

# Bytes that stand for themselves in a JSON string, and the newline between lines.
_PLAIN = bytes(b for b in range(0x20, 0x80) if b not in b'"\\') + b"\n"

_scan: Callable[[str, int], tuple[object, int]] | None = None


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def object_names(line: bytes) -> frozenset[str] | None:
    """The names in a line that is one JSON object, or None when it is anything else."""
    global _scan  # noqa: PLW0603  `json` costs PID 1 3 ms: only when needed
    if _scan is None:
        import json

        # Numbers are checked for their form, not computed: one of 5000 digits is
        # valid JSON, and Python would refuse it.
        decoder = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=_refuse)
        # Its `decode` would look for white space around by two regular expressions.
        _scan = decoder.scan_once  # type: ignore[attr-defined]
    try:
        text = line.decode()
        value, end = _scan(text, 0)
    except (ValueError, RecursionError, StopIteration):
        return None
    return frozenset(value) if isinstance(value, dict) and end == len(text) else None


def _character_cut(data: bytes | bytearray, limit: int) -> int:
    """Where to cut within `limit`, so that no UTF-8 character is split."""
    for back in range(1, min(4, limit)):
        byte = data[limit - back]
        if byte < 0x80:
            return limit
        if byte >= 0xC0:  # the first byte of a character of 2, 3 or 4
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return limit if length <= back else limit - back
    return limit


class Wrapper:
    """One stream of one worker: keeps the unfinished line, makes records of the rest."""

    def __init__(self) -> None:
        self._rest = bytearray()
        # The unfinished line has parts that were told already.
        self._cut = False

    @property
    def held(self) -> int:
        """Bytes of the line that has not ended yet."""
        return len(self._rest)

    def feed(self, data: bytes, when: str, limit: int = LINE_LIMIT) -> bytes:
        """The records that `data` completes, read at the time `when` (schema.stamp)."""
        rest = self._rest
        end = data.rfind(b"\n")
        if self._cut or len(rest) + len(data) > limit:
            return self._feed_long(data, when, limit)
        if end < 0:
            rest += data
            return b""
        body = bytes(rest) + data[:end] if rest else data[:end]
        self._rest = bytearray(data[end + 1 :])
        return self.records(body, when)

    def _feed_long(self, data: bytes, when: str, limit: int) -> bytes:
        made = []
        lines = data.split(b"\n")
        for position, line in enumerate(lines, 1):
            self._rest += line
            while len(self._rest) > limit:
                cut = _character_cut(self._rest, limit)
                made.append(self.part(bytes(self._rest[:cut]), when))
                del self._rest[:cut]
                self._cut = True
            if position < len(lines):
                made.append(self._take(when))
        return b"".join(made)

    def end(self, when: str, *, more: bool = False) -> bytes:
        """The last line, when the stream ended without a newline.

        With `more` it did go on, and what follows will never be told.
        """
        if not self._rest:
            return b""
        if more:
            body, self._rest = bytes(self._rest), bytearray()
            return self.part(body, when)
        return self._take(when)

    def _take(self, when: str) -> bytes:
        body, self._rest = bytes(self._rest), bytearray()
        cut, self._cut = self._cut, False
        return self.last_part(body, when) if cut else self.records(body, when)

    def records(self, body: bytes, when: str) -> bytes:
        """Whole lines, without the last newline, as records."""
        raise NotImplementedError

    def part(self, body: bytes, when: str) -> bytes:
        """A part of a line that goes on."""
        raise NotImplementedError

    def last_part(self, body: bytes, when: str) -> bytes:
        """The last part of a line that was cut."""
        return self.records(body, when)


class JsonWrapper(Wrapper):
    """Lines as JSON records."""

    def __init__(
        self, app: str, instance: int, pid: int, stream: str, keys: Keys | None = None
    ) -> None:
        super().__init__()
        keys = keys or Keys()
        self.objects = 0  # lines that were objects: they cost ten times the others
        self._keys = keys
        self._open = b"{" + quote(keys.timestamp) + b':"'
        self._level = quote(keys.level) + b':"info",'
        self._to_event = b'",' + self._level + quote(keys.event) + b':"'
        origin = {"app": app, "instance": instance, "pid": pid, "stream": stream}
        self._origin = {name: encode(value) for name, value in origin.items()}
        self._names = frozenset((keys.timestamp, keys.level, *origin))
        self._origin_end = b",".join(
            quote(name) + b":" + value for name, value in self._origin.items()
        )
        self._close = b'",' + self._origin_end + b"}\n"
        self._close_part = b'","partial":true,' + self._origin_end + b"}\n"

    def records(self, body: bytes, when: str) -> bytes:
        """Whole lines, without the last newline, as records."""
        start = self._open + when.encode() + self._to_event
        if body.startswith(b"{") or b"\n{" in body:
            return self._one_by_one(body, when, start)
        special = body.translate(None, _PLAIN)
        if special:
            if not special.isascii():
                try:
                    body.decode()
                except UnicodeDecodeError:
                    return self._one_by_one(body, when, start)
            body = escape_lines(body)
        return start + body.replace(b"\n", self._close + start) + self._close

    def part(self, body: bytes, when: str) -> bytes:
        """A part of a line that goes on."""
        return self._text(body, self._open + when.encode() + self._to_event, self._close_part)

    def last_part(self, body: bytes, when: str) -> bytes:
        """The last part of a line that was cut: text, even if it looks like an object."""
        return self._text(body, self._open + when.encode() + self._to_event, self._close)

    def _one_by_one(self, body: bytes, when: str, start: bytes) -> bytes:
        made = []
        for line in body.split(b"\n"):
            spliced = None
            if line.startswith(b"{"):
                spliced = self._object(line, when)
            made.append(spliced or self._text(line, start, self._close))
        return b"".join(made)

    def _text(self, line: bytes, start: bytes, close: bytes) -> bytes:
        try:
            line.decode()
        except UnicodeDecodeError:
            from binascii import b2a_base64

            readable = line.decode("utf-8", "replace").encode()
            exact = b2a_base64(line, newline=False)
            return start + escape(readable) + b'","base64":"' + exact + close
        return start + escape(line) + close

    def _object(self, line: bytes, when: str) -> bytes | None:
        # What JSON calls white space may stand after the object; nothing else may.
        line = line.rstrip(b" \t\r")
        names = object_names(line) if line.endswith(b"}") else None
        if names is None:
            return None
        self.objects += 1
        inside = line[1:-1].strip(b" \t\r")
        if self._names.isdisjoint(names):
            start = self._open + when.encode() + b'",' + self._level
            return start + inside + (b"," if inside else b"") + self._origin_end + b"}\n"
        fields = []
        if self._keys.timestamp not in names:
            fields.append(self._open[1:] + when.encode() + b'"')
        if self._keys.level not in names:
            fields.append(self._level[:-1])
        fields.append(inside)
        for name, value in self._origin.items():
            ours = name
            while ours in names:
                ours = f"pyinit_{ours}"
            fields.append(quote(ours) + b":" + value)
        return b"{" + b",".join(fields) + b"}\n"
