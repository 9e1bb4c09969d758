"""The end of the run: readiness off, drain, signals, SIGKILL, the exit code.

::

    running ──stop──► draining ──drain_delay──► stopping ──all gone──► finished
       │                  │ SIGINT, SIGQUIT ──────►│ another one: SIGKILL
       └── no drain_delay, or errored ────────────►│ shutdown.timeout nears: SIGKILL

When the workers are gone, what else runs below pyinit (daemons, orphans) gets SIGTERM or the
`kill_signal` of its app, and the longest `kill_timeout` of all apps to end.

What a stop is, is decided here (`is_stop`). The same stop again changes nothing: timeout(1),
systemd, a preStop hook before the kubelet and Consul all send SIGTERM twice. Only a person
hurries, with Ctrl-C: SIGINT or SIGQUIT during a stop ends the drain, and another one at
least `HURRY_AGAIN` seconds later kills what is left.

Exit codes: the app's own when the last app, or the main app, finished by itself; 0 after a
stop that was requested and went well; 1 when an errored app ends the container; 137 when
SIGINT or SIGQUIT again or a deadline forced the end.
"""

from __future__ import annotations

from . import orphans, starting
from . import worker as w
from .depends import awaits_change, awaits_time, exit_code, held, is_finished, obstacles
from .effects import (
    ClosePort,
    Finish,
    RefuseConnections,
    StartTimer,
    StopRemaining,
    StopTimer,
)
from .events import Timer
from .lifecycle import kill, shares_port, stop_workers, terminate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .events import SignalArrived
    from .turn import Turn
    from .worker import Pool, Worker

DRAIN = Timer("drain")
DEADLINE = Timer("shutdown")
REMAINING = Timer("remaining")

# What `shutdown.timeout` keeps back for the end: after SIGKILL the processes are reaped
# and the last log lines passed on, all of it within the time (s, share of the time).
SPARE = 0.5
SPARE_SHARE = 0.1

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
# A person who presses it again takes longer (s).
HURRY_AGAIN = 0.5


def is_stop(turn: Turn, event: SignalArrived) -> bool:
    """The signal stops the container.

    The images of httpd and php:apache have `STOPSIGNAL SIGWINCH`. Where PID 1 has no
    terminal nothing else sends that signal.
    """
    if event.signum in STOP_SIGNALS or event.signum in turn.run.shutdown.signals:
        return True
    return event.signum == SIGWINCH and not event.resized


def ends_programs(turn: Turn, worker: Worker, signum: int) -> bool:
    """A signal by which this worker, or most programs, would end."""
    stops = (*STOP_SIGNALS, *turn.run.shutdown.signals, worker.spec.kill_signal)
    return signum in stops


def stop_requested(turn: Turn, signum: int, name: str) -> None:
    """A stop signal came: the first begins the stop, later ones hurry it or change nothing."""
    run = turn.run
    if run.phase == "running":
        begin(turn, signum, name)
    elif run.phase in ("draining", "stopping"):
        if signum not in HURRYING:
            turn.report("info", "stop signal ignored", because="the stop is under way")
        elif run.hurried_at is None:
            turn.run = run.replace(hurried_at=turn.now)
            hurry(turn, f"{name} during the stop")
            turn.report("info", "stop hurried", then=f"{name} again kills what is left")
        elif turn.now - run.hurried_at >= HURRY_AGAIN:
            force(turn, f"{name} again")
        else:
            turn.report(
                "info",
                "stop signal ignored",
                because=f"sooner than {HURRY_AGAIN:g} s after the last",
            )


def killing_after(timeout: float) -> float:
    """Seconds of `shutdown.timeout` after which what is left is killed."""
    return timeout - min(SPARE, timeout * SPARE_SHARE)


def begin(turn: Turn, signum: int, because: str, code: int | None = None) -> None:
    """Readiness goes off now; the workers are told after `shutdown.drain_delay`."""
    settings = turn.run.shutdown
    turn.run = turn.run.replace(phase="draining", stop_signal=signum, code=code)
    turn.report("info", "shutdown started", because=because, drain_delay=settings.drain_delay)
    if settings.timeout > 0:
        turn.run = turn.run.replace(ends_by=turn.now + settings.timeout)
        turn.emit(StartTimer(DEADLINE, killing_after(settings.timeout)))
    # An app that failed ends the container: there is nothing to drain for it.
    if settings.drain_delay > 0 and code is None:
        turn.emit(StartTimer(DRAIN, settings.drain_delay))
    else:
        stop_all(turn)


def stop_all(turn: Turn) -> None:
    """The drain is over: tell the workers, those that others depend on last."""
    turn.run = turn.run.replace(phase="stopping")
    turn.emit(StopTimer(DRAIN))
    for pool in turn.pools():
        if pool.reload is not None:
            _end_reload(turn, pool)
        _end_pauses(turn, pool.name)
    stop_next(turn)


def _end_pauses(turn: Turn, app: str) -> None:
    """No worker is started again, also while the app waits for its turn to end."""
    for place in list(turn.places(app)):
        if place.state == w.WAITING_RESTART:
            turn.emit(StopTimer(Timer("restart", app, place.waits_for)))
            turn.put_place(place.replace(state=w.STOPPED, waits_for=0))


def _end_reload(turn: Turn, pool: Pool) -> None:
    """The old workers serve until it is their turn; those that should follow them go."""
    turn.put_pool(pool.replace(reload=None))
    begun: list[Worker] = []
    for place in list(turn.places(pool.name)):
        worker = turn.worker(place.successor)
        if worker is not None:
            turn.put_place(place.replace(successor=0))
            begun.append(worker)
    stop_workers(turn, pool.name, begun, "shutdown", turn.run.stop_signal)


def stop_next(turn: Turn) -> None:
    """Tell each app whose dependents are gone; when no worker is left, end the rest."""
    untold = [pool for pool in turn.pools() if not pool.told]
    if untold:
        alive = [pool for pool in turn.pools() if pool.live]
        needed = held(turn)
        ripe = [pool for pool in untold if pool.name not in needed]
        if not ripe and not any(pool.told for pool in alive):
            ripe = untold  # they depend on each other in a circle
        for pool in ripe:
            _tell(turn, pool)
    if turn.run.phase != "stopping" or any(pool.live for pool in turn.pools()):
        return
    if turn.run.killing:
        finish(turn)
    elif not turn.run.remaining:
        _stop_remaining(turn)


def _stop_remaining(turn: Turn) -> None:
    """Daemons and orphans get a stop signal too, and as long as the most patient app."""
    _close_ports(turn)
    turn.run = turn.run.replace(remaining=True)
    specs = [pool.spec for pool in turn.pools()]
    by_app = tuple((s.name, s.kill_signal) for s in specs if s.kill_signal is not None)
    grace = max((spec.kill_timeout for spec in specs), default=0.0)
    turn.emit(StartTimer(REMAINING, grace), StopRemaining(SIGTERM, by_app))


def remaining_ended(turn: Turn) -> None:
    """Nothing is left below pyinit."""
    if turn.run.remaining:
        finish(turn)


def remaining_overdue(turn: Turn) -> None:
    """The time of what is left is over: the end of pyinit kills it.

    The exit code stays that of the apps.
    """
    if turn.run.remaining:
        finish(turn)


def deadline(turn: Turn) -> None:
    """`shutdown.timeout` is over."""
    if turn.run.remaining:
        remaining_overdue(turn)
    elif turn.run.phase in ("draining", "stopping"):
        force(turn, "shutdown.timeout")


def _tell(turn: Turn, pool: Pool) -> None:
    _end_places(turn, pool)
    workers = turn.workers(pool.name)
    stop_workers(turn, pool.name, workers, "shutdown", turn.run.stop_signal)


def _end_places(turn: Turn, pool: Pool) -> None:
    """Nothing is started any more, and no connection is accepted."""
    turn.put_pool(orphans.forget(turn, pool).replace(told=True, reload=None))
    starting.end(turn, turn.the_pool(pool.name))
    if shares_port(pool.spec):
        turn.emit(RefuseConnections(pool.name))
    _end_pauses(turn, pool.name)
    for place in list(turn.places(pool.name)):
        if place.state == w.RUNNING:
            turn.put_place(place.replace(state=w.STOPPED, successor=0))


def hurry(turn: Turn, why: str) -> None:
    """End the drain, and the waits for workers that answer what they accepted."""
    if turn.run.phase == "draining":
        turn.report("warning", "drain skipped", because=why)
        stop_all(turn)
        return
    for worker in turn.workers():
        if worker.state == w.RETIRING:
            terminate(turn, worker)


def force(turn: Turn, why: str) -> None:
    """SIGKILL for everything that is left."""
    turn.report("warning", "shutdown forced", because=why, workers=len(turn.workers()))
    turn.run = turn.run.replace(phase="stopping", forced=True, killing=True)
    turn.emit(StopTimer(DRAIN))
    for pool in turn.pools():
        if not pool.told:
            _end_places(turn, pool)
    for worker in turn.workers():
        kill(turn, worker.replace(purpose="shutdown"))
    stop_next(turn)


def finished_main(turn: Turn) -> Pool | None:
    """An app with `main` that has finished: the container ends with it."""
    for pool in turn.pools():
        if pool.spec.main and pool.mode == "running" and is_finished(pool) and not pool.live:
            return pool
    return None


def all_finished(turn: Turn) -> bool:
    """Every app finished by itself, or waits for what did and can never be started."""
    pools = turn.pools()
    if not any(is_finished(pool) for pool in pools):
        return False
    never = obstacles(turn)
    return all(_is_over(turn, pool) or pool.name in never for pool in pools)


def _is_over(turn: Turn, pool: Pool) -> bool:
    ended = pool.mode == "running" and is_finished(pool) and not pool.live
    return ended and not awaits_change(turn, pool) and not awaits_time(pool)


def last_code(turn: Turn) -> int:
    """The exit code of a run whose apps have all finished."""
    codes = (exit_code(turn, pool) for pool in turn.pools())
    return next((code for code in codes if code), 0)


def _close_ports(turn: Turn) -> None:
    for pool in turn.pools():
        if shares_port(pool.spec):
            turn.emit(ClosePort(pool.name))


def finish(turn: Turn) -> None:
    """Nothing of ours is left: the exit code is known."""
    run = turn.run
    code = run.code if run.code is not None else 0
    if run.forced and run.code is None:
        code = FORCED
    turn.run = run.replace(phase="finished")
    if not run.remaining:
        _close_ports(turn)
    turn.emit(StopTimer(DEADLINE), StopTimer(DRAIN), StopTimer(REMAINING))
    turn.report("info", "shutdown finished", exit_code=code)
    turn.emit(Finish(code, run.ends_by))
