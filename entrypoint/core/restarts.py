"""What follows an unrequested exit: a restart now or later, or none.

With `exp_backoff_restart_delay` the pauses grow as in PM2. An exit is unstable if it comes sooner
than `min_uptime` or before the worker was ready. More than `max_restarts` of them in a sliding
window make the app `errored`. So do as many in a row, however far apart.

If the file does not set `min_uptime`, it is learned: a worker that crashes repeatedly
after about the same short life is in a crash loop too, though each life is longer than the
default. Only crashes count (another exit code than 0, a signal).
"""

from __future__ import annotations

from . import health
from . import worker as w
from .effects import StartTimer
from .events import Timer
from .lifecycle import launch
from .worker import AppState, Instance, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import AppSpec
    from .transaction import Transaction

# PM2's limit and reset time of the back-off, seconds.
BACKOFF_FACTOR = 1.5
BACKOFF_CEILING = 15.0
BACKOFF_RESET = 30.0

# Limits of a learned crash loop: the longest life (s), and by which factor and by how many
# seconds a life may exceed the shortest one.
LOOP_LIFE = 30.0
LOOP_FACTOR, LOOP_SLACK = 3.0, 1.0

# A pause may exceed the file's value: after a fork(2) that failed, and by a late timer (s).
PAUSE_SLACK = 2.0


def after_exit(
    tx: Transaction,
    app_state: AppState,
    instance: Instance,
    worker: Worker,
    *,
    reason: str,
    least: float = 0.0,
) -> Instance:
    """Restart, finish or give up after the end of a worker that was not stopped.

    A restart is counted under `reason` and waits at least `least` seconds.
    """
    spec = worker.spec
    code = worker.exit_code
    if code is not None and code in spec.stop_exit_codes:
        return _finish(tx, app_state, instance, "stop_exit_codes")
    if not spec.autorestart:
        return _finish(tx, app_state, instance, "autorestart: false")
    uptime = worker.ended_at - worker.launched_at
    delay = restart_delay(spec, instance.delay, uptime)
    unstable = instance.unstable
    if uptime < spec.min_uptime or worker.failed_to_start:
        unstable = _one_more(tx, instance, spec, uptime)
        if instance.unstable and _follows(worker, instance.unstable[-1]):
            # No worker was stable since, so no exit is forgotten, however long each took.
            unstable = (*instance.unstable, tx.now)
    elif app_state.edited:
        app_state = tx.put_app(tx.the_app(app_state.name).replace(edited=False))
    loop = _loop(worker, instance, uptime)
    instance = instance.replace(current=0, unstable=unstable, delay=delay, loop=loop)
    if max(len(unstable), len(loop)) > spec.max_restarts:
        waits = app_state.edited and spec.on_errored == "wait"
        tx.report(
            "error",
            "app errored",
            app=app_state.name,
            instance=instance.number,
            unstable_exits=max(len(unstable), len(loop)),
            max_restarts=spec.max_restarts,
            last_exit=instance.last_exit,
            **({"then": "wait for the next change of its files"} if waits else {}),
        )
        return tx.put_instance(instance.replace(state=w.ERRORED))
    instance = restarted(tx, instance, reason)
    wait = max(least, delay if spec.exp_backoff_restart_delay else spec.restart_delay)
    if wait <= 0:
        launch(tx, instance, instance.spec, instance.slot)
        return tx.instance(instance.app, instance.number) or instance
    tx.report(
        "info", "restart waits", app=app_state.name, instance=instance.number, delay=round(wait, 3)
    )
    tx.emit(StartTimer(Timer("restart", app_state.name, worker.incarnation), wait))
    return tx.put_instance(
        instance.replace(state=w.WAITING_RESTART, restart_timer=worker.incarnation)
    )


def _loop(worker: Worker, instance: Instance, uptime: float) -> tuple[float, ...]:
    """The lives of the crash loop that this end belongs to; () if there is none."""
    spec = worker.spec
    crashed = worker.exit_code != 0 or worker.failed_to_start
    if not spec.learn_min_uptime or not crashed or uptime > LOOP_LIFE:
        return ()
    lives = (*instance.loop, uptime)[-(spec.max_restarts + 1) :]
    alike = max(lives) <= LOOP_FACTOR * min(lives) + LOOP_SLACK
    return lives if alike else (uptime,)


def restarted(tx: Transaction, instance: Instance, label: str) -> Instance:
    """Count a replacement of a worker, for `pyinit ls` and the metrics.

    As in PM2 the reason does not matter; the metrics tell a crash from a reload.
    """
    tx.count("restart", instance.app, label)
    return instance.replace(restarts=instance.restarts + 1)


def after_failure(
    tx: Transaction, instance: Instance, spec: AppSpec, uptime: float = 0.0
) -> Instance:
    """Count a failure and pause, as after an unstable exit, while the previous worker is kept."""
    delay = restart_delay(spec, instance.delay, uptime)
    wait = delay if spec.exp_backoff_restart_delay else spec.restart_delay
    unstable = _one_more(tx, instance, spec, uptime)
    return tx.put_instance(
        instance.replace(unstable=unstable, delay=delay, repair_at=tx.now + max(0.0, wait))
    )


def _follows(worker: Worker, ended: float) -> bool:
    """Whether it started when the pause after that end was over, not after a stable life."""
    return worker.launched_at <= ended + _longest_pause(worker.spec) + PAUSE_SLACK


def _one_more(
    tx: Transaction, instance: Instance, spec: AppSpec, uptime: float
) -> tuple[float, ...]:
    window = unstable_window(spec, uptime)
    return (*(t for t in instance.unstable if tx.now - t < window), tx.now)


def restart_delay(spec: AppSpec, previous: float, uptime: float) -> float:
    """Seconds of back-off after this exit; negative: restart at once, and remember it.

    PM2's `exp_backoff_restart_delay`: ×1.5 up to 15 s, reset after 30 s of uptime. The
    first restart after a quiet time is at once.
    """
    first = spec.exp_backoff_restart_delay
    if first <= 0:
        return 0.0
    if previous == 0 or uptime >= BACKOFF_RESET:
        return -first
    if previous < 0:
        return first
    return min(BACKOFF_CEILING, previous * BACKOFF_FACTOR)


def unstable_window(spec: AppSpec, uptime: float = 0.0) -> float:
    """Seconds for which an unstable exit is remembered; `uptime`: of the newest one.

    Long enough that `max_restarts` of them fit in it at the slowest rate at which they
    can occur, so that a crash loop always ends in `errored`, however slow it is.
    """
    lives = max(spec.min_uptime + health.launch_bound(spec), uptime)
    pace = lives + _longest_pause(spec) + 1.0
    if spec.health is not None:
        pace += health.longest_detection(spec) + spec.retire_delay + spec.kill_timeout
    return (spec.max_restarts + 1) * pace


def _longest_pause(spec: AppSpec) -> float:
    return BACKOFF_CEILING if spec.exp_backoff_restart_delay > 0 else spec.restart_delay


def _finish(tx: Transaction, app_state: AppState, instance: Instance, why: str) -> Instance:
    spec = app_state.spec
    # For a job this is reported as the end of a run.
    if spec.autorestart or not spec.cron_restart:
        tx.report(
            "info", "worker finished", app=app_state.name, instance=instance.number, because=why
        )
    return tx.put_instance(instance.replace(state=w.FINISHED, current=0))
