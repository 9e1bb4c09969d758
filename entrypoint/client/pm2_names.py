"""PM2's commands: under which name pyinit has them, or what does their work.

docs/reference/pm2.md has the same table, made of this one.
"""

from __future__ import annotations

import sys

from entrypoint.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


class Name(Record):
    """A command of PM2. `command` is pyinit's.

    Without a command `answer` is printed; `fine`: nothing is missing, exit code 0.
    """

    command: str = ""
    answer: str = ""
    fine: bool = False


def _is(command: str) -> Name:
    return Name(command=command)


def _not_needed(answer: str) -> Name:
    return Name(answer=answer, fine=True)


def _instead(answer: str) -> Name:
    return Name(answer=answer)


_FILE = "the file says what runs; there is nothing to save"
_MACHINE = "the container's engine or orchestrator starts it; there is nothing to install"
_PLUS = "PM2's monitoring is not part of pyinit: /metrics and `pyinit ls` show what runs"
_IMAGE = "a container is not updated in place: build an image and replace it"
_MODULES = "pyinit has no modules"
_SETTINGS = "pyinit has no settings of its own: everything is in the file"

NAMES: dict[str, Name] = {
    **dict.fromkeys(("list", "l", "ps", "status", "slist", "sysinfos"), _is("ls")),
    **dict.fromkeys(("show", "info", "desc"), _is("describe")),
    "sendSignal": _is("signal"),
    "gracefulReload": _is("reload"),
    "softReload": _is("reload"),
    "init": _is("ecosystem"),
    "log": _is("logs"),
    "delete": _is("stop"),
    "del": _is("stop"),
    "env": _instead(
        "values of variables are never shown: they may be secrets. `pyinit describe APP` says how "
        "many there are; `tr '\\0' '\\n' < /proc/PID/environ` shows them to root"
    ),
    "kill": _instead(
        "it would end the container: `docker stop`, or `kill -TERM 1` inside. `pyinit stop all` "
        "stops the apps and keeps the container"
    ),
    **dict.fromkeys(("monit", "imonit", "dashboard", "dash"), _is("top")),
    "trigger": _instead(
        "actions of @pm2/io do not exist here; `pyinit signal SIG APP` reaches the workers"
    ),
    "attach": _instead("a worker's stdin is not at a terminal; `docker exec -it` opens a shell"),
    "send": _instead("lines cannot be sent to a worker's stdin"),
    "flush": _not_needed("not needed: lines go to stdout, pyinit keeps no log files"),
    "reloadLogs": _not_needed("not needed: lines go to stdout, pyinit keeps no log files"),
    "logrotate": _not_needed("not needed: the container's engine rotates its log"),
    "reset": _not_needed(
        "not needed: counters belong to the life of the container; /metrics has them all"
    ),
    **dict.fromkeys(("save", "dump", "cleardump"), _not_needed(f"not needed: {_FILE}")),
    "resurrect": _not_needed(f"not needed: {_FILE}"),
    **dict.fromkeys(("startup", "unstartup"), _not_needed(f"not needed: {_MACHINE}")),
    **dict.fromkeys(("update", "updatePM2"), _not_needed(f"not needed: {_IMAGE}")),
    **dict.fromkeys(("deploy", "pull", "forward", "backward", "deepUpdate"), _instead(_IMAGE)),
    **dict.fromkeys(
        ("link", "unlink", "monitor", "unmonitor", "open", "plus", "register", "login", "logout"),
        _instead(_PLUS),
    ),
    **dict.fromkeys(
        (
            *("install", "uninstall", "module:install", "module:uninstall", "module:publish"),
            *("module:update", "module:generate", "package", "publish"),
        ),
        _instead(_MODULES),
    ),
    **dict.fromkeys(("set", "multiset", "get", "conf", "config", "unset"), _instead(_SETTINGS)),
    **dict.fromkeys(
        ("profile:mem", "profile:cpu"),
        _instead("use node's own: `node_args: --cpu-prof`, or `--heapsnapshot-signal=SIGUSR2`"),
    ),
    "inspect": _instead("use `node_args: --inspect`"),
    "report": _instead("`pyinit ls`, `pyinit describe APP` and `pyinit journal` say it"),
    **dict.fromkeys(
        ("autoinstall", "examples", "install-otel", "uninstall-otel"),
        _instead("pyinit has nothing like it"),
    ),
}


def commands(
    known: dict[str, Callable[[list[str]], int]],
) -> dict[str, Callable[[list[str]], int]]:
    """PM2's names: pyinit's command of another name, a function, or an answer."""
    found: dict[str, Callable[[list[str]], int]] = {
        "jlist": jlist,
        "prettylist": prettylist,
        "ping": ping,
        "pid": pid,
        "id": id_of,
        "delete": delete,
        "del": delete,
    }
    for word, name in NAMES.items():
        if word not in found:
            found[word] = known[name.command] if name.command else _answering(word, name)
    return found


def _answering(word: str, name: Name) -> Callable[[list[str]], int]:
    def answer(_argv: list[str]) -> int:
        print(f"pyinit {word}: {name.answer}", file=sys.stdout if name.fine else sys.stderr)
        return 0 if name.fine else 2

    return answer


def _apps() -> list[dict[str, Any]]:
    from .questions import measured

    found: list[dict[str, Any]] = measured()["apps"]
    return found


def _worker(app: dict[str, Any], worker: dict[str, Any]) -> dict[str, Any]:
    """A worker in the form of `pm2 jlist`, without variables."""
    import time

    up = worker["uptime"]
    return {
        "pid": worker["pid"],
        "name": app["name"],
        "pm2_env": {
            "name": app["name"],
            "namespace": app.get("namespace", "default"),
            "pm_id": worker["id"],
            "status": worker["status"],
            "exec_mode": f"{app['mode']}_mode",
            "instances": app["wanted"],
            "NODE_APP_INSTANCE": worker["instance"],
            "restart_time": worker["restarts"],
            "pm_uptime": None if up is None else round((time.time() - up) * 1000),
        },
        "pm_id": worker["id"],
        "monit": {"memory": worker.get("memory") or 0, "cpu": worker.get("cpu") or 0},
    }


def _listed() -> list[dict[str, Any]]:
    return [_worker(app, worker) for app in _apps() for worker in app["workers"]]


def _print_json(value: object, indent: int | None) -> None:
    import json

    print(json.dumps(value, indent=indent))


def jlist(argv: Sequence[str]) -> int:
    """`pyinit jlist`: as `pm2 jlist`, but for the environments; `pyinit ls --json` says more."""
    return _guarded("jlist", argv, lambda: _print_json(_listed(), None))


def prettylist(argv: Sequence[str]) -> int:
    """`pyinit prettylist`: the same for people."""
    return _guarded("prettylist", argv, lambda: _print_json(_listed(), 2))


def ping(argv: Sequence[str]) -> int:
    """`pyinit ping`: `pong` when pyinit answers."""

    def act() -> None:
        _apps()
        print("pong")

    return _guarded("ping", argv, act)


def pid(argv: Sequence[str]) -> int:
    """`pyinit pid [APP]`: the pids of the workers."""

    def act() -> None:
        for app in _apps():
            if not argv or app["name"] in argv:
                for worker in app["workers"]:
                    print(worker["pid"])

    return _guarded("pid", argv, act)


def id_of(argv: Sequence[str]) -> int:
    """`pyinit id APP`: the ids of its workers."""

    def act() -> None:
        ids = [w["id"] for app in _apps() if app["name"] in argv for w in app["workers"]]
        _print_json(ids, None)

    return _guarded("id", argv, act)


def delete(argv: list[str]) -> int:
    """`pyinit delete APP`: stop it. What exists is in the file."""
    from .commands import stop

    code = stop(argv)
    if code == 0:
        print(
            "stopped, as `pyinit stop` does; to remove it take it out of the file and say "
            "`pyinit reload --config`"
        )
    return code


def _guarded(word: str, argv: Sequence[str], act: Callable[[], None]) -> int:
    if any(arg in {"-h", "--help"} for arg in argv):
        print(f"usage: pyinit {word}; `pyinit ls` and `pyinit describe` say more")
        return 0
    from .connection import Refusal
    from .health import Unanswered

    try:
        act()
    except (Unanswered, Refusal) as error:
        print(f"pyinit {word}: {error}", file=sys.stderr)
        return 1
    return 0
