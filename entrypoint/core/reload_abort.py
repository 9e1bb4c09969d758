"""A rolling reload is aborted: the rest stays as it is.

Successors that have replaced nobody are stopped, no further old worker is, and what has been
replaced is restarted with the revision of the file from before.
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
    """A worker started where the old one had been is waited for without a bound.

    The reload is not: it goes no further.
    """
    worker = tx.worker(incarnation)
    if worker is None or not worker.overdue or worker.due or worker.state != w.LAUNCHING:
        return
    if rolling.is_fresh(tx, worker):
        abort(tx, worker, shortfall(tx, worker))


def stopped_listening(tx: Transaction, incarnation: int, address: str) -> None:
    """A worker that the reload has started is no longer ready: the reload goes no further."""
    worker = tx.worker(incarnation)
    if worker is None or worker.state != w.LAUNCHING or not worker.overdue or worker.due:
        return
    why = f"no longer listening on {address}"
    instance = tx.instance(worker.app, worker.instance)
    if instance is not None and instance.successor == incarnation:
        # It has replaced no worker yet. Its end aborts the reload.
        stop_worker(tx, worker, "failed start", requested_by=why)
    elif rolling.is_fresh(tx, worker):
        abort(tx, worker, why)


def abort(tx: Transaction, failed: Worker, why: str) -> None:
    """A worker that the reload under way has started has ended: the rest stays as it is.

    Unless the file says something else by now: then what failed is not what is asked for,
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
            return  # its turn goes on: it has a successor already
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
            # It was to make room for the release that has failed.
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
    """From now on a restart of this instance runs what ran before the reload."""
    instance = tx.instance(app, number)
    if instance is None or instance.before is None:
        return
    mine = instance.current in reload.fresh or number in reload.active or not instance.current
    spec = instance.before if mine else instance.spec
    tx.put_instance(instance.replace(spec=spec, before=None))


def _revive(tx: Transaction, app: str, number: int) -> None:
    """Where the old worker crashed during its reload: what worked before is started again."""
    instance = tx.instance(app, number)
    if instance is None or instance.successor or instance.state != w.RUNNING:
        return
    if tx.worker(instance.current) is None:
        launch(tx, instance, instance.spec, instance.slot)
