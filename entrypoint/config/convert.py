"""`pyinit convert`: a PM2 file as pyinit's YAML, with the defaults that PM2 has otherwise.

What is printed is read again before: it is YAML, every key is known, and every value is
one that its key takes.
"""

from __future__ import annotations

import os

from . import findings
from .comments import Comments
from .convert_text import YamlWriter
from .errors import Problems
from .files import File, app_nodes, find, read_bytes, read_file, to_native
from .load import read_text
from .references import KEPT, Environment, Reference, looks_secret
from .tree import Node, decode
from .variables import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_EXTENSIONS = (".js", ".cjs", ".mjs", ".json", ".yml", ".yaml")
_SCRIPTS = (".js", ".cjs", ".mjs")
# So many variables at once come from `...process.env`; a worker has them anyway.
_MANY = 10


def converted(
    path: str | tuple[str, ...] | None,
    environ: Mapping[str, str],
    problems: Problems,
    env_name: str = "",
) -> str:
    """The file's apps as YAML. Omitted or changed settings become warnings.

    Several files are units of systemd. Raises ConfigErrors when a file cannot be read, or
    not be written as YAML.
    """
    from .imports import imported

    paths = path if isinstance(path, tuple) else ()
    paths = paths or (find(path if isinstance(path, str) else None, environ),)
    problems.file = name = paths[0]
    text = imported(paths, read_bytes, problems)
    if text is None:
        if not name.endswith(_EXTENSIONS):
            raise problems.stop(
                None,
                "",
                "is no file that can be converted: PM2's (.config.js, .json, process.yml), a "
                "Procfile, supervisord.conf, crontab, units of systemd, a folder of s6-rc.d, or a "
                "Compose file",
            )
        text = _Conversion(name, environ, problems, env_name).text()
    problems.raise_errors()
    _read_again(text, problems)
    return text


def _read_again(text: str, problems: Problems) -> None:
    """Raise ConfigErrors if pyinit would not accept the generated YAML."""
    found = Problems("the YAML that was made")
    read_text(text, found)
    for error in found.errors:
        problems.error(None, error.path, f"cannot be written as YAML: {error.message}")
    problems.raise_errors()


class _Conversion:
    def __init__(
        self, name: str, environ: Mapping[str, str], problems: Problems, env_name: str
    ) -> None:
        self._name = name
        self._environ = environ
        self._problems = problems
        self._env_name = env_name
        self._references: dict[Node, Reference] = {}
        source = decode(read_bytes(name, problems), problems)
        self._comments = Comments(source, yaml=name.endswith((".yml", ".yaml")))
        self._file = self._read()

    def _read(self) -> File:
        name, problems = self._name, self._problems
        if not name.endswith(_SCRIPTS):
            file = read_file(name, self._environ, problems)
            if file.pm2:
                to_native(file, self._environ, problems, self._env_name)
                _escape_all(file.tree, {})
            return file
        file, reads, files = self._evaluated(self._environ, problems)
        self._say_options(file.tree)
        to_native(file, self._environ, problems, self._env_name)
        environment = Environment(reads, self._environ)
        if environment:
            marked = self._other(environment.marked)
            without = self._other(environment.without)
            for node, where in app_nodes(file.tree, problems):
                self._refer(environment, node, where, (marked, without))
        self._left_behind(file, files)
        _escape_all(file.tree, self._references)
        return file

    def _evaluated(
        self, environ: Mapping[str, str], problems: Problems
    ) -> tuple[File, tuple[str, ...], tuple[str, ...]]:
        from .jsfile import parse_js
        from .jslocations import put_locations

        args = (self._name, *(("--env", self._env_name) if self._env_name else ()))
        found = parse_js(self._name, environ, problems, args, trace=True)
        put_locations(found.tree, read_bytes(self._name, problems).decode("utf-8", "replace"))
        return File(found.tree, found.environ, pm2=True), found.reads, found.files

    def _other(self, environ: Mapping[str, str]) -> dict[str, Node]:
        """Values by path in another environment; none where the file fails in it."""
        from .errors import ConfigErrors

        problems = Problems(self._name)
        try:
            file, _, _ = self._evaluated(environ, problems)
            to_native(file, environ, problems, self._env_name)
        except ConfigErrors:
            return {}
        return dict(
            leaf for node, where in app_nodes(file.tree, problems) for leaf in _leaves(node, where)
        )

    # -- what comes from the environment ------------------------------------------------

    def _refer(
        self,
        environment: Environment,
        app: Node,
        where: str,
        others: tuple[dict[str, Node], dict[str, Node]],
    ) -> None:
        marked, without = others
        for path, node in _leaves(app, where):
            if node.is_null:
                continue
            other, empty = marked.get(path), without.get(path)
            name = path.rpartition(".")[2]
            found = environment.reference(node, other, empty)
            if found is None and (other is None or name in KEPT):
                found = _by_value(environment, name, node)
            if found is not None:
                self._references[node] = found
            elif _differs(node, other, empty):
                # What changes with the mark is made of the variable, not chosen by it.
                made = other is not None and (empty is None or other.text != empty.text)
                self._depends(path, node, environment, made=made)
            elif other is None and environment.holds_value(node.text):
                self._depends(path, node, environment, made=True)
        self._add_unset(environment, app, where, marked)
        self._drop_passed_on(app)
        names = [
            name
            for _, node in _leaves(app, where)
            if node in self._references
            for name in self._references[node].names
        ]
        if names:
            listed = ", ".join(f"${{{name}}}" for name in dict.fromkeys(names))
            text = f"taken from the environment, where the container starts: {listed}"
            self._problems.warn(app, where, text, findings.CONVERTED_VARIABLE)

    def _depends(self, path: str, node: Node, environment: Environment, *, made: bool) -> None:
        name = path.rpartition(".")[2]
        in_env = any(part == "env" or part.startswith("env_") for part in path.split("."))
        secret = made or looks_secret(name) or environment.holds_value(node.text)
        if in_env and secret:
            self._references[node] = Reference(f"${{{name}}}", (name,))
            text = f"is computed from the environment; ${{{name}}} stands in its place"
        elif secret and not node.text.isdigit():
            text = "is computed from the environment and may hold a secret; write it by hand"
            self._problems.error(node, path, text)
            return
        else:
            text = "depends on the environment; this is the value on this machine"
        self._problems.warn(node, path, text, findings.CONVERTED_VALUE)

    def _add_unset(
        self, environment: Environment, app: Node, where: str, marked: Mapping[str, Node]
    ) -> None:
        """Variables that the file would pass on and that this machine does not have."""
        begin = f"{where}.env." if where else "env."
        known = dict(_leaves(app, where))
        for path, node in marked.items():
            if not path.startswith(begin) or path in known:
                continue
            found = environment.unset(node)
            if found is None:
                continue
            name = path.removeprefix(begin)
            entry = app.entries.get("env")
            if entry is None:
                entry = app.entries["env"] = (app, Node("map", app.line, app.column))
            value = Node("scalar", node.line, node.column)
            self._references[value] = found
            entry[1].entries[name] = (value, value)

    def _drop_passed_on(self, app: Node) -> None:
        """Leave out variables that every worker inherits, where they are many."""
        env = app.get("env")
        if env is None or env.kind != "map":
            return
        same = []
        for name, (_, value) in env.entries.items():
            found = self._references.get(value)
            passed = {f"${{{name}}}", f"${{{name}:-}}"}
            if found.text in passed if found else self._environ.get(name) == value.text:
                same.append(name)
        if len(same) > _MANY:
            for name in same:
                del env.entries[name]

    def _left_behind(self, file: File, files: tuple[str, ...]) -> None:
        """The variables that the file adds to `process.env`: all apps get them."""
        added = {
            name: value for name, value in file.environ.items() if self._environ.get(name) != value
        }
        if not added:
            return
        sources = [(path, _variables_of(path)) for path in files if _is_env_file(path)]
        used = [path for path, found in sources if any(added.get(k) == v for k, v in found.items())]
        for _, found in sources:
            for name, value in found.items():
                if added.get(name) == value:
                    del added[name]
        folder = os.path.dirname(os.path.abspath(self._name))
        used = [os.path.relpath(path, folder) for path in used]
        if used:
            text = (
                f"reads {', '.join(used)} into process.env: `env_file` does, and has precedence "
                "over the container's environment, which dotenv has not"
            )
            self._problems.warn(None, "", text, findings.CONVERTED_DIFFERENCE)
        for node, where in app_nodes(file.tree, self._problems):
            if node.kind == "map":
                self._add(node, where, used, added)

    def _add(self, app: Node, where: str, files: list[str], added: Mapping[str, str]) -> None:
        env = app.get("env")
        entries = env.entries if env is not None and env.kind == "map" else {}
        for name, value in added.items():
            if name in entries:
                continue
            node = Node("scalar")
            node.text = node.value = value
            if looks_secret(name):
                self._references[node] = Reference(f"${{{name}}}", (name,))
                path = f"{where}.env.{name}" if where else f"env.{name}"
                text = f"is set by the file; ${{{name}}} stands in place of its value"
                self._problems.warn(None, path, text, findings.CONVERTED_VARIABLE)
            entries[name] = (node, node)
        if entries:
            made = env or Node("map")
            made.entries = entries
            app.entries["env"] = (app.entries.get("env", (made, made))[0], made)
        if files:
            listed = Node("seq")
            listed.items = [_text_node(path) for path in files]
            app.entries["env_file"] = (listed, listed)

    def _say_options(self, tree: Node) -> None:
        """Report options and variables that only apply with `--env NAME`, which YAML has not."""
        from entrypoint.config.pm2.schema import OPTIONS_IN_ENV

        if self._env_name:
            return
        for app, where in app_nodes(tree, self._problems):
            for word, (key, block) in app.entries.items() if app.kind == "map" else ():
                if not word.startswith("env_") or block.kind != "map":
                    continue
                options = sorted(OPTIONS_IN_ENV & set(block.entries))
                if options:
                    text = (
                        f"holds options ({', '.join(options)}), which YAML has not there; "
                        f"`pyinit convert --env {word.removeprefix('env_')}` applies them"
                    )
                    path = f"{where}.{word}" if where else word
                    self._problems.warn(key, path, text, findings.CONVERTED_DIFFERENCE)
        deploy = tree.get("deploy") if tree.kind == "map" else None
        for name, (_, target) in deploy.entries.items() if deploy is not None else ():
            if target.get("env") is not None:
                text = (
                    f"holds variables for `--env {name}`; `pyinit convert --env {name}` takes them"
                )
                self._problems.warn(None, f"deploy.{name}", text, findings.CONVERTED_DIFFERENCE)

    def text(self) -> str:
        """The YAML."""
        first = f"# From {self._name}, by `pyinit convert`."
        if self._env_name:
            first += f" For --env {self._env_name}."
        writer = YamlWriter(self._comments, self._references, self._problems)
        return writer.text(self._file.tree, first)


def _leaves(node: Node, where: str) -> Iterator[tuple[str, Node]]:
    """All scalars below a node, with their paths."""
    if node.kind == "map":
        for key, (_, value) in node.entries.items():
            yield from _leaves(value, f"{where}.{key}" if where else key)
    elif node.kind == "seq":
        for at, item in enumerate(node.items):
            yield from _leaves(item, f"{where}[{at}]")
    else:
        yield where, node


def _differs(node: Node, *others: Node | None) -> bool:
    return any(other is not None and other.text != node.text for other in others)


def _by_value(environment: Environment, name: str, node: Node) -> Reference | None:
    """A reference by the value alone, where the file cannot be evaluated with a mark."""
    same = [n for n, value in environment.all_values.items() if value == node.text]
    if name in same:
        return Reference(f"${{{name}}}", (name,))
    same = [n for n in same if len(node.text) > 3 and n not in KEPT]
    return Reference(f"${{{same[0]}}}", (same[0],)) if same else None


def _is_env_file(path: str) -> bool:
    base = os.path.basename(path)
    return base.startswith(".env") or base.endswith(".env")


def _variables_of(path: str) -> dict[str, str]:
    """The variables of a `.env` file."""
    from .dotenv import parse

    try:
        with open(path, encoding="utf-8") as stream:
            return parse(stream.read(), {}, lambda *_: None)
    except (OSError, UnicodeDecodeError):
        return {}


def _text_node(text: str) -> Node:
    node = Node("scalar")
    node.text = node.value = text
    return node


def _escape_all(tree: Node, references: Mapping[Node, Reference]) -> None:
    """A `${X}` of JavaScript's is a shell's; the YAML must not replace it."""
    todo = [tree]
    while todo:
        node = todo.pop()
        todo += node.items
        todo += [value for _, value in node.entries.values()]
        if node.kind == "scalar" and isinstance(node.value, str) and node not in references:
            node.text = node.value = escape(node.text)
