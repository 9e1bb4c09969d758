"""From the state of the core to what may be seen of it."""

from __future__ import annotations

from . import view as v
from . import worker as w
from .jobs import is_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .turn import State
    from .worker import Place, Pool, Worker

_SHOWN = {
    w.LAUNCHING: v.LAUNCHING,
    w.ONLINE: v.ONLINE,
    w.SICK: v.UNHEALTHY,
    w.RETIRING: v.STOPPING,
    w.TERMINATING: v.STOPPING,
    w.KILLING: v.STOPPING,
    w.LINGERING: v.STOPPING,
    w.WAITING_RESTART: v.WAITING_RESTART,
    w.STOPPED: v.STOPPED,
    w.IDLE: v.STOPPED,
    w.FINISHED: v.STOPPED,
    w.ERRORED: v.ERRORED,
}


def view_of(state: State) -> v.View:
    """A picture of all apps, in the file's order."""
    workers: dict[str, list[Worker]] = {name: [] for name in state.pools}
    for worker in state.workers.values():
        workers[worker.app].append(worker)
    phase = state.run.phase
    return v.View(
        apps=tuple(
            _app(pool, [*state.places.get(pool.name, {}).values()], workers[pool.name])
            for pool in state.pools.values()
        ),
        phase="stopping" if phase == "finished" else phase,
        revision=state.run.plan.revision,
        config_error=state.run.config_error,
    )


def _app(pool: Pool, places: list[Place], workers: list[Worker]) -> v.AppView:
    by_instance = {place.instance: place for place in places}
    rows = [_row(pool, worker, by_instance.get(worker.instance)) for worker in workers]
    shown = {worker.incarnation for worker in workers}
    rows += [
        _empty(pool, place.instance, place)
        for place in places
        if place.current not in shown and place.successor not in shown
    ]
    if pool.starting is not None:
        rows += [_empty(pool, instance, None) for instance in range(pool.placed, pool.wanted)]
    rows.sort(key=lambda row: (row.instance, row.incarnation))
    reload = pool.reload
    return v.AppView(
        name=pool.name,
        exec_mode=pool.spec.exec_mode,
        wanted=pool.wanted,
        ready_workers=pool.ready,
        was_ready=pool.was_ready,
        errored=pool.errored > 0,
        finished=pool.wanted > 0 and pool.finished == pool.wanted,
        stopped=pool.mode == "stopped",
        workers=tuple(rows),
        reloading=reload is not None,
        reloaded=reload.total - len({*reload.queue, *reload.active}) if reload else 0,
        to_reload=reload.total if reload else 0,
        started=pool.placed > 0 or pool.was_ready or bool(pool.port),
        runs=sum(place.runs for place in places),
        job=_job(pool, places, workers),
    )


def _job(pool: Pool, places: list[Place], workers: list[Worker]) -> v.JobView | None:
    if not pool.spec.cron_restart:
        return None
    last = max(places, key=lambda place: place.last_start, default=None)
    began = min((worker.launched_at for worker in workers), default=0.0)
    codes = [place.last_code for place in places if place.last_code]
    return v.JobView(
        counts=not is_job(pool.spec),
        runs=sum(place.runs for place in places),
        running=bool(workers),
        started_at=began or (last.last_start if last else 0.0),
        took=max((place.last_took for place in places), default=0.0),
        exit_code=codes[0] if codes else 0,
        skipped=pool.skipped,
        pending=pool.pending,
    )


def _empty(pool: Pool, instance: int, place: Place | None) -> v.WorkerView:
    """An instance that has no process; `place` None: its turn to start has not come."""
    return v.WorkerView(
        app=pool.name,
        instance=instance,
        incarnation=0,
        slot=place.slot if place else 0,
        pid=0,
        state=_SHOWN.get(place.state, v.LAUNCHING) if place else v.LAUNCHING,
        ready=False,
        restarts=place.restarts if place else 0,
        id=_id(pool, instance),
        started_at=0.0,
        last_exit=place.last_exit if place else "",
        last_code=place.last_code if place else 0,
    )


def _health(worker: Worker) -> str:
    if worker.check_reason:
        return v.FAILING
    return v.PASSING if worker.healthy else ""


def _row(pool: Pool, worker: Worker, place: Place | None) -> v.WorkerView:
    return v.WorkerView(
        app=worker.app,
        instance=worker.instance,
        incarnation=worker.incarnation,
        slot=worker.slot,
        # Reaped: its number may be another process's by now.
        pid=0 if worker.state == w.LINGERING else worker.pid,
        state=_SHOWN[worker.state],
        ready=worker.ready,
        restarts=place.restarts if place else 0,
        started_at=worker.launched_at,
        stuck=worker.stuck,
        status=worker.status,
        reloading=worker.reloading,
        health=_health(worker),
        health_reason=worker.check_reason,
        id=_id(pool, worker.instance),
        last_exit=place.last_exit if place else "",
        last_code=place.last_code if place else 0,
    )


def _id(pool: Pool, instance: int) -> int:
    return pool.ids[instance] if instance < len(pool.ids) else -1
