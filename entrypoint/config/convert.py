"""PM2's file as pyinit's YAML, with the defaults of PM2 that pyinit has otherwise."""

from __future__ import annotations

from . import emit, keys
from .load import app_nodes, find, read_tree
from .tree import Node, scalar
from .variables import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .errors import Problems

# Key, PM2's default, why it is written out.
PM2_DEFAULTS = (
    ("listen_timeout", "3000", "PM2's default"),
    ("kill_timeout", "1600", "PM2's default; Docker gives 10 s, pyinit 8000"),
    ("kill_signal", "SIGINT", "what PM2 stops an app with"),
)


def converted(path: str | None, environ: Mapping[str, str], problems: Problems) -> str:
    """The file's apps as YAML. Keys without meaning here become warnings.

    Raises ConfigErrors when the file cannot be parsed; the meaning of its keys is not
    checked.
    """
    file = find(path, environ)
    tree = read_tree(file, environ, problems)
    script = file.endswith((".js", ".cjs", ".mjs"))
    if script:
        _escape_all(tree)
    lines = [f"# From {file}, by `pyinit convert`.", "apps:"]
    for node, where in app_nodes(tree, problems):
        if node.kind != "map":
            problems.error(node, where, "must be a mapping with `script` and other keys")
            continue
        lines += _app(node, where, problems)
    if tree.kind == "map" and (tree.get("apps") or tree.get("pm2")):
        for word, (key, value) in tree.entries.items():
            if word in keys.IGNORED_TOP_KEYS:
                problems.warn(key, word, f"is left out: {keys.IGNORED_TOP_KEYS[word]}")
            elif word not in {"apps", "pm2"} and not word.startswith("x-"):
                lines += ["", f"{emit.text(word)}:{emit.block(value, '  ')}"]
    return "\n".join(lines) + "\n"


def _app(node: Node, where: str, problems: Problems) -> list[str]:
    spellings = keys.by_spelling(keys.APP_KEYS)
    entries: dict[str, Node] = {}
    for word, (key_node, value) in node.entries.items():
        known = spellings.get(word)
        if known is None and word in keys.IGNORED_APP_KEYS:
            path = f"{where}.{word}" if where else word
            problems.warn(key_node, path, f"is left out: {keys.IGNORED_APP_KEYS[word]}")
        else:
            entries[known.name if known else word] = value
    lines = [f"{emit.text(key)}:{emit.block(value, '      ')}" for key, value in entries.items()]
    if not entries.get("kill_timeout", scalar("0", plain=True)).value:
        entries.pop("kill_timeout", None)
        lines = [line for line in lines if not line.startswith("kill_timeout:")]
    for key, default, why in PM2_DEFAULTS:
        if key not in entries:
            lines.append(f"{key}: {default}  # {why}")
    return [f"  {'- ' if index == 0 else '  '}{line}" for index, line in enumerate(lines)]


def _escape_all(tree: Node) -> None:
    """A `${X}` of JavaScript's is a shell's; the YAML must not replace it."""
    todo = [tree]
    while todo:
        node = todo.pop()
        todo += node.items
        todo += [value for _, value in node.entries.values()]
        if node.kind == "scalar" and isinstance(node.value, str):
            node.text = node.value = escape(node.text)
