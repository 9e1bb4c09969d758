"""Makes the read-only view from the state of the core."""

from __future__ import annotations

from . import retiring
from . import view as v
from . import worker as w
from .jobs import is_job

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .transaction import State
    from .worker import AppState, Instance, Worker

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
    """The view of all apps, in the file's order."""
    workers: dict[str, list[Worker]] = {name: [] for name in state.apps}
    for worker in state.workers.values():
        workers[worker.app].append(worker)
    phase = state.run.phase
    return v.View(
        apps=tuple(
            _app(
                app_state,
                [*state.instances.get(app_state.name, {}).values()],
                workers[app_state.name],
            )
            for app_state in state.apps.values()
        ),
        phase="stopping" if phase == "finished" else phase,
        revision=state.run.plan.revision,
        config_error=state.run.config_error,
    )


def _app(app_state: AppState, instances: list[Instance], workers: list[Worker]) -> v.AppView:
    by_instance = {instance.number: instance for instance in instances}
    rows = [_row(app_state, worker, by_instance.get(worker.instance)) for worker in workers]
    shown = {worker.incarnation for worker in workers}
    rows += [
        _empty(app_state, instance.number, instance)
        for instance in instances
        if instance.current not in shown and instance.successor not in shown
    ]
    if app_state.starting is not None:
        rows += [
            _empty(app_state, number, None) for number in range(app_state.created, app_state.wanted)
        ]
    rows.sort(key=lambda row: (row.instance, row.incarnation))
    reload = app_state.reload
    return v.AppView(
        name=app_state.name,
        exec_mode=app_state.spec.exec_mode,
        wanted=app_state.wanted,
        ready_workers=app_state.ready,
        was_ready=app_state.was_ready,
        errored=app_state.errored > 0,
        finished=app_state.wanted > 0 and app_state.finished == app_state.wanted,
        stopped=app_state.mode == "stopped",
        workers=tuple(rows),
        reloading=reload is not None,
        reloaded=reload.total - len({*reload.queue, *reload.active}) if reload else 0,
        to_reload=reload.total if reload else 0,
        started=app_state.created > 0 or app_state.was_ready or bool(app_state.port),
        runs=sum(instance.runs for instance in instances),
        job=_job(app_state, instances, workers),
    )


def _job(app_state: AppState, instances: list[Instance], workers: list[Worker]) -> v.JobView | None:
    if not app_state.spec.cron_restart:
        return None
    last = max(instances, key=lambda instance: instance.last_start, default=None)
    began = min((worker.launched_at for worker in workers), default=0.0)
    codes = [instance.last_code for instance in instances if instance.last_code]
    return v.JobView(
        counts=not is_job(app_state.spec),
        runs=sum(instance.runs for instance in instances),
        running=bool(workers),
        started_at=began or (last.last_start if last else 0.0),
        took=max((instance.last_took for instance in instances), default=0.0),
        exit_code=codes[0] if codes else 0,
        skipped=app_state.skipped,
        pending=app_state.pending,
    )


def _empty(app_state: AppState, number: int, instance: Instance | None) -> v.WorkerView:
    """The view of an instance without a process; `instance` None: it does not exist yet."""
    return v.WorkerView(
        app=app_state.name,
        instance=number,
        incarnation=0,
        slot=instance.slot if instance else 0,
        pid=0,
        state=_SHOWN.get(instance.state, v.LAUNCHING) if instance else v.LAUNCHING,
        ready=False,
        restarts=instance.restarts if instance else 0,
        id=_id(app_state, number),
        started_at=0.0,
        last_exit=instance.last_exit if instance else "",
        last_code=instance.last_code if instance else 0,
    )


def _health(worker: Worker) -> str:
    if worker.check_reason:
        return v.FAILING
    return v.PASSING if worker.healthy else ""


def _is_stalled(worker: Worker) -> bool:
    return worker.state == w.SICK and worker.stalled_at > 0 and not worker.sick


def _state(worker: Worker) -> str:
    if worker.state == w.RETIRING and retiring.drains(worker):
        return v.DRAINING
    return v.STALLED if _is_stalled(worker) else _SHOWN[worker.state]


def _row(app_state: AppState, worker: Worker, instance: Instance | None) -> v.WorkerView:
    return v.WorkerView(
        app=worker.app,
        instance=worker.instance,
        incarnation=worker.incarnation,
        slot=worker.slot,
        # It was reaped: its pid may belong to another process by now.
        pid=0 if worker.state == w.LINGERING else worker.pid,
        state=_state(worker),
        ready=worker.ready,
        restarts=instance.restarts if instance else 0,
        started_at=worker.launched_at,
        stuck=worker.stuck,
        status=worker.status,
        reloading=worker.reloading,
        health=_health(worker),
        health_reason=worker.check_reason,
        id=_id(app_state, worker.instance),
        last_exit=instance.last_exit if instance else "",
        last_code=instance.last_code if instance else 0,
    )


def _id(app_state: AppState, number: int) -> int:
    return app_state.ids[number] if number < len(app_state.ids) else -1
