"""A PM2 file's nodes → nodes by pyinit's keys, in place.

What follows (config/apps.py, `pyinit convert`) reads pyinit's keys only. Texts are
literal: `${X}` and `{port}` mean nothing in PM2's formats.
"""

from __future__ import annotations

from entrypoint.config import findings as f
from entrypoint.config import keys
from entrypoint.config.tree import Node

from .app import Context, Translation
from .values import literal, mapping, sequence, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from entrypoint.config.errors import Problems

    AppNodes = Callable[[Node, Problems], list[tuple[Node, str]]]

_SERVE = (
    *(("port", "PM2_SERVE_PORT"), ("host", "PM2_SERVE_HOST"), ("path", "PM2_SERVE_PATH")),
    *(("spa", "PM2_SERVE_SPA"), ("ftp", "PM2_SERVE_FTP")),
)


def translate(
    tree: Node,
    app_nodes: AppNodes,
    problems: Problems,
    *,
    environ: Mapping[str, str],
    before: Mapping[str, str],
    env_name: str = "",
    look: bool = True,
) -> None:
    """Change `tree` into the tree of a file by pyinit's keys.

    `app_nodes` finds the apps; `environ` and `before` as in `Context`.
    """
    make_literal(tree)
    deploy = tree.get("deploy") if tree.kind == "map" else None
    if deploy is not None:
        location = tree.entries["deploy"][0]
        text = "has no effect: a container is deployed by its orchestrator"
        problems.note(location, "deploy", text, f.DEPLOY)
    _static(tree)
    context = Context(problems, environ, before, env_name, deploy, look)
    names: dict[str, int] = {}
    nodes = app_nodes(tree, problems)
    for node, path in nodes:
        if node.kind != "map":
            continue
        made = Translation(context, node, path).entries
        _unique_name(made, names, problems, path)
        node.entries = made
    if tree.kind == "map" and all(node is not tree for node, _ in nodes):
        _top_level(tree, problems)


def make_literal(tree: Node) -> None:
    """Mark these texts as literal: nothing is replaced in them."""
    todo = [tree]
    while todo:
        node = todo.pop()
        node.replaced = False
        todo += node.items
        todo += [value for _, value in node.entries.values()]


def _static(tree: Node) -> None:
    """`static:` as apps with `script: serve`."""
    static = tree.get("static") if tree.kind == "map" else None
    if static is None or static.kind != "seq":
        return
    apps = tree.get("apps") or tree.get("pm2")
    if apps is None:
        apps = sequence([], static)
        tree.entries["apps"] = (apps, apps)
    elif apps.kind == "map":
        apps = sequence([apps], apps)
        tree.entries["apps" if tree.get("apps") else "pm2"] = (apps, apps)
    for item in static.items:
        if item.kind == "map":
            apps.items.append(_server(item))
    del tree.entries["static"]


def _server(item: Node) -> Node:
    port = item.get("port")
    name = item.get("name") or literal(f"static-page-server-{text_of(port) if port else ''}", item)
    env: dict[str, tuple[Node, Node]] = {}
    for key, variable in _SERVE:
        value = item.get(key)
        if value is not None and not value.is_null:
            env[variable] = (value, value)
    if item.get("basic_auth") is not None:
        env["PM2_SERVE_BASIC_AUTH"] = (item, literal("true", item))
    script = literal("serve", item)
    return mapping(
        {"name": (name, name), "script": (script, script), "env": (item, mapping(env, item))}, item
    )


def _unique_name(
    entries: dict[str, tuple[Node, Node]], names: dict[str, int], problems: Problems, path: str
) -> None:
    """A unique name: PM2 runs two apps of one name, pyinit does not."""
    if "name" not in entries:
        return
    key, node = entries["name"]
    name = node.text
    if name not in names:
        names[name] = 1
        return
    number = names[name] + 1
    while f"{name}-{number}" in names:
        number += 1
    names[name] = number
    names[f"{name}-{number}"] = 1
    entries["name"] = (key, literal(f"{name}-{number}", node))
    where = f"{path}.name" if path else "name"
    text = f"{name!r} is the name of another app; here this one is called {name}-{number}"
    problems.warn(node, where, text, f.SAME_NAME)
    env = entries["env"][1] if "env" in entries else mapping({}, node)
    env.entries.setdefault("name", (node, literal(name, node)))
    entries["env"] = (key, env)


def _top_level(tree: Node, problems: Problems) -> None:
    own = keys.by_spelling(keys.TOP_KEYS)
    for word, (key, _) in list(tree.entries.items()):
        if word in own or word.startswith("x-"):
            continue
        del tree.entries[word]
        if word in {"deploy", "static"}:
            continue
        text = "is not a top-level key of PM2 and is ignored"
        problems.warn(key, word[:120], text, f.TOP_LEVEL_KEY)
