"""`pyinit top`: apps and workers, live, with the log of the chosen one; keys that act.

It draws with the sequences that every terminal since the VT100 has, so it needs no library and no
terminfo in the image. Everything is in this process: PID 1 answers the questions that `ls` and
`logs` ask, and what the workers use is read from /proc here (usage.py, open_connections.py).
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal as signals
import sys
import termios
import time

from entrypoint.kernel import proc
from entrypoint.logs.console import Style

from . import description, open_connections
from .connection import Refusal, Reply, ask
from .frame import INTERRUPTED, answered, complain, parser_for, reason_of, run_command
from .health import Unanswered
from .records import Rendering
from .top_screen import Row, Shown, head_of, lines, rows_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# Seconds between two questions, and lines of the log that are kept.
INTERVAL = 2.0
LOG_LINES = 200
LEAST = (20, 5)  # columns, lines
OPEN, CLOSE = "\x1b[?1049h\x1b[?25l\x1b[2J", "\x1b[0m\x1b[?25h\x1b[?1049l"
# What the keys of a terminal send.
SEQUENCES = {
    **dict.fromkeys(("\x1b[A", "\x1bOA"), "up"),
    **dict.fromkeys(("\x1b[B", "\x1bOB"), "down"),
    "\x1b[5~": "pageup",
    "\x1b[6~": "pagedown",
    **dict.fromkeys(("\r", "\n"), "enter"),
    **dict.fromkeys(("\x7f", "\b"), "backspace"),
    "\x1b": "escape",
}
INTERRUPT = "\x03"
MOVES = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10}
# Key → the command, and whether a worker alone may be meant.
ACTIONS = {
    "r": ("reload", False),
    "R": ("restart", True),
    "s": ("stop", False),
    "a": ("start", False),
}


def top(argv: Sequence[str]) -> int:
    """`pyinit top [--interval SECONDS]`."""
    parser = parser_for("top", "Apps and workers, live; keys reload, restart, scale, stop, signal.")
    parser.add_argument(
        "--interval", type=float, default=INTERVAL, metavar="SECONDS", help="of the figures: 2"
    )
    return run_command(parser, argv, _top)


def _top(options: argparse.Namespace) -> int:
    if not (os.isatty(0) and os.isatty(1)) or os.environ.get("TERM") == "dumb":
        text = "it needs a terminal (`docker exec -it`); `pyinit ls --watch` works without one"
        return complain("pyinit top", text)
    found = answered("GET", "apps", [], options.socket)  # fails before anything is drawn
    screen = Top(options.socket, max(0.2, options.interval), colour=description.colour())
    before = termios.tcgetattr(0)
    wakeup, woken = os.pipe()
    os.set_blocking(woken, False)

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for number in (signals.SIGTERM, signals.SIGHUP):
        signals.signal(number, end)
    signals.signal(signals.SIGWINCH, lambda _number, _frame: None)
    signals.set_wakeup_fd(woken, warn_on_full_buffer=False)
    try:
        _raw(before)
        sys.stdout.write(OPEN)
        screen.took(found)
        code = screen.run(wakeup)
    finally:
        sys.stdout.write(CLOSE)
        sys.stdout.flush()
        termios.tcsetattr(0, termios.TCSADRAIN, before)
    return code


def _raw(before: list[Any]) -> None:
    """Read each key at once, even Ctrl-C: `docker exec` and nsenter in front must not get it."""
    local = before[3] & ~(termios.ECHO | termios.ICANON | termios.ISIG)
    termios.tcsetattr(0, termios.TCSADRAIN, [*before[:3], local, *before[4:]])


class Top:
    """The state of the program: data, selection, pending question."""

    def __init__(self, socket: str, interval: float, *, colour: bool) -> None:
        self._socket = socket
        self._interval = interval
        self._colour = colour
        self._found: dict[str, Any] = {}
        self._rows: tuple[Row, ...] = ()
        self._chosen = 0
        self._folded = False
        self._helps = False
        self._quits = False
        self._message = ""
        self._question = ""
        self._typed: str | None = None  # of a question that wants a word
        self._asks = ""  # `scale`, `signal`: what the word is for
        self._command: tuple[str, list[tuple[str, str]]] | None = None
        self._cpu: dict[int, tuple[float, float]] = {}  # pid: when, seconds
        self._log_of = ""
        self._log: list[str] = []
        self._log_reply: Reply | None = None
        self._progress: Reply | None = None
        self._rendering = Rendering(Style(colour=False))
        self._drawn: list[str] = []
        self._size = os.terminal_size((0, 0))

    # -- the loop -----------------------------------------------------------------------

    def run(self, wakeup: int) -> int:
        """Draw, wait for a key, a line, a resize or the time, until `q`; the exit code."""
        due = time.monotonic() + self._interval
        self._follow()
        while not self._quits:
            self._draw()
            replies = {r.fileno(): r for r in (self._log_reply, self._progress) if r is not None}
            wait = max(0.0, due - time.monotonic())
            ready, _, _ = select.select([0, wakeup, *replies], [], [], wait)
            if wakeup in ready:
                os.read(wakeup, 512)
            if 0 in ready:
                typed = os.read(0, 1024)
                if not typed:
                    return 1  # the terminal is gone
                for key in keys(typed.decode("utf-8", "replace")):
                    if key == INTERRUPT:
                        return INTERRUPTED
                    self.press(key)
            for fd in ready:
                if fd in replies:
                    self._take(replies[fd])
            if time.monotonic() >= due:
                self._ask()
                due = time.monotonic() + self._interval
        return 0

    def _draw(self) -> None:
        size = os.get_terminal_size(1)
        if size != self._size:
            self._size, self._drawn = size, []
            sys.stdout.write("\x1b[2J")
        wide, tall = max(LEAST[0], size[0]), max(LEAST[1], size[1])
        made = lines(self._shown(), wide, tall, colour=self._colour)
        for number, line in enumerate(made):
            if number >= len(self._drawn) or self._drawn[number] != line:
                sys.stdout.write(f"\x1b[{number + 1};1H{line}")
        sys.stdout.flush()
        self._drawn = made

    def _shown(self) -> Shown:
        question = self._question if self._typed is None else f"{self._question}{self._typed}_"
        return Shown(
            head_of(self._found, time.strftime("%H:%M:%S")),
            self._rows,
            self._chosen,
            tuple(self._log),
            question,
            self._message,
            self._helps,
        )

    # -- what is known ------------------------------------------------------------------

    def _ask(self) -> None:
        try:
            found = answered("GET", "apps", [], self._socket)
        except (OSError, Refusal, Unanswered) as error:
            self._message = f"no answer: {error}"
            return
        if self._message.startswith("no answer"):
            self._message = ""
        self.took(found)
        self._follow()

    def took(self, found: dict[str, Any]) -> None:
        """All apps, just now."""
        now = time.monotonic()
        used: dict[int, tuple[float, float]] = {}
        for app in found["apps"]:
            for worker in app["workers"]:
                pid = worker["pid"]
                if not pid:
                    continue
                members = [proc.stat(member) for member in proc.tree(pid)]
                seconds = sum(member.cpu for member in members if member is not None)
                used[pid] = (now, seconds)
                worker["memory"] = sum(member.rss for member in members if member is not None)
                before = self._cpu.get(pid)
                if before is not None and now > before[0]:
                    share = 100 * (seconds - before[1]) / (now - before[0])
                    worker["cpu"] = max(0.0, share)
        self._cpu = used
        open_connections.count(found["apps"])
        self._found = found
        self._list()

    def _list(self) -> None:
        """Update the rows; the selection stays."""
        chosen = self._at()
        self._rows = rows_of(self._found["apps"], folded=self._folded)
        places = [(row.app, row.instance) for row in self._rows]
        if chosen is not None:
            for place in ((chosen.app, chosen.instance), (chosen.app, -1)):
                if place in places:
                    self._chosen = places.index(place)
                    break
        self._chosen = max(0, min(self._chosen, len(self._rows) - 1))

    def _at(self) -> Row | None:
        return self._rows[self._chosen] if self._chosen < len(self._rows) else None

    def _follow(self) -> None:
        """Follow the log of the selected app."""
        row = self._at()
        if row is None or (row.app == self._log_of and self._log_reply is not None):
            return
        if self._log_reply is not None:
            self._log_reply.close()
        self._log_of, self._log, self._log_reply = row.app, [], None
        query = [("app", row.app), ("lines", "50"), ("follow", "1")]
        try:
            reply = ask("GET", "logs", query, self._socket)
        except (OSError, Refusal, Unanswered):
            return
        preset, names = json.loads(reply.fields.get("x-pyinit-log-keys", '["default", {}]'))
        self._rendering = Rendering(Style(colour=False), preset, names)
        self._log_reply = reply
        self._take(reply)

    def _take(self, reply: Reply) -> None:
        came, ended = reply.take()
        if reply is self._log_reply:
            for line in came:
                shown = self._rendering.line(line).decode("utf-8", "replace")
                self._log.extend(shown.splitlines())
            del self._log[:-LOG_LINES]
            if ended:
                reply.close()
                self._log_reply = None
        elif reply is self._progress:
            for line in came:
                self._tell(json.loads(line))
            if ended:
                reply.close()
                self._progress = None

    def _tell(self, found: dict[str, Any]) -> None:
        """Show a line of progress of the command."""
        if "signal" in found:
            count = len(found["workers"])
            self._message = f"{found['signal']} sent to {count} worker{'s' * (count != 1)}"
        elif "outcome" in found:
            self._message = f"{found['app']}: {found['outcome']} {found['message']}".strip()
        elif "instance" in found:
            at = f"worker {found['worker']} of {found['total']}"
            self._message = f"{found['app']}: {at}: {found['state']}"
        elif found.get("message"):
            self._message = str(found["message"])

    # -- keys ---------------------------------------------------------------------------

    def press(self, key: str) -> None:
        """Handle a key: ask first before anything that changes a worker."""
        if self._typed is not None:
            self._type(key)
        elif self._command is not None:
            self._confirm(key)
        else:
            self._message = ""
            self._act(key)

    def _act(self, key: str) -> None:
        if self._helps or key == "?":
            self._helps = not self._helps
        elif key in MOVES:
            self._chosen = max(0, min(len(self._rows) - 1, self._chosen + MOVES[key]))
            self._follow()
        elif key == " ":
            self._folded = not self._folded
            self._list()
        elif key == "q":
            self._quits = True
        else:
            self._begin(key)

    def _begin(self, key: str) -> None:
        row = self._at()
        if row is None:
            return
        if key in ACTIONS:
            command, alone = ACTIONS[key]
            whole = not alone or row.instance < 0 or row.id < 0
            self._sure(command, [("app", row.app if whole else str(row.id))], row, whole=whole)
        elif key == "c":
            self._asks, self._typed = "scale", ""
            self._question = f"scale {row.app} to (N, +N, -N): "
        elif key == "g":
            self._asks, self._typed = "signal", ""
            self._question = f"signal to {_name(row)}: "

    def _type(self, key: str) -> None:
        assert self._typed is not None
        if key == "escape":
            self._forget("nothing was done")
        elif key == "backspace":
            self._typed = self._typed[:-1]
        elif key == "enter":
            self._word(self._typed.strip())
        elif len(key) == 1 and key.isprintable() and len(self._typed) < 20:
            self._typed += key

    def _word(self, word: str) -> None:
        row, asks = self._at(), self._asks
        self._typed = None
        if row is None or not word:
            self._forget("nothing was done")
        elif asks == "scale":
            self._sure("scale", [("app", row.app), ("to", word)], row, whole=True, to=f" to {word}")
        else:
            whole = row.instance < 0 or row.id < 0
            query = [("app", row.app if whole else str(row.id)), ("signal", word)]
            self._sure("signal", query, row, whole=whole, to=f" {word}")

    def _sure(
        self, command: str, query: list[tuple[str, str]], row: Row, *, whole: bool, to: str = ""
    ) -> None:
        self._command = (command, query)
        who = row.app if whole else _name(row)
        what = f"send{to} to {who}" if command == "signal" else f"{command} {who}{to}"
        self._question = f"{what}? [y/N] "

    def _confirm(self, key: str) -> None:
        assert self._command is not None
        command, query = self._command
        self._forget("nothing was done")
        if key not in {"y", "Y"}:
            return
        if self._progress is not None:
            self._progress.close()
            self._progress = None
        try:
            self._progress = ask("POST", command, query, self._socket)
        except Refusal as refusal:
            self._message = reason_of(refusal)
        except (OSError, Unanswered) as error:
            self._message = str(error)
        else:
            self._message = f"{command} asked for"
            self._take(self._progress)

    def _forget(self, message: str) -> None:
        self._typed, self._command, self._question, self._asks = None, None, "", ""
        self._message = message


def _name(row: Row) -> str:
    return row.app if row.instance < 0 else f"{row.app}:{row.instance}"


def keys(typed: str) -> list[str]:
    """The keys that were pressed, of what the terminal has sent at once."""
    found = []
    while typed:
        known = next((s for s in sorted(SEQUENCES, key=len)[::-1] if typed.startswith(s)), "")
        if known == "\x1b" and len(typed) > 2 and typed[1] in "[O":
            # Another key: drop its whole sequence.
            end = next((n for n, c in enumerate(typed[2:], 3) if "@" <= c <= "~"), len(typed))
            typed = typed[end:]
            continue
        found.append(SEQUENCES[known] if known else typed[0])
        typed = typed[len(known) or 1 :]
    return found
