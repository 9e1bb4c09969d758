"""A retiring worker: from its last new connection to its stop signal.

::

    no new connections ── queue empty, all answered, retire_delay over ──► stop signal ──► exit
            └────────────── three quarters of kill_timeout at most ──────────►│
            └────────────────────────────── kill_timeout ──────────────────────────► SIGKILL

The signal is sent when the worker has no request in hand, so that a server that stops abruptly
loses none. A `retire_delay` of the file is a minimum and adds to `kill_timeout`;
without one the delay is 0.5 s if requests in hand cannot be observed.
"""

from __future__ import annotations

from .effects import WatchQueue
from .grace import kill_timeout, stop_share

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .transaction import Transaction
    from .worker import Worker

# The share of `kill_timeout` that is spent waiting for requests in hand. The rest is for
# what the program does after its signal.
QUIESCE_SHARE = 0.75


def watch(tx: Transaction, worker: Worker) -> WatchQueue:
    """Start watching what has to be known of a worker that retires."""
    spec = worker.spec
    answer_time = quiet_time = 0.0
    if empties(worker):
        answer_time = 0.0 if spec.retire_when_quiet else spec.retire_delay
        quiet_time = spec.retire_delay
    elif drains(worker):
        quiet_time = spec.retire_delay
    elif in_shutdown(worker) and _is_well(worker):
        quiet_time = delay(tx, worker)
    return WatchQueue(
        worker.incarnation,
        worker.app,
        worker.queue,
        answer_time,
        quiet_time,
        spec.kill_timeout,
        in_shutdown(worker),
        drains(worker),
        worker.shared_queue >= 0 and empties(worker) and not _refuses(tx, worker),
    )


def _refuses(tx: Transaction, worker: Worker) -> bool:
    """Whether the app gets no new connections at all, so none has to be kept from the worker."""
    app_state = tx.app(worker.app)
    return app_state is not None and app_state.port == "refusing"


def delay(tx: Transaction, worker: Worker) -> float:
    """Seconds of its `retire_delay`."""
    return worker.spec.retire_delay * stop_share(tx)


def bound(tx: Transaction, worker: Worker) -> float:
    """Seconds after which it gets its stop signal even with requests in hand."""
    if drains(worker):
        return worker.spec.drain
    return _least(tx, worker) + QUIESCE_SHARE * kill_timeout(tx, worker)


def grace(tx: Transaction, worker: Worker) -> float:
    """Seconds from its stop signal to SIGKILL: the rest of `kill_timeout`."""
    longest = kill_timeout(tx, worker)
    if not worker.retired_at or drains(worker):
        return longest
    spent = tx.now - worker.retired_at - _least(tx, worker)
    return min(longest, max(longest - spent, (1 - QUIESCE_SHARE) * longest))


def _least(tx: Transaction, worker: Worker) -> float:
    return 0.0 if in_shutdown(worker) or worker.spec.retire_when_quiet else delay(tx, worker)


def is_over(worker: Worker) -> bool:
    """Whether its signal may be sent."""
    if in_shutdown(worker):
        return worker.queue_empty or (worker.delay_over and not _is_well(worker))
    if drains(worker):
        return worker.queue_empty
    if not empties(worker):
        return worker.delay_over
    return worker.queue_empty and (worker.delay_over or worker.spec.retire_when_quiet)


def empties(worker: Worker) -> bool:
    """Whether to wait for its queue: its siblings get the new connections.

    Otherwise the queue may never empty, and in a restart the slot's next worker takes it over. A
    sick worker may never accept again.
    """
    leaves = worker.stop_reason in ("reload", "scale", "stop")
    # Its siblings take the waiting connections.
    again = worker.stop_reason in ("restart", "abort") and worker.shared_queue >= 0
    return (leaves or again) and _is_well(worker)


def _is_well(worker: Worker) -> bool:
    return not worker.sick and not worker.stalled_at


def in_shutdown(worker: Worker) -> bool:
    """Whether the container stops: no new connections come, and there is no successor."""
    return worker.stop_reason == "shutdown"


def begins_anew(before: Worker, worker: Worker) -> bool:
    """Whether a worker that already retires gets new times for a new reason."""
    if worker.queue_empty or before.stop_reason == worker.stop_reason:
        return False
    return in_shutdown(worker) or drains(before)


def drains(worker: Worker) -> bool:
    """Whether it keeps its connections for `drain` after a reload has replaced it."""
    return worker.stop_reason == "drain"
