"""PM2 7's keys of an app (`lib/API/schema.json`), and how pyinit translates each."""

from __future__ import annotations

from entrypoint.config import findings, keys

# PM2's key → its aliases in the file, the first one first.
ALIASES: dict[str, tuple[str, ...]] = {
    "script": ("exec",),
    "exec_interpreter": ("interpreter",),
    "node_args": ("interpreter_args", "interpreterArgs"),
    "out_file": ("out_log", "output", "out"),
    "error_file": ("err_log", "err_file", "err", "error"),
    "log_file": ("log",),
    "pid_file": ("pid",),
    "cron_restart": ("cron",),
    "merge_logs": ("combine_logs",),
    "uid": ("user",),
}
# Read before the schema is: `script` wins over them.
SCRIPTS = ("cmd", "command")

BOOLEANS = frozenset(
    (
        *("wait_ready", "shutdown_with_message", "autostart", "autorestart", "treekill", "time"),
        *("append_env_to_name", "execute_command"),
    )
)
NUMBERS = frozenset(
    (
        *("restart_delay", "exp_backoff_restart_delay", "kill_timeout", "listen_timeout"),
        *("watch_delay", "max_restarts", "port"),
    )
)
# Lists, or texts that are split.
LISTS = frozenset(("args", "node_args", "ignore_watch"))
TEXTS = frozenset(
    (
        *("script", "name", "namespace", "cwd", "exec_interpreter", "exec_mode"),
        *("increment_var", "instance_var"),
    )
)
OTHERS = frozenset(
    (
        *("filter_env", "env", "max_memory_restart", "min_uptime", "instances", "cron_restart"),
        *("stop_exit_codes", "watch", "uid", "gid"),
    )
)
TAKEN = BOOLEANS | NUMBERS | LISTS | TEXTS | OTHERS

# PM2's key → pyinit's, where they differ.
RENAMED = {"exec_interpreter": "interpreter", "node_args": "interpreter_args"}

# PM2's keys without an effect here: the number of the finding.
IGNORED: dict[str, str] = {
    **dict.fromkeys(
        ("out_file", "error_file", "log_file", "disable_logs", "merge_logs"),
        findings.FILES_OF_LOGS,
    ),
    **dict.fromkeys(("log_type", "log_date_format"), findings.LOG_FORMAT),
    **dict.fromkeys(
        (
            *("trace", "disable_trace", "v8", "event_loop_inspector", "deep_monitoring"),
            *("pmx", "automation", "io"),
        ),
        findings.MONITORING,
    ),
    **dict.fromkeys(
        ("name_prefix", "install_url", "force", "write", "username"), findings.COMMAND_LINE_KEY
    ),
    "watch_options": findings.WATCH_OPTIONS,
    **dict.fromkeys(
        ("pid_file", "post_update", "vizion", "windowsHide", "kill_retry_time"),
        findings.NO_CONTAINER_MEANING,
    ),
}
# Read here, and no keys of pyinit.
HANDLED = frozenset(("source_map_support", "disable_source_map_support", "execute_command"))

# Laid over the app's options when they stand in `env` or `env_NAME`.
OPTIONS_IN_ENV = frozenset(
    (
        *("args", "node_args", "exec_interpreter", "watch", "ignore_watch", "watch_delay"),
        *("kill_timeout", "listen_timeout", "wait_ready", "autorestart", "autostart"),
        *("max_restarts", "min_uptime", "restart_delay", "exp_backoff_restart_delay"),
        *("stop_exit_codes", "cron_restart", "shutdown_with_message", "treekill"),
        *("max_memory_restart", "uid", "gid", "namespace", "exec_mode"),
    )
)
# Read before that, or under another name.
NO_OPTIONS_IN_ENV = frozenset(
    (
        *("instances", "script", "cwd", "interpreter", "interpreter_args", "increment_var"),
        *("instance_var", "cron"),
    )
)


def _spellings() -> dict[str, str]:
    found: dict[str, str] = {}
    for key in (*TAKEN, *IGNORED, *HANDLED):
        for word in (key, *ALIASES.get(key, ()), keys.camel(key)):
            found.setdefault(word, key)
    return found


SPELLINGS = _spellings()

# pyinit's own keys, which a PM2 file may hold. Those that begin with `env_` are PM2's
# variables of an environment.
OWN = frozenset(
    word
    for word, key in keys.by_spelling(keys.APP_KEYS).items()
    if key.origin == "pyinit" and not word.startswith("env_")
) | {"group"}


def precedence(key: str) -> tuple[str, ...]:
    """The spellings of a key; the first one with a value counts."""
    return (key, *ALIASES.get(key, ()), keys.camel(key))
