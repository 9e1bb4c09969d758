"""The end of the run: readiness off, drain, signals, SIGKILL, the exit code.

::

    running ──stop──► draining ──drain_delay──► stopping ──all gone──► finished
       │                  │ SIGINT, SIGQUIT ──────►│ another one: SIGKILL
       └── no drain_delay, or errored ────────────►│ shutdown.timeout nears: SIGKILL

When the workers are gone, other processes below pyinit (daemons, orphans) get SIGTERM or the
`kill_signal` of their app, and the longest `kill_timeout` of all apps to end.

`is_stop` decides which signals stop the container. A repeated stop changes nothing: timeout(1),
systemd, a preStop hook before the kubelet and Consul all send SIGTERM twice. Only a user
hurries it, with Ctrl-C: SIGINT or SIGQUIT during a stop ends the drain, and another one at
least `HURRY_AGAIN` seconds later kills the remaining processes.

Exit codes: the app's own when the last app, or the main app, finished by itself; 0 after a
stop that was requested and succeeded; that of an app that is failing when the stop comes
(failing.py); 1 when an errored app ends the container; 137 when SIGINT or SIGQUIT again or a
deadline forced the end of apps that did not fail.
"""

from __future__ import annotations

from . import failing, failures, slots, starting
from . import worker as w
from .depends import awaits_change, awaits_time, exit_code, is_finished, needed_by_others, obstacles
from .effects import (
    AnnounceDrain,
    ClosePort,
    Finish,
    RefuseConnections,
    StartTimer,
    StopRemaining,
    StopTimer,
)
from .events import Timer
from .grace import killing_after
from .lifecycle import kill, shares_port, stop_workers, terminate
from .spec import MESSAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .events import SignalArrived
    from .transaction import Transaction
    from .worker import AppState, Worker

DRAIN = Timer("drain")
DEADLINE = Timer("shutdown")
REMAINING = Timer("remaining")

FORCED = 137
ERRORED = 1

SIGHUP = 1
SIGINT = 2
SIGQUIT = 3
SIGTERM = 15
SIGWINCH = 28
STOP_SIGNALS = {SIGINT: "SIGINT", SIGQUIT: "SIGQUIT", SIGTERM: "SIGTERM"}
HURRYING = (SIGINT, SIGQUIT)

# Ctrl-C in a terminal often arrives twice, from the terminal and from a parent (npm start).
# A user who presses it again takes longer (s).
HURRY_AGAIN = 0.5


def is_stop(tx: Transaction, event: SignalArrived) -> bool:
    """Whether the signal stops the container.

    The images of httpd and php:apache have `STOPSIGNAL SIGWINCH`. If PID 1 has no
    terminal, nothing else sends that signal.
    """
    if event.signum in STOP_SIGNALS or event.signum in tx.run.shutdown.signals:
        return True
    return event.signum == SIGWINCH and not event.resized


def ends_programs(tx: Transaction, worker: Worker, signum: int) -> bool:
    """Whether the signal ends this worker, or most programs."""
    stops = (*STOP_SIGNALS, *tx.run.shutdown.signals, worker.spec.kill_signal)
    return signum in stops


def stop_requested(tx: Transaction, signum: int, name: str) -> None:
    """Handle a stop signal: the first begins the stop, later ones hurry it or change nothing."""
    run = tx.run
    if run.phase == "running":
        begin(tx, signum, name)
    elif run.phase in ("draining", "stopping"):
        if signum not in HURRYING:
            tx.report("info", "stop signal ignored", because="the stop is under way")
        elif run.hurried_at is None:
            tx.run = run.replace(hurried_at=tx.now)
            hurry(tx, f"{name} during the stop")
            tx.report("info", "stop hurried", then=f"{name} again kills what is left")
        elif tx.now - run.hurried_at >= HURRY_AGAIN:
            force(tx, f"{name} again")
        else:
            tx.report(
                "info",
                "stop signal ignored",
                because=f"sooner than {HURRY_AGAIN:g} s after the last",
            )


def begin(
    tx: Transaction, signum: int, because: str, code: int | None = None, failed: str = ""
) -> None:
    """Begin the stop: readiness fails now, workers are stopped after `shutdown.drain_delay`.

    `code`: the exit code, if it is known; `failed`: the app that caused it.
    """
    settings = tx.run.shutdown
    failing_code = 0
    if code is None:
        failed, failing_code = failing.first_failing(tx)
    tx.run = tx.run.replace(
        phase="draining", stop_signal=signum, code=code, failed=failed, failing_code=failing_code
    )
    fails = {"failing": failed, "exit_code": failing_code} if failing_code else {}
    tx.report(
        "info", "shutdown started", because=because, drain_delay=settings.drain_delay, **fails
    )
    if settings.timeout > 0:
        tx.run = tx.run.replace(deadline_at=tx.now + settings.timeout)
        tx.emit(StartTimer(DEADLINE, killing_after(settings.timeout)))
    # An app that failed ends the container: there is nothing to drain for it.
    if settings.drain_delay > 0 and code is None:
        tx.emit(StartTimer(DRAIN, settings.drain_delay))
        _announce(tx, settings.notify)
    else:
        stop_all(tx)


def _announce(tx: Transaction, notify: int) -> None:
    """Tell workers that the drain begins: a server that knows it ends keep-alive connections."""
    for worker in tx.workers():
        serves = worker.execed and worker.state not in w.STOPPING_STATES
        if notify and serves and (notify != MESSAGE or worker.spec.node):
            tx.emit(AnnounceDrain(worker.incarnation, notify))


def stop_all(tx: Transaction) -> None:
    """Stop all workers after the drain, those that others depend on last."""
    tx.run = tx.run.replace(phase="stopping")
    tx.emit(StopTimer(DRAIN))
    for app_state in tx.apps():
        if app_state.reload is not None:
            _end_reload(tx, app_state)
        _end_pauses(tx, app_state.name)
    stop_next(tx)


def _end_pauses(tx: Transaction, app: str) -> None:
    """Cancel all pending restarts, also while the app waits for its turn to end."""
    for instance in list(tx.instances(app)):
        if instance.state == w.WAITING_RESTART:
            tx.emit(StopTimer(Timer("restart", app, instance.restart_timer)))
            tx.put_instance(instance.replace(state=w.STOPPED, restart_timer=0))


def _end_reload(tx: Transaction, app_state: AppState) -> None:
    """Stop the successors of a reload; old workers serve until their turn to stop."""
    tx.put_app(app_state.replace(reload=None))
    begun: list[Worker] = []
    for instance in list(tx.instances(app_state.name)):
        worker = tx.worker(instance.successor)
        if worker is not None:
            tx.put_instance(instance.replace(successor=0))
            begun.append(worker)
    stop_workers(tx, app_state.name, begun, "shutdown", tx.run.stop_signal)


def stop_next(tx: Transaction) -> None:
    """Stop each app whose dependents are gone; when no worker is left, end the rest."""
    unsent = [app_state for app_state in tx.apps() if not app_state.stop_sent]
    if unsent:
        alive = [app_state for app_state in tx.apps() if app_state.live]
        needed = needed_by_others(tx)
        next_ones = [app_state for app_state in unsent if app_state.name not in needed]
        if not next_ones and not any(app_state.stop_sent for app_state in alive):
            next_ones = unsent  # they depend on each other in a circle
        for app_state in next_ones:
            _send_stop(tx, app_state)
    if tx.run.phase != "stopping" or any(app_state.live for app_state in tx.apps()):
        return
    if tx.run.killing:
        finish(tx)
    elif not tx.run.remaining:
        _stop_remaining(tx)


def _stop_remaining(tx: Transaction) -> None:
    """Send a stop signal to daemons and orphans, with the longest timeout of all apps."""
    _close_ports(tx)
    tx.run = tx.run.replace(remaining=True)
    specs = [app_state.spec for app_state in tx.apps()]
    by_app = tuple((s.name, s.kill_signal) for s in specs if s.kill_signal is not None)
    grace = max((spec.kill_timeout for spec in specs), default=0.0) * tx.run.shutdown.stop_share
    tx.emit(StartTimer(REMAINING, grace), StopRemaining(SIGTERM, by_app))


def remaining_ended(tx: Transaction) -> None:
    """Finish: no process remains below pyinit."""
    if tx.run.remaining:
        finish(tx)


def remaining_overdue(tx: Transaction) -> None:
    """Finish although processes remain: the end of pyinit kills them.

    The exit code stays that of the apps.
    """
    if tx.run.remaining:
        finish(tx)


def deadline(tx: Transaction) -> None:
    """`shutdown.timeout` is over."""
    if tx.run.remaining:
        remaining_overdue(tx)
    elif tx.run.phase in ("draining", "stopping"):
        force(tx, "shutdown.timeout")


def _send_stop(tx: Transaction, app_state: AppState) -> None:
    _end_instances(tx, app_state)
    workers = tx.workers(app_state.name)
    stop_workers(tx, app_state.name, workers, "shutdown", tx.run.stop_signal)


def _end_instances(tx: Transaction, app_state: AppState) -> None:
    """Stop starting workers and accepting connections."""
    tx.put_app(slots.forget_queues(tx, app_state).replace(stop_sent=True, reload=None))
    starting.end(tx, tx.the_app(app_state.name))
    if shares_port(app_state.spec):
        tx.emit(RefuseConnections(app_state.name))
    _end_pauses(tx, app_state.name)
    for instance in list(tx.instances(app_state.name)):
        if instance.state == w.RUNNING:
            tx.put_instance(instance.replace(state=w.STOPPED, successor=0))


def hurry(tx: Transaction, why: str) -> None:
    """End the drain, and the waits for workers that answer what they accepted."""
    if tx.run.phase == "draining":
        tx.report("warning", "drain skipped", because=why)
        stop_all(tx)
        return
    for worker in tx.workers():
        if worker.state == w.RETIRING:
            terminate(tx, worker)


def force(tx: Transaction, why: str) -> None:
    """Send SIGKILL to all that remain."""
    tx.report("warning", "shutdown forced", because=why, workers=len(tx.workers()))
    tx.run = tx.run.replace(phase="stopping", forced=True, killing=True)
    tx.emit(StopTimer(DRAIN))
    for app_state in tx.apps():
        if not app_state.stop_sent:
            _end_instances(tx, app_state)
    for worker in tx.workers():
        kill(tx, worker.replace(stop_reason="shutdown"))
    stop_next(tx)


def finished_main(tx: Transaction) -> AppState | None:
    """End the container after a finished app with `main`."""
    for app_state in tx.apps():
        if (
            app_state.spec.main
            and app_state.mode == "running"
            and is_finished(app_state)
            and not app_state.live
        ):
            return app_state
    return None


def all_finished(tx: Transaction) -> bool:
    """Whether every app finished by itself, or waits for one that did and can never start."""
    apps = tx.apps()
    if not any(is_finished(app_state) for app_state in apps):
        return False
    never = obstacles(tx)
    return all(_is_over(tx, app_state) or app_state.name in never for app_state in apps)


def _is_over(tx: Transaction, app_state: AppState) -> bool:
    ended = app_state.mode == "running" and is_finished(app_state) and not app_state.live
    return ended and not awaits_change(tx, app_state) and not awaits_time(app_state)


def last_code(tx: Transaction) -> int:
    """The exit code of a run whose apps have all finished."""
    codes = (exit_code(tx, app_state) for app_state in tx.apps())
    return next((code for code in codes if code), 0)


def _close_ports(tx: Transaction) -> None:
    for app_state in list(tx.apps()):
        failures.forget(tx, app_state)
        if shares_port(app_state.spec):
            tx.emit(ClosePort(app_state.name))


def finish(tx: Transaction) -> None:
    """End the run: no worker or process remains, and the exit code is known."""
    run = tx.run
    code = run.code if run.code is not None else run.failing_code
    if run.forced and run.code is None and not code:
        code = FORCED
    tx.run = run.replace(phase="finished")
    if not run.remaining:
        _close_ports(tx)
    tx.emit(StopTimer(DEADLINE), StopTimer(DRAIN), StopTimer(REMAINING))
    tx.report("info", "shutdown finished", exit_code=code)
    tx.emit(Finish(code, run.deadline_at, run.failed))
