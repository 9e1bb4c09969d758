"""What each event of a worker means in each of its states: one table, every cell answered.

A row is an event, a deadline (`TimerFired`) or a stop; a column is a state of worker.py::

    launching   online   sick   retiring   terminating   killing   lingering

`nothing` is an answer too. An event in a state in which it cannot come, or comes too late, is
answered like any other. What follows the end of a worker is a second table, by the reason of
its stop (`exits.AFTER`); what a stop does in each state is the third (`lifecycle.STOP`), for
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


# -- answers that belong to more than one file ------------------------------------------------


def spawned(tx: Transaction, worker: Worker, event: e.WorkerSpawned) -> None:
    """Its pid is known; while it launches its time to be ready runs."""
    readiness.spawned(tx, worker, event.pid, listen_visible=event.listen_visible)


def spawn_failed(tx: Transaction, worker: Worker, event: e.SpawnFailed) -> None:
    """There was no process: the end of a failed start."""
    exits.never_forked(tx, worker, event.reason)


def execed(tx: Transaction, worker: Worker, event: e.WorkerExeced) -> None:
    """The program runs; while it launches it is probed, looked at, or ready at once."""
    readiness.execed(tx, worker, listen_visible=event.listen_visible)
    rolling.execed(tx, worker)
    promote(tx, worker.incarnation)


def said_ready(tx: Transaction, worker: Worker, event: e.WorkerReady) -> None:
    """Online, or up with its checks to pass, if it was launching."""
    readiness.ready(tx, worker, event.source)
    promote(tx, worker.incarnation)


def accept_seen(tx: Transaction, worker: Worker, event: e.AcceptSeen) -> None:
    """Remembered; while it launches it may be ready by that, and one that is stalled goes on."""
    readiness.accepted(tx, worker, event)
    stalls.accepted(tx, tx.worker(worker.incarnation) or worker)
    promote(tx, worker.incarnation)


def rest_seen(tx: Transaction, worker: Worker, event: e.RestSeen) -> None:
    """Remembered; while it launches it may be ready by that."""
    readiness.rested(tx, worker, event)
    promote(tx, worker.incarnation)


def listen_ended(tx: Transaction, worker: Worker, event: e.ListenEnded) -> None:
    """Remembered; one that was online launches again until it has a listener."""
    readiness.closed(tx, worker, event)
    reload_abort.stopped_listening(tx, worker.incarnation, event.declared or event.address)


def memory_exceeded(tx: Transaction, worker: Worker, event: e.MemoryExceeded) -> None:
    """Replaced, unless it is being replaced or stopped already."""
    replacements.exceeded(tx, worker, event)


def unfit(tx: Transaction, worker: Worker, event: e.WorkerUnfit) -> None:
    """Started again in another way, unless it is being stopped."""
    replacements.unfit(tx, worker, event.reason)


def health_checked(tx: Transaction, worker: Worker, event: e.HealthChecked) -> None:
    """Judged, if it is the answer to the newest check."""
    if worker.checking and worker.check == event.check:
        judge(tx, health.answered(tx, worker, event.reason, event.said))


def check_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """The next check, or the end of one that has had its time."""
    failed = health.due(tx, worker)
    if failed is not None:
        judge(tx, failed)


def launch_overdue(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """Given up, or waited for without a bound; a reload goes no further."""
    overdue.overdue(tx, worker)
    reload_abort.late(tx, worker.incarnation)
    promote(tx, worker.incarnation)


def group_emptied(tx: Transaction, worker: Worker, _event: e.GroupEmptied) -> None:
    """Gone: nothing of it is left."""
    exits.group_emptied(tx, worker)


def queue_emptied(tx: Transaction, worker: Worker, _event: e.QueueEmptied) -> None:
    """Terminating, once it has had `retire_delay` too."""
    lifecycle.queue_emptied(tx, worker)


def kill_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """SIGKILL; to one that still retires its stop signal."""
    lifecycle.terminate_overdue(tx, worker)


def retire_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """Terminating, once its queue is empty too."""
    lifecycle.retire_overdue(tx, worker)


def abandon_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """SIGKILL has not ended it: said, and waited for by nobody but its instance."""
    exits.never_died(tx, worker)


def watchdog_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """SIGABRT, if it is one whose signs of life are awaited."""
    notify.missed(tx, worker)


def stall_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """A replacement beside it, or its end, if it still accepts nothing."""
    stalls.due(tx, worker)


def probe_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """What could not be probed before is probed."""
    readiness.probe_again(tx, worker)


def prove_due(tx: Transaction, worker: Worker, _event: e.Event) -> None:
    """The first successor of a reload has had its time to show that the release works."""
    rolling.prove_over(tx, worker)


# -- what follows for a reload ------------------------------------------------------------------


def promote(tx: Transaction, incarnation: int) -> None:
    """A worker that came up may be what a rolling reload waits for."""
    worker = tx.worker(incarnation)
    if worker is None or worker.state != w.ONLINE:
        return
    instance = tx.instance(worker.app, worker.instance)
    if instance is None:
        return
    if instance.successor == incarnation:
        rolling.successor_ready(tx, instance, worker)
    elif instance.successor:
        return  # it came up late: the reload waits for its successor
    elif instance.current == incarnation and not rolling.has_leaving(tx, worker):
        rolling.in_place_ready(tx, instance, worker)


def judge(tx: Transaction, worker: Worker) -> None:
    """What comes of a check."""
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
    """One answer for each of STATES; a single one is for all."""
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
