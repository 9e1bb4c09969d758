"""JSON into the same nodes as YAML, with locations.

PM2 evaluates a `.json` file as a JavaScript literal, and people rely on it: comments,
commas before a closing bracket, single quotes and keys without quotes are read too.
"""

from __future__ import annotations

from .errors import quoted
from .tree import DEEPEST, MOST_NODES, Node, core_value, scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .errors import ConfigErrors, Problems

_SPACE = " \t\n\r"
_QUOTES = frozenset("\"'")
_ESCAPES = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "'": "'",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$")


def parse_json(text: str, problems: Problems) -> Node:
    """The one value of `text`. Raises ConfigErrors when it is not JSON."""
    return _Parser(text, problems).whole()


class _Parser:
    def __init__(self, text: str, problems: Problems) -> None:
        self._text = text
        self._at = 0
        self._problems = problems
        self._depth = 0
        self._nodes = 0
        # Where the current line begins: positions are counted forwards only.
        self._line = 1
        self._line_start = 0
        self._counted = 0

    def whole(self) -> Node:
        self._skip()
        if self._at >= len(self._text):
            raise self._problems.stop(None, "", "is empty")
        node = self._value()
        self._skip()
        if self._at < len(self._text):
            raise self._fail("nothing may follow the value")
        return node

    def _fail(self, message: str) -> ConfigErrors:
        return self._problems.stop(self._new("scalar"), "", f"JSON syntax: {message}")

    def _new(self, kind: str) -> Node:
        # find() and not a loop over characters: each line is looked at once.
        while True:
            end = self._text.find("\n", self._counted, self._at)
            if end < 0:
                break
            self._line += 1
            self._line_start = self._counted = end + 1
        return Node(kind, self._line, self._at - self._line_start + 1)

    def _skip(self) -> None:
        text = self._text
        while self._at < len(text):
            if text[self._at] in _SPACE:
                self._at += 1
            elif text.startswith("//", self._at):
                end = text.find("\n", self._at)
                self._at = len(text) if end < 0 else end
            elif text.startswith("/*", self._at):
                end = text.find("*/", self._at + 2)
                if end < 0:
                    raise self._fail("this comment does not end")
                self._at = end + 2
            else:
                return

    def _peek(self) -> str:
        self._skip()
        return self._text[self._at : self._at + 1]

    def _value(self) -> Node:
        char = self._peek()
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise self._fail(f"more than {MOST_NODES} values")
        if char not in {"{", "["}:
            return self._scalar(char)
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._fail(f"nested more than {DEEPEST} levels deep")
        node = self._map() if char == "{" else self._seq()
        self._depth -= 1
        return node

    def _map(self) -> Node:
        node = self._new("map")
        self._at += 1
        while (char := self._peek()) != "}":
            key = self._scalar(char) if char in _QUOTES else self._bare_key()
            if self._peek() != ":":
                raise self._fail('a ":" is missing after the key')
            self._at += 1
            value = self._value()
            if key.text in node.entries:
                first = node.entries[key.text][0]
                self._problems.error(
                    key, "", f"the key {quoted(key.text)} is already in line {first.line}"
                )
            else:
                node.entries[key.text] = (key, value)
            self._grow(node, value)
            if not self._comma("}"):
                break
        self._at += 1
        return node

    def _seq(self) -> Node:
        node = self._new("seq")
        self._at += 1
        while self._peek() != "]":
            item = self._value()
            node.items.append(item)
            self._grow(node, item)
            if not self._comma("]"):
                break
        self._at += 1
        return node

    @staticmethod
    def _grow(node: Node, child: Node) -> None:
        node.size += child.size
        node.height = max(node.height, child.height + 1)

    def _comma(self, closing: str) -> bool:
        char = self._peek()
        if char == ",":
            self._at += 1
            return True
        if char == closing:
            return False
        raise self._fail(f'"," or "{closing}" is missing here')

    def _bare_key(self) -> Node:
        key = self._new("scalar")
        start = self._at
        while self._at < len(self._text) and self._text[self._at] in _WORD:
            self._at += 1
        key.text = self._text[start : self._at]
        key.value = key.text
        if not key.text:
            raise self._fail("a key is missing here")
        return key

    def _scalar(self, char: str) -> Node:
        location = self._new("scalar")
        if char and char in _QUOTES:
            node = scalar(self._string(char), plain=False)
        else:
            start = self._at
            while self._at < len(self._text) and self._text[self._at] not in " \t\n\r,:]}/\"'[{":
                self._at += 1
            word = self._text[start : self._at]
            if word not in {"true", "false", "null"} and (
                not word or isinstance(core_value(word), (str, bool, type(None)))
            ):
                self._at = start
                raise self._fail("a value is missing here; strings are written in double quotes")
            node = scalar(word, plain=True)
        node.line, node.column = location.line, location.column
        return node

    def _string(self, quote: str) -> str:
        parts = []
        text = self._text
        start = self._at
        at = start + 1
        while True:
            begin = at
            while at < len(text) and text[at] not in f"{quote}\\\n":
                at += 1
            parts.append(text[begin:at])
            if at >= len(text) or text[at] == "\n":
                self._at = start
                raise self._fail("this string does not end")
            if text[at] == quote:
                self._at = at + 1
                return "".join(parts)
            at, char = self._escape(at + 1)
            parts.append(char)

    def _escape(self, at: int) -> tuple[int, str]:
        text = self._text
        char = text[at : at + 1]
        if char in _ESCAPES:
            return at + 1, _ESCAPES[char]
        code = self._hex(at)
        at += 5
        if 0xD800 <= code < 0xDC00 and text.startswith("\\u", at):
            low = self._hex(at + 1)
            if 0xDC00 <= low < 0xE000:
                return at + 6, chr(0x10000 + ((code - 0xD800) << 10) + low - 0xDC00)
        if 0xD800 <= code < 0xE000:
            self._at = at - 6
            raise self._fail("half of a surrogate pair")
        return at, chr(code)

    def _hex(self, at: int) -> int:
        digits = self._text[at + 1 : at + 5]
        if self._text[at : at + 1] != "u" or len(digits) < 4 or not digits.isalnum():
            self._at = at - 1
            raise self._fail("an escape that JSON does not know")
        try:
            return int(digits, 16)
        except ValueError:
            self._at = at - 1
            raise self._fail("an escape that JSON does not know") from None
