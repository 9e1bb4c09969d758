"""Procfile, as foreman, overmind, honcho and Heroku read it.

foreman gives each process type a PORT, 100 apart from 5000, ends all when one ends, and
stops with SIGTERM and 5 s. A `.env` beside the file sets variables.
"""

from __future__ import annotations

import os
import re

from .common import App, Found, Location, Raw, left_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.config.errors import Problems

_LINE = re.compile(r"^([A-Za-z0-9_-]+):\s*(.+)$")
FIRST_PORT = 5000
APART = 100


def read(text: str, file: str, problems: Problems) -> Found:
    """The process types of a Procfile."""
    apps: list[App] = []
    comments: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped:
            comments = []
            continue
        if stripped.startswith("#"):
            comments.append(stripped.lstrip("# "))
            continue
        found = _LINE.match(stripped)
        if found is None:
            problems.error(Location(number), "", "must be `name: command`, as in a Procfile")
            continue
        app = App(found[1], number)
        app.comments, comments = comments, []
        app.keys["script"] = found[2].strip()
        apps.append(app)
    names = [app.name for app in apps]
    for app in apps:
        if names.count(app.name) > 1:
            problems.error(Location(app.line), app.name, "is defined twice")
    release = next((app for app in apps if app.name == "release"), None)
    for at, app in enumerate(apps):
        _settings(app, at)
        if release is not None and app is not release:
            app.keys["depends_on"] = {"release": "service_completed_successfully"}
    if release is not None:
        release.keys["autorestart"] = False
        release.keys.pop("main", None)
        why = "runs once before the others, as on Heroku; foreman runs it beside them"
        left_out(problems, release.line, "release", why)
    if os.path.exists(os.path.join(os.path.dirname(os.path.abspath(file)), ".env")):
        for app in apps:
            app.keys["env_file"] = ".env"
        why = (
            "is read by `env_file`, in Compose's syntax: `$NAME` is replaced, and the file has "
            "precedence over the container's environment"
        )
        left_out(problems, 0, ".env", why)
    left_out(
        problems,
        0,
        "",
        "foreman ends everything when one process ends; pyinit starts it again. For an app whose "
        "end is to be the container's end write `main: true`",
    )
    return Found(tuple(apps))


def _settings(app: App, at: int) -> None:
    # The first one has the port that the container is given, as on Heroku.
    port = str(FIRST_PORT + APART * at)
    app.keys["env"] = {"PORT": port if at else Raw(f"${{PORT:-{port}}}")}
    app.keys["kill_signal"] = "SIGTERM"
    app.keys["kill_timeout"] = "5s"
