"""`${VAR}` and `${VAR:-default}`, replaced from pyinit's own environment; `$$` is `$`.

Only in values, after the file was parsed, so that a value can never change the file's
structure. Nothing is looked up in what was put in. `$VAR` without braces is left for
the shell of a `script`.
"""

from __future__ import annotations

from .tree import Node, core_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_FIRST = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_NAME = _FIRST | frozenset("0123456789")


class VariableError(ValueError):
    """A sentence that says why a `${…}` cannot be replaced; `unset`: it has no value here."""

    def __init__(self, message: str, *, unset: bool = False) -> None:
        super().__init__(message)
        self.unset = unset


def is_name(text: str) -> bool:
    """Whether `text` is the name of a variable as POSIX shells have them."""
    return bool(text) and text[0] in _FIRST and _NAME.issuperset(text)


def replace(text: str, environ: Mapping[str, str]) -> str:
    """`text` with all variables replaced.

    As in a shell, `:-` gives the default when the variable is unset or empty. Raises
    VariableError for an unset variable without default and for other `${…}` forms.
    """
    parts = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        following = text[dollar + 1 : dollar + 2]
        if following == "$":
            parts.append("$")
            at = dollar + 2
        elif following == "{":
            end = text.find("}", dollar)
            inside = text[dollar + 2 : end if end >= 0 else len(text)]
            parts.append(_lookup(inside, closed=end >= 0, environ=environ))
            at = end + 1
        else:
            parts.append("$")
            at = dollar + 1
    parts.append(text[at:])
    return "".join(parts)


def _lookup(inside: str, *, closed: bool, environ: Mapping[str, str]) -> str:
    name, mark, default = inside.partition(":-")
    if not closed or not is_name(name) or "${" in default:
        raise VariableError(
            "only ${NAME} and ${NAME:-default} are replaced; write $${ for a literal ${"
        )
    value = environ.get(name, "")
    if value or (not mark and name in environ):
        return value
    if mark:
        return default
    raise VariableError(
        f"the environment has no {name}; set it, or write ${{{name}:-default}}", unset=True
    )


def replace_in(node: Node, environ: Mapping[str, str]) -> None:
    """Replace in a scalar node, once. A plain one is typed anew: `instances: ${N}`.

    Raises VariableError; the node is then left as it is.
    """
    if node.replaced is not None or node.kind != "scalar":
        return
    if "$" not in node.text or not isinstance(node.value, str):
        node.replaced = False
        return
    text = replace(node.text, environ)
    # `$$` alone brings nothing from the environment.
    node.replaced = text != node.text and "${" in node.text.replace("$$", "")
    node.written, node.text = node.text, text
    node.value = core_value(text) if node.plain and node.replaced else text


def escape(text: str) -> str:
    """`text` so that `replace` gives it back: for `pyinit convert`."""
    parts = []
    for index, char in enumerate(text):
        special = char == "$" and text[index + 1 : index + 2] in {"$", "{"}
        parts.append("$$" if special else char)
    return "".join(parts)
