"""`pyinit logs`: lines of a running pyinit, or (`logs -`) of any file or pipe, for people.

`docker logs web | pyinit logs -` needs no pyinit that runs: it reads records by the names of
every preset of `log.keys`. What stands before a record (`docker compose logs`, `kubectl logs
--prefix`, `docker logs -t`) stays before it; a line that is no record is passed on as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import closing

from entrypoint.logs.console import Style
from entrypoint.logs.schema import LEVELS

from . import description
from .connection import ask
from .frame import complain, named_apps, parser_for, run_command
from .log_filter import Filter
from .records import Rendering

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

STDIN = "-"
# Where a record may begin in a line of another program.
PREFIX_AT_MOST = 200


def logs(argv: Sequence[str]) -> int:
    """`pyinit logs [APP|-] [-f] [--lines N] [--level LEVEL] [--field NAME=VALUE] [--json]`."""
    parser = parser_for(
        "logs",
        "The last lines that went to stdout, and those that follow. `-` in front of the apps: "
        "lines from stdin instead, of any pyinit.",
    )
    parser.add_argument("app", nargs="*", metavar="APP|ID|-")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("-n", "--lines", type=_lines, default=20, metavar="N")
    parser.add_argument(
        "--level", choices=tuple(LEVELS), metavar="LEVEL", help=f"at least: {', '.join(LEVELS)}"
    )
    parser.add_argument(
        "--field",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="only records with this field; VALUE may have * and ?; several: all of them",
    )
    parser.add_argument("--json", action="store_true", help="the records as they are")
    parser.add_argument("--raw", action="store_true", help="only what the workers wrote")
    parser.add_argument("--out", action="store_true", help="only lines of stdout")
    parser.add_argument("--err", action="store_true", help="only lines of stderr")
    # PM2 follows the logs unless `--nostream` is given.
    parser.add_argument("--nostream", action="store_true", help=argparse.SUPPRESS)
    for word in ("--format", "--formatted"):
        parser.add_argument(word, action="store_true", help=argparse.SUPPRESS)
    for word in ("--timestamp", "--highlight"):
        parser.add_argument(word, nargs="?", help=argparse.SUPPRESS)
    return run_command(parser, argv, _logs)


def _logs(options: argparse.Namespace) -> int:
    if STDIN in options.app:
        return _from_stdin(options)
    query = [*named_apps(options), ("lines", str(options.lines))]
    if options.follow:
        query.append(("follow", "1"))
    with closing(ask("GET", "logs", query, options.socket)) as reply:
        kind = reply.fields.get("x-pyinit-log-format", "json")
        if kind == "raw":
            text = "log.format is raw: workers write past pyinit, only its own events are here"
            print(text, file=sys.stderr)
        preset, names = json.loads(reply.fields.get("x-pyinit-log-keys", '["default", {}]'))
        rendering = Rendering(Style(colour=description.colour()), preset, names)
        chosen = Filter(rendering, (), options.level, options.field, _streams(options))
        if kind == "console" and (options.level or options.field):
            text = "--level and --field need records, and log.format is console"
            return complain("pyinit logs", text) + 1
        _write(reply.lines(), rendering, chosen, options, already=kind == "console")
    if options.follow:
        print(
            "pyinit logs: pyinit has ended, or closed this connection for another client",
            file=sys.stderr,
        )
        return 1
    return 0


def _from_stdin(options: argparse.Namespace) -> int:
    apps = tuple(name for name in options.app if name != STDIN)
    if os.isatty(0):
        print("pyinit logs: reading from the terminal; `docker logs -f web | pyinit logs -`")
    rendering = Rendering(Style(colour=description.colour()))
    chosen = Filter(rendering, apps, options.level, options.field, _streams(options))
    _write(_read_lines(), rendering, chosen, options)
    return 0


def _streams(options: argparse.Namespace) -> tuple[str, ...]:
    """`stdout`, `stderr`: the only one that is wanted; empty for both."""
    wanted = tuple(f"std{name}" for name in ("out", "err") if getattr(options, name))
    return wanted if len(wanted) == 1 else ()


def _write(
    lines: Iterable[bytes],
    rendering: Rendering,
    chosen: Filter,
    options: argparse.Namespace,
    *,
    already: bool = False,
) -> None:
    """Each line that is wanted; `already`: they are in the form for people."""
    render: Callable[[bytes], bytes] = rendering.line
    if options.json or already:
        render = bytes
    elif options.raw:
        render = rendering.text_of
    out = sys.stdout.buffer
    for line in lines:
        before, record = split(line)
        if chosen.takes(record):
            shown = render(record)
            out.write(before + shown if shown else b"")
            out.flush()


def _read_lines() -> Iterator[bytes]:
    """Lines of stdin as they come, the last one with an end too."""
    rest = b""
    while data := os.read(0, 1 << 16):
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest + b"\n"


def split(line: bytes) -> tuple[bytes, bytes]:
    """What another program put before a record, and the record."""
    at = line.find(b'{"', 0, PREFIX_AT_MOST)
    if at <= 0 or not line.rstrip().endswith(b"}"):
        return b"", line
    try:
        json.loads(line[at:])
    except ValueError:
        return b"", line
    return line[:at], line[at:]


def _lines(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return min(int(text), 100_000)
