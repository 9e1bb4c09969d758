"""crontab(5), as cron and supercronic read it: each line becomes a job.

A job is an app with `cron_restart` and `autorestart: false`, which does not run at the start
of the container.
"""

from __future__ import annotations

import os
import re

from entrypoint.config import units

from .common import App, Found, Location, left_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.config.errors import Problems

_VARIABLE = re.compile(r"""^([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)$""")
_NICKNAME = re.compile(r"^(@[a-z]+)\s+(.+)$")
_FIELD = r"[^\s]+"
_LINE = re.compile(rf"^((?:{_FIELD}\s+){{4}}{_FIELD})\s+(.+)$")
# supercronic takes seconds before the minutes: then a field follows where a command would.
_SECONDS = re.compile(rf"^((?:{_FIELD}\s+){{5}}[0-9*/,-]+)\s+(.+)$")
# And a year behind them.
_YEAR = re.compile(r"^([0-9*/,-]+)\s+(.+)$")
_USERS = frozenset(("root", "www-data", "nobody", "daemon", "node", "app", "postgres", "nginx"))
_SYSTEM = ("cron.d", "/etc/crontab", "cron.hourly")


def looks_like(text: str) -> bool:
    """Whether there is a line of crontab(5) and none that is something else."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    times = [line for line in lines if _pattern(line)]
    return bool(times) and all(_pattern(line) or _VARIABLE.match(line) for line in lines)


def _pattern(line: str) -> tuple[str, str] | None:
    nick = _NICKNAME.match(line)
    if nick:
        return nick[1], nick[2]
    found = _SECONDS.match(line) or _LINE.match(line)
    if found is None or _VARIABLE.match(line):
        return None
    try:
        units.cron(found[1])
    except ValueError:
        return None
    return found[1], found[2]


def read(text: str, file: str, problems: Problems) -> Found:
    """The jobs of a crontab."""
    env: dict[str, str] = {}
    apps: list[App] = []
    names: set[str] = set()
    comments: list[str] = []
    system = any(word in os.path.abspath(file) for word in _SYSTEM)
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped:
            comments = []
            continue
        if stripped.startswith("#"):
            comments.append(stripped.lstrip("# "))
            continue
        found = _pattern(stripped)
        variable = _VARIABLE.match(stripped)
        if found is None and variable:
            _set(env, variable[1], variable[2], number, problems)
        elif found is None:
            problems.error(Location(number), "", "is no line of a crontab: 5 fields and a command")
        elif year := _YEAR.match(found[1]):
            why = f"has a year ({year[1]}), supercronic's seventh field: write 5 or 6 fields"
            problems.error(Location(number), "", why)
        else:
            app = _job(found, number, names, problems, system=system)
            app.comments, comments = comments, []
            if env:
                app.keys["env"] = dict(env)
            apps.append(app)
    return Found(tuple(apps))


def _set(env: dict[str, str], name: str, value: str, line: int, problems: Problems) -> None:
    value = value.strip()
    if len(value) > 1 and value[0] in "\"'" and value[-1] == value[0]:
        value = value[1:-1]
    if name in {"MAILTO", "MAILFROM", "CRON_MAILTO"}:
        left_out(problems, line, name, "is left out: output goes to stdout, and no mail is sent")
    elif name in {"CRON_TZ", "TZ"}:
        why = "times of jobs follow the TZ of the container: `ENV TZ=…` in the Dockerfile"
        left_out(problems, line, name, f"is left out: {why}")
    elif name == "SHELL":
        if value not in {"/bin/sh", "/bin/bash", "/usr/bin/bash"}:
            left_out(problems, line, name, "is left out: command lines are run by bash, or sh")
    else:
        env[name] = value


def _job(
    found: tuple[str, str], line: int, names: set[str], problems: Problems, *, system: bool
) -> App:
    pattern, command = found
    user = ""
    first, _, rest = command.partition(" ")
    if rest.strip() and (system or first in _USERS):
        user, command = first, rest.strip()
    name = _name(command, names)
    names.add(name)
    app = App(name, line)
    if "%" in command.replace("\\%", ""):
        why = "has a `%`, which cron takes for the end of a line; here, as for supercronic, not"
        left_out(problems, line, name, why)
    app.keys["script"] = command.replace("\\%", "%")
    if user:
        app.keys["user"] = user
    app.keys["autorestart"] = False
    if pattern == "@reboot":
        return app
    app.keys["cron_restart"] = pattern
    app.keys["autostart"] = False
    # cron starts a run whatever is still running; two at a time are not possible here.
    app.keys["overlap"] = "wait"
    return app


def _name(command: str, names: set[str]) -> str:
    """A name out of the program: `backup` of `cd /x && /opt/backup.sh --all`."""
    words = re.split(r"\s+", command)
    after = [i for i, word in enumerate(words) if word in {"&&", ";"}]
    start = after[0] + 1 if after and words[0] == "cd" else 0
    runners = {"python", "python3", "php", "node", "sh", "bash", "exec", "env", "nice", "flock"}
    chosen = next(
        (
            word
            for word in words[start:]
            if os.path.basename(word) not in runners and word[:1] not in "-'\"" and "=" not in word
        ),
        words[start] if start < len(words) else "job",
    )
    base = os.path.splitext(os.path.basename(chosen.rstrip("/")))[0]
    base = re.sub(r"[^A-Za-z0-9_.-]", "", base) or "job"
    name, number = base, 2
    while name in names or name == "all":
        name, number = f"{base}-{number}", number + 1
    return name
