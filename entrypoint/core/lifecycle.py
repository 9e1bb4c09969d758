"""The life of one worker from launch to end: what its exit and its timers mean.

Functions of a `Transaction`. readiness.py decides when a worker is ready, restarts.py what
follows its end; rolling.py has rolling reloads, shutdown.py the end of the run. All of
them use this module to launch and to stop workers.
"""

from __future__ import annotations

from . import health, listeners, queues, retiring
from . import worker as w
from .effects import (
    ReleaseWorker,
    RouteTo,
    SendShutdownMessage,
    SendSignal,
    Spawn,
    StartTimer,
    StopLook,
    StopTimer,
)
from .events import Timer
from .grace import kill_timeout
from .worker import Instance, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .spec import AppSpec
    from .transaction import Transaction
    from .types import Scope, StopReason, WorkerState, WorkerTimer

SIGKILL = 9
SIGTERM = 15

# What SIGKILL has not ended after so many seconds waits for a disk or a network file
# system that may never answer, or is a zombie whose parent does not reap it.
ABANDON_AFTER = 3.0

# A program that becomes a daemon ends before its child has called setsid(2).
# The remaining group of a program that finished may take this long to leave it (s).
MAY_LEAVE = 1.0


def shares_port(spec: AppSpec) -> bool:
    """Whether its workers accept on sockets that PID 1 owns."""
    return spec.share != "none"


def has_slots(spec: AppSpec) -> bool:
    """Whether each worker has its own socket, so that it can be retired alone."""
    return spec.share == "slots"


def is_steered(spec: AppSpec) -> bool:
    """Whether some of its workers can get no new connections while others do."""
    return has_slots(spec) or queues.shares_queue(spec)


def awaits_readiness(spec: AppSpec) -> bool:
    """Whether a worker needs more than a running process to be ready."""
    return spec.wait_ready or shares_port(spec) or spec.health is not None


# -- launching ------------------------------------------------------------------


def launch(
    tx: Transaction, instance: Instance, spec: AppSpec, slot: int, *, successor: bool = False
) -> Worker:
    """Start a process for an instance: its current worker, or its successor in a reload."""
    incarnation = tx.next_incarnation()
    queue = queues.for_worker(tx, instance, spec, slot, successor=successor)
    worker = tx.put_worker(
        Worker(
            incarnation,
            instance.app,
            instance.number,
            slot,
            spec,
            launched_at=tx.now,
            shared_queue=queue,
            watchdog=spec.watchdog,
        )
    )
    if successor:
        tx.put_instance(instance.replace(successor=incarnation))
    else:
        tx.put_instance(
            instance.replace(
                state=w.RUNNING,
                current=incarnation,
                slot=slot,
                shared_queue=queue,
                spec=spec,
                restart_timer=0,
            )
        )
    app_state = tx.the_app(instance.app)
    listeners.before_launch(tx, app_state, spec)
    listeners.resume(tx, tx.the_app(instance.app))
    number = app_state.ids[instance.number] if instance.number < len(app_state.ids) else -1
    restarts = instance.restarts + successor
    tx.emit(Spawn(incarnation, spec, instance.number, slot, number, restarts, queue))
    return worker


def await_leftover(
    tx: Transaction, instance: Instance, spec: AppSpec, stop_reason: StopReason
) -> bool:
    """Wait for the remaining processes of the last worker of an instance without a worker.

    True: their end, for `stop_reason`, starts the next worker. A worker that binds its port itself
    must not meet a process that may still hold it.
    """
    crew = () if shares_port(spec) else tx.workers(instance.app)
    left = [e for e in crew if (e.instance, e.slot) == (instance.number, instance.slot)]
    if not left:
        return False
    tx.put_worker(left[-1].replace(stop_reason=stop_reason))
    current = left[-1].incarnation
    tx.put_instance(instance.replace(state=w.RUNNING, current=current, restart_timer=0))
    return True


def arm(tx: Transaction, worker: Worker, kind: WorkerTimer, delay: float) -> Worker:
    """Set the timer of its launch or of its stop."""
    tx.emit(StartTimer(_timer(kind, worker), delay))
    return tx.put_worker(worker.replace(due=tx.now + delay))


def watch(tx: Transaction, worker: Worker) -> None:
    """Restart its watchdog timer: the worker has sent a sign of life."""
    if worker.watchdog > 0:
        tx.emit(StartTimer(_timer("watchdog", worker), worker.watchdog))
    else:
        tx.emit(StopTimer(_timer("watchdog", worker)))


# -- steering -------------------------------------------------------------------


def route(tx: Transaction, app: str) -> None:
    """Route new connections to the slots of ready workers.

    If none is ready, route them to sick workers, which may still answer; then to
    launching ones, whose connections wait for them; without any worker, to the slots
    where one will be started again.
    """
    app_state = tx.the_app(app)
    # During the shutdown there is no routing: connections are refused, queues are emptied.
    if not is_steered(app_state.spec) or tx.run.phase in ("stopping", "finished"):
        return
    wanted = app_state.online
    if not wanted:
        crew = tx.workers(app)
        slots = {each.queue for each in crew if each.state == w.SICK}
        if not slots:
            slots = {each.queue for each in crew if each.state == w.LAUNCHING}
        if not slots:
            lasting = (w.RUNNING, w.WAITING_RESTART)
            slots = {each.queue for each in tx.instances(app) if each.state in lasting}
        wanted = tuple(sorted(slots))
    if wanted and wanted != app_state.routed:
        tx.put_app(app_state.replace(routed=wanted))
        tx.emit(RouteTo(app, wanted))


# -- stopping -------------------------------------------------------------------


def stop_worker(
    tx: Transaction, worker: Worker, stop_reason: StopReason, requested_by: str = ""
) -> None:
    """Stop a worker (`stop_workers`)."""
    stop_workers(tx, worker.app, [worker], stop_reason, requested_by=requested_by)


def stop_workers(
    tx: Transaction,
    app: str,
    workers: list[Worker],
    stop_reason: StopReason,
    signum: int = 0,
    requested_by: str = "",
) -> None:
    """Stop workers of an app: turn new connections away first, then send the signal.

    `signum` is the signal that pyinit received, or 0 for a stop that pyinit begins, which uses
    SIGTERM; the file's `kill_signal` replaces both. For a worker that is already being stopped
    only the reason changes, which decides what follows its end.
    """
    workers = [each.replace(requested_by=requested_by) for each in workers]
    workers = [each.replace(stop_reason=stop_reason) for each in workers]
    leaving = [each.incarnation for each in workers if STOP[each.state](tx, each, signum)]
    # New connections are turned away from all of them at once, before their queues are watched.
    route(tx, app)
    for worker in filter(None, map(tx.worker, leaving)):
        tx.emit(retiring.watch(tx, worker))
        tx.emit(StartTimer(_timer("retire", worker), retiring.delay(tx, worker)))
        arm(tx, worker, "kill", retiring.bound(tx, worker))


def stop_now(tx: Transaction, worker: Worker, signum: int) -> bool:
    """Send the stop signal at once."""
    terminate(tx, tx.put_worker(_unwatched(tx, _with_signal(worker, signum))))
    return False


def stop_serving(tx: Transaction, worker: Worker, signum: int) -> bool:
    """Retire the worker first if it can retire alone; else send the stop signal at once."""
    worker = _unwatched(tx, _with_signal(worker, signum))
    if not _retires(tx, worker):
        terminate(tx, tx.put_worker(worker))
        return False
    tx.put_worker(worker.after(w.RETIRE).replace(retired_at=tx.now))
    return True


def stop_retiring(tx: Transaction, worker: Worker, signum: int) -> bool:
    """Continue retiring, with the times of the new reason."""
    before = tx.worker(worker.incarnation)
    worker = tx.put_worker(_with_signal(worker, signum))
    if before is not None and retiring.begins_anew(before, worker):
        tx.put_worker(worker.replace(retired_at=tx.now, delay_over=False))
        return True
    _retire_further(tx, worker)
    return False


def stop_stopping(tx: Transaction, worker: Worker, _signum: int) -> bool:
    """Change only what follows its end."""
    tx.put_worker(worker)
    if worker.killed and worker.stop_reason in ("shutdown", "reload"):
        # Neither waits longer for a worker that does not die, however long ago SIGKILL was sent.
        tx.emit(StartTimer(_timer("abandon", worker), ABANDON_AFTER))
    return False


# What a stop does in each state, whatever requested it. True: the worker retires first.
STOP: dict[WorkerState, Callable[[Transaction, Worker, int], bool]] = {
    w.LAUNCHING: stop_now,
    w.ONLINE: stop_serving,
    w.SICK: stop_serving,
    w.RETIRING: stop_retiring,
    w.TERMINATING: stop_stopping,
    w.KILLING: stop_stopping,
    w.LINGERING: stop_stopping,
}


def _with_signal(worker: Worker, signum: int) -> Worker:
    return worker.replace(stop_signal=worker.spec.kill_signal or signum or SIGTERM)


def _retires(tx: Transaction, worker: Worker) -> bool:
    """Whether it answers waiting connections before its signal: it has its own queue, or all stop.

    A shared queue is left to siblings and successors, unless the whole app stops.
    """
    if worker.spec.share == "one":
        app_state = tx.app(worker.app)
        last = app_state is not None and app_state.port == "refusing"
        return last or worker.stop_reason == "shutdown"
    return is_steered(worker.spec)


def queue_emptied(tx: Transaction, worker: Worker) -> None:
    """Handle an empty queue with no request in hand, or a queue whose state is unknown."""
    _retire_further(tx, tx.put_worker(worker.replace(queue_empty=True)))


def retire_overdue(tx: Transaction, worker: Worker) -> None:
    """Handle the end of `retire_delay`, its time to answer what it accepted."""
    if not worker.delay_over:
        _retire_further(tx, tx.put_worker(worker.replace(delay_over=True)))


def _retire_further(tx: Transaction, worker: Worker) -> None:
    if retiring.is_over(worker):
        terminate(tx, worker)


def terminate(tx: Transaction, worker: Worker) -> None:
    """Send the stop signal now; SIGKILL follows after `kill_timeout`."""
    worker = tx.put_worker(worker.after(w.SIGNAL))
    tx.emit(StopTimer(_timer("retire", worker)))
    if worker.spec.shutdown_with_message and worker.spec.node:
        tx.emit(SendShutdownMessage(worker.incarnation, signal_scope(worker)))
    else:
        tx.emit(SendSignal(worker.incarnation, worker.stop_signal, signal_scope(worker), stop=True))
    arm(tx, worker, "kill", retiring.grace(tx, worker))


def await_exit(tx: Transaction, worker: Worker) -> Worker:
    """Wait for the end of a worker that ends without the usual signal; SIGKILL follows."""
    worker = _unwatched(tx, worker).after(w.SIGNAL)
    return arm(tx, worker, "kill", kill_timeout(tx, worker))


def _unwatched(tx: Transaction, worker: Worker) -> Worker:
    """Cancel launch, checks and watchdog of a worker that leaves. Returns the worker to stage."""
    for kind in ("launch", "prove", "probe", "retire", "watchdog"):
        tx.emit(StopTimer(_timer(kind, worker)))
    if worker.stalled_at:
        tx.emit(StopTimer(_timer("stall", worker)))
    tx.emit(StopLook(worker.incarnation))
    return health.end(tx, worker)


def terminate_overdue(tx: Transaction, worker: Worker) -> None:
    """Handle the end of `kill_timeout`."""
    if worker.state == w.RETIRING:
        if retiring.drains(worker):
            tx.report_of(worker, "warning", "worker drain over", reason="drain")
        else:
            tx.report_of(worker, "warning", "worker busy at its stop signal")
        terminate(tx, worker)
        return
    if worker.killed:
        return
    left = worker.state == w.LINGERING
    if left and worker.scope and not worker.stop_signal:
        _stop_group(tx, worker)  # it did not leave
        return
    what = "processes of the worker overdue" if left else "worker stop overdue"
    tx.report_of(worker, "warning", what, kill_timeout=kill_timeout(tx, worker), then="SIGKILL")
    if worker.stop_reason == "shutdown":
        tx.run = tx.run.replace(forced=True)
    kill(tx, worker)


def kill(tx: Transaction, worker: Worker) -> None:
    """Send SIGKILL, at least to the group: none of it may hold a port or a file."""
    scope = signal_scope(worker) if worker.spec.treekill != "none" else "group"
    worker = tx.put_worker(_unwatched(tx, worker.after(w.KILL).replace(killed=True)))
    tx.emit(
        StopTimer(_timer("kill", worker)),
        SendSignal(worker.incarnation, SIGKILL, scope, stop=True),
        StartTimer(_timer("abandon", worker), ABANDON_AFTER),
    )


def kill_again(tx: Transaction, worker: Worker, within: float) -> None:
    """Repeat SIGKILL that did not reach it; `abandon` fires again after `within` seconds."""
    scope = signal_scope(worker) if worker.spec.treekill != "none" else "group"
    tx.emit(
        SendSignal(worker.incarnation, SIGKILL, scope, stop=True),
        StartTimer(_timer("abandon", worker), within),
    )


# -- the end --------------------------------------------------------------------


def signal_scope(worker: Worker) -> Scope:
    """Which processes a stop of the worker signals: `SendSignal.scope`."""
    if worker.scope:
        return worker.scope
    return "process" if worker.spec.treekill == "none" else worker.spec.treekill


def leader_exited(
    tx: Transaction, worker: Worker, *, group_left: bool, strays: bool, cleaning: bool = False
) -> Worker:
    """Handle the reaped process; end its remaining processes too (`treekill`).

    `strays` are descendants outside of the group of a worker that nothing stopped. They are
    ended after a crash: the replacement must not meet them. An app that finished
    keeps them: it may have started a daemon.
    """
    worker = _unwatched(tx, worker)
    # A worker that left by itself got no stop signal (notify.py).
    stop_sent = worker.killed or (worker.state == w.TERMINATING and worker.stop_signal != 0)
    strays = strays and not _has_done_its_work(worker)
    if worker.spec.treekill == "none":
        group_left = strays = False
    if cleaning and not (group_left or strays):
        # None of its processes is alive except the `after_stop` commands, which have their own
        # timeout, as long as a stop's.
        worker = tx.put_worker(worker.replace(killed=False).after(w.LEADER_EXIT))
        tx.emit(StopTimer(_timer("abandon", worker)))
        return arm(tx, worker, "kill", kill_timeout(tx, worker))
    if not (group_left or strays):
        return gone(tx, worker)
    if not stop_sent:
        worker = worker.replace(scope="all" if strays else "group")
    worker = tx.put_worker(worker.after(w.LEADER_EXIT))
    if not stop_sent and _has_done_its_work(worker):
        return arm(tx, worker, "kill", MAY_LEAVE)
    if stop_sent and not worker.killed and worker.spec.shutdown_with_message and worker.spec.node:
        # The message went only to the leader.
        tx.emit(SendSignal(worker.incarnation, worker.stop_signal, signal_scope(worker), stop=True))
    if worker.killed:
        # It may have died long after SIGKILL: its remaining group gets a new timeout.
        tx.emit(StartTimer(_timer("abandon", worker), ABANDON_AFTER))
    if not stop_sent:
        worker = _stop_group(tx, worker)
    return worker


def _stop_group(tx: Transaction, worker: Worker) -> Worker:
    """Send the stop signal to the processes that the leader left running."""
    signum = worker.stop_signal or worker.spec.kill_signal or SIGTERM
    tx.emit(SendSignal(worker.incarnation, signum, signal_scope(worker), stop=True))
    return arm(tx, worker.replace(stop_signal=signum), "kill", kill_timeout(tx, worker))


def _has_done_its_work(worker: Worker) -> bool:
    """Whether it ended by itself and is not restarted after that."""
    spec, code = worker.spec, worker.exit_code
    done = not spec.autorestart or (code is not None and code in spec.stop_exit_codes)
    return done and not worker.stop_reason


def gone(tx: Transaction, worker: Worker) -> Worker:
    """Remove the worker: none of its processes remains."""
    worker = tx.put_worker(worker.after(w.EXIT))
    tx.emit(
        StopTimer(_timer("kill", worker)),
        StopTimer(_timer("abandon", worker)),
        ReleaseWorker(worker.incarnation),
    )
    return worker


def _timer(kind: WorkerTimer, worker: Worker) -> Timer:
    return Timer(kind, worker.app, worker.incarnation)
