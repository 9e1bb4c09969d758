"""`pyinit ls`, `describe`, `journal`: commands that change nothing."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import closing

from entrypoint.api import socket_path

from . import description, single_command, table
from .connection import ask
from .frame import answered, complain, named_apps, parser_for, run_command
from .health import NoSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def ls(argv: Sequence[str]) -> int:
    """`pyinit ls [--json] [--watch [SECONDS]]`."""
    parser = parser_for("ls", "All apps and their workers.")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=2.0,
        metavar="SECONDS",
        help="again and again, every 2 seconds; with --json one object a line",
    )
    return run_command(parser, argv, _ls, keeps=("--watch",))


def describe(argv: Sequence[str]) -> int:
    """`pyinit describe APP [--json]`."""
    parser = parser_for("describe", "All about an app, but for values of its environment.")
    parser.add_argument("app", nargs="+", metavar="APP|ID")
    parser.add_argument("--json", action="store_true", help="for programs")
    return run_command(parser, argv, _describe)


def journal(argv: Sequence[str]) -> int:
    """`pyinit journal`."""
    parser = parser_for(
        "journal",
        "Print the last events that pyinit decided about, for `pyinit replay`. "
        "Environments, arguments, health commands and STATUS texts are hashed.",
    )
    return run_command(parser, argv, _journal)


def measured(socket: str = "") -> dict[str, Any]:
    """What `ls` shows: all apps, with CPU and memory of their workers."""
    try:
        found = answered("GET", "apps", [], socket or os.environ.get("PYINIT_SOCKET", ""))
    except NoSocket:
        alone = single_command.find(socket_path.users())
        if alone is None:
            raise
        found = single_command.listed(alone)
    table.measure(found["apps"])
    return found


def _seconds(text: str) -> float:
    try:
        seconds = float(text.removesuffix("s"))
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds; write 2 or 0.5")
    return seconds


def _ls(options: argparse.Namespace) -> int:
    if options.watch is None:
        return _list_once(options)
    # A terminal shows the newest one; a pipe gets one after the other.
    clears = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not options.json
    clear = "\x1b[H\x1b[2J" if clears else ""
    while True:
        began = time.monotonic()
        print(clear, end="")
        _list_once(options)
        if not clear and not options.json:
            print()
        sys.stdout.flush()
        time.sleep(max(0.0, options.watch - (time.monotonic() - began)))


def _list_once(options: argparse.Namespace) -> int:
    found = measured(options.socket)
    if options.json:
        print(json.dumps(found))
        return 0
    print(description.app_table(found["apps"]))
    for app in found["apps"]:
        description.print_words(app, f"{app['name']}, ")
        description.print_job(app, f"{app['name']}: ")
    if found["phase"] != "running":
        print(f"pyinit is {found['phase']}")
    description.print_config_error(found)
    return 0


def _describe(options: argparse.Namespace) -> int:
    found = answered("GET", "describe", named_apps(options), options.socket)
    table.measure(found["apps"])
    if options.json:
        print(json.dumps(found["apps"]))
        return 0
    for app in found["apps"]:
        description.print_app(app)
    return 0


def _journal(options: argparse.Namespace) -> int:
    from entrypoint.core import supervisor  # noqa: F401  the types of the journal
    from entrypoint.journal import document, packing

    with closing(ask("GET", "journal", [], options.socket)) as reply:
        dump = reply.read()
    try:
        for line in document.lines(dump, packing.kinds()):
            print(line)
    except EOFError:
        return complain("pyinit journal", "pyinit ended, or closed the connection, meanwhile")
    return 0
