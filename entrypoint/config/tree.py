"""The file as a tree of nodes that know their location, before any key has a meaning.

Types are those of the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/ §10.3), so
`no`, `on`, `22:22`, `1_600` and `2024-01-01` are strings. PyYAML's own resolver follows
YAML 1.1; only its parser is used here, whose events have no types. Building the nodes
from events, in a loop, also bounds what a hostile file can do: PyYAML's composer
recurses (a thousand `[` raise RecursionError) and an alias may repeat what it names
without end. `<<` merges as in js-yaml, which PM2 reads files with.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .errors import Problems

    Plain = str | int | float | bool | None

# A ConfigMap holds at most 1 MiB; a file of 1,000 apps has about 300 kB.
MOST_BYTES = 1024 * 1024
# Counted with every alias expanded.
MOST_NODES = 200_000
DEEPEST = 40

_TAG = "tag:yaml.org,2002:"


class Node:
    """One value and its location.

    `kind` is `scalar`, `map` or `seq`. A scalar has `value` (typed by the core schema)
    and `text` (as it was written); `plain` when it had no quotes. A map has `entries`
    (key → key node, value node), a seq has `items`. `line` and `column` begin at 1 and
    are 0 when the location is not known.
    """

    __slots__ = (
        "column",
        "entries",
        "file",
        "height",
        "items",
        "kind",
        "line",
        "plain",
        "replaced",
        "size",
        "text",
        "value",
        "written",
    )

    def __init__(self, kind: str, line: int = 0, column: int = 0) -> None:
        self.kind = kind
        self.line = line
        self.column = column
        # Empty in the first file.
        self.file = ""
        self.value: Plain = None
        self.text = ""
        # As it stands in the file, where `text` has been replaced.
        self.written = ""
        self.plain = False
        # None: `${VAR}` is not replaced yet; True: something was (never show it).
        self.replaced: bool | None = None
        self.entries: dict[str, tuple[Node, Node]] = {}
        self.items: list[Node] = []
        self.size = 1
        self.height = 1

    def get(self, key: str) -> Node | None:
        """The value of a map's key, or None."""
        entry = self.entries.get(key)
        return entry[1] if entry is not None else None

    @property
    def is_null(self) -> bool:
        """No value was given: `null`, `~` or nothing."""
        return self.kind == "scalar" and self.value is None

    def __repr__(self) -> str:
        """For a debugger; without values, which may be secrets."""
        return f"<{self.kind} {self.line}:{self.column}>"


def scalar(text: str, *, plain: bool, line: int = 0, column: int = 0) -> Node:
    """A scalar node: `plain` text is typed by the core schema."""
    node = Node("scalar", line, column)
    node.text = text
    node.plain = plain
    node.value = core_value(text) if plain else text
    return node


_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DIGITS = frozenset("0123456789")


def core_value(text: str) -> Plain:
    """The value of a plain scalar by YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    # Python's own int() and float() take more (`1_000`, `infinity`): check first.
    if text[0] not in "+-.0123456789" or len(text) > 40:
        return text
    unsigned = text[1:] if text[0] in "+-" else text
    if unsigned and _DIGITS.issuperset(unsigned):
        return int(text)
    if text[:2] == "0o" and len(text) > 2 and frozenset("01234567").issuperset(text[2:]):
        return int(text[2:], 8)
    if text[:2] == "0x" and len(text) > 2 and _is_hex(text[2:]):
        return int(text[2:], 16)
    if unsigned in {".inf", ".Inf", ".INF"}:
        return float("-inf" if text[0] == "-" else "inf")
    if text in {".nan", ".NaN", ".NAN"}:
        return float("nan")
    if _is_float(unsigned):
        return float(text)
    return text


def _is_hex(digits: str) -> bool:
    return frozenset("0123456789abcdefABCDEF").issuperset(digits)


def _is_float(unsigned: str) -> bool:
    mantissa, mark, exponent = unsigned.replace("E", "e").partition("e")
    if mark:
        exponent = exponent[1:] if exponent[:1] in {"+", "-"} else exponent
        if not exponent or not _DIGITS.issuperset(exponent):
            return False
    whole, _, fraction = mantissa.partition(".")
    return bool(whole or fraction) and _DIGITS.issuperset(whole + fraction)


def decode(data: bytes, problems: Problems) -> str:
    """The file's text. Raises ConfigErrors for what is no text of a config file."""
    if len(data) > MOST_BYTES:
        raise problems.stop(None, "", f"is larger than {MOST_BYTES // 1024} KiB")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise problems.stop(None, "", "is UTF-16; save it as UTF-8")
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        raise problems.stop(
            _location(before), "", f"byte 0x{data[error.start]:02x} is not UTF-8; save it as UTF-8"
        ) from None
    for index, char in enumerate(text):
        if not _is_printable(char):
            raise problems.stop(
                _location(text[:index]), "", f"control character U+{ord(char):04X} is not allowed"
            )
    return text


def _is_printable(char: str) -> bool:
    # YAML 1.2.2 §5.1: c-printable.
    if " " <= char <= "~" or char in "\n\t\r\x85":
        return True
    return char >= "\xa0" and char not in "\ufffe\uffff" and not "\ud800" <= char <= "\udfff"


def _location(before: str) -> Node:
    line = before.count("\n") + 1
    return Node("scalar", line, len(before) - (before.rfind("\n") + 1) + 1)


def parse_yaml(text: str, problems: Problems) -> Node:
    """The one document of `text`. Raises ConfigErrors when it is not well-formed YAML."""
    from . import yamlevents

    reader = yamlevents.reader(text)
    try:
        return _Builder(problems).build(reader)
    except yamlevents.syntax_errors() as error:
        mark = error.problem_mark or error.context_mark
        location = None if mark is None else Node("scalar", mark.line + 1, mark.column + 1)
        raise problems.stop(location, "", _syntax_message(error, text)) from None


def _syntax_message(error: Any, text: str) -> str:
    mark = error.problem_mark or error.context_mark
    lines = text.splitlines()
    line = lines[mark.line] if mark is not None and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return "YAML syntax: a tab cannot indent; use spaces"
    problem = str(error.problem or "cannot be read")
    if error.context_mark is not None and error.context:
        problem += f" ({error.context}, line {error.context_mark.line + 1})"
    return f"YAML syntax: {problem}"


class _Builder:
    """Events of the parser → nodes, with a stack of its own instead of recursion."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._anchors: dict[str, Node] = {}
        self._open: list[Node] = []
        # The key that waits for its value, for each open map.
        self._keys: list[Node | None] = []
        self._root: Node | None = None

    def build(self, reader: Any) -> Node:
        documents = 0
        while (event := reader.get_event()) is not None:
            name = type(event).__name__
            mark = event.start_mark
            line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
            if name == "ScalarEvent":
                self._add(self._scalar(event, line, column), event.anchor)
            elif name in {"MappingStartEvent", "SequenceStartEvent"}:
                self._begin(event, "map" if name[0] == "M" else "seq", line, column)
            elif name in {"MappingEndEvent", "SequenceEndEvent"}:
                self._end()
            elif name == "AliasEvent":
                self._add(self._alias(event.anchor, line, column), None)
            elif name == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    location = Node("scalar", line, column)
                    raise self._problems.stop(
                        location, "", "a second document begins here; one file holds one"
                    )
            elif name == "StreamEndEvent":
                break
        if self._root is None:
            raise self._problems.stop(None, "", "is empty")
        return self._root

    def _scalar(self, event: Any, line: int, column: int) -> Node:
        tag = event.tag
        if tag is None or tag == "!":
            plain = event.implicit[0] and tag is None
            return scalar(event.value, plain=plain, line=line, column=column)
        node = scalar(event.value, plain=tag != _TAG + "str", line=line, column=column)
        kinds: dict[str, type | tuple[type, ...]] = {
            "str": str,
            "int": int,
            "float": (int, float),
            "bool": bool,
            "null": type(None),
        }
        kind = kinds.get(tag.removeprefix(_TAG))
        if kind is None or not isinstance(node.value, kind):
            self._problems.error(node, "", f"the tag {_short(tag)} is not supported here")
        return node

    def _begin(self, event: Any, kind: str, line: int, column: int) -> None:
        node = Node(kind, line, column)
        if event.tag not in {None, "!", _TAG + kind}:
            self._problems.error(node, "", f"the tag {_short(event.tag)} is not supported here")
        if len(self._open) >= DEEPEST:
            raise self._problems.stop(node, "", f"is nested more than {DEEPEST} levels deep")
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._open.append(node)
        self._keys.append(None)

    def _end(self) -> None:
        node = self._open.pop()
        self._keys.pop()
        if node.kind == "map":
            self._merge(node)
        self._add(node, None)

    def _alias(self, anchor: str, line: int, column: int) -> Node:
        location = Node("scalar", line, column)
        node = self._anchors.get(anchor)
        if node is None:
            raise self._problems.stop(location, "", f"no anchor &{anchor[:40]} stands before this")
        if node in self._open:
            raise self._problems.stop(location, "", f"*{anchor[:40]} would contain itself")
        return node

    def _add(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        if parent.kind == "seq":
            parent.items.append(node)
        elif self._keys[-1] is None:
            if node.kind != "scalar":
                raise self._problems.stop(node, "", "a key must be a word")
            self._keys[-1] = node
        else:
            self._put(parent, self._keys[-1], node)
            self._keys[-1] = None
        parent.size += node.size
        parent.height = max(parent.height, node.height + 1)
        if parent.size > MOST_NODES:
            raise self._problems.stop(
                node, "", f"the file, with its aliases, has more than {MOST_NODES} values"
            )
        if len(self._open) + node.height > DEEPEST:
            raise self._problems.stop(node, "", f"is nested more than {DEEPEST} levels deep")

    def _put(self, parent: Node, key: Node, value: Node) -> None:
        if key.text in parent.entries:
            first = parent.entries[key.text][0]
            self._problems.error(
                key, "", f"the key {_short(key.text)!r} is already in line {first.line}"
            )
        else:
            parent.entries[key.text] = (key, value)

    def _merge(self, node: Node) -> None:
        entry = node.entries.get("<<")
        if entry is None or not entry[0].plain:
            return
        del node.entries["<<"]
        source = entry[1]
        for other in source.items if source.kind == "seq" else [source]:
            if other.kind != "map":
                self._problems.error(entry[0], "", "<< merges mappings only")
                continue
            for key, pair in other.entries.items():
                node.entries.setdefault(key, pair)


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:39] + "…"
