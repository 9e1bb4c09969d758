"""The screen of `pyinit top`: lines for a terminal of any size. Pure.

Every line is as wide as the terminal at most, by columns and not by characters; what a worker
has written is stripped of everything that would move the cursor.
"""

from __future__ import annotations

import re
import unicodedata

from entrypoint.core.record import Record

from .table import memory, uptime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

RESET, BOLD, DIM, REVERSE = "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[7m"
GREEN, YELLOW, RED = "\x1b[32m", "\x1b[33m", "\x1b[31m"
KEYS = "r reload  R restart  c scale  s stop  a start  g signal  ? keys  q quit"
HELP = (
    "up, down, page up, page down   choose an app, or one of its workers",
    "r   reload: new workers first          R   restart: old workers first",
    "c   scale: more or fewer workers       g   send a signal",
    "s   stop the app                       a   start it again",
    "space   fold or unfold all workers     q   quit",
    "",
    "Each of them asks first. Nothing is done before you press y.",
    "open: established connections   busy: with bytes on their way",
    "queue: connections that wait to be accepted",
)
HEADERS = ("name", "state", "pid", "age", "rst", "cpu", "mem", "open", "busy", "queue")
WIDTHS = (18, 9, 7, 5, 4, 5, 7, 5, 4, 5)
# Columns that go first where there is no room for all.
LEFT_OUT = ("busy", "rst", "age", "pid", "queue", "mem", "open", "cpu")
SHORT = {"waiting restart": "waiting"}
_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")


class Row(Record):
    """One line of the table. `instance` -1: the app itself. `name` and `id` address it."""

    app: str
    instance: int
    id: int
    state: str
    cells: tuple[str, ...]


class Shown(Record):
    """Everything on the screen."""

    head: str
    rows: tuple[Row, ...]
    chosen: int  # of the rows
    log: tuple[str, ...]
    question: str = ""  # instead of the keys
    message: str = ""
    helps: bool = False


def rows_of(apps: Sequence[dict[str, Any]], *, folded: bool) -> tuple[Row, ...]:
    """A row for each app, and one for each worker below it."""
    found: list[Row] = []
    for app in apps:
        workers = app["workers"]
        cells = (
            app["name"],
            _state_of(app),
            f"{app['ready']}/{app['wanted']}",
            "",
            str(sum(worker["restarts"] for worker in workers)),
            _percent(sum(worker.get("cpu") or 0.0 for worker in workers)),
            memory(sum(worker.get("memory") or 0 for worker in workers)),
            *(str(app.get(name, "")) for name in ("open", "busy", "queue")),
        )
        found.append(Row(app["name"], -1, -1, cells[1], cells))
        for worker in () if folded else workers:
            state = worker["status"]
            number = worker["id"]
            cells = (
                f"  {worker['instance']}",
                SHORT.get(state, state),
                str(worker["pid"] or "-"),
                uptime(worker["uptime"]),
                str(worker["restarts"]),
                _percent(worker["cpu"]) if worker.get("cpu") is not None else "-",
                memory(worker.get("memory")),
                *(str(worker.get(name, "")) for name in ("open", "busy")),
                "",
            )
            number = -1 if number is None else number
            found.append(Row(app["name"], worker["instance"], number, cells[1], cells))
    return tuple(found)


def head_of(found: dict[str, Any], clock: str) -> str:
    """The first line."""
    apps = found["apps"]
    ready = sum(app["ready"] >= app["wanted"] for app in apps)
    rejected = "  FILE REJECTED" if found["config_error"] else ""
    parts = (f"pyinit {found['version']}", found["phase"], f"{ready} of {len(apps)} apps ready")
    return "  ".join((*parts, f"revision {found.get('revision', '-')}{rejected}", clock))


def _state_of(app: dict[str, Any]) -> str:
    for word in ("errored", "stopped", "finished", "reloading"):
        if app[word]:
            return word
    return "ready" if app["ready"] >= app["wanted"] else "unready"


def _percent(number: float) -> str:
    return f"{number:.0f}%" if number >= 10 else f"{number:.1f}%"


# -- lines ------------------------------------------------------------------------------


def lines(shown: Shown, width: int, height: int, *, colour: bool) -> list[str]:
    """Exactly `height` lines. Without colour the chosen row has a `>` and nothing else."""
    paint = _painter(colour=colour)
    columns = _columns(width)
    made = [
        paint(BOLD, fit(shown.head, width)),
        paint(DIM, fit("  " + _cells(HEADERS, columns), width)),
    ]
    last = paint(REVERSE, fit(shown.question, width)) if shown.question else fit(KEYS, width)
    if shown.message and not shown.question:
        last = fit(shown.message, width)
    room = max(0, height - len(made) - 1)
    if shown.helps:
        body = [fit(line, width) for line in HELP]
    else:
        body = _body(shown, columns, width, room, paint)
    made += body[:room]
    made += [""] * (height - 1 - len(made))
    return [*made[: max(0, height - 1)], last][-height:]


def _body(shown: Shown, columns: tuple[int, ...], width: int, room: int, paint: Any) -> list[str]:
    # The table has what it needs, up to two thirds where there is a log to show.
    most = max(1, room - min(len(shown.log) + 1, room // 3))
    tall = min(len(shown.rows), most)
    first = min(max(0, shown.chosen - tall + 1), max(0, len(shown.rows) - tall))
    made = []
    for number, row in enumerate(shown.rows[first : first + tall], first):
        mark = "> " if number == shown.chosen else "  "
        text = fit(mark + _cells(row.cells, columns), width)
        made.append(paint(REVERSE if number == shown.chosen else _tone(row.state), text))
    if not shown.rows:
        return [fit("  no apps", width)]
    name = shown.rows[min(shown.chosen, len(shown.rows) - 1)].app
    made.append(paint(DIM, fit(f"-- log of {name} ".ljust(width, "-"), width)))
    left = room - len(made)
    return made + [fit(line, width) for line in shown.log[-left:] if left > 0]


def _painter(*, colour: bool) -> Any:
    return lambda code, text: f"{code}{text}{RESET}" if colour and code else text


def _tone(state: str) -> str:
    if state in {"online", "ready"}:
        return GREEN
    if state in {"errored", "unhealthy", "stalled"}:
        return RED
    return "" if state in {"stopped", "finished"} else YELLOW


def _columns(width: int) -> tuple[int, ...]:
    """The width of each column, 0: left out."""
    wide = dict(zip(HEADERS, WIDTHS, strict=True))

    def needed() -> int:
        return 2 + sum(wide.values()) + sum(each > 0 for each in wide.values()) - 1

    for name in LEFT_OUT:
        if needed() > width:
            wide[name] = 0
    wide["name"] += max(0, width - needed())
    return tuple(wide.values())


def _cells(cells: Sequence[str], columns: Sequence[int]) -> str:
    made = []
    for number, (cell, wide) in enumerate(zip(cells, columns, strict=True)):
        if wide:
            made.append(fit(cell, wide) if number < 2 else fit(cell, wide).strip().rjust(wide))
    return " ".join(made)


def fit(text: str, width: int) -> str:
    """`text` without control characters, cut or padded to so many columns."""
    text = plain(text)
    if text.isascii():
        return text[:width].ljust(width)
    made, used = [], 0
    for character in text:
        wide = columns_of(character)
        if used + wide > width:
            break
        made.append(character)
        used += wide
    return "".join(made) + " " * (width - used)


def columns_of(character: str) -> int:
    """How many columns a terminal gives it: 0 for what combines with the one before."""
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def plain(text: str) -> str:
    """Without escape sequences and control characters; a tab is four columns."""
    if text.isprintable():
        return text
    text = _ESCAPES.sub("", text).replace("\t", "    ")
    return "".join(c for c in text if unicodedata.category(c) not in {"Cc", "Cs", "Co", "Cn"})
