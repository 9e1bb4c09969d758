"""Plain values → YAML text that this loader, and any other, reads back the same.

PyYAML's dumper quotes by YAML 1.1: it leaves `1e3` and `0o17` bare, which are numbers
in YAML 1.2.
"""

from __future__ import annotations

from .tree import Node, core_value

_SAFE_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_./")
_SAFE = _SAFE_FIRST | frozenset("0123456789-+@=,() ")
# Words that YAML 1.1 readers take for something else.
_OLD_WORDS = frozenset(("y", "n", "yes", "no", "on", "off"))


def text(value: str) -> str:
    """A text as a YAML scalar: bare if no reader can misread it, else quoted."""
    bare = (
        value
        and value[0] in _SAFE_FIRST
        and _SAFE.issuperset(value)
        and value[-1] != " "
        and " #" not in value
        and value.lower() not in _OLD_WORDS
        and not value.startswith(".")
        and isinstance(core_value(value), str)
    )
    return value if bare else _quoted(value)


def _quoted(value: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    parts = ['"']
    for char in value:
        if char in escapes:
            parts.append(escapes[char])
        elif char.isprintable():
            parts.append(char)
        else:
            parts.append(f"\\U{ord(char):08X}")
    return "".join((*parts, '"'))


def block(node: Node, indent: str) -> str:
    """A node after its key: ` value` on the same line, or indented lines below."""
    if node.kind == "map" and node.entries:
        lines = [
            f"{indent}{text(key)}:{block(value, indent + '  ')}"
            for key, (_, value) in node.entries.items()
        ]
        return "\n" + "\n".join(lines)
    if node.kind == "seq" and node.items:
        return "\n" + "\n".join(f"{indent}- {flow(item)}" for item in node.items)
    return f" {flow(node)}"


def reference(value: str, *, text: bool) -> str:
    """A value with `${NAME}` in it; without `text` what replaces it is typed."""
    return _quoted(value) if text or set(value) & set(",#: {}") - {"{", "}", ":"} else value


def flow(node: Node) -> str:
    """A node on one line."""
    if node.kind == "map":
        inside = ", ".join(
            f"{text(key)}: {flow(value)}" for key, (_, value) in node.entries.items()
        )
        return f"{{{inside}}}"
    if node.kind == "seq":
        return f"[{', '.join(flow(item) for item in node.items)}]"
    if node.plain and not isinstance(node.value, str):
        return node.text or "null"
    # A bare `${N}` is typed after its replacement, a quoted one stays a text.
    whole = node.text.startswith("${") and node.text.find("}") == len(node.text) - 1
    if node.plain and whole and not set(node.text) & set(",#: "):
        return node.text
    shown = text(node.text)
    # In a flow collection these end a bare scalar.
    return _quoted(node.text) if "," in node.text or "(" in node.text else shown
