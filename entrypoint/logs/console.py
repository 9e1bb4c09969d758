"""Renders records for people: `log.format: console`, and `auto` on a terminal.

    web:0  | GET /index.html
    web:1  | GET /about
    pyinit | 09:12:13.004 worker ready  web:1  pid=27 by=listen after=0.21
    pyinit | 09:12:15.127 error worker exited: exit code 1  web:1  pid=27 uptime=2.1

The bytes of a worker's line are passed on unchanged, colours included: nothing is
lost here either. A `>` instead of the `|` marks the part of a line that continues in the
next record. A multi-line value of an event (a traceback) is printed below
it, under the same label; the last lines of a worker are not, because they are right above.
"""

from __future__ import annotations

from .schema import STDERR
from .wrap import Wrapper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .multiline import Joiner

_RESET = b"\x1b[0m"
_RED = b"\x1b[31m"
_BOLD = b"\x1b[1m"
_DIM = b"\x1b[2m"
# A longer label only shifts its own line.
_WIDEST = 24
_SAID_BY_THE_LINES = frozenset(("last_lines", "expected"))
_SAID_BY_THE_REASON = frozenset(("reason", "exit_code", "signal", "oom_killed", "core_dumped"))
# Cyan, green, yellow, magenta, blue and their bright forms; red is reserved for errors.
_APP_COLOURS = tuple(b"\x1b[%dm" % code for code in (36, 32, 33, 35, 34, 96, 92, 93, 95, 94))
_LEVEL_COLOURS = {"debug": _DIM, "warning": b"\x1b[33m", "error": _RED, "critical": _RED}


def wants_colour(environ: Mapping[str, str], is_terminal: bool) -> bool:
    """Whether to use colours: `NO_COLOR` (no-color.org), then `FORCE_COLOR`, then the terminal."""
    if environ.get("NO_COLOR"):
        return False
    force = environ.get("FORCE_COLOR", "")
    if force:
        return force not in ("0", "false")
    return is_terminal and environ.get("TERM") != "dumb"


class Style:
    """The width of the labels, which grows with the longest seen, and the colours."""

    def __init__(self, *, colour: bool) -> None:
        self.colour = colour
        self.width = len("pyinit")
        self._apps: dict[str, bytes] = {}

    def label(self, name: str, app: str = "") -> bytes:
        """`name` padded to the width of all, in the colour of its app."""
        self.width = max(self.width, min(len(name), _WIDEST))
        text = name.ljust(self.width).encode("utf-8", "replace")
        if not self.colour:
            return text
        return self._app_colour(app) + text + _RESET

    def _app_colour(self, app: str) -> bytes:
        if not app:
            return _DIM
        if app not in self._apps:
            self._apps[app] = _APP_COLOURS[len(self._apps) % len(_APP_COLOURS)]
        return self._apps[app]

    def paint(self, text: str, colour: bytes) -> bytes:
        """`text` in a colour, if colours are used."""
        plain = text.encode("utf-8", "replace")
        return colour + plain + _RESET if self.colour else plain

    def expect(self, names: Iterable[str]) -> None:
        """Set the width for labels to come: the first line is as wide as the last."""
        for name in names:
            self.width = max(self.width, min(len(name), _WIDEST))

    def event(self, when: str, level: str, event: str, fields: Mapping[str, object]) -> bytes:
        """One event of pyinit's own, with its newline."""
        shown = {name: value for name, value in fields.items() if name not in _SAID_BY_THE_LINES}
        app, instance = shown.pop("app", ""), shown.pop("instance", None)
        reason = shown.get("reason")
        if isinstance(reason, str) and reason.isprintable():
            event = f"{event}: {reason}"
            shown = {k: v for k, v in shown.items() if k not in _SAID_BY_THE_REASON}
        # The time of day: `2026-01-02T03:04:05.678901Z` → `03:04:05.678`.
        line = self.paint(when[11:23], _DIM) + b" "
        if level == "info":
            line += self.paint(event, _BOLD)
        else:
            colour = _LEVEL_COLOURS.get(level, b"")
            line += self.paint(f"{level} {event}", colour)
        if app:
            who = f"{app}" if instance is None else f"{app}:{instance}"
            line += b"  " + self.paint(who, self._app_colour(str(app)))
        below: list[str] = []
        separator = b"  "
        for name, value in shown.items():
            text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            if "\n" in text:
                below += [f"{name}:", *(f"  {part}" for part in text.splitlines())]
                continue
            if not text or " " in text or not text.isprintable():
                text = repr(text)
            line += separator + self.paint(f"{name}=", _DIM) + text.encode("utf-8", "replace")
            separator = b" "
        start = self.label("pyinit") + b" | "
        lines = [line, *(text.encode("utf-8", "replace") for text in below)]
        return b"".join(start + each + b"\n" for each in lines)


class ConsoleWrapper(Wrapper):
    """Puts the label of their worker before lines; with `time` also their time."""

    def __init__(
        self,
        app: str,
        instance: int,
        stream: str,
        style: Style,
        *,
        time: bool,
        joiner: Joiner | None = None,
    ) -> None:
        super().__init__(joiner)
        self._app = app
        self._name = f"{app}:{instance}"
        self._style = style
        self._time = time
        self._stderr = stream == STDERR
        self._width = -1
        self._label = b""

    def _start(self, bar: bytes, when: str) -> bytes:
        style = self._style
        if self._width != style.width:
            self._label = style.label(self._name, self._app)
            self._width = style.width
        if self._stderr and style.colour:
            bar = _RED + bar + _RESET
        time = f"{when[:23]}Z ".encode() if self._time else b""
        return self._label + b" " + bar + b" " + time

    def label_length(self, when: str) -> int:
        """Bytes before the text of a record."""
        return len(self._start(b"|", when))

    def _is_open(self) -> bool:
        return False  # a part has its own line already

    def records(self, body: bytes, when: str) -> bytes:
        """Whole lines, without the last newline, as records."""
        start = self._start(b"|", when)
        return start + body.replace(b"\n", b"\n" + start) + b"\n"

    def part(self, body: bytes, when: str) -> bytes:
        """A part of a line that goes on."""
        return self._start(b">", when) + body + b"\n"
