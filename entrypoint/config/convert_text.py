"""The YAML of `pyinit convert`: an app's keys in the reference's order, with its comments."""

from __future__ import annotations

from . import emit, findings, keys
from .files import app_nodes
from .references import Reference, is_secret, left_to_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .comments import Comments
    from .errors import Problems
    from .tree import Node


# Key, PM2's default, why it is written out.
PM2_DEFAULTS = (
    ("listen_timeout", "3000", "PM2's default"),
    ("kill_timeout", "1600", "PM2's default; Docker gives 10 s, pyinit 8000"),
    ("kill_signal", "SIGINT", "what PM2 stops an app with"),
)
# As they are by default; writing them would say nothing.
_USUAL = {"source_maps": "false", "placeholders": "true"}


class YamlWriter:
    """Writes apps as YAML. `references` are the nodes that become `${NAME}`; it adds secrets."""

    def __init__(
        self, comments: Comments, references: dict[Node, Reference], problems: Problems
    ) -> None:
        self._comments = comments
        self._references = references
        self._problems = problems

    def text(self, tree: Node, first: str) -> str:
        """The YAML of a whole file, below the comment `first`."""
        lines = [first]
        lines += [f"# {comment}" for comment in self._comments.first()]
        lines.append("apps:")
        for node, where in app_nodes(tree, self._problems):
            if node.kind != "map":
                text = "must be a mapping with `script` and other keys"
                self._problems.error(node, where or "apps", text)
                continue
            lines += self._app(node, where)
        if tree.kind == "map" and (tree.get("apps") or tree.get("pm2")):
            for word, (_, value) in tree.entries.items():
                if word not in {"apps", "pm2", "pyinit"}:
                    lines += ["", *self._entry(word, value, value, 0)]
        return "\n".join(lines) + "\n"

    def _app(self, node: Node, where: str) -> Iterator[str]:
        entries = dict(sorted(node.entries.items(), key=lambda entry: _order(entry[0])))
        for key in ("kill_timeout", "listen_timeout"):
            if key in entries and not entries[key][1].value:
                del entries[key]
        for comment in self._comments.above(node.line):
            yield f"  # {comment}"
        braces = any("{" in text for text in _texts(node))
        first = True
        for key, (key_node, value) in entries.items():
            if value.text == _USUAL.get(key) or (key == "placeholders" and not braces):
                continue
            self._hide_literals(key, value, where)
            for line in self._entry(key, key_node, value, 4):
                starts = first and not line.lstrip().startswith("#")
                yield f"  - {line[4:]}" if starts else line
                first &= not starts
        for key, default, why in PM2_DEFAULTS:
            if key not in entries:
                yield f"{'  - ' if first else '    '}{key}: {default}  # {why}"
                first = False

    def _hide_literals(self, key: str, value: Node, where: str) -> None:
        """A secret's value is not written a second time."""
        if value.kind != "map" or not (key == "env" or key.startswith("env_")):
            return
        for name, (_, variable) in value.entries.items():
            if variable in self._references or variable.kind != "scalar" or not variable.text:
                continue
            if is_secret(name, variable.text):
                self._references[variable] = Reference(f"${{{name}}}", (name,))
                path = ".".join(part for part in (where, key, name) if part)
                self._problems.warn(variable, path, left_to_run(name), findings.CONVERTED_LITERAL)

    def _entry(self, key: str, key_node: Node, value: Node, indent: int) -> Iterator[str]:
        """A key and its value, with the comments of its line."""
        blanks = " " * indent
        # What is by default has the line of its app, whose comments are not its own.
        line = key_node.line
        for comment in self._comments.above(line):
            yield f"{blanks}# {comment}"
        beside = self._comments.beside(line)
        tail = f"  # {beside}" if beside else ""
        head = f"{blanks}{emit.text(key)}:"
        if value.kind == "map" and value.entries:
            yield head + tail
            for name, (name_node, inner) in value.entries.items():
                yield from self._entry(name, name_node, inner, indent + 2)
        elif value.kind == "seq" and value.items:
            yield head + tail
            for item in value.items:
                yield f"{blanks}  - {self._flow(item)}"
        else:
            yield f"{head} {self._flow(value)}{tail}"

    def _flow(self, node: Node) -> str:
        found = self._references.get(node)
        return (
            emit.reference(found.text, text=isinstance(node.value, str))
            if found
            else (emit.flow(node))
        )


def _order(key: str) -> tuple[int, str]:
    """Keys as in the reference, `env_NAME` after `env`."""
    names = [known.name for known in keys.APP_KEYS]
    if key in names:
        return names.index(key), ""
    return names.index("env"), key


def _texts(node: Node) -> Iterable[str]:
    """The texts in which pyinit's YAML has placeholders."""
    for key in ("script", "args", "interpreter_args", "interpreter"):
        found = node.get(key)
        for item in (found.items or [found]) if found is not None else ():
            yield item.text
    for key, (_, value) in node.entries.items():
        if key == "env" or key.startswith("env_"):
            for _, variable in value.entries.values():
                yield variable.text
