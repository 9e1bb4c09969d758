"""s6-overlay: `s6-rc.d` with longruns, oneshots and bundles, and `services.d` of version 2."""

from __future__ import annotations

import os

from .common import App, Found, left_out

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.config.errors import Problems

_EXECLINE = ("execlineb",)


def looks_like(folder: str) -> bool:
    """Whether a folder holds services of s6."""
    return any(_is_service(os.path.join(folder, name)) for name in _names(folder))


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _is_service(path: str) -> bool:
    return any(os.path.isfile(os.path.join(path, name)) for name in ("type", "run", "up"))


def _text(*parts: str) -> str:
    try:
        with open(os.path.join(*parts), encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def read(folder: str, problems: Problems) -> Found:
    """The services of a folder."""
    paths = {name: os.path.join(folder, name) for name in _names(folder)}
    paths = {name: path for name, path in paths.items() if _is_service(path)}
    bundles = {name: _contents(path) for name, path in paths.items() if _type(path) == "bundle"}
    apps: list[App] = []
    for name, path in paths.items():
        kind = _type(path)
        if kind == "bundle":
            continue
        if kind not in {"longrun", "oneshot"}:
            problems.error(None, f"{name}/type", f"is {kind!r}: longrun, oneshot or bundle")
            continue
        apps.append(_service(name, path, kind, set(paths), bundles, problems))
    return Found(_without_loggers(apps, paths, problems))


def _type(path: str) -> str:
    text = _text(path, "type").strip()
    return text or ("longrun" if os.path.isfile(os.path.join(path, "run")) else "oneshot")


def _contents(path: str) -> list[str]:
    return [*_text(path, "contents").split(), *_names(os.path.join(path, "contents.d"))]


def _service(
    name: str,
    path: str,
    kind: str,
    known: set[str],
    bundles: dict[str, list[str]],
    problems: Problems,
) -> App:
    app = App(name)
    keys = app.keys
    if kind == "longrun":
        _program(app, os.path.join(path, "run"), problems)
    else:
        _up(app, _text(path, "up"), path, problems)
        keys["autorestart"] = False
    keys["kill_signal"] = f"SIG{_text(path, 'down-signal').strip().removeprefix('SIG') or 'TERM'}"
    timeout = _text(path, "timeout-kill").strip()
    if timeout.isdigit() and timeout != "0":
        keys["kill_timeout"] = f"{timeout}ms"
    up = _text(path, "timeout-up").strip()
    if up.isdigit() and up != "0":
        keys["listen_timeout"] = f"{up}ms"
    if os.path.isfile(os.path.join(path, "down")):
        keys["autostart"] = False
    if os.path.isfile(os.path.join(path, "notification-fd")):
        why = "the program writes a newline to a descriptor; here `READY=1` by sd_notify(3) counts"
        left_out(problems, 0, f"{name}/notification-fd", f"is left out: {why}")
    for file, why in (
        ("finish", "nothing runs after an app; see `stop_exit_codes` and `on_errored`"),
        ("down-run", "nothing runs at its end"),
        ("env", "write `env`"),
        ("data", "checks are `health` of the app"),
    ):
        if os.path.exists(os.path.join(path, file)):
            left_out(problems, 0, f"{name}/{file}", f"is left out: {why}")
    if kind == "oneshot" and _text(path, "down").strip():
        keys.pop("autostart", None)
        left_out(problems, 0, f"{name}/down", "is left out: nothing runs at the end")
    _depends(app, path, known, bundles)
    return app


def _program(app: App, run: str, problems: Problems) -> None:
    """The `run` script itself, which stays in the image."""
    head = _text(run).split("\n", 1)[0]
    words = head.removeprefix("#!").split()
    app.keys["script"] = os.path.abspath(run)
    if not words:
        return
    first = os.path.basename(words[0])
    if first == "with-contenv":
        # Workers have the container's environment anyway.
        interpreter = words[1] if len(words) > 1 else "bash"
        app.keys["interpreter"] = interpreter
        if os.path.basename(interpreter) in _EXECLINE:
            _needs_execline(app, problems)
    elif first in _EXECLINE:
        _needs_execline(app, problems)


def _needs_execline(app: App, problems: Problems) -> None:
    app.keys.pop("interpreter", None)
    why = "is a script of execline, which belongs to s6: keep execline in the image, or write sh"
    left_out(problems, 0, f"{app.name}/run", why)


def _up(app: App, text: str, path: str, problems: Problems) -> None:
    """`up` is one command line of execline."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if lines and any("execlineb" in line for line in text.splitlines()[:1]):
        lines = lines or [""]
    if len(lines) != 1:
        problems.error(None, f"{app.name}/up", "has more than one line: write it as a script of sh")
        app.keys["script"] = os.path.join(os.path.abspath(path), "up")
        return
    word = lines[0].split()[0]
    if word in {"foreground", "if", "ifelse", "importas", "backtick", "redirfd", "with-contenv"}:
        why = f"begins with {word} of execline: write it as a script of sh"
        if word != "with-contenv":
            problems.error(None, f"{app.name}/up", why)
        lines[0] = lines[0].removeprefix("with-contenv").strip()
    app.keys["script"] = lines[0]


def _depends(app: App, path: str, known: set[str], bundles: dict[str, list[str]]) -> None:
    wanted = [*_text(path, "dependencies").split(), *_names(os.path.join(path, "dependencies.d"))]
    found: dict[str, str] = {}
    for name in wanted:
        for one in bundles.get(name, [name]):
            # `base` is s6-overlay's own.
            if one in known and one not in bundles and one != app.name:
                oneshot = _type(os.path.join(os.path.dirname(path), one)) == "oneshot"
                found[one] = "service_completed_successfully" if oneshot else "service_started"
    if found:
        app.keys["depends_on"] = found


def _without_loggers(apps: list[App], paths: dict[str, str], problems: Problems) -> tuple[App, ...]:
    """A logger reads its producer's output, which is on stdout here."""
    kept = []
    for app in apps:
        if _text(paths[app.name], "consumer-for").strip():
            left_out(problems, 0, app.name, "is left out: it is a logger; lines go to stdout")
            continue
        kept.append(app)
    names = {app.name for app in kept}
    for app in kept:
        depends = app.keys.get("depends_on")
        if isinstance(depends, dict):
            app.keys["depends_on"] = {k: v for k, v in depends.items() if k in names}
    return tuple(kept)
