"""What `ls` and `describe` print of an app, for people."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from datetime import datetime

from entrypoint.logs.console import Style, wants_colour

from . import table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


RED = b"\x1b[31m"


def colour() -> bool:
    """Whether stdout shows colours."""
    return wants_colour(os.environ, sys.stdout.isatty())


def app_table(apps: list[dict[str, Any]]) -> str:
    """The table of `ls`."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    return table.table(apps, colour=colour(), plain=not _can_print("↺┌│…"), width=width)


def print_config_error(found: dict[str, Any]) -> None:
    """Why the file was rejected, if it was."""
    if found["config_error"]:
        text = f"config rejected, revision {found['revision']} runs on: {found['config_error']}"
        print(Style(colour=colour()).paint(text, RED).decode())


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def print_app(app: dict[str, Any]) -> None:
    """Print the main facts first, then the settings, then the workers."""
    workers = app["workers"]
    rows: dict[str, object] = {
        "name": app["name"],
        "status": _status(app),
        "listening": app["listening"],
        "restarts": sum(worker["restarts"] for worker in workers),
    }
    if app.get("left_behind"):
        left = app["left_behind"]
        rows["left behind"] = [f"{each['name']} (pid {each['pid']})" for each in left]
    if "command" in app:
        rows["command"] = shlex.join(app["command"])
    rows["file"] = f"{app['source']}, revision {app['revision']}"
    known = {
        "workers",
        "left_behind",
        "config_error",
        "variables",
        "command",
        "mode",
        *_IN_STATUS,
        *rows,
    }
    if app.get("watch") and not app["ignore_watch"]:
        app["ignore_watch"] = "names that begin with a dot, and node_modules"
    rows.update((key, _setting(key, value)) for key, value in app.items() if key not in known)
    if "variables" in app:
        rows["env"] = f"{app['variables']} variables"
    width = max(len(name) for name in rows)
    for name, value in rows.items():
        print(f"{name.ljust(width)}  {_shown(value)}")
    print()
    print(app_table([app]))
    print_words(app)
    print_job(app)
    for worker in workers:
        if worker["last_exit"]:
            print(f"last exit of {worker_name({**worker, 'pid': 0})}: {worker['last_exit']}")
    print_config_error(app)
    print()


def print_words(app: dict[str, Any], before: str = "") -> None:
    """Print the status texts of workers, and the results of their checks."""
    for worker in app["workers"]:
        who = f"{before}{worker_name({**worker, 'pid': 0})}"
        if worker["said"] or worker["reloading"]:
            print(f"{who} says: {worker['said'] or 'reloading'}")
        if worker.get("stuck"):
            print(f"{who} cannot be ended: {worker['stuck']}")
        if worker["health_reason"]:
            print(f"{who} fails its checks: {worker['health_reason']}")


def print_job(app: dict[str, Any], before: str = "") -> None:
    """Print when it ran, how that ended, and when it runs again."""
    job = app.get("job")
    if not job:
        return
    said = []
    if job["running"] and app["mode"] and job["last_start"]:
        said.append(f"running for {table.span(_seconds_since(job['last_start']))}")
    if job["last_duration"] is not None:
        took = f"took {job['last_duration']:.3g} s, exit code {job['last_exit_code']}"
        ago = ""
        if not job["running"] and job["last_start"]:
            ago = f" {table.span(_seconds_since(job['last_start']))} ago"
        said.append(f"last run{ago} {took}")
    if job["skipped"]:
        said.append(f"{job['skipped']} skipped")
    if job["pending"]:
        said.append("one more run waits for the end of this one")
    if job["next_run"]:
        said.append(f"next run in {table.span(-_seconds_since(job['next_run']))}")
    print(before + "; ".join(said or ["no run yet"]))


def _seconds_since(stamp: str) -> float:
    return time.time() - datetime.fromisoformat(stamp).timestamp()


_IN_STATUS = (
    *("wanted", "job", "ready", "was_ready", "reloading", "errored", "finished", "stopped"),
    *("source", "revision"),
)


def _status(app: dict[str, Any]) -> str:
    states = [word for word in ("errored", "finished", "stopped", "reloading") if app[word]]
    return ", ".join((f"{app['ready']} of {app['wanted']} workers ready", *states))


def _setting(key: str, value: object) -> object:
    if key == "max_memory_restart" and value == -1:
        return "auto"
    if key == "max_memory_restart":
        return table.memory(value) if isinstance(value, int) and value else None
    return f"{value:g} s" if isinstance(value, float) else value


def _shown(value: object) -> str:
    if value is True or value is False:
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)


def worker_name(worker: dict[str, Any]) -> str:
    """`id 3, pid 17`; by its instance number when it has no id any more."""
    number = worker["id"]
    name = f"id {number}" if number not in (None, -1) else f"instance {worker['instance']}"
    return f"{name}, pid {worker['pid']}" if worker["pid"] else name
