"""Abort of a rolling reload: no further worker is replaced.

Successors that have not replaced a worker yet are stopped, old workers stay, and instances that
have been reloaded are restarted with the previous revision of the file.
"""

from __future__ import annotations

from . import rolling
from . import worker as w
from .effects import ReportOutcome
from .lifecycle import launch, stop_worker, stop_workers
from .overdue import shortfall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .transaction import Transaction
    from .worker import Reload, Worker


def late(tx: Transaction, incarnation: int) -> None:
    """Handle a late worker that was started after its old worker had ended: wait without a limit.

    The reload does not wait: it stops here.
    """
    worker = tx.worker(incarnation)
    if worker is None or not worker.overdue or worker.due or worker.state != w.LAUNCHING:
        return
    if rolling.is_fresh(tx, worker):
        abort(tx, worker, shortfall(tx, worker))


def stopped_listening(tx: Transaction, incarnation: int, address: str) -> None:
    """Stop the reload: a worker that it started is no longer ready."""
    worker = tx.worker(incarnation)
    if worker is None or worker.state != w.LAUNCHING or not worker.overdue or worker.due:
        return
    why = f"no longer listening on {address}"
    instance = tx.instance(worker.app, worker.instance)
    if instance is not None and instance.successor == incarnation:
        # It has not replaced a worker yet. Its end aborts the reload.
        stop_worker(tx, worker, "failed start", requested_by=why)
    elif rolling.is_fresh(tx, worker):
        abort(tx, worker, why)


def abort(tx: Transaction, failed: Worker, why: str) -> None:
    """Abort the reload under way, because a worker that it started has ended.

    Unless the file has changed since: then the failed spec is no longer the wanted one,
    and its instance waits in the queue for its turn.
    """
    app, number = failed.app, failed.instance
    instance = tx.instance(app, number)
    if instance is not None and instance.successor == failed.incarnation:
        instance = tx.put_instance(instance.replace(successor=0))
    app_state = tx.the_app(app)
    reload = app_state.reload
    if reload is None:
        return
    if failed.spec != app_state.spec and number in reload.queue and number in reload.active:
        if instance is not None and tx.worker(instance.successor) is not None:
            return  # its turn continues: it has a successor already
        active = tuple(n for n in reload.active if n != number)
        if reload.proving == failed.incarnation:
            reload = rolling.unproven(tx, reload, app)
        tx.put_app(app_state.replace(reload=reload.replace(active=active)))
        rolling.resume(tx, app)
        return
    if reload.proving:
        rolling.unproven(tx, reload, app)
    tx.put_app(app_state.replace(reload=None))
    begun, rolled = [], 0
    for each in list(tx.instances(app)):
        worker = tx.worker(each.successor)
        if worker is not None:
            tx.put_instance(each.replace(successor=0))
            begun.append(worker)
        elif each.current in reload.fresh:
            rolled += 1
        current = tx.worker(each.current)
        if current is not None and current.stop_reason == "reload":
            # It was stopped to make room for the release that has failed.
            tx.put_worker(current.replace(stop_reason="abort"))
        _run_before(tx, app, each.number, reload)
    stop_workers(tx, app, begun, "abort", requested_by=why)
    tx.count("reload", app, "aborted", tx.now - reload.started_at)
    kept = _kept(tx.the_app(app).ready, rolled)
    tx.emit(ReportOutcome(app, "reload", "aborted", reload.total, why, number, kept))
    tx.report(
        "error",
        "reload aborted",
        app=app,
        instance=number,
        because=why,
        then=kept,
        note=NOTE,
    )
    for each in list(tx.instances(app)):
        if each.current != failed.incarnation:
            _revive(tx, app, each.number)


NOTE = (
    "restarts use the old revision of the file; code that was overwritten on disk cannot come back"
)


def _kept(ready: int, rolled: int) -> str:
    if not ready:
        return "none is ready"
    if rolled:
        return f"the other old workers stay, {rolled} of the new ones too"
    return "the old workers stay"


def _run_before(tx: Transaction, app: str, number: int, reload: Reload) -> None:
    """Make later restarts of this instance run the spec from before the reload."""
    instance = tx.instance(app, number)
    if instance is None or instance.before is None:
        return
    mine = instance.current in reload.fresh or number in reload.active or not instance.current
    spec = instance.before if mine else instance.spec
    tx.put_instance(instance.replace(spec=spec, before=None))


def _revive(tx: Transaction, app: str, number: int) -> None:
    """Start the previous spec again if the old worker crashed during its reload."""
    instance = tx.instance(app, number)
    if instance is None or instance.successor or instance.state != w.RUNNING:
        return
    if tx.worker(instance.current) is None:
        launch(tx, instance, instance.spec, instance.slot)
