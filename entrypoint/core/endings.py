"""What the end of a worker means: for its place, for its slot, for a reload.

A worker ends twice: first the process that we started, then the last of its group.
Where two workers of an instance can live side by side the place goes on after the
first; else what is left of the group holds the port, and it goes on after the second.
"""

from __future__ import annotations

from . import jobs, lifecycle, orphans, readiness, reasons, repairs, restarts, rolling
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
# Purposes of a stop after which another worker is started in the same place.
REPLACED = ("restart", "reload", "abort")


def never_forked(turn: Turn, worker: Worker, reason: str) -> None:
    """There was no process."""
    _report(turn, worker, reason=reason)
    _remember(turn, worker, reason, NEVER_RAN)
    jobs.remember(turn, worker)
    worker = worker.replace(ended_at=turn.now, never_up=True, last_exit=reason)
    worker = lifecycle.leader_exited(turn, turn.put_worker(worker), group_left=False, strays=False)
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
        last_exit, last_code = event.failure, NEVER_RAN
        code = None
    elif signum is not None:
        dumped = {"core_dumped": True} if event.core_dumped else {}
        _report(turn, worker, signal=signum, **dumped)
        last_exit, last_code = f"killed by signal {signum}", 128 + signum
    else:
        _report(turn, worker, exit_code=code)
        last_exit, last_code = f"exit code {code}", code or 0
    if worker.killed and signum == lifecycle.SIGKILL:
        turn.report_of(worker, "warning", "worker killed", kill_timeout=worker.spec.kill_timeout)
    if worker.purpose in BROKEN:
        why = worker.because if worker.purpose == "watchdog" else worker.check_reason
        last_exit, last_code = f"{BROKEN[worker.purpose]}: {why}", code or NO_GOOD
    gave_up = worker.purpose == "failed start"
    if gave_up and worker.because:
        last_exit, last_code = worker.because, code or NO_GOOD
    _remember(turn, worker, last_exit, last_code)
    jobs.remember(turn, worker)
    worker = worker.replace(
        ended_at=turn.now,
        last_exit=last_exit,
        exit_code=None if worker.purpose in ("failed start", *BROKEN) else code,
        never_up=worker.never_up or gave_up or _failed_to_start(worker),
    )
    place = turn.place(worker.app, worker.instance)
    if place is not None and place.current == worker.incarnation:
        turn.put_place(readiness.recall(turn, place, worker))
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
    elif lifecycle.shares_port(worker.spec) and worker.purpose not in REPLACED:
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
        **({"because": worker.because} if worker.purpose == "failed start" else {}),
        uptime=round(turn.now - worker.launched_at, 3),
        expected=expected,
    )


def _failed_to_start(worker: Worker) -> bool:
    """It was never ready, though its app is one whose readiness is known."""
    return not worker.up_at and lifecycle.awaits_readiness(worker.spec)


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
    if place.successor == worker.incarnation and worker.purpose == "restart":
        rolling.succeed_again(turn, place)
    elif place.successor == worker.incarnation:
        rolling.abort(turn, worker, _why(worker))
        current = turn.worker(place.current)
        if current is not None:
            repairs.in_vain(turn, current, worker.ended_at - worker.launched_at)
    elif place.current != worker.incarnation:
        return
    elif pool.mode != "running":
        turn.put_place(place.replace(current=0, state=w.STOPPED))
    elif worker.purpose in REPLACED:
        reloads = pool.reload is not None and worker.instance in pool.reload.active
        spec = place.spec if worker.purpose == "abort" else pool.spec
        before = place.spec if reloads else None
        place = place.replace(current=0, unstable=(), delay=0.0, loop=(), before=before)
        if worker.purpose == "restart":
            place = place.replace(served=())
        place = restarts.restarted(turn, place, reasons.label(worker.because))
        rolling.note_fresh(turn, lifecycle.launch(turn, place, spec, place.slot))
    elif worker.purpose in ("", "failed start", *BROKEN):
        reason = reasons.of_end(worker, place)
        orphans.left(turn, worker)
        pool = turn.the_pool(worker.app)
        successor = turn.worker(place.successor)
        if successor is not None and successor.state == w.LAUNCHING:
            # Its successor is on the way and takes over when it is ready.
            turn.put_place(restarts.restarted(turn, place.replace(current=0), reason))
            return
        if rolling.is_fresh(turn, worker) and not _has_finished(worker):
            rolling.abort(turn, worker, _why(worker))
            pool = turn.the_pool(worker.app)
            place = turn.place(worker.app, worker.instance) or place
            successor = turn.worker(place.successor)
        after = restarts.after_exit(turn, pool, place, worker, reason=reason, least=least)
        if after.state in (w.ERRORED, w.FINISHED) and successor is None:
            rolling.done(turn, pool.name, place.instance)
        jobs.run_pending(turn, turn.the_pool(pool.name))
    else:
        turn.put_place(place.replace(current=0, state=w.STOPPED))


def _has_finished(worker: Worker) -> bool:
    """It ended as it should, and will not be started again."""
    spec = worker.spec
    done = worker.exit_code == 0 and not spec.autorestart
    return done or (worker.exit_code is not None and worker.exit_code in spec.stop_exit_codes)


def _why(worker: Worker) -> str:
    """Why a worker that a reload has started is no more: the reason, for people."""
    if worker.purpose in ("failed start", "watchdog") and worker.because:
        return worker.because
    if worker.purpose == "health":
        return f"unhealthy: {worker.check_reason}"
    when = "after it was ready" if worker.up_at else "before it was ready"
    lived = worker.ended_at - worker.launched_at
    return f"{worker.last_exit} {lived:.1f} s after its start, {when}"


def _gone(turn: Turn, worker: Worker) -> None:
    """Nothing of the worker is left: its slot may be free, a reload may go on."""
    rolling.forget_proof(turn, worker)
    place = turn.place(worker.app, worker.instance)
    if place is None or place.slot != worker.slot:
        rolling.free_slot(turn, worker.app, worker.slot)
    if worker.purpose == "reload" and place is not None and not place.successor:
        current = turn.worker(place.current)
        # Also one that is sick by now, which nothing replaces before this reload goes on.
        if current is not None and current.state in w.SERVING_STATES:
            rolling.done(turn, worker.app, worker.instance)
    rolling.advance(turn, worker.app)
