"""Converts a message of `sd_notify(3)` to an event for the core.

Any process in a worker's tree may write anything: unknown content is
ignored, numbers and texts are bounded. MAINPID= changes nothing: a worker is the process that
pyinit started, and the group it leads. Descriptors (FDSTORE=1) are closed, which is also the
answer to BARRIER=1.
"""

from __future__ import annotations

import errno
import os

from entrypoint.core.events import NotifyReceived, WorkerReady

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.core.events import Event

STATUS_AT_MOST = 200
# One message extends by an hour at most: a worker that needs more sends it again.
EXTEND_AT_MOST = 3600.0
WATCHDOG_AT_LEAST = 0.01
WATCHDOG_AT_MOST = 366 * 86400.0


def event_of(incarnation: int, fields: Mapping[str, str]) -> NotifyReceived | None:
    """The event of a message; None if it contains nothing for the core."""
    status = fields.get("STATUS")
    interval = _seconds(fields.get("WATCHDOG_USEC", ""))
    if interval:
        interval = min(WATCHDOG_AT_MOST, max(WATCHDOG_AT_LEAST, interval))
    watchdog = fields.get("WATCHDOG", "")
    event = NotifyReceived(
        incarnation,
        status=None if status is None else _text(status, STATUS_AT_MOST),
        stopping=fields.get("STOPPING") == "1",
        reloading=fields.get("RELOADING") == "1",
        watchdog=watchdog if watchdog in ("1", "trigger") else "",
        watchdog_interval=interval,
        extend=min(EXTEND_AT_MOST, _seconds(fields.get("EXTEND_TIMEOUT_USEC", "")) or 0.0),
        notes=_notes(fields),
    )
    return None if event == NotifyReceived(incarnation) else event


class Batch:
    """Messages of one worker that were received together, merged into as few events as possible.

    Nothing is dropped: READY, STOPPING, RELOADING, watchdog signs and notes are kept, and
    the last value of STATUS and of numbers. The meaning of the order is kept: a READY=1 ends the
    reload that was announced before it, not a later one.
    """

    def __init__(self, incarnation: int) -> None:
        self._incarnation = incarnation
        # Pairs of an event and whether READY=1 follows it.
        self._groups: list[tuple[NotifyReceived | None, bool]] = []

    def add(self, fields: Mapping[str, str]) -> None:
        """Add one message."""
        event = event_of(self._incarnation, fields)
        ready = fields.get("READY") == "1"
        if event is None and not ready:
            return
        if self._groups:
            before, was_ready = self._groups[-1]
            in_order = event is None or not (
                event.reloading or event.stopping or event.watchdog == "trigger"
            )
            if in_order or not was_ready:
                self._groups[-1] = (_merged(before, event), was_ready or ready)
                self._drop_repetition()
                return
        self._groups.append((event, ready))
        self._drop_repetition()

    def _drop_repetition(self) -> None:
        if len(self._groups) > 1 and self._groups[-1] == self._groups[-2]:
            del self._groups[-1]

    def events(self) -> list[Event]:
        """The events for the core, in this order."""
        found: list[Event] = []
        for event, ready in self._groups:
            if event is not None:
                found.append(event)
            if ready:
                found.append(WorkerReady(self._incarnation, "notify"))
        return found


def _merged(first: NotifyReceived | None, second: NotifyReceived | None) -> NotifyReceived | None:
    if first is None or second is None:
        return first or second
    interval = second.watchdog_interval
    trigger = "trigger" in (first.watchdog, second.watchdog)
    return NotifyReceived(
        first.incarnation,
        status=first.status if second.status is None else second.status,
        stopping=first.stopping or second.stopping,
        reloading=first.reloading or second.reloading,
        watchdog="trigger" if trigger else second.watchdog or first.watchdog,
        watchdog_interval=first.watchdog_interval if interval is None else interval,
        extend=max(first.extend, second.extend),
        notes=tuple({**dict(first.notes), **dict(second.notes)}.items()),
    )


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
    """One line of text for people."""
    shown = "".join(c if c.isprintable() else "\ufffd" for c in text[:longest])
    return shown + "…" if len(text) > longest else shown
