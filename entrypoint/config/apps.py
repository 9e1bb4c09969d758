"""One app: its keys, typed, → `AppSpec`, resolved and checked against this container."""

from __future__ import annotations

import os

from entrypoint.core.record import Record
from entrypoint.core.spec import AppSpec
from entrypoint.sockets.node_protocol import is_launcher

from . import command, keys, users
from .errors import quoted
from .read import MISSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from .read import Reader
    from .tree import Node

    Values = dict[str, tuple[str, Node, Any]]

# Variables of pyinit's own parent, which no worker may inherit.
_NOT_INHERITED = frozenset(
    (
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
        "NODE_CHANNEL_FD",
        "NODE_CHANNEL_SERIALIZATION_MODE",
        "NODE_UNIQUE_ID",
    )
)
# execvp(3)'s own, for an environment without PATH.
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
# Values that go into AppSpec as they were read.
_AS_READ = (
    "instance_var",
    "increment_var",
    "autostart",
    "autorestart",
    "main",
    "max_restarts",
    "min_uptime",
    "restart_delay",
    "exp_backoff_restart_delay",
    "stop_exit_codes",
    "max_memory_restart",
    "memory",
    "cron_restart",
    "overlap",
    "ignore_watch",
    "watch_delay",
    "wait_ready",
    "on_listen_timeout",
    "kill_signal",
    "shutdown_with_message",
    "treekill",
    "rlimits",
    "umask",
    "nice",
    "oom_score_adj",
    "stdin",
    "tty",
    "before_start",
    "before_start_timeout",
    "after_stop",
    "namespace",
    "time",
    "multiline",
    "listen",
    "retire_delay",
    "drain",
    "stall_timeout",
    "handoff",
    "health",
    "watchdog",
    "depends_on",
    "on_errored",
    "reload_parallel",
    "min_ready",
    "relay",
    "ipc",
    "pm2_env",
    "placeholders",
)
_WITH_FILES = frozenset(("env_file", "env_from_file"))
# Keys that begin as `env_NAME` does.
_NO_ENV_NAME = frozenset(
    ("env_", *keys.by_spelling(keys.APP_KEYS), *keys.IGNORED_APP_KEYS),
)
_PLACEHOLDERS = ("{fd}", "{port}", "{instance}", "{slot}")
# What plain paths have not: for them `re` is not imported.
_SPECIAL = frozenset("*?[{(+^$|\\")
# PM2: `new_env.listen_timeout || default`.
_ZERO_IS_DEFAULT = ("listen_timeout", "kill_timeout")


class RawApp(Record):
    """An app of the file with typed keys, before it is resolved for this container."""

    name: str
    path: str
    node: Node
    values: Values

    def location(self, *names: str) -> tuple[Node, str]:
        """Node and path of the first of `names` that the file has, else of the app."""
        for name in names:
            if name in self.values:
                where, node, _ = self.values[name]
                return node, where
        return self.node, self.path

    def value(self, name: str, default: Any = None) -> Any:
        """The value of a key, or `default` when the file has none."""
        return self.values[name][2] if name in self.values else default


def read_app(reader: Reader, node: Node, path: str, env_name: str) -> RawApp | None:
    """Type all keys of an app. None if it has no usable name."""
    if node.kind != "map":
        reader.fail(node, path, "must be a mapping with `script` and other keys")
        return None
    values = reader.section(
        node,
        path,
        keys.APP_KEYS,
        keys.IGNORED_APP_KEYS,
        lambda word: word.startswith("env_") and len(word) > 4,
    )
    for word, (_, value) in node.entries.items():
        if not word.startswith("env_") or word in _NO_ENV_NAME:
            continue
        where = f"{path}.{word}" if path else word
        if value.is_null:
            continue
        if value.kind != "map":
            near = reader.problems.suggest(word, keys.by_spelling(keys.APP_KEYS))
            reader.fail(value, where, f"must be a mapping of names to values{near}")
        # The variables of other environments need not be set.
        elif word == f"env_{env_name}":
            values["env_NAME"] = (where, value, reader.read_env(value, where))
    if "script" not in values and not _script_is_wrong(reader, node, path):
        reader.fail(node, path, "needs a `script`: what to run")
    name = values["name"][2] if "name" in values else _default_name(values)
    if env_name and values.get("append_env_to_name", ("", node, False))[2]:
        name = f"{name}-{env_name}"
    return RawApp(name, path, node, values)


def _script_is_wrong(reader: Reader, node: Node, path: str) -> bool:
    """Whether an error was reported for its `script`, so that it has no value."""
    spellings = keys.by_spelling(keys.APP_KEYS)
    for word, (_, value) in node.entries.items():
        if word in spellings and spellings[word].name == "script":
            where = f"{path}.{word}" if path else word
            return not value.is_null or reader.problems.has_error_at(where)
    return False


def _default_name(values: Values) -> str:
    """PM2's: the script's base name without its extension."""
    script = str(values["script"][2]).split() if "script" in values else []
    base = os.path.basename(script[0].rstrip("/")) if script else ""
    return os.path.splitext(base)[0] or base or "app"


def environment(
    reader: Reader, app: RawApp, environ: Mapping[str, str], identity: users.Identity
) -> dict[str, str]:
    """A worker's environment: the inherited one, filtered, then overridden by the file.

    `env_file`, `env_from_file`, `env`, `env_NAME` and `port`, in this order.
    """
    dropped = app.value("filter_env", False)
    env: dict[str, str] = {}
    for name, value in environ.items():
        if name in _NOT_INHERITED or dropped is True:
            continue
        if isinstance(dropped, str) and dropped == name:
            continue
        # PM2 drops every variable whose name contains an entry of the list.
        if isinstance(dropped, tuple) and any(part in name for part in dropped):
            continue
        env[name] = value
    if identity.home:
        env["HOME"] = identity.home
    if "uid" in app.values:
        # The values of pyinit's own user would be wrong; login(1) sets both.
        env.pop("USER", None)
        env.pop("LOGNAME", None)
        if identity.name:
            env["USER"] = env["LOGNAME"] = identity.name
    if reader.look and not _WITH_FILES.isdisjoint(app.values):
        env |= _from_files(reader, app, environ)
    for key in ("env", "env_NAME"):
        if app.value(key, MISSING) is not MISSING:
            env |= app.value(key)
    if "port" in app.values:
        env["PORT"] = app.value("port")
    if reader.look and app.value("expand_file_env"):
        from . import envfiles

        envfiles.expand(reader, env, app.value("expand_file_env"), *app.location("expand_file_env"))
    return env


def _from_files(reader: Reader, app: RawApp, environ: Mapping[str, str]) -> dict[str, str]:
    from . import envfiles

    secrets = app.value("env_from_file", ())
    for secret in secrets:
        if secret.name in app.value("env", {}):
            reader.fail(secret.node, secret.where, f"{secret.name} is in `env` as well")
    found = envfiles.variables(reader, app.value("env_file", ()), environ)
    return {**found, **envfiles.secrets(reader, secrets)}


def _to_fill(app: RawApp) -> tuple[str, ...]:
    """Variables of the file itself that hold `{port}` and so on.

    Inherited values and values from files are never templates: a password may contain
    `{fd}`.
    """
    if not app.value("placeholders", True):
        return ()
    said = {**app.value("env", {}), **app.value("env_NAME", {})}
    return tuple(
        sorted(name for name, text in said.items() if any(word in text for word in _PLACEHOLDERS))
    )


def resolve_app(reader: Reader, app: RawApp, environ: Mapping[str, str]) -> AppSpec | None:
    """The app as it will run here. None after an error that leaves no command."""
    identity = users.Identity()
    try:
        if reader.look:
            identity = users.resolve(app.value("uid"), app.value("gid"))
    except users.UserError as error:
        node, where = app.location(error.key, "uid")
        given = str(app.value(error.key))
        message = str(error).replace(quoted(given), reader.redacted(node, given))
        reader.fail(node, where, message)
    env = environment(reader, app, environ, identity)
    cwd = os.path.normpath(os.path.join(os.getcwd(), app.value("cwd", "")))
    if reader.look and not os.path.isdir(cwd):
        node, where = app.location("cwd")
        reader.fail(node, where, f"there is no folder {_folder(reader, app, cwd)}")
        return None
    found = _command(reader, app, env, environ, cwd)
    if found is None:
        return None
    if found.python:
        env.setdefault("PYTHONUNBUFFERED", "1")  # as PM2: lines when they are written
    maps = app.value("source_maps") and found.node_script and not is_launcher(found.argv)
    if reader.look and maps and _has_source_maps(reader, env):
        option = "--enable-source-maps"
        options = env.get("NODE_OPTIONS", "")
        if option not in options.split():
            env["NODE_OPTIONS"] = f"{options} {option}".strip()
    if app.value("pm2_env"):
        from entrypoint.shell import pm2_env

        env = {**pm2_env.for_app(env, found.script, found.interpreter), **env}
        said = {**app.value("env", {}), **app.value("env_NAME", {})}
        if "cwd" in app.values and "PWD" not in said:
            env["PWD"] = cwd
    exec_mode = _exec_mode(app, found)
    changes: dict[str, Any] = {name: app.value(name) for name in _AS_READ if name in app.values}
    if changes.get("main") and "autorestart" not in changes:
        changes["autorestart"] = False
    for name in _ZERO_IS_DEFAULT:
        if app.value(name):
            changes[name] = app.value(name)
    changes["learn_min_uptime"] = "min_uptime" not in app.values
    changes["retire_when_quiet"] = "retire_delay" not in app.values
    _check_ignored(reader, app, cwd)
    watch = app.value("watch", False)
    if watch:
        roots = (cwd,) if watch is True else watch
        changes["watch"] = tuple(os.path.normpath(os.path.join(cwd, root)) for root in roots)
        _warn_of_globs(reader, app, changes["watch"])
        # With a terminal a developer edits, also files that were broken from the beginning.
        changes.setdefault("on_errored", "keep" if os.isatty(0) or os.isatty(1) else "wait")
    return AppSpec(
        name=app.name,
        command=found.argv,
        cwd=cwd,
        env=tuple(sorted(env.items())),
        filled_env=_to_fill(app),
        node=found.node,
        exec_mode=exec_mode,
        instances=app.value("instances", 1),
        by_cpus=_by_cpus(app),
        share=_share(app, exec_mode),
        uid=identity.uid,
        gid=identity.gid,
        groups=identity.groups,
        **changes,
    )


def _by_cpus(app: RawApp) -> int | None:
    """What `instances` adds to the number of CPUs: `max` nothing, `-1` one fewer."""
    if "instances" not in app.values:
        return None
    text = app.location("instances")[0].text.strip().lower()
    if text == "max":
        return 0
    return int(text) if text.removeprefix("-").isdigit() and int(text) <= 0 else None


def _has_source_maps(reader: Reader, env: Mapping[str, str]) -> bool:
    """Whether node takes `--enable-source-maps`: since 12.12. An older one would not start."""
    text = reader.node_version or env.get("NODE_VERSION", "")
    if not text:
        reader.node_version = text = command.node_version(env.get("PATH", ""), os.getcwd())
    return command.numbers(text) >= (12, 12)


def _each(app: RawApp, key: str) -> list[tuple[Node, str]]:
    """The texts of a key that holds one or a list of them, each with its path."""
    node, where = app.location(key)
    if node.kind != "seq":
        return [(node, where)]
    return [(item, f"{where}[{number}]") for number, item in enumerate(node.items)]


def _warn_of_globs(reader: Reader, app: RawApp, roots: tuple[str, ...]) -> None:
    """Warn of globs: PM2 watches what matches `src/**/*.js`; here that is a literal name."""
    for (item, where), root in zip(_each(app, "watch"), roots, strict=False):
        name = "" if item.is_null else item.text
        if not (name.startswith("!") or not frozenset("*?[{").isdisjoint(name)):
            continue
        if not os.path.lexists(root):
            reader.problems.warn(
                item,
                where,
                f"{reader.redacted(item, name)} is taken as a name: give the folder, "
                "and what not to watch in `ignore_watch`",
            )


def _check_ignored(reader: Reader, app: RawApp, cwd: str) -> None:
    """Report invalid patterns as errors here, not when files are watched."""
    patterns = app.value("ignore_watch", ())
    if _SPECIAL.isdisjoint("".join(patterns)):
        return
    from entrypoint.watch.ignoring import ignorer, regular

    from .patterns import check_pattern

    for (item, where), pattern in zip(_each(app, "ignore_watch"), patterns, strict=True):
        try:
            ignorer((pattern,), cwd)
            check_pattern(regular(pattern))
        except ValueError as error:
            reader.fail(item, where, f"{reader.redacted(item, pattern)} {error}")


def _folder(reader: Reader, app: RawApp, cwd: str) -> str:
    """`cwd` for a message."""
    node, _ = app.location("cwd")
    return reader.redacted(node, cwd) if node.replaced else cwd


def _command(
    reader: Reader, app: RawApp, env: dict[str, str], environ: Mapping[str, str], cwd: str
) -> command.Command | None:
    if "script" not in app.values:
        return None
    path = env.get("PATH", "")
    wanted = command.Wanted(
        script=app.value("script"),
        cwd=cwd,
        path=path or environ.get("PATH", "") or _DEFAULT_PATH,
        args=app.value("args", ()),
        interpreter=app.value("interpreter", ""),
        interpreter_args=app.value("interpreter_args", ()),
        show=lambda key, text: reader.redacted(app.location(key)[0], text),
        folder=_folder(reader, app, cwd),
    )
    if not reader.look:
        return command.unseen(wanted)
    try:
        found = command.resolve(wanted)
    except command.CommandError as error:
        node, where = app.location(error.key, "script")
        reader.fail(node, where, str(error))
        return None
    if any("\0" in word for word in found.argv):
        reader.fail(*app.location("args", "script"), "cannot hold a NUL")
        return None
    if not path:
        # Without its own PATH the worker could not find the command again.
        program = command.which(found.argv[0], wanted.path, cwd)
        if program is not None:
            found = found.replace(argv=(program, *found.argv[1:]))
    return found


def _exec_mode(app: RawApp, found: command.Command) -> str:
    """PM2's determineExecMode: cluster when `instances` is given and node runs the script."""
    mode = str(app.value("exec_mode", "")).removesuffix("_mode")
    if mode:
        return mode
    return "cluster" if "instances" in app.values and found.node_script else "fork"


def _share(app: RawApp, exec_mode: str) -> str:
    """Slots if there is anything to share: then every reload can overlap."""
    given = app.value("share")
    if given is not None:
        return str(given)
    shared = exec_mode == "cluster" or app.value("listen")
    return "slots" if shared and app.value("handoff") != "none" else "none"
