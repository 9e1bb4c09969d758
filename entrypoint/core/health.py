"""Active health checks: when a worker is checked, and what counts as a failure.

::

    launching ── up ──► a check at once, then 0.1 s after each that fails, 0.2 s, … 1 s
                        the first that succeeds makes it online; no failure counts until
                        `listen_timeout` (or `start_period`, if longer) is over
    online ───────────► a check `interval` after the answer to the one before
                        `failures` failures in a row make it sick (replacements.py)
    sick ─────────────► the same; one that succeeds makes it online again

*Up* is what makes a worker ready in an app without checks (readiness.py), or its exec if
the app shares no port. No answer within `timeout` is a failure. Each worker has one timer for
both: during a check it is the check's timeout, otherwise it is the time of the next check.
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

# Seconds between the checks of a worker that is not ready yet: doubled each time.
RETRY_FIRST = 0.1
RETRY_AT_MOST = 1.0


def launch_bound(spec: AppSpec) -> float:
    """How long a worker may take to be ready, seconds."""
    return max(spec.listen_timeout, spec.health.start_period if spec.health else 0.0)


def longest_detection(spec: AppSpec) -> float:
    """Seconds from its start until a worker that never passes a check is detected."""
    health = spec.health
    if health is None:
        return 0.0
    return health.start_period + (health.failures + 1) * (health.interval + health.timeout)


def begin(tx: Transaction, worker: Worker, by: str) -> None:
    """Start checking a worker that is up."""
    if worker.state == w.LAUNCHING and not worker.check:
        _check(tx, worker.replace(up_by=by))


def end(tx: Transaction, worker: Worker) -> Worker:
    """Stop checking a worker that is leaving or gone. Returns the worker to stage."""
    if not worker.check:
        return worker
    tx.emit(StopTimer(_timer(worker)))
    if worker.checking:
        tx.emit(StopCheck(worker.incarnation))
    return worker.replace(checking=False)


def due(tx: Transaction, worker: Worker) -> Worker | None:
    """Handle the timer. Returns the worker if a check timed out, else None."""
    if not worker.checking:
        _check(tx, worker)
        return None
    tx.emit(StopCheck(worker.incarnation))
    return answered(tx, worker, f"no answer within {_asked(worker).timeout:g} s")


def answered(tx: Transaction, worker: Worker, reason: str, said: str = "") -> Worker:
    """Record a check's result; `reason` says why it failed. Returns the changed worker."""
    health = _asked(worker)
    worker = worker.replace(checking=False, check_reason=reason)
    delay = health.interval
    if not reason:
        worker = worker.replace(failures=0, healthy=True)
    elif worker.state == w.LAUNCHING and not worker.overdue:
        # They only count for the pause: its readiness has a timer of its own.
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
    """Whether enough checks in a row have failed to make it sick."""
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
