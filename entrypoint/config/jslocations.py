"""Locations in a `.config.js` for what node's evaluation of it gave.

The file is a program; its value has no locations. Where the file writes its apps as object
literals (`apps: [{ name: 'api', … }]`), which nearly all do, the keys are found in the text
and their locations put on the nodes. Where it computes them (`...common`, `list.map(…)`) the
number of literals differs from the number of apps, and the nodes keep line 0: not known.
"""

from __future__ import annotations

from entrypoint.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .tree import Node

_OPEN = {"{": "}", "[": "]", "(": ")"}
_CLOSE = frozenset(_OPEN.values())
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$")
# After these a slash begins a regular expression.
_BEFORE_REGEX = frozenset("(,=:[!&|?{};+-*%<>~^")
MOST_TOKENS = 200_000


class Token(Record):
    """A piece of the program: `kind` is `sign`, `word`, `text` or `other`."""

    kind: str
    text: str
    line: int
    column: int


class Literal(Record):
    """An object literal: key → token of the key, of the value, and the value's own literal."""

    begin: Token
    entries: dict[str, tuple[Token, Token, Literal | None]]


def put_locations(tree: Node, source: str) -> None:
    """Put the locations of `source` on the nodes of what it exports."""
    apps = tree if tree.kind == "seq" else (tree.get("apps") or tree.get("pm2"))
    nodes = apps.items if apps is not None and apps.kind == "seq" else []
    literals = _apps_of(tokens(source))
    if len(nodes) == len(literals):
        for node, literal in zip(nodes, literals, strict=True):
            if literal is not None and node.kind == "map":
                _put(node, literal)


def _put(node: Node, literal: Literal) -> None:
    node.line, node.column = literal.begin.line, literal.begin.column
    for name, (key, value) in node.entries.items():
        found = literal.entries.get(name)
        if found is None:
            continue
        key_token, value_token, inner = found
        key.line, key.column = key_token.line, key_token.column
        value.line, value.column = value_token.line, value_token.column
        if inner is not None and value.kind == "map":
            _put(value, inner)


def _apps_of(found: list[Token]) -> list[Literal | None]:
    """The elements of the list after `apps:`, or of an exported list; None: no literal."""
    for at, token in enumerate(found[:-2]):
        named = token.kind in {"word", "text"} and token.text in {"apps", "pm2"}
        if named and found[at + 1].text == ":" and found[at + 2].text == "[":
            return _elements(found, at + 2)
    for at, token in enumerate(found[:-1]):
        exported = token.text == "=" and found[at - 1].text == "exports"
        if (exported or token.text == "default") and found[at + 1].text == "[":
            return _elements(found, at + 1)
    return []


def _elements(found: list[Token], at: int) -> list[Literal | None]:
    elements: list[Literal | None] = []
    at += 1
    while at < len(found) and found[at].text != "]":
        if found[at].text == "...":
            return []  # how many apps it adds is not known
        is_literal = found[at].text == "{" and found[at].kind == "sign"
        elements.append(_literal(found, at) if is_literal else None)
        at = _after_value(found, at)
    return elements


def _literal(found: list[Token], at: int) -> Literal:
    """The object literal that begins at `at`."""
    entries: dict[str, tuple[Token, Token, Literal | None]] = {}
    begin = found[at]
    at += 1
    while at + 1 < len(found) and found[at].text != "}":
        token = found[at]
        if token.kind in {"word", "text"} and found[at + 1].text == ":":
            value = found[min(at + 2, len(found) - 1)]
            begins = value.kind == "sign" and value.text == "{"
            entries[token.text] = (token, value, _literal(found, at + 2) if begins else None)
        elif token.kind == "word" and found[at + 1].text in {",", "}"}:
            entries[token.text] = (token, token, None)  # `{ name }`
        at = _after_value(found, at)
    return Literal(begin, entries)


def _after_value(found: list[Token], at: int) -> int:
    """Where the next element or key begins; at the closing bracket after the last one."""
    depth = 0
    while at < len(found):
        token = found[at]
        if token.kind == "sign":
            if token.text in _OPEN:
                depth += 1
            elif token.text in _CLOSE:
                if depth == 0:
                    return at
                depth -= 1
            elif token.text == "," and depth == 0:
                return at + 1
        at += 1
    return at


def tokens(source: str) -> list[Token]:
    """The pieces of a JavaScript program, without blanks and comments."""
    return _Scanner(source).scan()


def comments(source: str) -> list[tuple[int, str, bool]]:
    """The comments: last line, text, and whether nothing else stands on their lines."""
    scanner = _Scanner(source)
    scanner.scan()
    return scanner.comments


class _Scanner:
    def __init__(self, source: str) -> None:
        self.comments: list[tuple[int, str, bool]] = []
        self._source = source
        self._at = 0
        self._line = 1
        self._line_start = 0
        self._found: list[Token] = []

    def scan(self) -> list[Token]:
        source = self._source
        while self._at < len(source) and len(self._found) < MOST_TOKENS:
            char = source[self._at]
            if char == "\n":
                self._at += 1
                self._line += 1
                self._line_start = self._at
            elif char.isspace():
                self._at += 1
            elif source.startswith("//", self._at) or (self._at == 0 and source[:2] == "#!"):
                end = source.find("\n", self._at)
                end = len(source) if end < 0 else end
                self._comment(source[self._at + 2 : end] if char == "/" else "")
                self._at = end
            elif source.startswith("/*", self._at):
                end = source.find("*/", self._at + 2)
                text = source[self._at + 2 : end if end >= 0 else len(source)]
                alone = self._is_alone()
                self._skip_to(end, 2)
                self._comment(text, alone=alone)
            elif char in "'\"":
                self._quoted(char, "text")
            elif char == "`":
                self._template()
            elif char == "/" and self._regex_may_begin():
                self._regex()
            elif char in _WORD:
                end = self._at
                while end < len(source) and source[end] in _WORD:
                    end += 1
                self._take(end, "word")
            else:
                width = 3 if source.startswith("...", self._at) else 1
                self._take(self._at + width, "sign")
        return self._found

    def _is_alone(self) -> bool:
        return not self._source[self._line_start : self._at].strip()

    def _comment(self, text: str, *, alone: bool | None = None) -> None:
        if text.strip():
            alone = self._is_alone() if alone is None else alone
            self.comments.append((self._line, text, alone))

    def _take(self, end: int, kind: str, text: str | None = None) -> None:
        column = self._at - self._line_start + 1
        text = self._source[self._at : end] if text is None else text
        self._found.append(Token(kind, text, self._line, column))
        self._at = end

    def _skip_to(self, found: int, width: int) -> None:
        """Go on after a piece that may span lines."""
        end = len(self._source) if found < 0 else found + width
        lines = self._source.count("\n", self._at, end)
        if lines:
            self._line += lines
            self._line_start = self._source.rfind("\n", self._at, end) + 1
        self._at = end

    def _quoted(self, quote: str, kind: str) -> None:
        at = self._at + 1
        while at < len(self._source) and self._source[at] not in {quote, "\n"}:
            at += 2 if self._source[at] == "\\" else 1
        end = at + 1 if self._source[at : at + 1] == quote else at
        self._take(end, kind, self._source[self._at + 1 : at])

    def _template(self) -> None:
        """A template literal; what is inside `${…}` counts as its text."""
        at, depth = self._at + 1, 0
        source = self._source
        while at < len(source) and (depth or source[at] != "`"):
            if source[at] == "\\":
                at += 1
            elif source.startswith("${", at):
                depth += 1
                at += 1
            elif source[at] == "}" and depth:
                depth -= 1
            at += 1
        column = self._at - self._line_start + 1
        self._found.append(Token("other", "`", self._line, column))
        self._skip_to(at, 1)

    def _regex_may_begin(self) -> bool:
        if not self._found:
            return True
        last = self._found[-1]
        return last.text == "return" or (last.kind == "sign" and last.text in _BEFORE_REGEX)

    def _regex(self) -> None:
        at, inside = self._at + 1, False
        source = self._source
        while at < len(source) and source[at] != "\n" and (inside or source[at] != "/"):
            if source[at] == "\\":
                at += 1
            elif source[at] in "[]":
                inside = source[at] == "["
            at += 1
        self._take(at + 1 if source[at : at + 1] == "/" else at, "other", "/")
