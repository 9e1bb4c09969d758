"""Decides which lines form one record: tracebacks, stack traces, indented blocks.

Pure: lines in, groups out. A record ends when a line comes that does not belong to
it, so the last one is always held back; the caller of a `Joiner` gets it (`take`)
if nothing came for `PAUSE` seconds.

Two rules. `auto` knows the formats of common languages:

* a line that begins with white space belongs to the one before it (stack frames of Java,
  Node, Ruby, .NET; indented text), and so does one of closing brackets only, and Java's
  `Caused by:` and `Suppressed:`;
* a Python traceback goes from `Traceback (most recent call last):` to the line of its
  exception, and on over `The above exception …` and `During handling …` to the next;
* Go's `panic:` goes on over its goroutines;
* a line that is an object from `{` to `}` is a record of its own.

`^REGEX` matches the beginning of a record; every other line belongs to the one before it. It
is matched to the first `PREFIX` bytes of a line, so that its cost is bounded.

A record is bounded as well: after `MOST_LINES` lines or `MOST_BYTES` it goes on in a
further part.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

AUTO = "auto"
PAUSE = 0.25  # seconds
PREFIX = 128
MOST_LINES = 500
MOST_BYTES = 256 * 1024

# Kinds of groups: separate lines, one record, a part of one that continues, and
# the last part of one.
LINES, RECORD, PART, LAST_PART = range(4)

_PLAIN, _ALONE, _FRAMES, _EXCEPTION, _CHAIN, _GO = range(6)
_BLANK = (b"", b"\r")
_TRACEBACK = b"Traceback (most recent call last):"
_GROUP = b"+ Exception Group Traceback"
_CLOSERS = b"]}),; \t\r"
_CHAINS = (b"The above exception was the direct cause", b"During handling of the above exception")
_CAUSES = (b"Caused by: ", b"Suppressed: ")
_GO_STARTS = (b"panic: ", b"fatal error: ")
_GO_GOES_ON = (b"goroutine ", b"created by ", b"[signal ")
# If no line of a chunk begins with any of these, each line is a record.
_HINT = rb"\n(?:[ \t}\])]|Traceback |Caused by: |Suppressed: |panic: |fatal error: |goroutine )"


class Joiner:
    """The lines of one stream. `rule`: `auto`, or `^` and a regular expression."""

    def __init__(self, rule: str) -> None:
        import re

        self._starts = None if rule == AUTO else re.compile(rule[1:].encode())
        self._hint = re.compile(_HINT)
        self._held: list[bytes] = []
        self._blanks: list[bytes] = []  # after the held lines, and perhaps not of them
        self._state = _PLAIN
        self._cut = False
        self.size = 0  # bytes held back

    def add(self, body: bytes, limit: int = MOST_BYTES) -> Iterator[tuple[int, bytes]]:
        """The groups that whole lines (without the last newline) complete."""
        limit = min(limit, MOST_BYTES)
        quiet = self._starts is None and self._state <= _ALONE
        if quiet and self._hint.search(b"\n" + body) is None:
            yield from self.take()
            whole, newline, last = body.rpartition(b"\n")
            if newline:
                yield LINES, whole
            self._begin(last)
            return
        alone: list[bytes] = []
        for line in body.split(b"\n"):
            verdict = self._goes_on(line) if self._held else False
            if verdict is None:
                self._blanks.append(line)
                self.size += len(line) + 1
            elif verdict:
                if alone:
                    yield LINES, b"\n".join(alone)
                    alone = []
                if len(self._held) >= MOST_LINES or self.size + len(line) > limit:
                    yield PART, b"\n".join(self._held)
                    self._held, self.size, self._cut = [], 0, True
                self._held += (*self._blanks, line)
                self._blanks = []
                self.size += len(line) + 1
            else:
                if len(self._held) == 1 and not self._cut:
                    # A line of its own after all: with its neighbours it costs less.
                    alone += (*self._held, *self._blanks)
                else:
                    if alone:
                        yield LINES, b"\n".join(alone)
                        alone = []
                    yield from self.take()
                self._begin(line)
        if alone:
            yield LINES, b"\n".join(alone)

    def take(self) -> Iterator[tuple[int, bytes]]:
        """Return and reset what is held back."""
        held, blanks, cut = self._held, self._blanks, self._cut
        self._held, self._blanks, self._cut, self._state, self.size = [], [], False, _PLAIN, 0
        if held:
            kind = LAST_PART if cut else RECORD if len(held) > 1 else LINES
            yield kind, b"\n".join(held)
        if blanks:
            yield LINES, b"\n".join(blanks)

    def _begin(self, line: bytes) -> None:
        """Begin a record."""
        self._held, self._blanks, self._cut = [line], [], False
        self.size = len(line) + 1
        if line.startswith(_TRACEBACK):
            self._state = _FRAMES
        elif line.startswith(_GO_STARTS) or (line.startswith(b"goroutine ") and b" [" in line):
            self._state = _GO
        elif line.startswith(b"{") and line.rstrip(b"\r").endswith(b"}"):
            self._state = _ALONE
        else:
            self._state = _PLAIN

    def _goes_on(self, line: bytes) -> bool | None:
        """Whether `line` continues the held record; None: the next line decides."""
        if self._starts is not None:
            return self._starts.match(line, 0, PREFIX) is None
        if line in _BLANK:
            return None if self._state >= _EXCEPTION and len(self._blanks) < 3 else False
        indented = line[0] in b" \t"
        if self._state == _PLAIN:
            if indented:
                return bool(line.strip()) and not line.lstrip().startswith(_GROUP)
            return line.startswith(_CAUSES) or not line.strip(_CLOSERS)
        if self._state == _FRAMES:
            if not indented:
                self._state = _EXCEPTION
            return True
        if self._state == _EXCEPTION:
            if line.startswith(_CHAINS):
                self._state = _CHAIN
                return True
            return indented and not self._blanks
        if self._state == _CHAIN:
            if line.startswith(_TRACEBACK):
                self._state = _FRAMES
                return True
            return indented
        if self._state == _GO:
            return indented or line.startswith(_GO_GOES_ON) or line.rstrip().endswith(b")")
        return False
