"""A file → `Plan`: found, parsed, typed, resolved, checked. Every error is told at once.

PM2's rules for the top level hold: `apps` (or `pm2`) is a list or one mapping, or the
file itself is such a list, or one app.
"""

from __future__ import annotations

import os

from entrypoint.core.record import Record
from entrypoint.core.spec import (
    ControlSpec,
    LogSpec,
    Plan,
    ProbeSpec,
    ShutdownSpec,
)
from entrypoint.kernel import cgroup

from . import checks, findings, keys, units
from .apps import read_app, resolve_app
from .errors import Problems
from .include import KEY, Document, Documents
from .jsonfile import parse_json
from .logkeys import read_log_keys
from .read import MISSING, Reader
from .tree import MOST_BYTES, Node, decode, parse_yaml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from entrypoint.core.spec import AppSpec, ListenSpec

    from .apps import RawApp
    from .errors import ConfigError

    Top = dict[str, tuple[str, Node, Any]]
    Keys = tuple[tuple[str, object], ...]
    CommandLine = tuple[Keys, Keys, str]

NAMES = (
    "ecosystem.yaml",
    "ecosystem.yml",
    "ecosystem.json",
    "ecosystem.config.js",
    "ecosystem.config.cjs",
    "ecosystem.config.mjs",
)
# In place of a file's name, where a program was given.
COMMAND_LINE = "command line"
_SCRIPT_EXTENSIONS = (".js", ".cjs", ".mjs")


class File(Record):
    """A file that was parsed. `environ` is what it left of the environment.

    `pm2`: PM2's rules hold for it, and `tree` is as PM2 would read it.
    `node` is the version of the node that evaluated it.
    """

    tree: Node
    environ: Mapping[str, str]
    pm2: bool = False
    node: str = ""


class Loaded(Record):
    """A file that can be run. `details` are the warnings with their places."""

    plan: Plan
    warnings: tuple[str, ...] = ()
    details: tuple[ConfigError, ...] = ()
    notes: tuple[ConfigError, ...] = ()


def load(
    path: str | tuple[str, ...] | None,
    *,
    env_name: str = "",
    only: tuple[str, ...] = (),
    environ: Mapping[str, str],
    revision: int = 1,
    look: bool = True,
    command_line: CommandLine = ((), (), ""),
) -> Loaded:
    """Read the file at `path`, or several, or, without one, the first that `find` finds.

    `env_name` chooses `env_NAME`; `only` keeps the apps of these names. Without `look`
    what lies beside the file is not looked at (scripts, users, variables), and the plan
    cannot be run. `command_line` gives an app in place of files, options for the apps of
    files, and `log.format`. Raises ConfigErrors with everything that is wrong.
    """
    app, options, log_format = command_line
    files = path if isinstance(path, tuple) else ()
    if app:
        files = (COMMAND_LINE,)
    files = files or (find(path if isinstance(path, str) else None, environ),)
    problems = Problems(files[0])
    reader = Reader(problems, environ, cgroup.usable_cpus)
    reader.look = look
    origins: dict[Node, File] = {}

    def read(name: str) -> Node:
        file = read_app_of(app) if app else read_file(name, environ, problems, env_name)
        add_options(file, options, problems)
        if file.pm2:
            to_native(file, environ, problems, env_name, look=look)
        reader.node_version = reader.node_version or file.node
        origins[file.tree] = file
        return file.tree

    documents = Documents(reader, read).all_of(files)
    plan = _Planner(reader, env_name, only, origins).plan(documents)
    problems.raise_errors()
    if log_format:
        plan = plan.replace(log=plan.log.replace(format=log_format))
    warnings = problems.warnings
    return Loaded(
        plan.replace(revision=revision, source=files[0]),
        tuple(map(str, warnings)),
        warnings,
        problems.notes,
    )


def find(path: str | None, environ: Mapping[str, str]) -> str:
    """The file to read: `path`, `$PYINIT_CONFIG`, or a usual name in the working folder.

    Raises ConfigErrors when there is none.
    """
    if path is None:
        path = environ.get("PYINIT_CONFIG") or None
    if path is not None:
        return path
    for name in NAMES:
        if os.path.exists(name):
            return name
    raise Problems("pyinit").stop(
        None,
        "",
        f"no configuration: none of {', '.join(NAMES[:4])} in {os.getcwd()}; "
        "use -c FILE or PYINIT_CONFIG, or begin with `pyinit ecosystem`",
    )


def read_file(
    file: str, environ: Mapping[str, str], problems: Problems, env_name: str = ""
) -> File:
    """The file's nodes, by its extension. Raises ConfigErrors."""
    from entrypoint.config.pm2.formats import is_pm2

    data = read_bytes(file, problems)
    if file.endswith(_SCRIPT_EXTENSIONS):
        from .jsfile import parse_js
        from .jsplaces import put_places

        args = (file, "--env", env_name) if env_name else (file,)
        found = parse_js(file, environ, problems, args)
        source = data.decode("utf-8", "replace")
        put_places(found.tree, source)
        return File(found.tree, found.environ, is_pm2(file, found.tree), found.version)
    text = decode(data, problems)
    if not text.strip():
        raise problems.stop(None, "", "is empty")
    tree = parse_json(text, problems) if file.endswith(".json") else parse_yaml(text, problems)
    if tree.is_null:
        raise problems.stop(None, "", "is empty")
    return File(tree, environ, is_pm2(file, tree))


def read_app_of(app: tuple[tuple[str, object], ...]) -> File:
    """The file that the command line of `pyinit start PROGRAM` stands for."""
    from entrypoint.config.pm2.values import made

    return File(made([dict(app)]), os.environ, pm2=True)


def add_options(file: File, options: tuple[tuple[str, object], ...], problems: Problems) -> None:
    """Lay options of the command line over the apps of a file, as PM2 does."""
    from entrypoint.config.pm2.values import is_falsy, made

    for node, _ in app_nodes(file.tree, problems) if options else ():
        for key, value in options if node.kind == "map" else ():
            given = node.get(key)
            # These count where the file says nothing.
            if key in {"watch", "ignore_watch", "namespace"} and given and not is_falsy(given):
                continue
            option = made(value)
            node.entries[key] = (option, option)


def to_native(
    file: File,
    before: Mapping[str, str],
    problems: Problems,
    env_name: str = "",
    *,
    look: bool = True,
) -> None:
    """Turn a PM2 file's nodes into pyinit's keys, in place."""
    from entrypoint.config.pm2.translate import translate

    translate(
        file.tree,
        app_nodes,
        problems,
        environ=file.environ,
        before=before,
        env_name=env_name,
        look=look,
    )


def read_text(text: str, problems: Problems) -> None:
    """Check the text of a YAML file, and nothing beside it: scripts, users, variables."""
    reader = Reader(problems, {}, cgroup.usable_cpus)
    reader.look = False
    tree = parse_yaml(text, problems)
    documents = (Document(problems.file, tree),)
    _Planner(reader, "", (), {tree: File(tree, {})}).plan(documents)


def read_bytes(file: str, problems: Problems) -> bytes:
    """The content of a file. Raises ConfigErrors."""
    try:
        # Not blocking: a FIFO would wait for a writer.
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no name of a file"
        raise problems.stop(None, "", f"cannot be read: {reason}") from None
    parts = []
    total = 0
    try:
        while total <= MOST_BYTES and (part := os.read(fd, 1 << 16)):
            parts.append(part)
            total += len(part)
    except OSError as error:
        raise problems.stop(None, "", f"cannot be read: {error.strerror}") from None
    finally:
        os.close(fd)
    return b"".join(parts)


def app_nodes(tree: Node, problems: Problems) -> list[tuple[Node, str]]:
    """The apps of a file and their paths, in all forms that PM2 takes."""
    if tree.kind == "seq":
        return [(item, f"[{index}]") for index, item in enumerate(tree.items)]
    if tree.kind != "map":
        raise problems.stop(tree, "", "must be a mapping with `apps`")
    for word in ("apps", "pm2"):
        apps = tree.get(word)
        if apps is None:
            continue
        if apps.kind == "seq":
            return [(item, f"{word}[{index}]") for index, item in enumerate(apps.items)]
        if apps.kind == "map":
            return [(apps, word)]
        if not apps.is_null:
            problems.error(apps, word, "must be a list of apps")
        return []
    return [(tree, "")]


class _Planner:
    def __init__(
        self, reader: Reader, env_name: str, only: tuple[str, ...], origins: Mapping[Node, File]
    ) -> None:
        self._reader = reader
        self._problems = reader.problems
        self._env_name = env_name
        self._only = only
        self._origins = origins
        self._environ = reader.environ
        # The file of each app.
        self._files: dict[Node, File] = {}

    def plan(self, documents: tuple[Document, ...]) -> Plan:
        """The plan; it is worth nothing once there was an error."""
        top: Top = {}
        nodes: list[tuple[Node, str]] = []
        for document in documents:
            found = self._document(document, top)
            self._files.update((node, self._origins[document.tree]) for node, _ in found)
            nodes += found
        if not nodes and not self._problems.errors:
            tree = documents[0].tree
            self._problems.error(tree, "apps" if tree.kind == "map" else "", "has no app")
        raw = [read_app(self._reader, node, path, self._env_name) for node, path in nodes]
        apps = self._selected(tuple(app for app in raw if app is not None))
        self._check_env_name(apps)
        resolved = self._resolve(apps)
        probes, probes_place = self._probes(top)
        checks.check_listeners(self._problems, apps, probes.listen, probes_place)
        shutdown = self._shutdown(top, resolved)
        log, multiline = self._log(top)
        return Plan(
            cpus=cgroup.usable_cpus(),
            apps=tuple(_with_rule(app, multiline) for app in resolved),
            probes=probes,
            log=log,
            control=self._control(top),
            shutdown=shutdown,
            watch_config=top["watch_config"][2] if "watch_config" in top else False,
            files=tuple(self._reader.files),
        )

    def _document(self, document: Document, top: Top) -> list[tuple[Node, str]]:
        """The apps of one file; its other keys are added to `top`."""
        tree = document.tree
        nodes = app_nodes(tree, self._problems)
        whole_file = tree.kind == "map" and nodes != [(tree, "")]
        if tree.kind == "map" and not whole_file and not _is_app(tree):
            # Neither `apps` nor an app: its keys are the top level's, misspelt or not.
            if KEY not in tree.entries:
                self._problems.error(tree, "", "has no `apps`")
            whole_file, nodes = True, []
        if whole_file:
            found = self._reader.section(
                tree, "", keys.TOP_KEYS, keys.IGNORED_TOP_KEYS, self._other_top(tree)
            )
            for name, entry in found.items():
                if name in top and name not in ("apps", KEY):
                    first = top[name][1]
                    where = f"{self._problems.file_of(first)}:{first.line}"
                    self._problems.error(entry[1], entry[0], f"is already given in {where}")
                top.setdefault(name, entry)
        return nodes

    def _other_top(self, tree: Node) -> Any:
        static = tree.entries.get("static")
        if static is not None:
            self._problems.error(
                static[0], "static", "pyinit serves no files itself; run a server as an app"
            )
        # As Compose: a place for anchors.
        return lambda word: word == "static" or word.startswith("x-")

    def _selected(self, apps: tuple[RawApp, ...]) -> tuple[RawApp, ...]:
        checks.check_names(self._problems, apps)
        checks.check_depends(self._problems, apps)
        if not self._only:
            return apps
        names = [app.name for app in apps]
        for name in self._only:
            if name not in names:
                near = self._problems.suggest(name, names)
                self._problems.error(None, "", f"--only: there is no app {name[:60]!r}{near}")
        return tuple(app for app in apps if app.name in self._only)

    def _check_env_name(self, apps: tuple[RawApp, ...]) -> None:
        name = self._env_name
        if name and apps and not any(app.node.get(f"env_{name}") for app in apps):
            text = f"--env {name[:60]}: no app has `env_{name[:60]}`"
            self._problems.warn(None, "", text, findings.NO_ENV_NAME)

    def _resolve(self, apps: tuple[RawApp, ...]) -> tuple[AppSpec, ...]:
        names = {app.name for app in apps}
        resolved = []
        for raw in apps:
            app = resolve_app(self._reader, raw, self._files[raw.node].environ)
            if app is None:
                continue
            checks.check_app(self._problems, raw, app)
            for depends in app.depends_on:
                if depends.app not in names and self._only:
                    self._problems.warn(
                        *raw.place("depends_on"), f"{depends.app!r} is left out by --only"
                    )
            kept = tuple(depends for depends in app.depends_on if depends.app in names)
            file = self._files[raw.node]
            if file.pm2:
                checks.note_pm2(self._problems, raw, app)
            else:
                checks.note_native(self._problems, raw, app)
            resolved.append(app.replace(depends_on=kept))
        return tuple(resolved)

    def _map(self, top: Top, name: str, table: tuple[keys.Key, ...]) -> dict[str, Any] | None:
        """The values of a top-level mapping; None when it is there but no mapping."""
        if name not in top:
            return {}
        path, node, _ = top[name]
        if node.kind != "map":
            return None
        found = self._reader.section(node, path, table)
        return {key: value for key, (_, _, value) in found.items()}

    def _probes(self, top: Top) -> tuple[ProbeSpec, tuple[Node | None, str]]:
        values = self._map(top, "probes", keys.PROBES_KEYS)
        if values is None:
            # `probes: 9400` is what it looks like.
            path, node, _ = top["probes"]
            if self._reader.typed(node) is False:
                return ProbeSpec(), (node, path)
            listen: tuple[ListenSpec, ...] = self._reader.read_listen(node, path)
            return ProbeSpec(listen=listen), (node, path)
        if not values:
            return ProbeSpec(), (None, "probes")
        path, node, _ = top["probes"]
        return ProbeSpec(**values), (node.get("listen") or node, f"{path}.listen")

    def _log(self, top: Top) -> tuple[LogSpec, str]:
        """`log:`, and the `multiline` of apps that say nothing of it."""
        values = self._map(top, "log", keys.LOG_KEYS)
        if values is None:
            path, node, _ = top["log"]
            chosen = self._reader.read(keys.LOG_KEYS[0], node, path)
            return LogSpec(format=chosen), "off"
        if "keys" in values:
            chosen = read_log_keys(self._reader, values["keys"], f"{top['log'][0]}.keys")
            values["keys"] = chosen.preset if chosen is not MISSING else "default"
            values["names"] = chosen.names if chosen is not MISSING else ()
        multiline = values.pop("multiline", "off")
        return LogSpec(**values), multiline

    def _control(self, top: Top) -> ControlSpec:
        values = self._map(top, "control", keys.CONTROL_KEYS)
        if values is None:
            path, node, _ = top["control"]
            value = self._reader.typed(node)
            if isinstance(value, bool):
                return ControlSpec(enabled=value)
            values = {"path": self._reader.read_text(node, path)}
        where = values.get("path")
        if isinstance(where, str) and not where.startswith(("/", "@")):
            path, node, _ = top["control"]
            self._problems.error(
                node.get("path") or node, path, "the path must be absolute, or begin with @"
            )
        return ControlSpec(**values)

    def _shutdown(self, top: Top, apps: tuple[AppSpec, ...]) -> ShutdownSpec:
        values = self._map(top, "shutdown", keys.SHUTDOWN_KEYS)
        if values is None:
            path, node, _ = top["shutdown"]
            self._problems.error(node, path, "must be a mapping, such as {drain_delay: 5s}")
            return ShutdownSpec()
        place = (
            (top["shutdown"][1], top["shutdown"][0]) if "shutdown" in top else (None, "shutdown")
        )
        if "grace" not in values:
            values["grace"] = self._told_grace(place)
        spec = ShutdownSpec(**values)
        checks.check_times(self._problems, apps, spec, place)
        return spec

    def _told_grace(self, place: tuple[Node | None, str]) -> float:
        """`PYINIT_GRACE`: what the one who sets the grace says beside it, 0 when nothing."""
        text = self._environ.get("PYINIT_GRACE", "")
        try:
            return units.seconds(text) if text else 0.0
        except ValueError as error:
            self._problems.warn(*place, f"PYINIT_GRACE in the environment is ignored: {error}")
            return 0.0


def _with_rule(app: AppSpec, default: str) -> AppSpec:
    rule = app.multiline or default
    return app.replace(multiline="" if rule == "off" else rule)


def _is_app(tree: Node) -> bool:
    script = {word for word, key in keys.by_spelling(keys.APP_KEYS).items() if key.name == "script"}
    return any(word in script for word in tree.entries)
