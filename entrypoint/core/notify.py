"""What a worker reports by `sd_notify(3)`, other than READY=1, and its watchdog.

The watchdog runs while a worker is online. A worker that does not send WATCHDOG=1 in time hangs.
As under systemd it gets SIGABRT, which leaves a core dump if the file system has room for
one, then SIGKILL after `kill_timeout`. Then it is started again on its slot: connections that
wait there are for the next worker.

STOPPING=1 begins an unrequested end: no new connections, no stop signal either (it
might interrupt an orderly end), and SIGKILL after `kill_timeout`. If two
workers can run side by side, the successor starts at once.
"""

from __future__ import annotations

from . import replacements
from . import worker as w
from .effects import SendSignal
from .lifecycle import arm, await_exit, awaits_readiness, route, signal_scope, watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .events import NotifyReceived
    from .transaction import Transaction
    from .types import WorkerState, WorkerTimer
    from .worker import Worker

SIGABRT = 6

WATCHDOG: Final = "watchdog"

# The timer of each state that a worker may extend.
_DEADLINES: dict[WorkerState, WorkerTimer] = {w.LAUNCHING: "launch", w.TERMINATING: "kill"}


def received(tx: Transaction, worker: Worker, event: NotifyReceived) -> None:
    """Handle one message."""
    changed = worker.replace(
        status=worker.status if event.status is None else event.status,
        notes=tuple({**dict(worker.notes), **dict(event.notes)}.items()),
        reloading=worker.reloading or event.reloading,
    )
    if event.watchdog_interval is not None:
        changed = changed.replace(watchdog=event.watchdog_interval)
    if changed != worker:
        worker = tx.put_worker(changed)
    if event.extend:
        worker = _extend(tx, worker, event.extend)
    if _is_watched(worker):
        if event.watchdog == "trigger":
            missed(tx, worker, "it asked for that (WATCHDOG=trigger)")
            return
        if event.watchdog or event.watchdog_interval is not None:
            watch(tx, worker)
    if event.stopping:
        _leave(tx, worker)


def _extend(tx: Transaction, worker: Worker, by: float) -> Worker:
    """EXTEND_TIMEOUT_USEC: the running timer fires no earlier than that, and is never shortened."""
    kind = _DEADLINES.get(worker.state)
    late = worker.state == w.LAUNCHING and worker.overdue  # it has no timer of its own
    if kind is None or late or tx.now + by <= worker.due:
        return worker
    return arm(tx, worker, kind, by)


def _is_watched(worker: Worker) -> bool:
    """Whether it serves, or runs in an app that has no other sign of readiness."""
    if worker.state == w.LAUNCHING:
        return worker.execed and not awaits_readiness(worker.spec)
    return worker.state in w.SERVING_STATES


def missed(tx: Transaction, worker: Worker, why: str = "") -> None:
    """Handle a missed WATCHDOG=1."""
    if not _is_watched(worker):
        return
    why = why or f"no sign of life for {worker.watchdog:g} s"
    tx.report_of(
        worker,
        "error",
        "watchdog missed",
        reason=why,
    )
    worker = await_exit(tx, worker.replace(requested_by=why, stop_signal=SIGABRT))
    # A stop reason of a user or a reload is kept: it decides what follows the end.
    worker = worker.replace(stop_reason=worker.stop_reason or WATCHDOG)
    tx.put_worker(worker)
    tx.emit(SendSignal(worker.incarnation, SIGABRT, signal_scope(worker), stop=True))


def _leave(tx: Transaction, worker: Worker) -> None:
    if worker.state not in (w.LAUNCHING, *w.SERVING_STATES):
        return
    short = tx.now - worker.launched_at < worker.spec.min_uptime
    worker = worker.replace(failed_to_start=short or not worker.up_at)
    serving = worker.state != w.LAUNCHING
    tx.report_of(worker, "info", "worker leaves")
    worker = tx.put_worker(await_exit(tx, worker))
    route(tx, worker.app)
    if serving and worker.spec.autorestart and not worker.spec.stop_exit_codes:
        replacements.succeed(tx, worker)
