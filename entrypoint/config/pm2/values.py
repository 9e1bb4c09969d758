"""Values by JavaScript's rules, as PM2 reads them (`lib/tools/Config.js` of PM2 7)."""

from __future__ import annotations

from entrypoint.config.tree import Node, scalar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.config.tree import Plain

# PM2's expression for the words of a text.
_WORDS = r"""[^\s"'=]+="[^"]*"|[^\s"'=]+='[^']*'|"[^"]*"|'[^']*'|\S+"""
_EXACT = 2**53  # the integers that a double holds


def literal(text: str, near: Node) -> Node:
    """A text at the location of `near`."""
    node = scalar(text, plain=False, line=near.line, column=near.column)
    node.replaced = False
    return node


def plain(text: str, near: Node) -> Node:
    """A value that the core schema types, at the location of `near`."""
    node = scalar(text, plain=True, line=near.line, column=near.column)
    node.replaced = False
    return node


def sequence(items: list[Node], near: Node) -> Node:
    """A list at the location of `near`."""
    node = Node("seq", near.line, near.column)
    node.items = items
    node.replaced = False
    return node


def mapping(entries: dict[str, tuple[Node, Node]], near: Node) -> Node:
    """A mapping at the location of `near`."""
    node = Node("map", near.line, near.column)
    node.entries = entries
    node.replaced = False
    return node


def made(value: object) -> Node:
    """Nodes of a plain value: texts as the core schema types them, tuples of pairs, lists."""
    near = Node("scalar")
    if isinstance(value, dict):
        entries = {key: (literal(key, near), made(inner)) for key, inner in value.items()}
        return mapping(entries, near)
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return made(dict(value))
    if isinstance(value, (list, tuple)):
        texts = [item if isinstance(item, dict) else str(item) for item in value]
        return sequence([literal(t, near) if isinstance(t, str) else made(t) for t in texts], near)
    text = str(value)
    return plain(text, near) if text in {"true", "false"} else literal(text, near)


def is_falsy(node: Node) -> bool:
    """JavaScript's: null, false, 0, NaN and the empty text."""
    value = node.value
    return node.kind == "scalar" and (not value or value != value)  # noqa: PLR0124  NaN


def text_of(node: Node) -> str:
    """`String(value)`."""
    if node.kind == "seq":
        return ",".join("" if item.is_null else text_of(item) for item in node.items)
    if node.kind == "map":
        return "[object Object]"
    value = node.value
    if isinstance(value, str):
        return value
    return scalar_text(value)


def scalar_text(value: Plain) -> str:
    """A number, a boolean or null as JavaScript writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return value
    if isinstance(value, int) and abs(value) <= _EXACT:
        return str(value)
    number = float(value)
    if number != number:  # noqa: PLR0124
        return "NaN"
    if number in {float("inf"), float("-inf")}:
        return "Infinity" if number > 0 else "-Infinity"
    mantissa, mark, exponent = repr(number).partition("e")
    mantissa = mantissa.removesuffix(".0")
    if not mark:
        return "0" if mantissa == "-0" else mantissa
    power = int(exponent)
    if -7 < power < 21:
        return _without_exponent(mantissa, power)
    return f"{mantissa}e{power:+d}"


def _without_exponent(mantissa: str, power: int) -> str:
    sign = "-" if mantissa[0] == "-" else ""
    whole, _, fraction = mantissa.removeprefix("-").partition(".")
    digits = whole + fraction
    if power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{digits}"
    return f"{sign}{digits.ljust(power + 1, '0')}"


def split(text: str) -> list[str]:
    """The words of `args`, `node_args` and `ignore_watch` as PM2 takes them out of a text.

    Blanks divide. Quotes group only where a word begins with one, or as `name="a b"`, whose
    quotes stay. Backslashes mean nothing.
    """
    if '"' not in text and "'" not in text:
        return text.split()
    import re

    words = []
    for word in re.findall(_WORDS, text):
        if len(word) > 1 and word[0] in {'"', "'"} and word[-1] == word[0]:
            word = word[1:-1]  # noqa: PLW2901
        if word.strip():
            words.append(word)
    return words


def as_texts(entries: Mapping[str, tuple[Node, Node]]) -> dict[str, tuple[Node, Node]]:
    """Variables as PM2 writes them: numbers by JavaScript's rules, null as `null`."""
    found = {}
    for name, (key, value) in entries.items():
        made = value
        if value.kind == "scalar":
            made = literal(_date(value) or text_of(value), value)
        found[name] = (key, made)
    return found


def _date(node: Node) -> str:
    """A date of YAML as JavaScript writes it; only YAML has texts without quotes."""
    text = node.text
    bare = node.plain and len(text) == 10 and text[4] == text[7] == "-"
    return f"{text}T00:00:00.000Z" if bare and text.replace("-", "").isdigit() else ""


def literals(node: Node) -> Node:
    """Texts of a list as texts, whatever they look like."""
    if node.kind != "seq":
        return node
    return sequence([literal(text_of(item), item) for item in node.items], node)
