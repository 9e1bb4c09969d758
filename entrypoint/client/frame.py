"""Shared code of all commands: options, errors and their messages."""

from __future__ import annotations

import argparse
import difflib
import os
import signal as signals
import sys
from contextlib import closing

from entrypoint import __version__
from entrypoint.api import socket_path

from . import single_command, slips
from .connection import Refusal, ask
from .health import NoSocket, Unanswered
from .pm2_command_line import is_config_file, without_pm2s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

INTERRUPTED = 130

EPILOG = "Ask the pyinit of this container; only root and its own user may."


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence."""

    words: Sequence[str] = ()

    def error(self, message: str) -> Any:
        """One sentence; exit 2, as for every wrong command line."""
        _, found, unknown = message.partition("unrecognized arguments: ")
        message += slips.of_command(
            self.prog.removeprefix("pyinit "), self.words, unknown.split() if found else ()
        )
        print(f"{self.prog}: {message}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)


def parser_for(name: str, about: str, apps: str = "", word: str = "APP|all") -> Parser:
    """The parser of a command that asks a running pyinit; `apps`: argparse's `nargs` of APP."""
    parser = Parser(prog=f"pyinit {name}", description=about, epilog=EPILOG, allow_abbrev=False)
    parser.add_argument(
        "--socket", default=os.environ.get("PYINIT_SOCKET", ""), metavar="PATH", help="of pyinit"
    )
    if apps:
        parser.add_argument("app", nargs=apps, metavar=word)
        parser.add_argument("--json", action="store_true", help="progress for programs")
    return parser


def run_command(
    parser: Parser,
    argv: Sequence[str],
    act: Callable[[argparse.Namespace], int],
    keeps: tuple[str, ...] = (),
) -> int:
    """Parse, run, and print errors as a sentence; returns the exit code.

    `keeps`: options of the command that PM2 has too, with another meaning.
    """
    words, remarks = without_pm2s(argv, keeps)
    for remark in remarks:
        print(f"{parser.prog}: {remark}", file=sys.stderr)
    parser.words = words
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
        return complain(parser.prog, text if found is not None else str(error))
    except Unanswered as error:
        return complain(parser.prog, str(error))
    except Refusal as refusal:
        return complain(parser.prog, reason_of(refusal) + _other_version(refusal.fields))
    except (ValueError, LookupError, TypeError) as error:
        # JSON of another shape than ours.
        text = f"what answered is not understood: a pyinit of another version? ({error!r})"
        return complain(parser.prog, f"{text}; this command is of {__version__}")
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # `pyinit ls | head`: nobody reads on. Python would complain at its exit again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    return code


def complain(prog: str, text: str) -> int:
    """Print it on stderr; exit code 1."""
    print(f"{prog}: {text}", file=sys.stderr)
    return 1


def reason_of(refusal: Refusal) -> str:
    """Why it was refused, with a hint if a similar name exists."""
    fields = refusal.fields
    if "unknown" in fields:
        return _unknown(fields["unknown"], fields.get("apps", []), fields.get("ids", []))
    if "signal" in fields:
        word = str(fields["signal"]).upper()
        known = [str(name) for name in fields.get("signals", [])]
        close = difflib.get_close_matches(
            word if word[:3] == "SIG" else "SIG" + word, known, 1, cutoff=0.75
        )
        return f"{refusal}{did_you_mean(close)}"
    return str(refusal)


def _other_version(fields: dict[str, Any]) -> str:
    """After a refusal: the reason may only be a difference of versions."""
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
            messages.append(f"no app {name!r}{did_you_mean(close)}")
        else:
            messages.append(f"no app {name!r}; there is {', '.join(apps) or 'none'}")
    return "; ".join(messages)


def did_you_mean(close: list[str]) -> str:
    """`: did you mean 'web'?`, or nothing."""
    return f": did you mean {close[0]!r}?" if close else ""


def named_apps(options: argparse.Namespace) -> list[tuple[str, str]]:
    """The apps of the command line, as they are asked for."""
    return [("app", name) for name in options.app]


def answered(method: str, command: str, query: list[tuple[str, str]], path: str) -> dict[str, Any]:
    """The one JSON object of an answer. Raises as `ask` does."""
    with closing(ask(method, command, query, path)) as reply:
        for found in reply.objects():
            return found
    raise Unanswered("pyinit closed the connection without an answer")
