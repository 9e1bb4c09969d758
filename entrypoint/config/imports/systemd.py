"""systemd units: `.service` files, one or several that belong together."""

from __future__ import annotations

import os
import re

from entrypoint.config import words

from .common import App, Found, Location, left_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.config.errors import Problems

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)|\$\$")
_SPECIFIER = re.compile(r"%([A-Za-z%])")
_SECTION = re.compile(r"^\[([^\]]+)\]$")
_PREFIXES = "-@:+!|"
_TIMES = (
    *(("usec", 1e-6), ("us", 1e-6), ("msec", 1e-3), ("ms", 1e-3), ("seconds", 1), ("second", 1)),
    *(("sec", 1), ("s", 1), ("minutes", 60), ("minute", 60), ("min", 60), ("m", 60)),
    *(("hours", 3600), ("hour", 3600), ("hr", 3600), ("h", 3600), ("days", 86400), ("day", 86400)),
    ("d", 86400),
)
_LIMITS = {
    "LimitNOFILE": "nofile",
    "LimitNPROC": "nproc",
    "LimitCORE": "core",
    "LimitMEMLOCK": "memlock",
    "LimitSTACK": "stack",
    "LimitFSIZE": "fsize",
    "LimitAS": "as",
    "LimitDATA": "data",
    "LimitCPU": "cpu",
}
_OUTPUT = "every line goes to stdout"
_SANDBOX = "the container's runtime isolates it"
_NOT_TAKEN = {
    **dict.fromkeys(
        ("StandardOutput", "StandardError", "StandardInput", "SyslogIdentifier", "LogsDirectory"),
        _OUTPUT,
    ),
    **dict.fromkeys(
        (
            *("PrivateTmp", "ProtectSystem", "ProtectHome", "NoNewPrivileges", "PrivateDevices"),
            *("CapabilityBoundingSet", "AmbientCapabilities", "ReadWritePaths", "ReadOnlyPaths"),
            *("SystemCallFilter", "RestrictAddressFamilies", "ProtectKernelTunables", "Slice"),
            *(
                "ProtectControlGroups",
                "ProtectKernelModules",
                "RestrictNamespaces",
                "LockPersonality",
            ),
            *("MemoryDenyWriteExecute", "RestrictRealtime", "RestrictSUIDSGID", "ProtectClock"),
            *("ProtectKernelLogs", "ProtectHostname", "ProtectProc", "DynamicUser", "PrivateUsers"),
            *("InaccessiblePaths", "SecureBits", "Delegate", "TasksMax", "CPUQuota", "MemoryMax"),
            *("MemoryLimit", "MemoryHigh", "CPUWeight", "IOWeight", "SystemCallArchitectures"),
            *("TasksAccounting", "MemoryAccounting", "CPUAccounting", "RemoveIPC", "DeviceAllow"),
        ),
        _SANDBOX,
    ),
    "ExecReload": "`pyinit reload` replaces the workers, `pyinit signal HUP APP` sends a signal",
    "ExecStop": "the program gets `kill_signal`",
    "ExecStartPost": "nothing runs beside an app; use `health` for readiness",
    "PIDFile": "the process is followed from its start: no pid file is needed",
    "RuntimeDirectory": "make the folder in the Dockerfile",
    "StateDirectory": "mount a volume",
    "CacheDirectory": "mount a volume",
    "ConfigurationDirectory": "mount it",
    "PermissionsStartOnly": "an app has one user",
    "GuessMainPID": "the process is followed from its start",
}
_QUIET = frozenset(
    (
        *("Type", "Restart", "RestartSec", "KillMode", "RemainAfterExit", "NotifyAccess"),
        *("StartLimitInterval", "StartLimitIntervalSec", "StartLimitBurst", "SendSIGKILL"),
        *("FinalKillSignal", "RuntimeDirectoryMode", "RuntimeDirectoryPreserve", "BusName"),
    )
)


class Unit:
    """A unit's keys by section, each with its line; a key may be given more than once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.comments: list[str] = []
        self.sections: dict[str, list[tuple[int, str, str]]] = {}

    def all(self, section: str, key: str) -> list[tuple[int, str]]:
        """Every value of a key; an empty one removes those before it."""
        found: list[tuple[int, str]] = []
        for line, name, value in self.sections.get(section, ()):
            if name == key:
                found = [*found, (line, value)] if value else []
        return found

    def last(self, section: str, key: str, default: str = "") -> str:
        """The last value of a key."""
        found = self.all(section, key)
        return found[-1][1] if found else default


def parse(text: str, name: str) -> Unit:
    """The lines of a unit, continued ones joined."""
    unit = Unit(name)
    section = ""
    waiting, begun = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not waiting and (not line or line[0] in "#;"):
            if line and not section:
                unit.comments.append(line.lstrip("#; "))
            continue
        if waiting and line[:1] in {"#", ";"}:
            continue
        begun = begun or number
        if line.endswith("\\"):
            waiting += line[:-1].rstrip() + " "
            continue
        line, waiting = waiting + line, ""
        header = _SECTION.match(line)
        if header:
            section = header[1]
        elif "=" in line:
            key, _, value = line.partition("=")
            entry = (begun, key.strip(), value.strip())
            unit.sections.setdefault(section, []).append(entry)
        begun = 0
    return unit


def read(texts: dict[str, str], problems: Problems) -> Found:
    """The services of some units; keys are the names of the files."""
    units = [parse(text, os.path.basename(file)) for file, text in texts.items()]
    kinds = {_name(unit.name): unit.last("Service", "Type", "simple") for unit in units}
    apps: list[App] = []
    for unit in units:
        problems.file = next(f for f in texts if os.path.basename(f) == unit.name)
        apps += _service(unit, kinds, problems)
    return Found(tuple(apps))


def _name(file: str) -> str:
    return file.rpartition(".")[0].replace("@", "")


def _service(unit: Unit, kinds: dict[str, str], problems: Problems) -> list[App]:
    name = _name(unit.name)
    kind = unit.last("Service", "Type", "simple")
    app = App(name)
    app.comments = unit.comments
    description = unit.last("Unit", "Description")
    if description:
        app.comments = [*app.comments, description]
    if kind == "forking":
        text = (
            "Type=forking: the program goes to the background and would be taken for ended; give "
            "it the option that keeps it in the foreground"
        )
        problems.error(_line(unit, "Type"), "Service.Type", text)
    commands = unit.all("Service", "ExecStart")
    if not commands:
        problems.error(None, "Service.ExecStart", "is missing")
        return []
    env = _environment(unit, problems)
    _command(app, commands[0], problems)
    _settings(app, unit, kind, problems)
    if env:
        app.keys["env"] = env
    _steps(app, unit, commands, kind, problems)
    _depends(app, unit, kinds, problems)
    _remaining(unit, problems)
    return [app]


def _steps(
    app: App, unit: Unit, commands: list[tuple[int, str]], kind: str, problems: Problems
) -> None:
    """ExecStartPre, and all but the last ExecStart of a oneshot, as `before_start`."""
    steps = unit.all("Service", "ExecStartPre")
    if kind == "oneshot" and len(commands) > 1:
        steps += commands[:-1]
        _command(app, commands[-1], problems)
    for key, found in (
        ("before_start", steps),
        ("after_stop", unit.all("Service", "ExecStopPost")),
    ):
        listed = [_step(text) for _, text in found]
        if listed:
            app.keys[key] = listed


def _step(text: str) -> str:
    """A command line; `-` before it: its failure is none."""
    plain = text.lstrip(_PREFIXES)
    ignored = "-" in text[: len(text) - len(plain)]
    return f"{plain} || true" if ignored else plain


def _environment(unit: Unit, problems: Problems) -> dict[str, str]:
    """The variables of `Environment=`."""
    env: dict[str, str] = {}
    for line, value in unit.all("Service", "Environment"):
        try:
            found = words.split_words(value)
        except ValueError as error:
            problems.error(Location(line), "Service.Environment", str(error))
            continue
        for word in found:
            name, mark, text = word.partition("=")
            if mark:
                env[name] = _specifiers(text, unit, line, problems)
    return env


def _specifiers(text: str, unit: Unit, line: int, problems: Problems) -> str:
    name = unit.name.rpartition(".")[0]
    known = {"%": "%", "n": unit.name, "N": name, "p": name.partition("@")[0], "t": "/run"}
    known |= {"i": name.partition("@")[2], "h": "/root", "S": "/var/lib", "C": "/var/cache"}

    def one(found: re.Match[str]) -> str:
        if found[1] in known:
            return known[found[1]]
        left_out(problems, line, "Service", f"{found[0]} has no meaning here")
        return found[0]

    return _SPECIFIER.sub(one, text)


def _command(app: App, found: tuple[int, str], problems: Problems) -> None:
    """Systemd splits by itself, without a shell; `$NAME` alone is a word that is split."""
    line, text = found
    prefix = text[: len(text) - len(text.lstrip(_PREFIXES))]
    text = text.lstrip(_PREFIXES)
    if "-" in prefix:
        left_out(problems, line, "Service.ExecStart", "a failure that is ignored is none here: `-`")
    if any(sign in prefix for sign in "+!"):
        left_out(problems, line, "Service.ExecStart", "`+` and `!` are left out: use `user`")
    try:
        split = list(words.split_words(text))
    except ValueError as error:
        problems.error(Location(line), "Service.ExecStart", str(error))
        return
    if "@" in prefix and len(split) > 1:
        del split[1]
    if any(_VARIABLE.search(word) for word in split):
        # A shell replaces them: they are the app's own variables.
        app.keys["script"] = text
        return
    app.keys["script"] = split[0]
    if len(split) > 1:
        app.keys["args"] = split[1:]


def _settings(app: App, unit: Unit, kind: str, problems: Problems) -> None:
    keys = app.keys
    for key, name in (("User", "user"), ("Group", "group"), ("UMask", "umask")):
        value = unit.last("Service", key)
        if value:
            keys[name] = value
    folder = unit.last("Service", "WorkingDirectory").lstrip("-")
    if folder and folder != "~":
        keys["cwd"] = folder
    files = [value for _, value in unit.all("Service", "EnvironmentFile")]
    if files:
        optional = [value.startswith("-") for value in files]
        paths = [value.lstrip("-") for value in files]
        if any(optional):
            entries = [
                {"path": path, "required": "false" if skip else "true"}
                for path, skip in zip(paths, optional, strict=True)
            ]
            keys["env_file"] = entries
        else:
            keys["env_file"] = paths
    nice = unit.last("Service", "Nice")
    if nice.lstrip("-").isdigit():
        keys["nice"] = int(nice)
    score = unit.last("Service", "OOMScoreAdjust")
    if score.lstrip("-").isdigit():
        keys["oom_score_adj"] = int(score)
    limits = {
        limit: unit.last("Service", key).replace("infinity", "unlimited")
        for key, limit in _LIMITS.items()
        if unit.last("Service", key)
    }
    if limits:
        keys["rlimits"] = limits
    keys["kill_signal"] = unit.last("Service", "KillSignal", "SIGTERM")
    _times(app, unit, problems)
    _restarts(app, unit, kind, problems)
    if kind in {"notify", "notify-reload"}:
        keys["wait_ready"] = True
    if kind in {"dbus", "idle"}:
        left_out(problems, 0, "Service.Type", f"{kind} is taken as simple")
    mode = unit.last("Service", "KillMode", "control-group")
    if mode in {"process", "mixed"}:
        keys["treekill"] = False
    elif mode == "none":
        left_out(problems, 0, "Service.KillMode", "none: what is left is killed in the end")


def _times(app: App, unit: Unit, problems: Problems) -> None:
    for key, name, default in (
        ("TimeoutStopSec", "kill_timeout", "90s"),
        ("TimeoutStartSec", "listen_timeout", ""),
        ("WatchdogSec", "watchdog", ""),
        ("RestartSec", "restart_delay", "100ms"),
    ):
        text = unit.last("Service", key) or (
            unit.last("Service", "TimeoutSec") if key.startswith("Timeout") else ""
        )
        value = _time(text) if text else default
        if value:
            app.keys[name] = value
        elif text and text not in {"0", "infinity"}:
            left_out(problems, 0, f"Service.{key}", f"{text!r} is no time")
    if app.keys.get("kill_timeout") == "90s":
        left_out(
            problems,
            0,
            "Service.TimeoutStopSec",
            "90 s, systemd's default, does not fit into the grace of `docker stop` (10 s)",
        )


def _time(text: str) -> str:
    """systemd.time(7) as milliseconds; empty when there is no end."""
    total = 0.0
    rest = text.replace(" ", "").lower()
    if rest.replace(".", "", 1).isdigit():
        return f"{round(float(rest) * 1000)}ms"
    while rest:
        found = re.match(r"([0-9.]+)([a-z]+)", rest)
        unit = dict(_TIMES).get(found[2]) if found else None
        if found is None or unit is None:
            return ""
        total += float(found[1]) * unit
        rest = rest[found.end() :]
    return f"{round(total * 1000)}ms"


def _restarts(app: App, unit: Unit, kind: str, problems: Problems) -> None:
    restart = unit.last("Service", "Restart", "no")
    keys = app.keys
    if kind == "oneshot" or restart == "no":
        keys["autorestart"] = False
    elif restart in {"on-failure", "on-abnormal", "on-abort", "on-watchdog"}:
        codes = ["0"]
        codes += unit.last("Service", "SuccessExitStatus").split()
        codes += unit.last("Service", "RestartPreventExitStatus").split()
        keys["stop_exit_codes"] = [code for code in codes if code.isdigit()]
        if restart != "on-failure":
            text = f"{restart} is taken as on-failure"
            left_out(problems, 0, "Service.Restart", text)
    elif restart == "on-success":
        left_out(problems, 0, "Service.Restart", "on-success is taken as always")
    burst = unit.last("Unit", "StartLimitBurst") or unit.last("Service", "StartLimitBurst")
    if burst.isdigit():
        keys["max_restarts"] = int(burst)


# When systemd takes a unit of this type for started (systemd.service(5), `Type=`).
_STARTED = {"oneshot": "service_completed_successfully", "notify": "service_healthy"}


def _depends(app: App, unit: Unit, kinds: dict[str, str], problems: Problems) -> None:
    """After= and Requires= of units that are converted too."""
    depends: dict[str, str] = {}
    for key in ("After", "Requires", "Wants", "BindsTo", "Requisite", "PartOf"):
        for line, value in unit.all("Unit", key):
            for word in value.split():
                other = _name(word)
                if other in kinds and other != app.name:
                    depends[other] = _STARTED.get(kinds[other], "service_started")
                elif key in {"Requires", "BindsTo", "Requisite"} and word.endswith(".service"):
                    why = f"{word} is not among the units that are converted"
                    left_out(problems, line, f"Unit.{key}", why)
    if depends:
        app.keys["depends_on"] = depends


def _remaining(unit: Unit, problems: Problems) -> None:
    """What is not taken, line by line."""
    taken = {
        *(
            "ExecStart",
            "ExecStartPre",
            "ExecStopPost",
            "Environment",
            "EnvironmentFile",
            "User",
            "Group",
            "UMask",
        ),
        *("WorkingDirectory", "Nice", "OOMScoreAdjust", "KillSignal", "TimeoutStopSec"),
        *("TimeoutStartSec", "TimeoutSec", "WatchdogSec", "SuccessExitStatus"),
        *("RestartPreventExitStatus", *_LIMITS, *_QUIET),
    }
    for line, key, _ in unit.sections.get("Service", ()):
        if key not in taken and not key.startswith("X-"):
            why = _NOT_TAKEN.get(key, "has no meaning here")
            left_out(problems, line, f"Service.{key}", f"is left out: {why}")
    for name in unit.sections:
        if name not in {"Unit", "Service", "Install"} and not name.startswith("X-"):
            why = "is left out: " + (
                "an address is `listen` of the app" if name == "Socket" else "no such section here"
            )
            left_out(problems, 0, name, why)


def _line(unit: Unit, key: str) -> Location | None:
    found = unit.all("Service", key)
    return Location(found[-1][0]) if found else None
