"""`pyinit run`, `reload`, `restart`, `stop`, `start`, `scale`, `signal`: commands with an effect.

They run as processes of their own, next to the pyinit that they ask (`docker exec`), so
they may import what they like.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing

from . import description
from .connection import Reply, ask
from .frame import INTERRUPTED, answered, complain, named_apps, parser_for, run_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


def reload(argv: Sequence[str]) -> int:
    """`pyinit reload [APP|all] [--config] [--dry-run]`."""
    parser = parser_for(
        "reload",
        "Replace the workers one by one, each new one ready before its old one stops.",
        apps="*",
        word="APP|ID|all",
    )
    parser.add_argument(
        "--config", action="store_true", help="read the file again, as SIGHUP does: all apps"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    return run_command(parser, argv, _reload)


def restart(argv: Sequence[str]) -> int:
    """`pyinit restart APP|all`."""
    parser = parser_for(
        "restart", "Stop all workers at once and start them again.", "+", "APP|ID|all"
    )
    return run_command(parser, argv, lambda options: _operate("restart", options))


def stop(argv: Sequence[str]) -> int:
    """`pyinit stop APP|all`."""
    parser = parser_for("stop", "Stop the workers; they stay stopped.", "+")
    return run_command(parser, argv, lambda options: _operate("stop", options))


def start(argv: Sequence[str]) -> int:
    """`pyinit start APP|all`."""
    parser = parser_for("start", "Start what was stopped or has errored.", "+")
    return run_command(parser, argv, lambda options: _operate("start", options))


def run(argv: Sequence[str]) -> int:
    """`pyinit run JOB`."""
    parser = parser_for(
        "run", "Run apps with `autorestart: false` once now, and wait for their end.", "+", "APP"
    )
    return run_command(parser, argv, lambda options: _operate("run", options))


def scale(argv: Sequence[str]) -> int:
    """`pyinit scale APP N|+N|-N`."""
    parser = parser_for("scale", "Run N workers; +N more, -N fewer.")
    parser.add_argument("app", nargs=1, metavar="APP")
    parser.add_argument("to", metavar="N|+N|-N")
    parser.add_argument("--json", action="store_true", help="progress for programs")
    return run_command(parser, argv, lambda options: _operate("scale", options, ("to", options.to)))


def signal(argv: Sequence[str]) -> int:
    """`pyinit signal SIG APP|all`."""
    parser = parser_for("signal", "Send a signal to the workers of apps, or to some of them.")
    parser.add_argument("signal", metavar="SIG", help="SIGUSR2, usr2, 12")
    parser.add_argument("app", nargs="+", metavar="APP|ID|all")
    parser.add_argument("--json", action="store_true", help="for programs")
    return run_command(parser, argv, _signal)


# -- commands -----------------------------------------------------------------------------


def _reload(options: argparse.Namespace) -> int:
    if options.config and options.app not in ([], ["all"]):
        return complain("pyinit reload", "--config reads the whole file: name no app") + 1
    if not options.config and not options.app:
        return complain("pyinit reload", "which app? name one, or `all`") + 1
    extra = []
    if options.config:
        options.app = []
        extra.append(("config", "1"))
    if options.dry_run:
        extra.append(("dry_run", "1"))
    return _operate("reload", options, *extra)


def _signal(options: argparse.Namespace) -> int:
    query = [*named_apps(options), ("signal", options.signal)]
    found = answered("POST", "signal", query, options.socket)
    if options.json:
        print(json.dumps(found))
    else:
        for worker in found["workers"]:
            print(f"{worker['app']}: {description.worker_name(worker)}: {found['signal']} sent")
    if not found["workers"]:
        return complain("pyinit signal", "there is no worker to send it to")
    return 0


def _operate(command: str, options: argparse.Namespace, *extra: tuple[str, str]) -> int:
    """Send the request and print its progress; the exit code is its result."""
    reply = ask("POST", command, [*named_apps(options), *extra], options.socket)
    try:
        with closing(reply):
            code = _follow(reply, _raw if options.json else _tell)
    except KeyboardInterrupt:
        text = "no longer watched, it goes on all the same; `pyinit ls` shows how it stands"
        print(f"pyinit {command}: {text}", file=sys.stderr)
        return INTERRUPTED
    if code is None:
        return complain(f"pyinit {command}", "pyinit ended, or closed the connection, meanwhile")
    return code


def _follow(reply: Reply, tell: Callable[[dict[str, Any]], None]) -> int | None:
    for found in reply.objects():
        tell(found)
        if "exit" in found:
            return int(found["exit"])
        if "changes" in found:
            return 0
    return None


def _raw(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


def _tell(found: dict[str, Any]) -> None:
    """One line of progress for people."""
    if "outcome" in found:
        text = _outcome(found)
    elif "instance" in found:
        at = f"worker {found['worker']} of {found['total']}"
        text = f"{found['app']}: {at}: {description.worker_name(found)}: {found['state']}"
    elif "changes" in found:
        text = "\n".join(found["changes"]) or "there is nothing to do"
    elif "change" in found:
        text = found["change"]
    elif "error" in found:
        text = found["error"]
    elif "warning" in found:
        text = f"warning: {found['warning']}"
    else:
        text = found.get("note") or found.get("message") or ""
    if text:
        print(text, flush=True)


def _outcome(found: dict[str, Any]) -> str:
    if found["outcome"] == "failed":
        return f"{found['app']}: failed: {found['message']}"
    if found["message"]:
        return f"{found['app']}: {found['message']}"
    count = f"{found['done']} of {found['total']} worker{'' if found['total'] == 1 else 's'}"
    return f"{found['app']}: {found['outcome']}, {count}, {found['took']:.1f} s"
