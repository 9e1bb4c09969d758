"""Active checks: when a worker is checked, and what counts as a failure.

::

    launching ── up ──► a check at once, then 0.1 s after each that fails, 0.2 s, … 1 s
                        the first that succeeds makes it online; no failure counts until
                        `listen_timeout` (or `start_period`, if longer) is over
    online ───────────► a check `interval` after the answer to the one before
                        `failures` failures in a row make it sick (replacements.py)
    sick ─────────────► the same; one that succeeds makes it online again

*Up* is what makes a worker ready where no check is asked for (readiness.py); its exec where
the app shares no port. No answer within `timeout` is a failure. One deadline for each worker serves
both: while a check is under way it is the check's timeout, else it is when the next is due.
"""

from __future__ import annotations

from . import worker as w
from .effects import StartCheck, StartTimer, StopCheck, StopTimer
from .events import Timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import AppSpec, HealthSpec
    from .transaction import Transaction
    from .worker import Worker

# Between the checks of a worker that is not ready yet, seconds: doubled each time.
RETRY_FIRST = 0.1
RETRY_AT_MOST = 1.0


def launch_bound(spec: AppSpec) -> float:
    """How long a worker may take to be ready, seconds."""
    return max(spec.listen_timeout, spec.health.start_period if spec.health else 0.0)


def longest_detection(spec: AppSpec) -> float:
    """How long after its start a worker that never passes a check is found out, seconds."""
    health = spec.health
    if health is None:
        return 0.0
    return health.start_period + (health.failures + 1) * (health.interval + health.timeout)


def begin(tx: Transaction, worker: Worker, by: str) -> None:
    """It is up: from now on it is checked."""
    if worker.state == w.LAUNCHING and not worker.check:
        _check(tx, worker.replace(up_by=by))


def end(tx: Transaction, worker: Worker) -> Worker:
    """It is leaving or gone: no further check. The worker to stage."""
    if not worker.check:
        return worker
    tx.emit(StopTimer(_timer(worker)))
    if worker.checking:
        tx.emit(StopCheck(worker.incarnation))
    return worker.replace(checking=False)


def due(tx: Transaction, worker: Worker) -> Worker | None:
    """The deadline has come. The worker if a check has failed by that, else None."""
    if not worker.checking:
        _check(tx, worker)
        return None
    tx.emit(StopCheck(worker.incarnation))
    return answered(tx, worker, f"no answer within {_asked(worker).timeout:g} s")


def answered(tx: Transaction, worker: Worker, reason: str, said: str = "") -> Worker:
    """A check is over; `reason` says why it failed. The worker with what counts."""
    health = _asked(worker)
    worker = worker.replace(checking=False, check_reason=reason)
    delay = health.interval
    if not reason:
        worker = worker.replace(failures=0, healthy=True)
    elif worker.state == w.LAUNCHING and not worker.overdue:
        # They count for the pause only: its readiness has a deadline of its own.
        delay = min(delay, RETRY_AT_MOST, RETRY_FIRST * 2 ** min(worker.failures, 10))
        worker = worker.replace(failures=worker.failures + 1)
    else:
        protected = tx.now - worker.launched_at < health.start_period
        worker = worker.replace(failures=0 if protected else worker.failures + 1)
        tx.report_of(
            worker,
            "warning",
            "health check failed",
            reason=reason,
            **({"said": said} if said else {}),
            failures=worker.failures,
            of=health.failures,
        )
    tx.emit(StartTimer(_timer(worker), delay))
    return tx.put_worker(worker)


def is_failing(worker: Worker) -> bool:
    """So many checks have failed in a row that it counts as sick."""
    counted = worker.state in w.SERVING_STATES or worker.overdue
    return counted and worker.failures >= _asked(worker).failures


def _check(tx: Transaction, worker: Worker) -> None:
    worker = tx.put_worker(worker.replace(check=worker.check + 1, checking=True))
    tx.emit(
        StartCheck(worker.incarnation, worker.check),
        StartTimer(_timer(worker), _asked(worker).timeout),
    )


def _asked(worker: Worker) -> HealthSpec:
    health = worker.spec.health
    if health is None:
        raise ValueError(f"no checks are asked for: {worker!r}")
    return health


def _timer(worker: Worker) -> Timer:
    return Timer("health", worker.app, worker.incarnation)
