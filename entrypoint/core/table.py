"""What each event means for a worker in each of its states: one table without empty cells.

A row is an event, a deadline (`TimerFired`) or a stop; a column is a state of worker.py::

    launching   online   sick   retiring   terminating   killing   lingering

`nothing` is an answer too. An event that cannot occur in a state, or comes too late, is
answered like any other. A second table has what follows the end of a worker, by the reason of
its stop (`exits.AFTER`); a third one what a stop does in each state (`lifecycle.STOP`), for
SIGTERM, `pyinit stop`, a reload and all others alike. docs/explanation/worker-table.md is drawn
from these.
"""

from __future__ import annotations

from . import events as e
from . import (
    exits,
    failures,
    health,
    lifecycle,
    notify,
    overdue,
    readiness,
    reload_abort,
    replacements,
    rolling,
    stalls,
)
from . import worker as w

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .transaction import Transaction
    from .types import WorkerState, WorkerTimer
    from .worker import Worker

    Answer = Callable[[Transaction, Worker, Any], None]
    Row = dict[WorkerState, Answer]

# The columns, in the order of a life.
STATES: tuple[WorkerState, ...] = (
    w.LAUNCHING,
    w.ONLINE,
    w.SICK,
    w.RETIRING,
    w.TERMINATING,
    w.KILLING,
    w.LINGERING,
)


def nothing(_tx: Transaction, _worker: Worker, _event: e.Event) -> None:
    """Nothing."""


# -- answers that combine several modules -----------------------------------------------------


def spawned(tx: Transaction, worker: Worker, event: e.WorkerSpawned) -> None:
    """Record its pid; if it is launching, start its launch timer."""
    readiness.spawned(tx, worker, event.pid, listen_visible=event.listen_visible)


def spawn_failed(tx: Transaction, worker: Worker, event: e.SpawnFailed) -> None:
    """Handle the end of a failed start: there was no process."""
    exits.never_forked(tx, worker, event.reason)


def execed(tx: Transaction, worker: Worker, event: e.WorkerExeced) -> None:
    """The program runs; if it is launching, probe it, look at it, or mark it ready."""
    readiness.execed(tx, worker, listen_visible=event.listen_visible)
    rolling.execed(tx, worker)
    promote(tx, worker.incarnation)


def said_ready(tx: Transaction, worker: Worker, event: e.WorkerReady) -> None:
    """Mark it online, or up with its checks to pass, if it was launching."""
    readiness.ready(tx, worker, event.source)
    promote(tx, worker.incarnation)


def accept_seen(tx: Transaction, worker: Worker, event: e.AcceptSeen) -> None:
    """Record it; a launching worker may become ready by it, and a stalled one goes on."""
    readiness.accepted(tx, worker, event)
    stalls.accepted(tx, tx.worker(worker.incarnation) or worker)
    promote(tx, worker.incarnation)


def rest_seen(tx: Transaction, worker: Worker, event: e.RestSeen) -> None:
    """Record it; a launching worker may become ready by it."""
    readiness.rested(tx, worker, event)
    promote(tx, worker.incarnation)


def listen_ended(tx: Transaction, worker: Worker, event: e.ListenEnded) -> None:
    """Record it; an online worker is launching again until it has a listener."""
    readiness.closed(tx, worker, event)
    reload_abort.stopped_listening(tx, worker.incarnation, event.declared or event.address)


def memory_exceeded(tx: Transaction, worker: Worker, event: e.MemoryExceeded) -> None:
    """Replace it, unless it is already being replaced or stopped."""
    replacements.exceeded(tx, worker, event)


def unfit(tx: Transaction, worker: Worker, event: e.WorkerUnfit) -> None:
    """Start it again with another method, unless it is being stopped."""
    replacements.unfit(tx, worker, event.reason)


def health_checked(tx: Transaction, worker: Worker, event: e.HealthChecked) -> None:
    """Judge the result, if it answers the newest check."""
    if worker.checking and worker.check == event.check:
        judge(tx, health.answered(tx, worker, event.reason, event.said))


def check_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """Start the next check, or end one that has timed out."""
    failed = health.due(tx, worker)
    if failed is not None:
        judge(tx, failed)


def launch_overdue(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """Give up on it, or wait for it without a limit; a reload stops here."""
    overdue.overdue(tx, worker)
    reload_abort.late(tx, worker.incarnation)
    promote(tx, worker.incarnation)


def group_emptied(tx: Transaction, worker: Worker, _event: e.GroupEmptied) -> None:
    """Remove it: none of its processes remains."""
    exits.group_emptied(tx, worker)


def queue_emptied(tx: Transaction, worker: Worker, _event: e.QueueEmptied) -> None:
    """Terminate it, if `retire_delay` is over too."""
    lifecycle.queue_emptied(tx, worker)


def kill_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """Send SIGKILL; to a worker that still retires, its stop signal."""
    lifecycle.terminate_overdue(tx, worker)


def retire_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """Terminate it, if its queue is empty too."""
    lifecycle.retire_overdue(tx, worker)


def abandon_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """Report that SIGKILL has not ended it; only its instance still waits for it."""
    exits.never_died(tx, worker)


def watchdog_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """Send SIGABRT, if its signs of life are awaited."""
    notify.missed(tx, worker)


def stall_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """Replace it or end it, if it still accepts nothing."""
    stalls.due(tx, worker)


def probe_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """Repeat the probes that could not be sent."""
    readiness.probe_again(tx, worker)


def prove_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """End the time in which the first successor of a reload has to show that the release works."""
    rolling.prove_over(tx, worker)


# -- what follows for a reload ------------------------------------------------------------------


def promote(tx: Transaction, incarnation: int) -> None:
    """Tell a rolling reload about a worker that became ready."""
    worker = tx.worker(incarnation)
    instance = tx.instance(worker.app, worker.instance) if worker is not None else None
    if worker is None or instance is None or worker.state != w.ONLINE:
        return
    if instance.successor == incarnation:
        rolling.successor_ready(tx, instance, worker)
    elif instance.successor:
        return  # it was late: the reload waits for its successor
    elif instance.current == incarnation and not rolling.has_leaving(tx, worker):
        rolling.in_place_ready(tx, instance, worker)


def judge(tx: Transaction, worker: Worker) -> None:
    """Act on the result of a check."""
    if health.is_failing(worker):
        replacements.failing(tx, worker)
    elif worker.check_reason:
        return
    elif worker.state == w.SICK:
        replacements.recovered(tx, worker)
    elif worker.state == w.LAUNCHING:
        readiness.ready(tx, worker, "health")
        promote(tx, worker.incarnation)


# -- the table ------------------------------------------------------------------------------------


def _row(*answers: Answer) -> Row:
    """A row with one answer for each of STATES; a single answer applies to all."""
    return dict(zip(STATES, answers * len(STATES) if len(answers) == 1 else answers, strict=True))


# fmt: off
TABLE: dict[type[e.Event], Row] = {
    e.WorkerSpawned: _row(spawned),
    e.SpawnFailed: _row(spawn_failed),
    e.WorkerExeced: _row(execed),
    e.WorkerReady: _row(said_ready),
    e.ListenSeen: _row(readiness.listens),
    e.AcceptSeen: _row(accept_seen),
    e.ListenEnded: _row(listen_ended),
    e.ProbeFailed: _row(readiness.probe_failed),
    e.RestSeen: _row(rest_seen),
    #                  launching  online     sick       retiring   terminating killing  lingering
    e.WorkerExited: _row(
        exits.exited, exits.exited, exits.exited, exits.exited, exits.exited, exits.exited, nothing
    ),
    e.GroupEmptied: _row(
        nothing, nothing, nothing, nothing, nothing, nothing, group_emptied
    ),
    e.QueueEmptied: _row(
        nothing, nothing, nothing, queue_emptied, nothing, nothing, nothing
    ),
    e.HealthChecked: _row(
        health_checked, health_checked, health_checked, nothing, nothing, nothing, nothing
    ),
    e.SignalRefused: _row(exits.signal_refused),
    e.MemoryExceeded: _row(memory_exceeded),
    e.NotifyReceived: _row(notify.received),
    e.WorkerUnfit: _row(unfit),
    e.QueueUnwatched: _row(failures.queue_unwatched),
    e.MessageNotSent: _row(failures.message_not_sent),
}

DEADLINES: dict[WorkerTimer, Row] = {
    "launch": _row(launch_overdue, nothing, nothing, nothing, nothing, nothing, nothing),
    "probe": _row(probe_due, probe_due, nothing, nothing, nothing, nothing, nothing),
    "prove": _row(prove_due),
    "health": _row(check_due, check_due, check_due, nothing, nothing, nothing, nothing),
    "watchdog": _row(watchdog_due, watchdog_due, watchdog_due, nothing, nothing, nothing, nothing),
    "stall": _row(nothing, nothing, stall_due, nothing, nothing, nothing, nothing),
    "retire": _row(nothing, nothing, nothing, retire_due, nothing, nothing, nothing),
    "kill": _row(nothing, nothing, nothing, kill_due, kill_due, nothing, kill_due),
    "abandon": _row(nothing, nothing, nothing, nothing, nothing, abandon_due, abandon_due),
}
# fmt: on
