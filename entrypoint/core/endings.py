"""What the end of a worker means: for its place, for its slot, for a reload.

A worker ends twice: first the process that we started, then the last of its group.
Where two workers of an instance can live side by side the place goes on after the
first; else what is left of the group holds the port, and it goes on after the second.
"""

from __future__ import annotations

from . import jobs, lifecycle, reasons, repairs, restarts, rolling
from . import worker as w

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .events import SignalRefused, WorkerExited
    from .turn import Turn
    from .worker import Worker

# The longest pause before SIGKILL is sent again to what it was refused for (s).
LONGEST_KILL_PAUSE = 60.0

# fork(2) failed: the machine or the container is full. Trying again at once would only
# burn what is left (s).
FORK_PAUSE = 1.0

NEVER_RAN = reasons.NEVER_RAN
# As an exit code: of a sick worker that ended well when it was told to.
NO_GOOD = 1
# Purposes of a stop that is pyinit's answer to a worker which is of no use, and how its end
# is told.
BROKEN = {"health": "unhealthy", "watchdog": "watchdog"}


def never_forked(turn: Turn, worker: Worker, reason: str) -> None:
    """There was no process."""
    _report(turn, worker, reason=reason)
    _remember(turn, worker, reason, NEVER_RAN)
    jobs.remember(turn, worker)
    worker = turn.put_worker(worker.replace(ended_at=turn.now, never_up=True))
    worker = lifecycle.leader_exited(turn, worker, group_left=False, strays=False)
    _go_on(turn, worker, least=FORK_PAUSE)
    _gone(turn, worker)


def exited(turn: Turn, worker: Worker, event: WorkerExited) -> None:
    """The process is reaped."""
    if worker.state == w.LINGERING:
        return
    code, signum = event.code, event.signum
    if event.failure and not (signum is not None and worker.purpose):
        how = {} if signum is None else {"signal": signum}
        _report(turn, worker, reason=event.failure, **how)
        _remember(turn, worker, event.failure, NEVER_RAN)
        code = None
    elif signum is not None:
        dumped = {"core_dumped": True} if event.core_dumped else {}
        _report(turn, worker, signal=signum, **dumped)
        _remember(turn, worker, f"killed by signal {signum}", 128 + signum)
    else:
        _report(turn, worker, exit_code=code)
        _remember(turn, worker, f"exit code {code}", code or 0)
    if worker.killed and signum == lifecycle.SIGKILL:
        turn.report_of(worker, "warning", "worker killed", kill_timeout=worker.spec.kill_timeout)
    if worker.purpose in BROKEN:
        why = worker.because if worker.purpose == "watchdog" else worker.check_reason
        _remember(turn, worker, f"{BROKEN[worker.purpose]}: {why}", code or NO_GOOD)
    jobs.remember(turn, worker)
    gave_up = worker.purpose == "failed start"
    worker = worker.replace(
        ended_at=turn.now,
        exit_code=None if worker.purpose in ("failed start", *BROKEN) else code,
        never_up=worker.never_up or gave_up or worker.state == w.LAUNCHING,
    )
    worker = lifecycle.leader_exited(
        turn,
        turn.put_worker(worker),
        group_left=event.group_left,
        strays=event.strays,
        cleaning=event.cleaning,
    )
    if worker.state == w.GONE:
        _go_on(turn, worker)
        _gone(turn, worker)
    elif lifecycle.shares_port(worker.spec) and worker.purpose not in ("restart", "reload"):
        _go_on(turn, worker)


def group_emptied(turn: Turn, worker: Worker) -> None:
    """Nothing is left of the group of a process that had ended before."""
    if worker.state == w.LINGERING:
        worker = lifecycle.gone(turn, worker)
        _go_on(turn, worker)
        _gone(turn, worker)


def signal_refused(turn: Turn, worker: Worker, event: SignalRefused) -> None:
    """It goes on living, or some of it: that is shown until it has ended."""
    turn.report_of(worker, "error", "signal refused", signal=event.signum, reason=event.reason)
    refused = worker.refused or event.signum == lifecycle.SIGKILL
    turn.put_worker(worker.replace(stuck=f"signal refused: {event.reason}", refused=refused))


def never_died(turn: Turn, worker: Worker) -> None:
    """SIGKILL was sent long ago.

    What is left of a group is not waited for any longer. The worker itself is: its slot and
    what it holds stay its own. But neither the end of the run nor the reload that it would
    hold up waits with it.
    """
    if worker.state not in (w.KILLING, w.LINGERING) or not worker.killed:
        return
    if worker.refused:
        # Nothing but a new attempt can end it; what it was refused for may be over.
        pause = min(LONGEST_KILL_PAUSE, 2 * worker.kill_pause or lifecycle.ABANDON_AFTER)
        first = not worker.kill_pause
        worker = turn.put_worker(worker.replace(refused=False, kill_pause=pause))
        lifecycle.kill_again(turn, worker, pause)
        if not first:
            return
    left = worker.state == w.LINGERING
    what = "processes of the worker do not die" if left else "worker does not die"
    turn.report_of(worker, "error", what, **({"reason": worker.stuck} if worker.stuck else {}))
    if not worker.stuck:
        worker = turn.put_worker(worker.replace(stuck="lives after SIGKILL"))
    if left:
        group_emptied(turn, worker)
    elif turn.run.phase == "stopping":
        _gone(turn, lifecycle.gone(turn, worker))
    elif worker.purpose == "reload":
        rolling.go_without(turn, worker)


def _report(turn: Turn, worker: Worker, **how: object) -> None:
    expected = bool(worker.purpose)
    fine = expected or how.get("exit_code") == 0
    turn.report(
        "info" if fine else "error",
        "worker failed to start" if "reason" in how else "worker exited",
        incarnation=worker.incarnation,
        app=worker.app,
        instance=worker.instance,
        pid=worker.pid,
        **how,
        **dict(worker.notes),
        uptime=round(turn.now - worker.launched_at, 3),
        expected=expected,
    )


def _remember(turn: Turn, worker: Worker, last_exit: str, last_code: int) -> None:
    place = turn.place(worker.app, worker.instance)
    if place is not None and place.current == worker.incarnation:
        turn.put_place(place.replace(last_exit=last_exit, last_code=last_code))


def _go_on(turn: Turn, worker: Worker, *, least: float = 0.0) -> None:
    """What the end of this worker means for its place, if it still is that place's."""
    place = turn.place(worker.app, worker.instance)
    pool = turn.the_pool(worker.app)
    if place is None or turn.run.phase in ("stopping", "finished"):
        return
    if place.successor == worker.incarnation:
        rolling.abort(turn, place, worker, "the new worker ended before it was ready")
        current = turn.worker(place.current)
        if current is not None:
            repairs.in_vain(turn, current, worker.ended_at - worker.launched_at)
    elif place.current != worker.incarnation:
        return
    elif pool.mode != "running":
        turn.put_place(place.replace(current=0, state=w.STOPPED))
    elif worker.purpose in ("restart", "reload"):
        place = place.replace(current=0, unstable=(), delay=0.0)
        place = restarts.restarted(turn, place, reasons.label(worker.because))
        lifecycle.launch(turn, place, pool.spec, place.slot)
    elif worker.purpose in ("", "failed start", *BROKEN):
        reason = reasons.of_end(worker, place)
        successor = turn.worker(place.successor)
        if successor is not None and successor.state == w.LAUNCHING:
            # Its successor is on the way and takes over when it is ready.
            turn.put_place(restarts.restarted(turn, place.replace(current=0), reason))
            return
        # A successor that is on its way out halts the reload with its own end.
        if worker.never_up and successor is None:
            rolling.halt(turn, worker, place.last_exit)
        after = restarts.after_exit(turn, pool, place, worker, reason=reason, least=least)
        if after.state in (w.ERRORED, w.FINISHED) and successor is None:
            rolling.done(turn, pool.name, place.instance)
        jobs.run_pending(turn, turn.the_pool(pool.name))
    else:
        turn.put_place(place.replace(current=0, state=w.STOPPED))


def _gone(turn: Turn, worker: Worker) -> None:
    """Nothing of the worker is left: its slot may be free, a reload may go on."""
    place = turn.place(worker.app, worker.instance)
    if place is None or place.slot != worker.slot:
        rolling.free_slot(turn, worker.app, worker.slot)
    if worker.purpose == "reload" and place is not None and not place.successor:
        current = turn.worker(place.current)
        # Also one that is sick by now, which nothing replaces before this reload goes on.
        if current is not None and current.state in w.SERVING_STATES:
            rolling.done(turn, worker.app, worker.instance)
    rolling.advance(turn, worker.app)
