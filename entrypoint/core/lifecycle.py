"""One worker from launch to end: what its exit and timers mean.

Functions of a `Turn`. When it is ready is in `readiness.py`, what follows an end in
`restarts.py`, rolling reloads are in `rolling.py`, the end of the run in `shutdown.py`; all
come back here to launch and to stop.
"""

from __future__ import annotations

from . import health, trimming
from . import worker as w
from .effects import (
    Forget,
    SendShutdownMessage,
    SendSignal,
    Spawn,
    StartTimer,
    Steer,
    StopLook,
    StopTimer,
    WatchQueue,
)
from .events import Timer
from .worker import Place, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import AppSpec
    from .turn import Turn

SIGKILL = 9
SIGTERM = 15

# What SIGKILL has not ended after so many seconds waits for a disk or a network file
# system that may never answer, or is a zombie whose parent does not reap it.
ABANDON_AFTER = 3.0


def shares_port(spec: AppSpec) -> bool:
    """Its workers take connections from sockets that PID 1 holds."""
    return spec.share != "none"


def has_slots(spec: AppSpec) -> bool:
    """Each worker has a socket of its own, so that one can be retired alone."""
    return spec.share == "slots"


def awaits_readiness(spec: AppSpec) -> bool:
    """Running alone does not make its workers ready."""
    return spec.wait_ready or shares_port(spec) or spec.health is not None


# -- launching ------------------------------------------------------------------


def launch(
    turn: Turn, place: Place, spec: AppSpec, slot: int, *, successor: bool = False
) -> Worker:
    """Start a process for a place: its current worker, or its successor in a reload."""
    incarnation = turn.next_incarnation()
    worker = turn.put_worker(
        Worker(
            incarnation,
            place.app,
            place.instance,
            slot,
            spec,
            launched_at=turn.now,
            watchdog=spec.watchdog,
        )
    )
    if successor:
        turn.put_place(place.replace(successor=incarnation))
    else:
        turn.put_place(
            place.replace(state=w.RUNNING, current=incarnation, slot=slot, spec=spec, waits_for=0)
        )
    pool = turn.the_pool(place.app)
    trimming.before_launch(turn, pool, spec)
    trimming.resume(turn, turn.the_pool(place.app))
    number = pool.ids[place.instance] if place.instance < len(pool.ids) else -1
    restarts = place.restarts + successor
    turn.emit(Spawn(incarnation, spec, place.instance, slot, number, restarts))
    return worker


def arm(turn: Turn, worker: Worker, kind: str, delay: float) -> Worker:
    """The deadline of its launch or of its stop."""
    turn.emit(StartTimer(_timer(kind, worker), delay))
    return turn.put_worker(worker.replace(due=turn.now + delay))


def watch(turn: Turn, worker: Worker) -> None:
    """It lives: its watchdog begins anew."""
    if worker.watchdog > 0:
        turn.emit(StartTimer(_timer("watchdog", worker), worker.watchdog))
    else:
        turn.emit(StopTimer(_timer("watchdog", worker)))


# -- steering -------------------------------------------------------------------


def steer(turn: Turn, app: str) -> None:
    """New connections go to the slots of ready workers.

    While none is ready those of sick ones get them, which may still answer; then those of
    the launching ones, where they wait for their worker; with no worker at all, those
    where one will be started again.
    """
    pool = turn.the_pool(app)
    # In the end nobody is steered: connections are refused, queues are emptied.
    if not has_slots(pool.spec) or turn.run.phase in ("stopping", "finished"):
        return
    wanted = pool.online
    if not wanted:
        crew = turn.workers(app)
        slots = {each.slot for each in crew if each.state == w.SICK}
        if not slots:
            slots = {each.slot for each in crew if each.state == w.LAUNCHING}
        if not slots:
            lasting = (w.RUNNING, w.WAITING_RESTART)
            slots = {place.slot for place in turn.places(app) if place.state in lasting}
        wanted = tuple(sorted(slots))
    if wanted and wanted != pool.steered:
        turn.put_pool(pool.replace(steered=wanted))
        turn.emit(Steer(app, wanted))


# -- stopping -------------------------------------------------------------------


def stop_worker(turn: Turn, worker: Worker, purpose: str, because: str = "") -> None:
    """Tell a worker to stop (`stop_workers`)."""
    stop_workers(turn, worker.app, [worker], purpose, because=because)


def stop_workers(
    turn: Turn,
    app: str,
    workers: list[Worker],
    purpose: str,
    signum: int = 0,
    because: str = "",
) -> None:
    """Tell workers of an app to stop: first away from the port, then the signal.

    `signum` is the signal that pyinit received, 0 for a stop that pyinit begins, which is a
    SIGTERM; the file's `kill_signal` replaces both. For one that is being stopped already
    only the purpose changes: what follows its end.
    """
    workers = [each.replace(because=because) for each in workers]
    retiring = [
        each.replace(purpose=purpose)
        for each in workers
        if _begin_stop(turn, each, purpose, signum)
    ]
    # The port is turned away from all of them at once, before their queues are watched.
    steer(turn, app)
    for worker in retiring:
        delay = worker.spec.retire_delay if _empties(worker) else 0.0
        turn.emit(
            WatchQueue(worker.incarnation, worker.app, worker.slot, delay),
            StartTimer(_timer("retire", worker), worker.spec.retire_delay),
        )


def _begin_stop(turn: Turn, worker: Worker, purpose: str, signum: int) -> bool:
    """True: it retires first."""
    worker = worker.replace(purpose=purpose)
    if worker.state in w.STOPPING_STATES:
        if worker.state == w.RETIRING:
            worker = worker.replace(stop_signal=worker.spec.kill_signal or signum or SIGTERM)
            _retire_further(turn, turn.put_worker(worker))
            return False
        turn.put_worker(worker)
        if worker.killed and purpose in ("shutdown", "reload"):
            # Neither waits for one that does not die, however long ago that was told.
            turn.emit(StartTimer(_timer("abandon", worker), ABANDON_AFTER))
        return False
    worker = worker.replace(stop_signal=worker.spec.kill_signal or signum or SIGTERM)
    worker = _unwatched(turn, worker)
    if worker.state not in w.SERVING_STATES or not _retires(turn, worker):
        turn.put_worker(worker)
        terminate(turn, worker)
        return False
    turn.put_worker(worker.after(w.RETIRE))
    return True


def _retires(turn: Turn, worker: Worker) -> bool:
    """It answers what waits before its signal: a queue of its own, or the last of all.

    One queue for all is left to siblings and successors, unless the app stops as a whole.
    """
    if worker.spec.share == "one":
        pool = turn.pool(worker.app)
        last = pool is not None and pool.port == "refusing"
        return last or worker.purpose == "shutdown"
    return has_slots(worker.spec)


def queue_emptied(turn: Turn, worker: Worker) -> None:
    """No connection waits on its slot."""
    if worker.state == w.RETIRING:
        _retire_further(turn, turn.put_worker(worker.replace(queue_empty=True)))


def queue_unknown(turn: Turn, worker: Worker) -> None:
    """Whether its slot has connections waiting cannot be known."""
    if worker.state == w.RETIRING:
        _retire_further(turn, turn.put_worker(worker.replace(queue_empty=True)))


def retire_overdue(turn: Turn, worker: Worker) -> None:
    """It has had `retire_delay` to answer what it took."""
    if worker.state != w.RETIRING or worker.delay_over:
        return
    worker = turn.put_worker(worker.replace(delay_over=True))
    _retire_further(turn, worker)
    still = turn.worker(worker.incarnation)
    if still is not None and still.state == w.RETIRING:
        # A worker that hangs never empties its queue: its successor cannot take those
        # connections, so the stop goes on after kill_timeout (see terminate_overdue).
        turn.emit(StartTimer(_timer("kill", worker), worker.spec.kill_timeout))


def _retire_further(turn: Turn, worker: Worker) -> None:
    # `retire_delay` is the least that a worker gets, so that one which stops rudely has
    # answered by then; in a shutdown it bounds the wait.
    if worker.purpose == "shutdown":
        done = worker.queue_empty or worker.delay_over
    else:
        done = worker.delay_over and (worker.queue_empty or not _empties(worker))
    if done:
        terminate(turn, worker)


def _empties(worker: Worker) -> bool:
    """Its queue is waited for: its siblings get the new connections.

    Else it may never empty, and in a restart the next worker of the slot takes it over. One
    that is sick may never accept again.
    """
    return worker.purpose in ("reload", "scale", "stop") and not worker.sick


def terminate(turn: Turn, worker: Worker) -> None:
    """Send the stop signal now; SIGKILL follows after `kill_timeout`."""
    worker = turn.put_worker(worker.after(w.SIGNAL))
    turn.emit(StopTimer(_timer("retire", worker)))
    if worker.spec.shutdown_with_message and worker.spec.node:
        turn.emit(SendShutdownMessage(worker.incarnation, reach(worker)))
    else:
        turn.emit(SendSignal(worker.incarnation, worker.stop_signal, reach(worker), stop=True))
    arm(turn, worker, "kill", worker.spec.kill_timeout)


def let_go(turn: Turn, worker: Worker) -> Worker:
    """It is ending, or about to be ended, without the usual signal: SIGKILL follows."""
    worker = _unwatched(turn, worker).after(w.SIGNAL)
    return arm(turn, worker, "kill", worker.spec.kill_timeout)


def _unwatched(turn: Turn, worker: Worker) -> Worker:
    """On its way out: neither launch nor checks nor watchdog. The worker to stage."""
    for kind in ("launch", "prove", "probe", "retire", "watchdog"):
        turn.emit(StopTimer(_timer(kind, worker)))
    turn.emit(StopLook(worker.incarnation))
    return health.end(turn, worker)


def terminate_overdue(turn: Turn, worker: Worker) -> None:
    """`kill_timeout` is over."""
    if worker.state == w.RETIRING:
        turn.report_of(
            worker,
            "warning",
            "worker does not take its connections",
        )
        terminate(turn, worker)
        return
    if worker.killed or worker.state not in (w.TERMINATING, w.LINGERING):
        return
    left = worker.state == w.LINGERING
    what = "processes of the worker overdue" if left else "worker stop overdue"
    turn.report_of(worker, "warning", what, kill_timeout=worker.spec.kill_timeout, then="SIGKILL")
    if worker.purpose == "shutdown":
        turn.run = turn.run.replace(forced=True)
    kill(turn, worker)


def kill(turn: Turn, worker: Worker) -> None:
    """SIGKILL, to the group at least: nothing of it may hold a port or a file."""
    scope = reach(worker) if worker.spec.treekill != "none" else "group"
    worker = turn.put_worker(_unwatched(turn, worker.after(w.KILL).replace(killed=True)))
    turn.emit(
        StopTimer(_timer("kill", worker)),
        SendSignal(worker.incarnation, SIGKILL, scope, stop=True),
        StartTimer(_timer("abandon", worker), ABANDON_AFTER),
    )


def kill_again(turn: Turn, worker: Worker, within: float) -> None:
    """SIGKILL did not reach it; `abandon` comes again after `within` seconds."""
    scope = reach(worker) if worker.spec.treekill != "none" else "group"
    turn.emit(
        SendSignal(worker.incarnation, SIGKILL, scope, stop=True),
        StartTimer(_timer("abandon", worker), within),
    )


# -- the end --------------------------------------------------------------------


def reach(worker: Worker) -> str:
    """What a stop of the worker reaches: `SendSignal.scope`."""
    if worker.scope:
        return worker.scope
    return "process" if worker.spec.treekill == "none" else worker.spec.treekill


def leader_exited(
    turn: Turn, worker: Worker, *, group_left: bool, strays: bool, cleaning: bool = False
) -> Worker:
    """The process is reaped; what is left of it is ended too (`treekill`).

    `strays` are descendants outside of the group of a worker that nothing has stopped. They
    are ended when it crashed: what replaces it must not meet them. An app that has done its
    work keeps them: it may have started a daemon.
    """
    worker = _unwatched(turn, worker)
    # One that left by itself was told nothing (notices.py).
    told = worker.killed or (worker.state == w.TERMINATING and worker.stop_signal != 0)
    strays = strays and not _has_done_its_work(worker)
    if worker.spec.treekill == "none":
        group_left = strays = False
    if cleaning and not (group_left or strays):
        # Nothing of it lives, but for the commands of `after_stop`, which have a time of their
        # own: as long as a stop.
        worker = turn.put_worker(worker.replace(killed=False).after(w.LEADER_EXIT))
        turn.emit(StopTimer(_timer("abandon", worker)))
        return arm(turn, worker, "kill", worker.spec.kill_timeout)
    if not (group_left or strays):
        return gone(turn, worker)
    if not told:
        worker = worker.replace(scope="all" if strays else "group")
    worker = turn.put_worker(worker.after(w.LEADER_EXIT))
    if told and not worker.killed and worker.spec.shutdown_with_message and worker.spec.node:
        # The message went to the leader alone.
        turn.emit(SendSignal(worker.incarnation, worker.stop_signal, reach(worker), stop=True))
    if worker.killed:
        # It may have died long after SIGKILL: what is left of its group has a time anew.
        turn.emit(StartTimer(_timer("abandon", worker), ABANDON_AFTER))
    if not told:
        signum = worker.stop_signal or worker.spec.kill_signal or SIGTERM
        turn.emit(SendSignal(worker.incarnation, signum, reach(worker), stop=True))
        worker = arm(turn, worker, "kill", worker.spec.kill_timeout)
    return worker


def _has_done_its_work(worker: Worker) -> bool:
    """It ended by itself, and is not restarted after that."""
    spec, code = worker.spec, worker.exit_code
    done = not spec.autorestart or (code is not None and code in spec.stop_exit_codes)
    return done and not worker.purpose


def gone(turn: Turn, worker: Worker) -> Worker:
    """Nothing of the worker is left."""
    worker = turn.put_worker(worker.after(w.EXIT))
    turn.emit(
        StopTimer(_timer("kill", worker)),
        StopTimer(_timer("abandon", worker)),
        Forget(worker.incarnation),
    )
    return worker


def _timer(kind: str, worker: Worker) -> Timer:
    return Timer(kind, worker.app, worker.incarnation)
