"""`pyinit ls`, `describe`, `logs`, `run`, `reload`, `restart`, `stop`, `start`, `scale`, `signal`.

They run as processes of their own, next to the pyinit that they ask (`docker exec`), so
they may import what they like.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import signal as signals
import sys
from contextlib import closing

from entrypoint import __version__
from entrypoint.api import socket_path
from entrypoint.logs.console import Style

from . import description, single_command, usage
from .connection import Refusal, Reply, ask
from .health import NoSocket, Unanswered
from .pm2_command_line import is_config_file, without_pm2s
from .records import Rendering

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

INTERRUPTED = 130

EPILOG = "Ask the pyinit of this container; only root and its own user may."


def ls(argv: Sequence[str]) -> int:
    """`pyinit ls [--json]`."""
    parser = _parser("ls", "All apps and their workers.")
    parser.add_argument("--json", action="store_true", help="for programs")
    return _run(parser, argv, _ls)


def describe(argv: Sequence[str]) -> int:
    """`pyinit describe APP [--json]`."""
    parser = _parser("describe", "All about an app, but for values of its environment.")
    parser.add_argument("app", nargs="+", metavar="APP|ID")
    parser.add_argument("--json", action="store_true", help="for programs")
    return _run(parser, argv, _describe)


def logs(argv: Sequence[str]) -> int:
    """`pyinit logs [APP] [-f] [--lines N] [--json]`."""
    parser = _parser("logs", "The last lines that went to stdout, and those that follow.")
    parser.add_argument("app", nargs="*", metavar="APP|ID")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until Ctrl-C")
    parser.add_argument("-n", "--lines", type=_lines, default=20, metavar="N")
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
    return _run(parser, argv, _logs)


def journal(argv: Sequence[str]) -> int:
    """`pyinit journal`."""
    parser = _parser(
        "journal",
        "Print the last events that pyinit decided about, for `pyinit replay`. "
        "Environments, arguments, health commands and STATUS texts are hashed.",
    )
    return _run(parser, argv, _journal)


def reload(argv: Sequence[str]) -> int:
    """`pyinit reload [APP|all] [--config] [--dry-run]`."""
    parser = _parser(
        "reload",
        "Replace the workers one by one, each new one ready before its old one stops.",
        apps="*",
        word="APP|ID|all",
    )
    parser.add_argument(
        "--config", action="store_true", help="read the file again, as SIGHUP does: all apps"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    return _run(parser, argv, _reload)


def restart(argv: Sequence[str]) -> int:
    """`pyinit restart APP|all`."""
    parser = _parser("restart", "Stop all workers at once and start them again.", "+", "APP|ID|all")
    return _run(parser, argv, lambda options: _operate("restart", options))


def stop(argv: Sequence[str]) -> int:
    """`pyinit stop APP|all`."""
    parser = _parser("stop", "Stop the workers; they stay stopped.", "+")
    return _run(parser, argv, lambda options: _operate("stop", options))


def start(argv: Sequence[str]) -> int:
    """`pyinit start APP|all`."""
    parser = _parser("start", "Start what was stopped or has errored.", "+")
    return _run(parser, argv, lambda options: _operate("start", options))


def run(argv: Sequence[str]) -> int:
    """`pyinit run JOB`."""
    parser = _parser(
        "run", "Run apps with `autorestart: false` once now, and wait for their end.", "+", "APP"
    )
    return _run(parser, argv, lambda options: _operate("run", options))


def scale(argv: Sequence[str]) -> int:
    """`pyinit scale APP N|+N|-N`."""
    parser = _parser("scale", "Run N workers; +N more, -N fewer.")
    parser.add_argument("app", nargs=1, metavar="APP")
    parser.add_argument("to", metavar="N|+N|-N")
    parser.add_argument("--json", action="store_true", help="progress for programs")
    return _run(parser, argv, lambda options: _operate("scale", options, ("to", options.to)))


def signal(argv: Sequence[str]) -> int:
    """`pyinit signal SIG APP|all`."""
    parser = _parser("signal", "Send a signal to the workers of apps, or to some of them.")
    parser.add_argument("signal", metavar="SIG", help="SIGUSR2, usr2, 12")
    parser.add_argument("app", nargs="+", metavar="APP|ID|all")
    parser.add_argument("--json", action="store_true", help="for programs")
    return _run(parser, argv, _signal)


# -- the frame of every command ---------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        """One sentence; exit 2, as for every wrong command line."""
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def _parser(name: str, about: str, apps: str = "", word: str = "APP|all") -> _Parser:
    parser = _Parser(prog=f"pyinit {name}", description=about, epilog=EPILOG, allow_abbrev=False)
    parser.add_argument(
        "--socket", default=os.environ.get("PYINIT_SOCKET", ""), metavar="PATH", help="of pyinit"
    )
    if apps:
        parser.add_argument("app", nargs=apps, metavar=word)
        parser.add_argument("--json", action="store_true", help="progress for programs")
    return parser


def _run(parser: _Parser, argv: Sequence[str], act: Callable[[argparse.Namespace], int]) -> int:
    words, remarks = without_pm2s(argv)
    for remark in remarks:
        print(f"{parser.prog}: {remark}", file=sys.stderr)
    try:
        # `scale web -1`: argparse takes it for a number as no option looks like one.
        options = parser.parse_args(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 2
    if signals.getsignal(signals.SIGINT) != signals.SIG_IGN:
        # The launcher's handler ends the process: here there is something to say first.
        signals.signal(signals.SIGINT, signals.default_int_handler)
    try:
        code = act(options)
        sys.stdout.flush()
    except NoSocket as error:
        found = single_command.find(socket_path.users())
        name = os.path.basename(found.command[0]) if found is not None else ""
        text = f"`pyinit -- {name}` runs one command here: only `ls` and `health` answer"
        return _complain(parser.prog, text if found is not None else str(error))
    except Unanswered as error:
        return _complain(parser.prog, str(error))
    except Refusal as refusal:
        return _complain(parser.prog, _reason(refusal) + _other_version(refusal.fields))
    except (ValueError, LookupError, TypeError) as error:
        # JSON of another shape than ours.
        text = f"what answered is not understood: a pyinit of another version? ({error!r})"
        return _complain(parser.prog, f"{text}; this command is of {__version__}")
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `pyinit ls | head`: nobody reads on. Python would complain at its exit again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    return code


def _complain(prog: str, text: str) -> int:
    print(f"{prog}: {text}", file=sys.stderr)
    return 1


def _reason(refusal: Refusal) -> str:
    fields = refusal.fields
    if "unknown" in fields:
        return _unknown(fields["unknown"], fields.get("apps", []), fields.get("ids", []))
    if "signal" in fields:
        word = str(fields["signal"]).upper()
        known = [str(name) for name in fields.get("signals", [])]
        close = difflib.get_close_matches(
            word if word[:3] == "SIG" else "SIG" + word, known, 1, cutoff=0.75
        )
        return f"{refusal}{_did_you_mean(close)}"
    return str(refusal)


def _other_version(fields: dict[str, Any]) -> str:
    """After a refusal: it may only be that the two do not know each other."""
    other = fields.get("version")
    if other == __version__:
        return ""
    return f" (the running pyinit is of version {other or 'unknown'}, this is {__version__})"


def _unknown(names: list[str], apps: list[str], ids: list[str]) -> str:
    messages = []
    for name in names:
        if name.isdecimal():
            messages.append(f"no worker has the id {name}; there is {', '.join(ids) or 'none'}")
            continue
        if is_config_file(name):
            messages.append(f"{name!r} is no app; `pyinit reload --config` reads the file again")
            continue
        close = difflib.get_close_matches(name, apps, 1)
        if close:
            messages.append(f"no app {name!r}{_did_you_mean(close)}")
        else:
            messages.append(f"no app {name!r}; there is {', '.join(apps) or 'none'}")
    return "; ".join(messages)


def _did_you_mean(close: list[str]) -> str:
    return f": did you mean {close[0]!r}?" if close else ""


def _apps(options: argparse.Namespace) -> list[tuple[str, str]]:
    return [("app", name) for name in options.app]


def _answer(method: str, command: str, query: list[tuple[str, str]], path: str) -> dict[str, Any]:
    with closing(ask(method, command, query, path)) as reply:
        for found in reply.objects():
            return found
    raise Unanswered("pyinit closed the connection without an answer")


# -- questions ----------------------------------------------------------------------------


def measured(socket: str = "") -> dict[str, Any]:
    """What `ls` shows: all apps, with CPU and memory of their workers."""
    try:
        found = _answer("GET", "apps", [], socket or os.environ.get("PYINIT_SOCKET", ""))
    except NoSocket:
        alone = single_command.find(socket_path.users())
        if alone is None:
            raise
        found = single_command.listed(alone)
    usage.measure(found["apps"])
    return found


def _ls(options: argparse.Namespace) -> int:
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
    found = _answer("GET", "describe", _apps(options), options.socket)
    usage.measure(found["apps"])
    if options.json:
        print(json.dumps(found["apps"]))
        return 0
    for app in found["apps"]:
        description.print_app(app)
    return 0


def _logs(options: argparse.Namespace) -> int:
    query = [*_apps(options), ("lines", str(options.lines))]
    if options.follow:
        query.append(("follow", "1"))
    with closing(ask("GET", "logs", query, options.socket)) as reply:
        kind = reply.fields.get("x-pyinit-log-format", "json")
        if kind == "raw":
            text = "log.format is raw: workers write past pyinit, only its own events are here"
            print(text, file=sys.stderr)
        preset, names = json.loads(reply.fields.get("x-pyinit-log-keys", '["default", {}]'))
        rendering = Rendering(Style(colour=description.colour()), preset, names)
        render: Callable[[bytes], bytes] = rendering.line
        if options.json or kind == "console":
            render = bytes
        elif options.raw:
            render = rendering.text_of
        wanted = [name for name in ("out", "err") if getattr(options, name)]
        out = sys.stdout.buffer
        for line in reply.lines():
            if len(wanted) == 1 and rendering.stream_of(line) != f"std{wanted[0]}":
                continue
            out.write(render(line))
            out.flush()
    if options.follow:
        print(
            "pyinit logs: pyinit has ended, or closed this connection for another client",
            file=sys.stderr,
        )
        return 1
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
        return _complain("pyinit journal", "pyinit ended, or closed the connection, meanwhile")
    return 0


# -- commands -----------------------------------------------------------------------------


def _reload(options: argparse.Namespace) -> int:
    if options.config and options.app not in ([], ["all"]):
        return _complain("pyinit reload", "--config reads the whole file: name no app") + 1
    if not options.config and not options.app:
        return _complain("pyinit reload", "which app? name one, or `all`") + 1
    extra = []
    if options.config:
        options.app = []
        extra.append(("config", "1"))
    if options.dry_run:
        extra.append(("dry_run", "1"))
    return _operate("reload", options, *extra)


def _signal(options: argparse.Namespace) -> int:
    query = [*_apps(options), ("signal", options.signal)]
    found = _answer("POST", "signal", query, options.socket)
    if options.json:
        print(json.dumps(found))
    else:
        for worker in found["workers"]:
            print(f"{worker['app']}: {description.worker_name(worker)}: {found['signal']} sent")
    if not found["workers"]:
        return _complain("pyinit signal", "there is no worker to send it to")
    return 0


def _operate(command: str, options: argparse.Namespace, *extra: tuple[str, str]) -> int:
    """Ask for it and tell how it goes; the exit code is how it ended."""
    reply = ask("POST", command, [*_apps(options), *extra], options.socket)
    try:
        with closing(reply):
            code = _follow(reply, _raw if options.json else _tell)
    except KeyboardInterrupt:
        text = "no longer watched, it goes on all the same; `pyinit ls` shows how it stands"
        print(f"pyinit {command}: {text}", file=sys.stderr)
        return INTERRUPTED
    if code is None:
        return _complain(f"pyinit {command}", "pyinit ended, or closed the connection, meanwhile")
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


def _lines(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of lines")
    return min(int(text), 100_000)
