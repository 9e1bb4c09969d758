"""`pyinit dev`: defaults of apps on a laptop."""

from __future__ import annotations

import os

from entrypoint.logs.console import wants_colour

from .files import app_nodes
from .pm2.values import made
from .report import Report, codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from entrypoint.core.spec import Plan

    from .errors import ConfigError, Problems
    from .files import File

# A save restarts or reloads the app; a terminal of its own enables colours. Files that programs
# write beside their sources do not count.
IGNORED = (
    *("**/.*", "**/node_modules", "**/__pycache__", "**/*.pyc", "**/*.log", "**/*.tmp"),
    *("ecosystem.*", "**/*.db", "**/*.db-*", "**/*.sqlite*", "**/dist", "**/build", "**/coverage"),
)
# A developer waits for the end (ms).
KILL_TIMEOUT = "3000"
# Jobs run at their times, and are no servers to restart.
JOB_KEYS = ("cron_restart", "cronRestart", "cron")


def add_defaults(file: File, problems: Problems) -> None:
    """Add them to the apps of a file as defaults."""
    for node, _ in app_nodes(file.tree, problems):
        if node.kind != "map":
            continue
        given = set(node.entries)
        defaults: dict[str, object] = {"tty": "true"}
        if not given & {"kill_timeout", "killTimeout"}:
            defaults["kill_timeout"] = KILL_TIMEOUT
        if not given & {"watch", *JOB_KEYS}:
            defaults["watch"] = "true"
        if not given & {"ignore_watch", "ignoreWatch"}:
            defaults["ignore_watch"] = IGNORED
        for key, value in defaults.items():
            if key not in given:
                option = made(value)
                node.entries[key] = (option, option)


def as_for_dev(plan: Plan) -> Plan:
    """Use console lines, and read the file again when it is saved."""
    return plan.replace(log=plan.log.replace(format="console"), watch_config=True)


def show(errors: Iterable[ConfigError]) -> None:
    """Print the errors of the file, with a caret below each location, on stderr."""
    errors = tuple(errors)
    report = Report(colour=wants_colour(os.environ, os.isatty(2)))
    then = "pyinit dev: the file is read again when it is saved"
    text = f"{report.of(errors)}{codes(errors)}{then}\n"
    try:
        os.write(2, text.encode("utf-8", "replace"))
    except OSError:
        return  # the terminal is gone
