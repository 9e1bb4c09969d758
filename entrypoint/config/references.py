"""Finds values of a `.config.js` that come from `process.env`, as `${NAME}` for the YAML.

The file is a program: its result does not show that a value came from a variable.
So it is evaluated twice more, once with a mark instead of each variable that it reads, and
once without these variables. A value that contains a mark was made of that variable;
its value without the variable is the default. Each reference is checked: with the values of this
machine it must give the value that the file gave. What depends on the environment in
another way (`NODE_ENV === 'production' ? 4 : 1`) cannot be written as YAML.
"""

from __future__ import annotations

import re

from entrypoint.core.record import Record

from .variables import escape, is_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .tree import Node

# Node and the shell need them to evaluate the file at all.
KEPT = frozenset(
    ("PATH", "HOME", "PWD", "USER", "SHELL", "TMPDIR", "LANG", "NODE_OPTIONS", "NODE_PATH")
)
_SECRET = re.compile(
    r"pass(word|wd|phrase)?|secret|token|api_?key|private|credential|auth|dsn|jwt|salt"
    r"|(^|_)(key|pwd|pw)$|access_key",
    re.IGNORECASE,
)
_MARK = "__pyinit_{}__"
_MARKED = re.compile(r"__pyinit_(\d+)__")
# `{…:-default}` ends at the first brace, and nothing is replaced inside.
_NO_DEFAULT = re.compile(r"[}\n]|\$\{")


class Reference(Record):
    """A value as YAML writes it: `text` with `${NAME}`, of these variables."""

    text: str
    names: tuple[str, ...]


class Environment:
    """The variables that a file reads, and what they are replaced with."""

    def __init__(self, reads: tuple[str, ...], environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._names = tuple(name for name in reads if is_name(name) and name not in KEPT)
        self.values = {name: environ[name] for name in self._names if name in environ}
        # Of these the marks leave some out.
        self.all_values = {name: environ[name] for name in reads if name in environ}

    def __bool__(self) -> bool:
        return bool(self._names)

    @property
    def marked(self) -> dict[str, str]:
        """The environment with a mark in place of each variable that is read."""
        marks = {name: _MARK.format(at) for at, name in enumerate(self._names)}
        return {**self._environ, **marks}

    @property
    def without(self) -> dict[str, str]:
        """The environment without these variables."""
        return {name: v for name, v in self._environ.items() if name not in self.values}

    def reference(self, value: Node, marked: Node | None, without: Node | None) -> Reference | None:
        """How YAML writes `value`; None when a reference does not give it."""
        if marked is not None and marked.kind == "scalar" and _MARKED.search(marked.text):
            return self._of_marks(value.text, marked.text, _text(without))
        # `Number(process.env.PORT)`: a mark is no number.
        same = [name for name, text in self.values.items() if text == value.text]
        depends = _text(marked) != value.text or _text(without) != value.text
        if len(same) == 1 and depends and value.text.isdigit():
            return Reference(_written(same[0], _text(without)), (same[0],))
        return None

    def _of_marks(self, text: str, marked: str, without: str | None) -> Reference | None:
        names = [self._names[int(number)] for number in _MARKED.findall(marked)]
        parts = _MARKED.split(marked)[::2]
        defaults = _defaults(parts, without)
        here = parts[0]
        for at, (name, part) in enumerate(zip(names, parts[1:], strict=True)):
            here += self.values.get(name, defaults[at] if defaults else "") + part
        if text != here:
            return None
        written = escape(parts[0])
        for at, (name, part) in enumerate(zip(names, parts[1:], strict=True)):
            written += _written(name, defaults[at] if defaults else None) + escape(part)
        return Reference(written, tuple(dict.fromkeys(names)))

    def unset(self, marked: Node) -> Reference | None:
        """A value that is not there without its variable, which this machine does not have."""
        found = _MARKED.fullmatch(marked.text) if marked.kind == "scalar" else None
        if found is None:
            return None
        name = self._names[int(found[1])]
        return Reference(f"${{{name}:-}}", (name,))

    def holds_value(self, text: str) -> bool:
        """Whether a text contains the value of a variable that the file reads."""
        return any(len(value) > 3 and value in text for value in self.values.values())


def _text(node: Node | None) -> str | None:
    if node is None or node.kind != "scalar" or node.is_null:
        return None
    return node.text


def _written(name: str, default: str | None) -> str:
    if default is None or _NO_DEFAULT.search(default):
        return f"${{{name}}}"
    return f"${{{name}:-{default}}}"


def _defaults(parts: list[str], without: str | None) -> list[str] | None:
    """What stands for each mark in the value without the variables; None: not clear."""
    if without is None:
        return None
    expression = "(.*?)".join(re.escape(part) for part in parts)
    found = re.fullmatch(expression, without, re.DOTALL)
    if found is None or any(_NO_DEFAULT.search(group) for group in found.groups()):
        return None
    return list(found.groups())


def is_secret(name: str, value: str) -> bool:
    """Whether a variable in a file holds a secret as it stands."""
    return looks_secret(name) and value.lower() not in {"", "true", "false", "null", "none"}


def left_to_run(name: str) -> str:
    """The remark for a secret whose value was not written."""
    return (
        f"looks like a secret: its value is not written; ${{{name}}} stands in its place, so give "
        f"{name} to the container"
    )


def looks_secret(name: str) -> bool:
    """Whether a variable of that name usually holds a secret."""
    return bool(_SECRET.search(name))
