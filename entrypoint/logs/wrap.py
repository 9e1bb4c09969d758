r"""Bytes of a worker in, whole records out. Pure: no descriptors, no clock.

Half a million lines a second leave two microseconds for each, reading and writing
included: Python code that runs once a line is too dear. So everything is done once a
*chunk*, by operations of `bytes` that run in C: `translate` tells whether any byte
*chunk*, by operations of `bytes` that run in C: `translate` shows whether any byte
record and opens the next. Only chunks with lines that begin with `{`, or that are not
UTF-8, are looked at line by line.

The output for each kind of input (tests/unit/logs undo it and compare):

* A line ends with `\n`, or with the stream. An empty line is
  a record too. A `\r` before the `\n` belongs to the line: `"event":"text\r"`.
* NUL and other control characters are escaped as JSON has it (`\u0000`).
* A line that is not UTF-8 gets U+FFFD in its `event` where it is broken, so that people
  can read it and every parser takes it, and `base64` with its exact bytes, so that
  nothing is lost. (Lone surrogates, `\udcff`, would be shorter, but some parsers refuse
  the whole record for one, serde_json for example.)
* A line over `LINE_LIMIT` comes in parts, each but the last with `"partial":true`: join
  the `event`s of one stream until one has no `partial`. Nothing is dropped. The cut is
  never inside a UTF-8 character.
* A line that has not ended after a while (unfinished.py: a prompt, a progress line) is shown so
  far in the same way, as a part. Not the beginning of an object, nor what looks like the end
  of a full buffer of a program's own: their rest comes later, and belongs to them.
* Lines that a `Joiner` puts together are one record of text, `"event":"first\\nsecond"`.
* A line whose first byte is `{` and which is one valid JSON object keeps its fields, byte
  for byte, and gets pyinit's (layout.py has the rules for a clash of names). Anything
  else is text: NaN, a line longer than `OBJECT_LIMIT`, an object that escapes half of a
  surrogate pair, which strict parsers would refuse the whole record for. Duplicate keys
  and numbers beyond 64 bits are valid JSON and stay.
"""

from __future__ import annotations

from .multiline import LINES, PART
from .schema import escape, escape_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .layout import LineForm
    from .multiline import Joiner

# The longest line that is one record, in bytes. What a stream may hold in memory.
LINE_LIMIT = 1 << 20

# The longest line that is parsed as an object: its values take up to thirty
# times its size (`[{"a":0},…]`).
OBJECT_LIMIT = 1 << 18

# Bytes that stand for themselves in a JSON string, and the newline between lines.
_PLAIN = bytes(b for b in range(0x20, 0x80) if b not in b'"\\') + b"\n"

_scan: Callable[[str, int], tuple[object, int]] | None = None


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _load_scanner() -> Callable[[str, int], tuple[object, int]]:
    global _scan  # noqa: PLW0603  `json` costs PID 1 3 ms: only when needed
    if _scan is None:
        import json

        # Numbers are checked for their form, not computed: one of 5000 digits is
        # valid JSON, and Python would refuse it.
        decoder = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=_refuse)
        # Its `decode` would look for white space around by two regular expressions.
        _scan = decoder.scan_once  # type: ignore[attr-defined]
    return _scan


def _parsed(text: str) -> object:
    """The value of `text`, if it is one JSON value and nothing else; otherwise None."""
    scan = _scan or _load_scanner()
    try:
        value, end = scan(text, 0)
    except (ValueError, RecursionError, StopIteration):
        return None
    return value if end == len(text) else None


def object_names(line: bytes) -> frozenset[str] | None:
    """The names in a line that is one JSON object, or None when it is anything else."""
    try:
        value = _parsed(line.decode())
        if not isinstance(value, dict):
            return None
        if _half_pairs(line):
            import json

            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return frozenset(value)


def _half_pairs(data: bytes) -> bool:
    """Whether it contains an escaped surrogate, possibly without its other half."""
    return b"\\u" in data and (b"\\ud" in data or b"\\uD" in data)


# Placed between the lines of a chunk while they are parsed as one array.
_BETWEEN = "-- pyinit --"


def object_keys(body: bytes) -> list[dict[str, object]] | None:
    """The objects in the lines of `body`, if every line is one; else None.

    One call of the parser for hundreds of lines: they are put into an array, with a
    text between them that is in none of them. When the text is found where it was put,
    at every second place of the array itself, each line is one value of its own, for
    whatever is open at its end (a string, a list) would have taken the text in.
    """
    if len(body) > OBJECT_LIMIT:
        return None
    newlines = body.count(b"\n")
    if (
        body[:1] != b"{"
        or body[-1:] != b"}"
        or body.count(b"}\n{") != newlines
        or _half_pairs(body)
    ):
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    if _BETWEEN in text:
        return None
    values = _parsed("[" + text.replace("\n", f',"{_BETWEEN}",') + "]")
    if not isinstance(values, list) or len(values) != 2 * newlines + 1:
        return None
    if values[1::2].count(_BETWEEN) != newlines:
        return None
    found: list[dict[str, object]] = values[::2]
    # An empty object has no place for a comma after its fields: line by line.
    return found if all(found) else None


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
    """One stream of one worker: keeps the unfinished line, makes records of the rest.

    With a `joiner` lines that belong together are one record (multiline.py).
    """

    def __init__(self, joiner: Joiner | None = None) -> None:
        self._joiner = joiner
        self._rest = bytearray()
        # The unfinished line has parts that were written already.
        self._cut = False

    @property
    def held(self) -> int:
        """Bytes of the line that has not ended yet, and of lines that are held back."""
        return len(self._rest) + self.waiting

    @property
    def waiting(self) -> int:
        """Bytes of whole lines that are held back: more of their record may come."""
        return self._joiner.size if self._joiner is not None else 0

    def flush_record(self, when: str) -> bytes:
        """The record of the lines that are held back: no more of it comes."""
        return self._groups(self._joiner.take(), when) if self._joiner is not None else b""

    @property
    def may_show_part(self) -> bool:
        """The line that has not ended may be shown as far as it is."""
        return self._joiner is None and len(self._rest) > 0

    def show_part(self, when: str) -> bytes:
        """A record of the line so far; what follows is one or more further parts."""
        made = self.part(bytes(self._rest), when)
        self._rest.clear()
        self._cut = True
        return made

    def label_length(self, when: str) -> int:  # noqa: ARG002
        """Bytes before the text of a record, where that is for people."""
        return 0

    def go_on(self, other: Wrapper, when: str) -> bytes:
        """Take over from the wrapper that had this stream before."""
        self._rest, self._cut = other._rest, other._cut
        joiner = other._joiner
        return self._groups(joiner.take(), when) if joiner is not None else b""

    def feed(self, data: bytes, when: str, limit: int = LINE_LIMIT) -> bytes:
        """The records that `data` completes, read at the time `when` (schema.stamp).

        Without a joiner, MemoryError changes nothing: the same data may be fed again.
        """
        rest = self._rest
        end = data.rfind(b"\n")
        if self._cut or len(rest) + len(data) > limit:
            return self._feed_long(data, when, limit)
        if end < 0:
            rest += data
            return b""
        body = bytes(rest) + data[:end] if rest else data[:end]
        following = bytearray(data[end + 1 :])
        if self._joiner is not None:
            self._rest = following
            return self._groups(self._joiner.add(body, limit), when)
        made = self.records(body, when)
        self._rest = following
        return made

    def _feed_long(self, data: bytes, when: str, limit: int) -> bytes:
        before, cut = bytes(self._rest), self._cut
        try:
            return self._feed_parts(data, when, limit)
        except MemoryError:
            self._rest[:] = before
            self._cut = cut
            raise

    def _feed_parts(self, data: bytes, when: str, limit: int) -> bytes:
        made = []
        lines = data.split(b"\n")
        for position, line in enumerate(lines, 1):
            self._rest += line
            while len(self._rest) > limit:
                made.append(self.flush_record(when))
                cut = _character_cut(self._rest, limit)
                made.append(self.part(bytes(self._rest[:cut]), when))
                del self._rest[:cut]
                self._cut = True
            if position < len(lines):
                made.append(self._take(when))
        return b"".join(made)

    def end(self, when: str, *, more: bool = False) -> bytes:
        """The last line, when the stream ended without a newline.

        With `more` it did go on, and what follows is dropped.
        """
        if more and self._rest:
            records = self.flush_record(when)
            body, self._rest = bytes(self._rest), bytearray()
            return records + self.part(body, when)
        records = self._take(when) if self._rest or self._is_open() else b""
        return records + self.flush_record(when)

    def _is_open(self) -> bool:
        """Parts of a line were made, and whoever joins them waits for the last."""
        return self._cut

    def _take(self, when: str) -> bytes:
        body = bytes(self._rest)
        if self._cut:
            made = self.last_part(body, when)
        elif self._joiner is not None:
            made = self._groups(self._joiner.add(body), when)
        else:
            made = self.records(body, when)
        self._rest.clear()
        self._cut = False
        return made

    def _groups(self, groups: Iterable[tuple[int, bytes]], when: str) -> bytes:
        made = []
        for kind, body in groups:
            if kind == LINES:
                made.append(self.records(body, when))
            elif kind == PART:
                made.append(self.first_lines(body, when))
            else:
                made.append(self.lines(body, when))
        return b"".join(made)

    def records(self, body: bytes, when: str) -> bytes:
        """Whole lines, without the last newline, as records."""
        raise NotImplementedError

    def part(self, body: bytes, when: str) -> bytes:
        """A part of a line that goes on."""
        raise NotImplementedError

    def last_part(self, body: bytes, when: str) -> bytes:
        """The last part of a line that was cut."""
        return self.records(body, when)

    def lines(self, body: bytes, when: str) -> bytes:
        """Lines that are one record."""
        return self.records(body, when)

    def first_lines(self, body: bytes, when: str) -> bytes:
        """Lines of a record that goes on with further ones."""
        return self.records(body, when)


class RawWrapper(Wrapper):
    """Bytes as they are, of a worker's terminal under `log.format: raw`."""

    def feed(self, data: bytes, when: str, limit: int = LINE_LIMIT) -> bytes:  # noqa: ARG002
        """What was read."""
        return data


class JsonWrapper(Wrapper):
    """Lines as JSON records."""

    def __init__(self, form: LineForm, joiner: Joiner | None = None) -> None:
        super().__init__(joiner)
        self.form = form
        self.slow = 0  # objects that were looked at one by one: dear

    def records(self, body: bytes, when: str) -> bytes:
        """Whole lines, without the last newline, as records."""
        if body.startswith(b"{") or b"\n{" in body:
            return self._objects(body, when) or self._one_by_one(body, when)
        special = body.translate(None, _PLAIN)
        if special:
            if not special.isascii():
                try:
                    body.decode()
                except UnicodeDecodeError:
                    return self._one_by_one(body, when)
            body = escape_lines(body)
        start, close = self.form.start(when), self.form.close
        return start + body.replace(b"\n", close + start) + close

    def part(self, body: bytes, when: str) -> bytes:
        """A part of a line that goes on."""
        return self._text(body, self.form.start(when), self.form.close_part)

    def last_part(self, body: bytes, when: str) -> bytes:
        """The last part of a line that was cut: text, even if it looks like an object."""
        return self._text(body, self.form.start(when), self.form.close)

    def lines(self, body: bytes, when: str) -> bytes:
        """Lines that are one record: text."""
        return self.last_part(body, when)

    def first_lines(self, body: bytes, when: str) -> bytes:
        """Lines of a record that goes on: with their last newline, so that parts join."""
        return self.part(body + b"\n", when)

    @property
    def may_show_part(self) -> bool:
        """Not of what may become an object, whose fields would be lost."""
        return super().may_show_part and not self._rest.startswith(b"{")

    def _objects(self, body: bytes, when: str) -> bytes | None:
        """All lines at once, when all are objects in which the same names clash."""
        values = object_keys(body)
        if values is None:
            return None
        clashes = set(map(self.form.names.intersection, values))
        if len(clashes) > 1:
            return None
        start, end = self.form.frame(clashes.pop(), when)
        # A string holds no raw newline, so `}\n{` is where one line meets the next.
        return start + body[1:-1].replace(b"}\n{", end + start) + end

    def _one_by_one(self, body: bytes, when: str) -> bytes:
        start, close = self.form.start(when), self.form.close
        made = []
        for line in body.split(b"\n"):
            spliced = None
            if line.startswith(b"{"):
                spliced = self._object(line, when)
            made.append(spliced or self._text(line, start, close))
        return b"".join(made)

    def _text(self, line: bytes, start: bytes, close: bytes) -> bytes:
        try:
            line.decode()
        except UnicodeDecodeError:
            from binascii import b2a_base64

            readable = line.decode("utf-8", "replace").encode()
            exact = b2a_base64(line, newline=False)
            return start + escape(readable) + self.form.exact(exact, close)
        return start + escape(line) + close

    def _object(self, line: bytes, when: str) -> bytes | None:
        # What JSON calls white space may stand after the object; nothing else may.
        line = line.rstrip(b" \t\r")
        if len(line) > OBJECT_LIMIT or not line.endswith(b"}"):
            return None
        names = object_names(line)
        if names is None:
            return None
        self.slow += 1
        start, end = self.form.frame(self.form.names & names, when)
        inside = line[1:-1].strip(b" \t\r")
        if not inside and end.startswith(b","):
            end = end[1:]
        return start + inside + end
