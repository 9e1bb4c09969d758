"""PM2's file as pyinit's YAML, with the defaults of PM2 that pyinit has otherwise."""

from __future__ import annotations

from . import emit
from .load import app_nodes, find, read_file, to_native
from .variables import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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


def converted(path: str | None, environ: Mapping[str, str], problems: Problems) -> str:
    """The file's apps as YAML. What is left out or changed becomes a warning.

    Raises ConfigErrors when the file cannot be read.
    """
    name = find(path, environ)
    file = read_file(name, environ, problems)
    if file.pm2:
        to_native(file, environ, problems)
        _escape_all(file.tree)
    tree = file.tree
    lines = [f"# From {name}, by `pyinit convert`.", "apps:"]
    for node, where in app_nodes(tree, problems):
        if node.kind != "map":
            problems.error(node, where, "must be a mapping with `script` and other keys")
            continue
        lines += _app(node)
    if tree.kind == "map" and (tree.get("apps") or tree.get("pm2")):
        for word, (_, value) in tree.entries.items():
            if word not in {"apps", "pm2", "pyinit"}:
                lines += ["", f"{emit.text(word)}:{emit.block(value, '  ')}"]
    return "\n".join(lines) + "\n"


def _app(node: Node) -> list[str]:
    entries = {key: value for key, (_, value) in node.entries.items()}
    for key in ("kill_timeout", "listen_timeout"):
        if key in entries and not entries[key].value:
            del entries[key]
    braces = any("{" in text for text in _texts(node))
    lines = []
    for key, value in entries.items():
        if value.text == _USUAL.get(key) or (key == "placeholders" and not braces):
            continue
        lines.append(f"{emit.text(key)}:{emit.block(value, '      ')}")
    for key, default, why in PM2_DEFAULTS:
        if key not in entries:
            lines.append(f"{key}: {default}  # {why}")
    return [f"  {'- ' if index == 0 else '  '}{line}" for index, line in enumerate(lines)]


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


def _escape_all(tree: Node) -> None:
    """A `${X}` of JavaScript's is a shell's; the YAML must not replace it."""
    todo = [tree]
    while todo:
        node = todo.pop()
        todo += node.items
        todo += [value for _, value in node.entries.values()]
        if node.kind == "scalar" and isinstance(node.value, str):
            node.text = node.value = escape(node.text)
