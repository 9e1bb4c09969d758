"""What the end of a worker means for its instance, its slot and a reload.

A worker ends in two steps: first the process that pyinit started, then the last of its group.
If two workers of an instance can run side by side, the instance continues after the
first step. Otherwise the rest of the group may hold the port, so it continues after the second.
"""

from __future__ import annotations

from . import (
    grace,
    jobs,
    lifecycle,
    readiness,
    reasons,
    reload_abort,
    replacements,
    restarts,
    rolling,
    slots,
)
from . import worker as w

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .events import SignalRefused, WorkerExited
    from .transaction import Transaction
    from .types import StopReason
    from .worker import Instance, Worker

# The longest pause before SIGKILL is sent again after it was refused (s).
LONGEST_KILL_PAUSE = 60.0

# fork(2) failed: the machine or the container is full. Retrying at once would only
# use up what remains (s).
FORK_PAUSE = 1.0

NEVER_RAN = reasons.NEVER_RAN
# Exit code reported for a sick worker that was stopped and exited with 0.
NO_GOOD = 1
# Stop reasons by which pyinit ends a worker that failed, and the name of the worker's last
# exit.
BROKEN = {"health": "unhealthy", "watchdog": "watchdog", "stalled": "stalled"}


def never_forked(tx: Transaction, worker: Worker, reason: str) -> None:
    """Handle a spawn that failed: there was no process."""
    _report(tx, worker, reason=reason)
    _remember(tx, worker, reason, NEVER_RAN)
    jobs.remember(tx, worker)
    worker = worker.replace(ended_at=tx.now, failed_to_start=True, last_exit=reason)
    worker = lifecycle.leader_exited(tx, tx.put_worker(worker), group_left=False, strays=False)
    _go_on(tx, worker, least=FORK_PAUSE)
    _gone(tx, worker)


def exited(tx: Transaction, worker: Worker, event: WorkerExited) -> None:
    """Handle a worker process that was reaped."""
    code, signum = event.code, event.signum
    if event.failure and not (signum is not None and worker.stop_reason):
        how = {} if signum is None else {"signal": signum}
        _report(tx, worker, reason=event.failure, **how)
        last_exit, last_code = event.failure, NEVER_RAN
        code = None
    elif signum is not None:
        dumped = {"core_dumped": True} if event.core_dumped else {}
        _report(tx, worker, signal=signum, **dumped)
        last_exit, last_code = f"killed by signal {signum}", 128 + signum
    else:
        _report(tx, worker, exit_code=code)
        last_exit, last_code = f"exit code {code}", code or 0
    if worker.killed and signum == lifecycle.SIGKILL:
        tx.report_of(
            worker, "warning", "worker killed", kill_timeout=grace.kill_timeout(tx, worker)
        )
    if worker.stop_reason in BROKEN:
        last_exit, last_code = _broken(worker), code or NO_GOOD
    gave_up = worker.stop_reason == "failed start"
    if gave_up and worker.requested_by:
        last_exit, last_code = worker.requested_by, code or NO_GOOD
    _remember(tx, worker, last_exit, last_code)
    jobs.remember(tx, worker)
    worker = worker.replace(
        ended_at=tx.now,
        last_exit=last_exit,
        exit_code=None if worker.stop_reason in ("failed start", *BROKEN) else code,
        failed_to_start=worker.failed_to_start or gave_up or _failed_to_start(worker),
    )
    instance = tx.instance(worker.app, worker.instance)
    if instance is not None and instance.current == worker.incarnation:
        tx.put_instance(readiness.recall(tx, instance, worker))
    worker = lifecycle.leader_exited(
        tx,
        tx.put_worker(worker),
        group_left=event.group_left,
        strays=event.strays,
        cleaning=event.cleaning,
    )
    if worker.state == w.GONE:
        _go_on(tx, worker)
        _gone(tx, worker)
    elif AFTER[worker.stop_reason] is not start_again and _all_share_port(tx, worker):
        _go_on(tx, worker)


def _all_share_port(tx: Transaction, worker: Worker) -> bool:
    """Whether this worker and every possible replacement share the port.

    A worker that binds its port itself, before or after a change of the file, must not meet
    processes that remain of this one.
    """
    specs = [worker.spec, tx.the_app(worker.app).spec]
    instance = tx.instance(worker.app, worker.instance)
    if instance is not None:
        specs += [instance.spec, instance.before or instance.spec]
    return all(lifecycle.shares_port(spec) for spec in specs)


def group_emptied(tx: Transaction, worker: Worker) -> None:
    """Handle the end of the last process in the group of a worker that had ended before."""
    worker = lifecycle.gone(tx, worker)
    _go_on(tx, worker)
    _gone(tx, worker)


def signal_refused(tx: Transaction, worker: Worker, event: SignalRefused) -> None:
    """Mark a worker that a signal did not reach, in whole or in part, until it has ended."""
    tx.report_of(worker, "error", "signal refused", signal=event.signum, reason=event.reason)
    refused = worker.refused or event.signum == lifecycle.SIGKILL
    tx.put_worker(worker.replace(stuck=f"signal refused: {event.reason}", refused=refused))


def never_died(tx: Transaction, worker: Worker) -> None:
    """Handle a worker that is still alive long after SIGKILL.

    Processes that remain of a group are no longer waited for. The worker itself is: it keeps its
    slot and its sockets. But neither the end of the run nor a reload
    waits for it.
    """
    if not worker.killed:
        return
    if worker.refused:
        # Only a new attempt can end it; the cause of the refusal may be gone.
        pause = min(LONGEST_KILL_PAUSE, 2 * worker.kill_pause or lifecycle.ABANDON_AFTER)
        first = not worker.kill_pause
        worker = tx.put_worker(worker.replace(refused=False, kill_pause=pause))
        lifecycle.kill_again(tx, worker, pause)
        if not first:
            return
    left = worker.state == w.LINGERING
    what = "processes of the worker do not die" if left else "worker does not die"
    tx.report_of(worker, "error", what, **({"reason": worker.stuck} if worker.stuck else {}))
    if not worker.stuck:
        worker = tx.put_worker(worker.replace(stuck="lives after SIGKILL"))
    if left:
        group_emptied(tx, worker)
    elif tx.run.phase == "stopping":
        _gone(tx, lifecycle.gone(tx, worker))
    elif worker.stop_reason == "reload":
        rolling.go_without(tx, worker)


def _report(tx: Transaction, worker: Worker, **how: object) -> None:
    expected = bool(worker.stop_reason)
    fine = expected or how.get("exit_code") == 0
    tx.report(
        "info" if fine else "error",
        "worker failed to start" if "reason" in how else "worker exited",
        incarnation=worker.incarnation,
        app=worker.app,
        instance=worker.instance,
        pid=worker.pid,
        **how,
        **dict(worker.notes),
        **_failure(worker),
        uptime=round(tx.now - worker.launched_at, 3),
        expected=expected,
    )


def _failure(worker: Worker) -> dict[str, object]:
    """The failure that pyinit's stop of this worker responds to, if any."""
    if worker.stop_reason == "failed start":
        return {"because": worker.requested_by}
    if worker.stop_reason in BROKEN:
        return {"because": _broken(worker)}
    return {}


def _broken(worker: Worker) -> str:
    why = worker.check_reason if worker.stop_reason == "health" else worker.requested_by
    return f"{BROKEN[worker.stop_reason]}: {why}"


def _failed_to_start(worker: Worker) -> bool:
    """Whether the worker was never ready although its app has known readiness."""
    return not worker.up_at and lifecycle.awaits_readiness(worker.spec)


def _remember(tx: Transaction, worker: Worker, last_exit: str, last_code: int) -> None:
    instance = tx.instance(worker.app, worker.instance)
    if instance is not None and instance.current == worker.incarnation:
        tx.put_instance(instance.replace(last_exit=last_exit, last_code=last_code))


def _go_on(tx: Transaction, worker: Worker, *, least: float = 0.0) -> None:
    """Decide what follows for the worker's instance, if it still belongs to one."""
    instance = tx.instance(worker.app, worker.instance)
    app_state = tx.the_app(worker.app)
    if instance is None or tx.run.phase in ("stopping", "finished"):
        return
    if instance.successor == worker.incarnation and worker.stop_reason == "restart":
        rolling.succeed_again(tx, instance)
    elif instance.successor == worker.incarnation:
        reload_abort.abort(tx, worker, _why(worker))
        current = tx.worker(instance.current)
        if current is not None:
            replacements.in_vain(tx, current, worker.ended_at - worker.launched_at)
    elif instance.current != worker.incarnation:
        return
    elif app_state.mode != "running":
        stay_stopped(tx, worker, instance, least)
    else:
        AFTER[worker.stop_reason](tx, worker, instance, least)


def stay_stopped(tx: Transaction, _worker: Worker, instance: Instance, _least: float) -> None:
    """Nothing is started in its place."""
    tx.put_instance(instance.replace(current=0, state=w.STOPPED))


def start_again(tx: Transaction, worker: Worker, instance: Instance, _least: float) -> None:
    """Start a worker at once, of the newest revision or, after an abort, the previous one."""
    app_state = tx.the_app(worker.app)
    reloads = app_state.reload is not None and worker.instance in app_state.reload.active
    spec = instance.spec if worker.stop_reason == "abort" else app_state.spec
    before = instance.spec if reloads else None
    instance = instance.replace(current=0, unstable=(), delay=0.0, loop=(), before=before)
    if worker.stop_reason == "restart":
        instance = instance.replace(served=())
    instance = restarts.restarted(tx, instance, reasons.label(worker.requested_by))
    rolling.note_fresh(tx, lifecycle.launch(tx, instance, spec, instance.slot))


def restart_or_give_up(tx: Transaction, worker: Worker, instance: Instance, least: float) -> None:
    """Handle an unrequested end: restart now or later, finish, or become errored (restarts.py)."""
    reason = reasons.of_end(worker, instance)
    slots.queue_left(tx, worker)
    app_state = tx.the_app(worker.app)
    successor = tx.worker(instance.successor)
    held = worker.stalled_at > 0 and successor is not None and successor.ready
    if held or (successor is not None and successor.state == w.LAUNCHING):
        # Its successor is starting and takes over when it is ready.
        tx.put_instance(restarts.restarted(tx, instance.replace(current=0), reason))
        if held:
            rolling.resume(tx, worker.app)
        return
    if rolling.is_fresh(tx, worker) and not _has_finished(worker):
        reload_abort.abort(tx, worker, _why(worker))
        app_state = tx.the_app(worker.app)
        instance = tx.instance(worker.app, worker.instance) or instance
        successor = tx.worker(instance.successor)
    after = restarts.after_exit(tx, app_state, instance, worker, reason=reason, least=least)
    if after.state in (w.ERRORED, w.FINISHED) and successor is None:
        rolling.done(tx, app_state.name, instance.number)
    jobs.run_pending(tx, tx.the_app(app_state.name))


# What follows the end of an instance's current worker, by its stop reason, while its app
# has to run. (During the shutdown nothing follows.)
AFTER: dict[StopReason, Callable[[Transaction, Worker, Instance, float], None]] = {
    "": restart_or_give_up,
    "failed start": restart_or_give_up,
    "health": restart_or_give_up,
    "watchdog": restart_or_give_up,
    "stalled": restart_or_give_up,
    "restart": start_again,
    "reload": start_again,
    "abort": start_again,
    "stop": stay_stopped,
    "scale": stay_stopped,
    "remove": stay_stopped,
    "shutdown": stay_stopped,
    "lost": stay_stopped,
    "drain": stay_stopped,
}


def _has_finished(worker: Worker) -> bool:
    """Whether the worker ended as intended and will not be started again."""
    spec = worker.spec
    done = worker.exit_code == 0 and not spec.autorestart
    return done or (worker.exit_code is not None and worker.exit_code in spec.stop_exit_codes)


def _why(worker: Worker) -> str:
    """Why a worker started by a reload is gone: the reason, for people."""
    if worker.stop_reason in ("failed start", "watchdog") and worker.requested_by:
        return worker.requested_by
    if worker.stop_reason == "health":
        return f"unhealthy: {worker.check_reason}"
    when = "after it was ready" if worker.up_at else "before it was ready"
    lived = worker.ended_at - worker.launched_at
    return f"{worker.last_exit} {lived:.1f} s after its start, {when}"


def _gone(tx: Transaction, worker: Worker) -> None:
    """Nothing of the worker remains: free its slot if possible, and continue a reload."""
    rolling.forget_proof(tx, worker)
    instance = tx.instance(worker.app, worker.instance)
    if instance is None or instance.slot != worker.slot:
        slots.free_slot(tx, worker.app, worker.slot)
    if instance is None or instance.queue != worker.queue:
        slots.free_queue(tx, worker)
    if worker.stop_reason == "reload" and instance is not None and not instance.successor:
        current = tx.worker(instance.current)
        # A worker that is sick by now counts too: nothing replaces it before this reload continues.
        if current is not None and current.state in w.SERVING_STATES:
            rolling.done(tx, worker.app, worker.instance)
    rolling.advance(tx, worker.app)
