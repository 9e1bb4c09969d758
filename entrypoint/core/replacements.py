"""Replacement of workers that are sick or use too much memory.

If two workers of an instance can run side by side, the new one starts first, as in a rolling
reload. The sick one serves what it can until then: if all workers of an app are sick at once, the
port still has workers. Otherwise the worker is stopped and started again. A replacement that does
not become ready is repeated with the pauses of a crash. More than `max_restarts` failures make the
app `errored`.
"""

from __future__ import annotations

from . import draining, rolling
from . import worker as w
from .lifecycle import kill, route, shares_port, stop_worker
from .readiness import succeeds
from .restarts import after_failure
from .slots import surges

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from .events import MemoryExceeded
    from .transaction import Transaction
    from .worker import AppState, Instance, Worker

HEALTH: Final = "health"


def failing(tx: Transaction, worker: Worker) -> None:
    """Replace a worker whose checks fail, and route new connections away from it."""
    if worker.state == w.LAUNCHING or succeeds(tx, worker):
        # A reload would wait for such a successor for ever.
        reason = f"unhealthy: {worker.check_reason}"
        stop_worker(tx, worker, "failed start", requested_by=reason)
        return
    if not worker.sick:
        short = tx.now - worker.launched_at < worker.spec.min_uptime
        worker = worker.after(w.SICKEN).replace(
            sick=True, failed_to_start=short or not worker.healthy
        )
        worker = tx.put_worker(worker)
        tx.report_of(
            worker,
            "error",
            "worker unhealthy",
            reason=worker.check_reason,
        )
        instance = _its_instance(tx, worker)
        if instance is not None and worker.failed_to_start and _surges(tx, worker):
            after_failure(tx, instance, worker.spec)
        if instance is not None and instance.successor:
            # A stalled worker already has a replacement, which takes over now.
            rolling.resume(tx, worker.app)
            return
    _replace(tx, worker)


def succeed(tx: Transaction, worker: Worker) -> None:
    """Let its successor take over now: the worker is ending by itself and serves no client."""
    instance = _its_instance(tx, worker)
    if instance is None or not _surges(tx, worker):
        return
    if worker.failed_to_start:
        instance = after_failure(tx, instance, worker.spec)
    app_state = _free_to_replace(tx, worker, instance)
    spent = len(instance.unstable) > worker.spec.max_restarts
    if app_state is not None and not spent and tx.now >= instance.repair_at:
        rolling.repair(tx, app_state, worker.instance, "leaves")


def recovered(tx: Transaction, worker: Worker) -> None:
    """Handle a sick worker whose check succeeded before it was replaced."""
    if not worker.sick:
        return  # it is stalled, and passes checks that need no connection
    worker = worker.replace(sick=False, failed_to_start=False)
    tx.put_worker(worker if worker.stalled_at else worker.after(w.READY))
    tx.report_of(worker, "info", "worker healthy again")


def in_vain(tx: Transaction, worker: Worker, uptime: float) -> None:
    """Handle the failure of a replacement for this sick worker."""
    instance = _its_instance(tx, worker)
    if instance is not None and worker.state == w.SICK:
        after_failure(tx, instance, worker.spec, uptime)


def unfit(tx: Transaction, worker: Worker, reason: str) -> None:
    """Restart a worker that cannot serve as it was started, with another method.

    This is not a failure of the program, so it is not counted as one. A worker that serves no
    client yet waits in a system call that pyinit does not answer: it is killed at once.
    """
    instance = tx.instance(worker.app, worker.instance)
    if (
        worker.stop_reason
        or instance is None
        or worker.incarnation
        not in (
            instance.current,
            instance.successor,
        )
    ):
        return
    tx.report_of(worker, "info", "worker started again", reason=reason)
    if worker.state == w.LAUNCHING:
        kill(tx, worker.replace(stop_reason="restart", requested_by=reason))
        route(tx, worker.app)
    else:
        stop_worker(tx, worker, "restart", reason)


def _replace(tx: Transaction, worker: Worker) -> None:
    instance = _its_instance(tx, worker)
    app_state = _free_to_replace(tx, worker, instance) if instance is not None else None
    if instance is None or app_state is None:
        return
    spent = len(instance.unstable) > worker.spec.max_restarts
    if spent or not worker.spec.autorestart or not _surges(tx, worker):
        stop_worker(tx, worker, HEALTH, HEALTH)
    elif tx.now >= instance.repair_at:
        tx.put_instance(instance.replace(last_exit=f"unhealthy: {worker.check_reason}"))
        rolling.repair(tx, app_state, worker.instance, HEALTH)


def _free_to_replace(tx: Transaction, worker: Worker, instance: Instance) -> AppState | None:
    """Its app, unless it is stopping or the worker is already being replaced."""
    app_state = tx.the_app(worker.app)
    if instance.successor or app_state.mode != "running" or tx.run.phase != "running":
        return None
    reload = app_state.reload
    if reload is not None and worker.instance in (*reload.queue, *reload.active):
        return None
    return app_state


def _surges(tx: Transaction, worker: Worker) -> bool:
    return surges(tx.the_app(worker.app)) and shares_port(worker.spec)


def _its_instance(tx: Transaction, worker: Worker) -> Instance | None:
    """The instance whose current worker it is, unless that is being stopped."""
    instance = tx.instance(worker.app, worker.instance)
    if worker.stop_reason or instance is None or instance.current != worker.incarnation:
        return None
    return instance


# -- max_memory_restart ------------------------------------------------------------------
# A worker that uses too much memory is replaced by the revision that it ran itself, as after a
# crash: the newest revision may be one whose reload was aborted.
#
# A worker that exceeds the limit soon after it may be replaced probably needs that much. So its
# successor is replaced after twice the time, up to the 30 s between PM2's two checks. This does not
# apply to a worker that uses many times its limit: it leaks.

MEMORY = "max_memory_restart"

_SOON = 5.0
_SHORTEST, _LONGEST = 1.0, 30.0
_MUCH = 4


def exceeded(tx: Transaction, worker: Worker, event: MemoryExceeded) -> None:
    """Replace a worker that uses more memory, with its descendants, than it may."""
    rss = event.rss
    if draining.exceeded(tx, worker):
        return
    app_state = tx.the_app(worker.app)
    instance = tx.instance(worker.app, worker.instance)
    # A worker that is already being replaced will be gone soon.
    if worker.stop_reason or instance is None or instance.current != worker.incarnation:
        return
    if instance.successor or app_state.mode != "running" or tx.run.phase != "running":
        return
    if app_state.reload is not None and worker.instance in app_state.reload.queue:
        return  # its turn comes
    limit = event.limit or worker.spec.max_memory_restart
    lived = tx.now - worker.launched_at
    if lived < instance.memory_patience and rss < _MUCH * limit and not event.urgent:
        return
    tx.put_instance(instance.replace(memory_patience=_patience(instance.memory_patience, lived)))
    tx.put_worker(worker.replace(requested_by=MEMORY))
    tx.report_of(
        worker,
        "warning",
        "memory limit exceeded",
        rss=rss,
        max_memory_restart=limit,
    )
    rolling.repair(tx, app_state, worker.instance, MEMORY)


def _patience(before: float, lived: float) -> float:
    if lived >= before + _SOON:
        return 0.0
    return min(_LONGEST, max(_SHORTEST, 2 * before))
