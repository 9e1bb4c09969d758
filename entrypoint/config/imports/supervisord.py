"""supervisord.conf: programs, groups, includes and `%(…)s`, as Supervisor 4 reads them."""

from __future__ import annotations

import glob
import os
import re

from entrypoint.config import words

from .common import App, Found, Location, Raw, left_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.config.errors import Problems

    from .common import Value

_EXPANSION = re.compile(r"%\(([A-Za-z_][A-Za-z0-9_]*)\)([0-9]*[sd])|%%")
_HEADER = re.compile(r"^\[([^\]]+)\]\s*([;#].*)?$")
_OUTPUT = "every line goes to stdout, one record a line"
_OWN = "pyinit has its own: the private socket of `pyinit ls`, and `probes`"

# Keys of a program without an effect here, and why.
_NOT_TAKEN = {
    **dict.fromkeys(
        (
            *("stdout_logfile", "stderr_logfile", "stdout_logfile_maxbytes", "redirect_stderr"),
            *("stderr_logfile_maxbytes", "stdout_logfile_backups", "stderr_logfile_backups"),
            *("stdout_syslog", "stderr_syslog"),
        ),
        _OUTPUT,
    ),
    **dict.fromkeys(
        (
            *("stdout_capture_maxbytes", "stderr_capture_maxbytes", "stdout_events_enabled"),
            *("stderr_events_enabled",),
        ),
        "there are no event listeners",
    ),
    "serverurl": _OWN,
}
_SECTIONS = {
    "unix_http_server": _OWN,
    "inet_http_server": _OWN,
    "supervisorctl": _OWN,
}
_DAEMON = {
    **dict.fromkeys(
        (
            *("logfile", "logfile_maxbytes", "logfile_backups", "loglevel", "pidfile", "nodaemon"),
            *("silent", "childlogdir", "nocleanup", "strip_ansi", "identifier", "directory"),
        ),
        "",
    ),
}


class Section:
    """A section with the lines of its keys."""

    def __init__(self, name: str, line: int) -> None:
        self.name = name
        self.line = line
        self.keys: dict[str, tuple[int, str]] = {}
        self.comments: list[str] = []


def looks_like(text: str) -> bool:
    """Whether the text has a section of supervisord."""
    return bool(re.search(r"^\[(program:|supervisord\]|group:|eventlistener:)", text, re.MULTILINE))


def sections(text: str) -> list[Section]:
    """The sections of an ini file, by Supervisor's rules: ` ;` begins a comment."""
    found: list[Section] = []
    last = ""
    comments: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped:
            comments = []
            continue
        if stripped[0] in ";#":
            comments.append(stripped.lstrip(";# "))
            continue
        header = _HEADER.match(stripped)
        if header:
            found.append(Section(header[1].strip(), number))
            found[-1].comments, comments = comments, []
            last = ""
            continue
        if not found:
            continue
        value = re.split(r"\s;", line, maxsplit=1)[0]
        if line[0].isspace() and last:
            at, before = found[-1].keys[last]
            found[-1].keys[last] = (at, f"{before}\n{value.strip()}")
            continue
        name, mark, rest = value.partition("=")
        if not mark:
            name, mark, rest = value.partition(":")
        last = name.strip().lower()
        found[-1].keys[last] = (number, rest.strip())
    return found


def read(text: str, file: str, problems: Problems) -> Found:
    """The programs of a supervisord.conf."""
    all_sections = sections(text)
    folder = os.path.dirname(os.path.abspath(file))
    for section in list(all_sections):
        if section.name == "include":
            all_sections += _included(section, folder, problems)
    groups = _groups(all_sections)
    daemon = next((s for s in all_sections if s.name == "supervisord"), None)
    common = _environment(daemon.keys.get("environment", (0, ""))[1]) if daemon else {}
    apps: list[tuple[int, App]] = []
    for section in all_sections:
        kind, _, name = section.name.partition(":")
        if kind == "program":
            app = _program(section, name.strip(), groups, common, problems, folder)
            apps.append((_number(section, "priority", 999), app))
        elif kind in {"eventlistener", "fcgi-program"}:
            why = {
                "eventlistener": "listens to events of supervisord, which do not exist here; "
                "/metrics and the log tell what happens",
                "fcgi-program": "shares a FastCGI socket; write an app with `listen` and "
                "`exec_mode: cluster`",
            }[kind]
            left_out(problems, section.line, section.name, f"is left out: {why}")
        elif section.name == "supervisord":
            _daemon(section, problems)
        elif section.name != "include" and kind not in {"group", "rpcinterface"}:
            why = _SECTIONS.get(section.name, "there is no section of that name")
            left_out(problems, section.line, section.name, f"is left out: {why}")
    _order(apps)
    left_out(
        problems,
        0,
        "",
        "the container ends when all programs have ended; supervisord goes on without any",
    )
    return Found(tuple(app for _, app in apps))


def _included(section: Section, folder: str, problems: Problems) -> list[Section]:
    line, value = section.keys.get("files", (section.line, ""))
    found: list[Section] = []
    for pattern in value.split():
        pattern = pattern.replace("%(here)s", folder)  # noqa: PLW2901
        files = sorted(glob.glob(os.path.join(folder, pattern)))
        if not files:
            left_out(problems, line, "include", f"no file matches {pattern!r}")
        for name in files:
            with open(name, encoding="utf-8", errors="replace") as stream:
                more = sections(stream.read())
            for each in more:
                each.line = line
                each.keys = {key: (line, text) for key, (_, text) in each.keys.items()}
            found += more
    return found


def _groups(all_sections: list[Section]) -> dict[str, str]:
    """Program → the group that it is in."""
    found: dict[str, str] = {}
    for section in all_sections:
        kind, _, group = section.name.partition(":")
        if kind == "group":
            for name in section.keys.get("programs", (0, ""))[1].split(","):
                found[name.strip()] = group.strip()
    return found


def _number(section: Section, key: str, default: int) -> int:
    text = section.keys.get(key, (0, ""))[1]
    return int(text) if text.lstrip("-").isdigit() else default


def _is(text: str) -> bool:
    return text.strip().lower() in {"true", "yes", "on", "1"}


def _daemon(section: Section, problems: Problems) -> None:
    for key, (line, value) in section.keys.items():
        if key == "minfds":
            left_out(problems, line, key, f"write `rlimits: {{nofile: {value}}}` for the apps")
        elif key == "user":
            if value != "root":
                left_out(problems, line, key, "write `USER` in the Dockerfile, or `user` of apps")
        elif key not in {*_DAEMON, "environment"}:
            left_out(problems, line, key, "has no effect here")


def _environment(text: str) -> dict[str, str]:
    """`KEY="val",KEY2=val2`."""
    found = {}
    for name, quoted, plain in re.findall(
        r'\s*([A-Za-z_][A-Za-z0-9_]*)=(?:"((?:[^"\\]|\\.)*)"|([^,]*)),?', text.replace("\n", ",")
    ):
        value = quoted or plain.strip()
        if len(value) > 1 and value[0] == value[-1] == "'":
            value = value[1:-1]
        found[name] = value
    return found


class _Words:
    """`%(…)s` of one program."""

    def __init__(self, name: str, group: str, folder: str, section: Section) -> None:
        self.values = {
            "program_name": name,
            "group_name": group or name,
            "here": folder,
            "numprocs": str(_number(section, "numprocs", 1)),
        }
        self.problems: list[str] = []

    def replaced(self, text: str) -> str:
        """The text; a Raw one when a variable of the environment is in it."""
        raw = False

        def one(found: re.Match[str]) -> str:
            nonlocal raw
            if found[0] == "%%":
                return "%"
            name = found[1]
            if name in self.values:
                return self.values[name]
            if name.startswith("ENV_"):
                raw = True
                return f"${{{name.removeprefix('ENV_')}}}"
            if name == "process_num":
                if found[2] not in {"d", "s"}:
                    text = f"%(process_num){found[2]} is `{{instance}}` without zeros"
                    self.problems.append(text)
                raw = True
                return "{instance}"
            if name == "host_node_name":
                raw = True
                return "${HOSTNAME}"
            self.problems.append(f"%({name}){found[2]} is not known")
            return found[0]

        result = _EXPANSION.sub(one, text)
        return Raw(result) if raw else result


def _program(
    section: Section,
    name: str,
    groups: dict[str, str],
    common: dict[str, str],
    problems: Problems,
    folder: str,
) -> App:
    app = App(name, section.line)
    app.comments = section.comments
    group = groups.get(name, "")
    expand = _Words(name, group, folder, section)
    # Supervisor's own defaults, where pyinit has others.
    app.keys |= {
        "kill_signal": "SIGTERM",
        "kill_timeout": "10s",
        "max_restarts": 3,
        "min_uptime": "1s",
        "on_errored": "keep",
        "treekill": False,
    }
    if group:
        app.keys["namespace"] = group
    env = {key: expand.replaced(value) for key, value in common.items()}
    restart, codes = "unexpected", "0"
    for key, (line, value) in section.keys.items():
        expand.problems = []
        text = expand.replaced(value)
        for problem in expand.problems if key != "process_name" else ():
            left_out(problems, line, f"{name}.{key}", problem)
        if key == "autorestart":
            restart = value.strip().lower()
        elif key == "exitcodes":
            codes = value
        elif key == "environment":
            env |= {k: expand.replaced(v) for k, v in _environment(value).items()}
        elif key == "command":
            _command(app, text, name, line, problems)
        elif not _key(app, key, text) and key not in {"priority", "process_name"}:
            why = _NOT_TAKEN.get(key, "is not known here")
            if key != "redirect_stderr" and not key.endswith(("_maxbytes", "_backups")):
                left_out(problems, line, f"{name}.{key}", f"is left out: {why}")
    if restart in {"false", "0", "no", "off"}:
        app.keys["autorestart"] = False
    elif restart == "unexpected":
        listed = [code.strip() for code in codes.split(",") if code.strip()]
        app.keys["stop_exit_codes"] = listed
    if env:
        app.keys["env"] = env
    if "script" not in app.keys:
        problems.error(Location(section.line), name, "needs a `command`")
    return app


def _command(app: App, text: str, name: str, line: int, problems: Problems) -> None:
    """Supervisor splits as a shell does and starts no shell: signs are literal."""
    try:
        split = words.split(text)
    except ValueError as error:
        problems.error(Location(line), f"{name}.command", str(error))
        return
    if split.shell == "no":
        app.keys["script"] = text
        return
    kind = type(text)
    app.keys["script"] = kind(split.words[0])
    if len(split.words) > 1:
        app.keys["args"] = [kind(word) for word in split.words[1:]]


def _key(app: App, key: str, text: str) -> bool:
    """Take a key; False: it is none of these."""
    simple = {
        "directory": "cwd",
        "user": "user",
        "umask": "umask",
        "startretries": "max_restarts",
    }
    seconds = {"stopwaitsecs": "kill_timeout", "startsecs": "min_uptime"}
    value: Value = text
    if key in simple:
        if text.isdigit() and key == "startretries":
            value = int(text)
        app.keys[simple[key]] = value
    elif key in seconds:
        app.keys[seconds[key]] = f"{text}s"
    elif key == "stopsignal":
        app.keys["kill_signal"] = f"SIG{text.upper().removeprefix('SIG')}"
    elif key == "autostart":
        if not _is(text):
            app.keys["autostart"] = False
    elif key == "numprocs":
        if text.isdigit() and int(text) > 1:
            # They share no port: each is a program for itself.
            app.keys |= {"exec_mode": "fork", "instances": int(text)}
    elif key in {"stopasgroup", "killasgroup"}:
        if _is(text):
            app.keys.pop("treekill", None)
    else:
        return False
    return True


def _order(apps: list[tuple[int, App]]) -> None:
    """`priority` as `depends_on`: the lower ones start first and stop last."""
    numbers = sorted({number for number, _ in apps})
    if len(numbers) < 2:
        return
    for number, app in apps:
        lower = [each for each in numbers if each < number]
        if lower:
            app.keys["depends_on"] = [each.name for at, each in apps if at == lower[-1]]
