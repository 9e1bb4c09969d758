"""Turns a file into a `Plan`: found, parsed, typed, resolved, checked. Reports all errors."""

from __future__ import annotations

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
from .files import (
    COMMAND_LINE,
    File,
    add_options,
    app_nodes,
    find,
    read_app_of,
    read_file,
    to_native,
)
from .include import KEY, Document, Documents
from .logkeys import read_log_keys
from .read import MISSING, Reader
from .tree import Node, parse_yaml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from entrypoint.core.spec import AppSpec, ListenSpec

    from .apps import RawApp
    from .errors import ConfigError

    Top = dict[str, tuple[str, Node, Any]]
    Keys = tuple[tuple[str, object], ...]
    CommandLine = tuple[Keys, Keys, str, bool]

# Orchestrators count it in whole seconds: their number without a unit is milliseconds here.
_NO_GRACE = "less than a second; seconds are written 30s"


class Loaded(Record):
    """A file that can be run. `details` are the warnings with their locations."""

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
    command_line: CommandLine = ((), (), "", False),
) -> Loaded:
    """Read the file at `path`, or several, or, without one, the first that `find` finds.

    `env_name` chooses `env_NAME`; `only` keeps the apps of these names. Without `look`
    nothing beside the file is read (scripts, users, variables), and the plan
    cannot be run. `command_line` gives an app in place of files, options for the apps of
    files, `log.format`, and whether apps get what `pyinit dev` gives. Raises ConfigErrors with
    everything that is wrong.
    """
    app, options, log_format, dev = command_line
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
        if dev:
            from .dev import add_defaults

            add_defaults(file, problems)
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
    if dev:
        from .dev import as_for_dev

        plan = as_for_dev(plan)
    warnings = problems.warnings
    return Loaded(
        plan.replace(revision=revision, source=files[0]),
        tuple(map(str, warnings)),
        warnings,
        problems.notes,
    )


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
        """The plan; it is useless once there was an error."""
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
        probes, probes_location = self._probes(top)
        checks.check_listeners(self._problems, apps, probes.listen, probes_location)
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
            # Neither `apps` nor an app: its keys belong to the top level, misspelt or not.
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
        # As in Compose: a section for anchors.
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
                        *raw.location("depends_on"), f"{depends.app!r} is left out by --only"
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
        """The values of a top-level mapping; None if it is present but not a mapping."""
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
        """`log:`, and the `multiline` of apps that do not set it."""
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
        location = (
            (top["shutdown"][1], top["shutdown"][0]) if "shutdown" in top else (None, "shutdown")
        )
        if "grace" not in values:
            values["grace"] = self._grace_from_environment(location)
        elif 0 < values["grace"] < 1:
            self._problems.error(location[0], f"{location[1]}.grace", _NO_GRACE)
        spec = ShutdownSpec(**values)
        return checks.check_times(self._problems, apps, spec, location)

    def _grace_from_environment(self, location: tuple[Node | None, str]) -> float:
        """Grace period from `$PYINIT_GRACE`, 0 if unset."""
        text = self._environ.get("PYINIT_GRACE", "")
        try:
            grace = units.seconds(text) if text else 0.0
            wrong = _NO_GRACE if 0 < grace < 1 else ""
        except ValueError as error:
            grace, wrong = 0.0, str(error)
        if wrong:
            self._problems.warn(*location, f"PYINIT_GRACE in the environment is ignored: {wrong}")
        return 0.0 if wrong else grace


def _with_rule(app: AppSpec, default: str) -> AppSpec:
    rule = app.multiline or default
    return app.replace(multiline="" if rule == "off" else rule)


def _is_app(tree: Node) -> bool:
    script = {word for word, key in keys.by_spelling(keys.APP_KEYS).items() if key.name == "script"}
    return any(word in script for word in tree.entries)


def read_text(text: str, problems: Problems) -> None:
    """Check only the text of a YAML file: no scripts, users or variables."""
    reader = Reader(problems, {}, cgroup.usable_cpus)
    reader.look = False
    tree = parse_yaml(text, problems)
    documents = (Document(problems.file, tree),)
    _Planner(reader, "", (), {tree: File(tree, {})}).plan(documents)
