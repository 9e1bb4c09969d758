"""What a message of `sd_notify(3)` means, as an event for the core.

Anybody in a worker's process tree may write, and anything: what is not understood is passed
over, numbers and texts are bounded. MAINPID= changes nothing: a worker is the process that
pyinit started, and the group it leads. Descriptors (FDSTORE=1) are closed, which is also the
answer to BARRIER=1.
"""

from __future__ import annotations

import errno
import os

from .core.events import WorkerTold

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

STATUS_AT_MOST = 200
# An hour for one message: who works on says so again.
EXTEND_AT_MOST = 3600.0
WATCHDOG_AT_LEAST = 0.01
WATCHDOG_AT_MOST = 366 * 86400.0


def told(incarnation: int, fields: Mapping[str, str]) -> WorkerTold | None:
    """The event of a message; None when there is nothing in it for the core."""
    status = fields.get("STATUS")
    interval = _seconds(fields.get("WATCHDOG_USEC", ""))
    if interval:
        interval = min(WATCHDOG_AT_MOST, max(WATCHDOG_AT_LEAST, interval))
    watchdog = fields.get("WATCHDOG", "")
    event = WorkerTold(
        incarnation,
        status=None if status is None else _text(status, STATUS_AT_MOST),
        stopping=fields.get("STOPPING") == "1",
        reloading=fields.get("RELOADING") == "1",
        watchdog=watchdog if watchdog in ("1", "trigger") else "",
        watchdog_interval=interval,
        extend=min(EXTEND_AT_MOST, _seconds(fields.get("EXTEND_TIMEOUT_USEC", "")) or 0.0),
        notes=_notes(fields),
    )
    return None if event == WorkerTold(incarnation) else event


def _notes(fields: Mapping[str, str]) -> tuple[tuple[str, object], ...]:
    notes: list[tuple[str, object]] = []
    number = _number(fields.get("ERRNO", ""))
    if number:
        name = errno.errorcode.get(number, str(number))
        notes.append(("errno", f"{name}: {os.strerror(number)}" if number < 4096 else name))
    if bus_error := fields.get("BUSERROR"):
        notes.append(("bus_error", _text(bus_error, STATUS_AT_MOST)))
    status = _number(fields.get("EXIT_STATUS", ""))
    if status is not None and status < 256:
        notes.append(("exit_status", status))
    return tuple(notes)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


def _seconds(text: str) -> float | None:
    number = _number(text)
    return None if number is None else number / 1e6


def _text(text: str, longest: int) -> str:
    """One line for people."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in text[:longest])
    return shown + "…" if len(text) > longest else shown
