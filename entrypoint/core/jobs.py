"""Apps that run at the times of `cron_restart`, and the command `pyinit run`.

Two kinds of apps have times. A *service* is restarted at them (as in PM2). A *job* ends by
itself: each time starts a run. Between runs a job is finished, or idle if it has not run
yet (`autostart: false`). It counts for no probe and does not end the container.

`overlap` decides what happens at a time when the previous run is still going on::

    skip    skip that run
    wait    start one more run as soon as the present one has ended
    kill    replace the workers, by a reload or by a restart
"""

from __future__ import annotations

from . import rolling
from . import worker as w
from .effects import ReportOutcome, StopTimer
from .events import Timer
from .lifecycle import await_leftover, launch, shares_port, stop_workers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import AppSpec
    from .transaction import Transaction
    from .worker import AppState, Instance, Worker

SKIP, WAIT, KILL = "skip", "wait", "kill"
SCHEDULE = "cron_restart"


def is_job(spec: AppSpec) -> bool:
    """Whether the app runs at its times and ends, so that nothing waits for it to serve."""
    if not spec.cron_restart or spec.autorestart:
        return False
    return not (spec.listen or spec.wait_ready or spec.health or shares_port(spec))


def begins_idle(spec: AppSpec) -> bool:
    """Whether its first run is at its first time instead of at boot."""
    return bool(spec.cron_restart) and not spec.autostart


def keeps_run(tx: Transaction, app_state: AppState) -> bool:
    """Whether a reload lets the present run end: the next run uses the newest spec."""
    return is_job(app_state.spec) and overlap(tx, app_state) != KILL


def overlap(tx: Transaction, app_state: AppState) -> str:
    """The file's value, or `kill` for an app that serves or is kept running, else `skip`."""
    if app_state.spec.overlap:
        return app_state.spec.overlap
    if app_state.spec.autorestart or app_state.said_ready or shares_port(app_state.spec):
        return KILL
    return KILL if any(worker.listening for worker in tx.workers(app_state.name)) else SKIP


def due(tx: Transaction, app_state: AppState, by: str) -> None:
    """Start a run: its time has come, or a user requested it (`by`)."""
    if app_state.mode in ("waiting", "stopped") and by != SCHEDULE:
        leaving = _running(tx, app_state)
        app_state = tx.put_app(app_state.replace(mode="running"))
        if leaving:
            # They are being stopped: the run starts when they have ended.
            start(tx, app_state)
            return
    if app_state.mode == "waiting":
        _skip(tx, app_state, by, reason="it waits for another app")
    if app_state.mode != "running" or not app_state.wanted:
        return
    if not app_state.created:
        tx.put_app(app_state.replace(pending=True))  # `starting` launches its workers
        return
    running = _running(tx, app_state)
    if not running:
        _start(tx, app_state, by)
        return
    rule = overlap(tx, app_state)
    if rule == KILL:
        _replace(tx, app_state, by)
        return
    since = round(tx.now - min(worker.launched_at for worker in running), 3)
    if rule == WAIT:
        tx.put_app(app_state.replace(pending=True))
        tx.report("info", "run waits", app=app_state.name, by=by, running_for=since)
    else:
        _skip(tx, app_state, by, reason="the run before is still going on", running_for=since)


def _skip(tx: Transaction, app_state: AppState, by: str, **why: object) -> None:
    tx.put_app(app_state.replace(skipped=app_state.skipped + 1))
    tx.count("run", app_state.name, "skipped")
    tx.emit(ReportOutcome(app_state.name, "run", "skipped"))
    tx.report("warning", "run skipped", app=app_state.name, by=by, **why)


def _running(tx: Transaction, app_state: AppState) -> list[Worker]:
    instances = list(tx.instances(app_state.name))
    workers = [tx.worker(number) for each in instances for number in (each.current, each.successor)]
    return [worker for worker in workers if worker is not None]


def _start(tx: Transaction, app_state: AppState, by: str) -> None:
    tx.put_app(app_state.replace(pending=False, reload=None))
    tx.report("info", "run started", app=app_state.name, by=by)
    for instance in list(tx.instances(app_state.name)):
        start_anew(tx, instance)


def _replace(tx: Transaction, app_state: AppState, by: str) -> None:
    if shares_port(app_state.spec) and not app_state.errored and not app_state.finished:
        rolling.begin(tx, app_state, by)
        return
    tx.report("info", "restart started", app=app_state.name, reason=by)
    tx.put_app(app_state.replace(reload=None))
    leaving: list[Worker] = []
    for instance in list(tx.instances(app_state.name)):
        successor, current = tx.worker(instance.successor), tx.worker(instance.current)
        leaving += [each for each in (successor, current) if each is not None]
        alone = tx.put_instance(instance.replace(successor=0))
        if current is None:
            start_anew(tx, alone)
    stop_workers(tx, app_state.name, leaving, "restart", requested_by=by)


def start(tx: Transaction, app_state: AppState) -> None:
    """Start every instance without a worker; one that is being stopped starts again later."""
    for instance in list(tx.instances(app_state.name)):
        current = tx.worker(instance.current)
        if current is None:
            start_anew(tx, instance)
        elif current.state in w.STOPPING_STATES:
            tx.put_worker(current.replace(stop_reason="restart"))
            tx.put_instance(instance.replace(state=w.RUNNING))


def start_anew(tx: Transaction, instance: Instance) -> None:
    """Launch the newest spec in an instance without a worker; forget earlier failures."""
    tx.emit(StopTimer(Timer("restart", instance.app, instance.restart_timer)))
    fresh = instance.replace(unstable=(), delay=0.0, loop=(), served=())
    spec = tx.the_app(instance.app).spec
    if not await_leftover(tx, fresh, spec, "restart"):
        launch(tx, fresh, spec, instance.slot)


def remember(tx: Transaction, worker: Worker) -> None:
    """Count a run: a worker of an instance has ended."""
    instance = tx.instance(worker.app, worker.instance)
    if instance is None or instance.current != worker.incarnation:
        return
    took = tx.now - worker.launched_at
    instance = instance.replace(
        runs=instance.runs + 1, last_start=worker.launched_at, last_took=took
    )
    instance = tx.put_instance(instance)
    spec = tx.the_app(worker.app).spec
    if spec.cron_restart and not spec.autorestart:
        result = (
            "stopped" if worker.stop_reason else "failed" if instance.last_code else "succeeded"
        )
        tx.count("run", worker.app, result, took)
        tx.report_of(
            worker,
            "error" if result == "failed" else "info",
            "run finished",
            result=result,
            exit_code=instance.last_code,
            took=round(took, 3),
        )


def run_pending(tx: Transaction, app_state: AppState) -> None:
    """Start the run that waited for the end of another."""
    if app_state.pending and app_state.mode == "running" and not _running(tx, app_state):
        _start(tx, app_state, "the run before has ended")
