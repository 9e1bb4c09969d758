"""`pyinit ls` for people: the table that PM2's users know."""

from __future__ import annotations

import time

from entrypoint.kernel import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADERS = ("name", "id", "mode", "pid", "uptime", "↺", "status", "cpu", "mem", "listening")
# Columns of numbers, which stand to the right.
RIGHT = frozenset(("id", "pid", "↺", "cpu", "mem"))

# Where there is no room: the first to go, and what names and addresses keep at least.
LEFT_OUT = ("listening", "mode", "cpu", "uptime", "pid", "mem")
LEAST = 9

RESET = "\x1b[0m"
BOLD = "\x1b[1m"
CYAN = "\x1b[36m"
RED = "\x1b[31m"
YELLOW = "\x1b[33m"
COLOURS = {
    "online": "\x1b[32m",
    "launching": "\x1b[36m",
    "unhealthy": RED,
    "stalled": RED,
    "draining": YELLOW,
    "stopping": YELLOW,
    "waiting restart": YELLOW,
    "scheduled": CYAN,
    "stopped": RED,
    "errored": RED,
}

# Corners of the rules above, between and below; then what lines are drawn with.
UNICODE = (("┌", "┬", "┐"), ("├", "┼", "┤"), ("└", "┴", "┘"), ("─", "│"))
ASCII = (("+", "+", "+"), ("+", "+", "+"), ("+", "+", "+"), ("-", "|"))


def uptime(seconds: float | None) -> str:
    """As PM2 tells it: `0s`, `12s`, `5m`, `3h`, `2D`."""
    if seconds is None:
        return "0"
    for unit, size in (("D", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def span(seconds: float) -> str:
    """`0.3 s`, `12 s`, `5 min`, `3 h`, `2 days`: about how long it is."""
    seconds = max(0.0, seconds)
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def memory(size: int | None) -> str:
    """`0b`, `35.2mb`, `1.2gb`, as PM2 has it."""
    if not size:
        return "0b"
    number = float(size)
    for unit in ("b", "kb", "mb"):
        if number < 1024:
            return f"{number:.1f}{unit}"
        number /= 1024
    return f"{number:.1f}gb"


def rows(apps: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    """A row for each worker; an app without any has one too."""
    found: list[tuple[str, ...]] = []
    for app in apps:
        listening = " ".join(app["listening"]) or "-"
        scheduled = app.get("job") and app["job"]["next_run"]
        for worker in app["workers"]:
            status = worker["status"]
            if scheduled and status == "stopped":
                status = "scheduled"
            cpu = worker.get("cpu")
            found.append(
                (
                    app["name"],
                    "-" if worker["id"] is None else str(worker["id"]),
                    app["mode"],
                    str(worker["pid"] or "-"),
                    uptime(worker["uptime"]),
                    str(worker["restarts"]),
                    status,
                    "-" if cpu is None else f"{cpu:.0f}%",
                    memory(worker.get("memory")),
                    listening,
                )
            )
        if not app["workers"]:
            status = "stopped" if app["stopped"] or not app["wanted"] else "waiting"
            blank = ("-", app["mode"], "-", "0", "0", status, "-", "0b", listening)
            found.append((app["name"], *blank))
    return found


def table(apps: list[dict[str, Any]], *, colour: bool, plain: bool = False, width: int = 0) -> str:
    """The whole table; `plain`: with characters that any terminal has.

    `width`: of the terminal, 0 for none. Where the table is wider, the addresses are cut
    first, then columns are left out, then names are cut.
    """
    headers = tuple("restarts" if plain and name == "↺" else name for name in HEADERS)
    body = rows(apps)
    widths = {name: max(len(row[n]) for row in (headers, *body)) for n, name in enumerate(HEADERS)}
    if width:
        _fit(widths, width)
    top, middle, bottom, (line, bar) = ASCII if plain else UNICODE

    def rule(corners: tuple[str, str, str]) -> str:
        left, cross, right = corners
        return left + cross.join(line * (wide + 2) for wide in widths.values()) + right

    def row(cells: tuple[str, ...], *, head: bool = False) -> str:
        shown = []
        for name, cell in zip(HEADERS, cells, strict=True):
            if name not in widths:
                continue
            wide = widths[name]
            text = cell if len(cell) <= wide else cell[: wide - 1] + ("~" if plain else "…")
            text = text.rjust(wide) if name in RIGHT else text.ljust(wide)
            shown.append(f" {_painted(text, name, cell, head=head) if colour else text} ")
        return bar + bar.join(shown) + bar

    lines = [rule(top), row(headers, head=True), rule(middle), *map(row, body), rule(bottom)]
    return "\n".join(lines)


def _fit(widths: dict[str, int], width: int) -> None:
    def surplus() -> int:
        return sum(widths.values()) + 3 * len(widths) + 1 - width

    cut = max(0, surplus())
    widths["listening"] = max(min(LEAST, widths["listening"]), widths["listening"] - cut)
    for name in LEFT_OUT:
        if surplus() > 0:
            del widths[name]
    widths["name"] = max(min(LEAST, widths["name"]), widths["name"] - max(0, surplus()))


def _painted(text: str, name: str, cell: str, *, head: bool) -> str:
    if head:
        return f"{CYAN}{BOLD}{text}{RESET}"
    if name == "status" and cell in COLOURS:
        return f"{COLOURS[cell]}{text}{RESET}"
    if name == "name":
        return f"{CYAN}{text}{RESET}"
    return text


# -- CPU and memory ----------------------------------------------------------------------


# Between two looks at the CPU time (s).
CPU_INTERVAL = 0.25


def measure(apps: list[dict[str, Any]]) -> None:
    """CPU (% of one core, just now) and memory of each worker with all below it."""
    workers = [worker for app in apps for worker in app["workers"] if worker["pid"]]
    before = {worker["pid"]: _cpu(worker["pid"]) for worker in workers}
    began = time.monotonic()
    if workers:
        time.sleep(CPU_INTERVAL)
    took = max(time.monotonic() - began, 0.001)
    for worker in workers:
        pid = worker["pid"]
        used = max(0.0, _cpu(pid) - before[pid])
        worker["cpu"] = round(100 * used / took, 1)
        worker["memory"] = proc.tree_rss(pid)


def _cpu(pid: int) -> float:
    members = (proc.stat(member) for member in proc.tree(pid))
    return sum(member.cpu for member in members if member is not None)
