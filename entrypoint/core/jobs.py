"""Apps that run at the times of `cron_restart`, and `pyinit run`.

Two kinds of apps have times. A *service* is restarted at them (PM2's meaning). A *job* ends by
itself: each time starts a run. Between its runs a job has finished, or is idle if it has not run
yet (`autostart: false`); it counts for no probe and does not end the container.

`overlap` says what a time means while the run before is still going on::

    skip    that time is left out
    wait    one more run begins as soon as this one has ended
    kill    the workers are replaced: by a reload, or by a restart
"""

from __future__ import annotations

from . import rolling
from . import worker as w
from .effects import ReportOutcome, StopTimer
from .events import Timer
from .lifecycle import launch, shares_port, stop_workers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import AppSpec
    from .turn import Turn
    from .worker import Place, Pool, Worker

SKIP, WAIT, KILL = "skip", "wait", "kill"
SCHEDULE = "cron_restart"


def is_job(spec: AppSpec) -> bool:
    """It runs at its times and ends: nobody waits for it to serve."""
    if not spec.cron_restart or spec.autorestart:
        return False
    return not (spec.listen or spec.wait_ready or spec.health or shares_port(spec))


def begins_idle(spec: AppSpec) -> bool:
    """Its first run is at its first time, not at boot."""
    return bool(spec.cron_restart) and not spec.autostart


def keeps_run(turn: Turn, pool: Pool) -> bool:
    """A reload lets the present run end: the next one is of the newest spec."""
    return is_job(pool.spec) and overlap(turn, pool) != KILL


def overlap(turn: Turn, pool: Pool) -> str:
    """What the file says, or `kill` for an app that serves or is kept running, else `skip`."""
    if pool.spec.overlap:
        return pool.spec.overlap
    if pool.spec.autorestart or pool.said_ready or shares_port(pool.spec):
        return KILL
    return KILL if any(worker.listening for worker in turn.workers(pool.name)) else SKIP


def due(turn: Turn, pool: Pool, by: str) -> None:
    """Its time has come, or a person asks for a run (`by`)."""
    if pool.mode in ("waiting", "stopped") and by != SCHEDULE:
        leaving = _running(turn, pool)
        pool = turn.put_pool(pool.replace(mode="running"))
        if leaving:
            # They are being stopped: the run begins when they have ended.
            start(turn, pool)
            return
    if pool.mode == "waiting":
        _skip(turn, pool, by, reason="it waits for another app")
    if pool.mode != "running" or not pool.wanted:
        return
    if not pool.placed:
        turn.put_pool(pool.replace(pending=True))  # `starting` launches its workers
        return
    running = _running(turn, pool)
    if not running:
        _start(turn, pool, by)
        return
    rule = overlap(turn, pool)
    if rule == KILL:
        _replace(turn, pool, by)
        return
    since = round(turn.now - min(worker.launched_at for worker in running), 3)
    if rule == WAIT:
        turn.put_pool(pool.replace(pending=True))
        turn.report("info", "run waits", app=pool.name, by=by, running_for=since)
    else:
        _skip(turn, pool, by, reason="the run before is still going on", running_for=since)


def _skip(turn: Turn, pool: Pool, by: str, **why: object) -> None:
    turn.put_pool(pool.replace(skipped=pool.skipped + 1))
    turn.count("run", pool.name, "skipped")
    turn.emit(ReportOutcome(pool.name, "run", "skipped"))
    turn.report("warning", "run skipped", app=pool.name, by=by, **why)


def _running(turn: Turn, pool: Pool) -> list[Worker]:
    places = list(turn.places(pool.name))
    workers = [turn.worker(number) for each in places for number in (each.current, each.successor)]
    return [worker for worker in workers if worker is not None]


def _start(turn: Turn, pool: Pool, by: str) -> None:
    turn.put_pool(pool.replace(pending=False, reload=None))
    turn.report("info", "run started", app=pool.name, by=by)
    for place in list(turn.places(pool.name)):
        start_anew(turn, place)


def _replace(turn: Turn, pool: Pool, by: str) -> None:
    if shares_port(pool.spec) and not pool.errored and not pool.finished:
        rolling.begin(turn, pool, by)
        return
    turn.report("info", "restart started", app=pool.name, reason=by)
    turn.put_pool(pool.replace(reload=None))
    leaving: list[Worker] = []
    for place in list(turn.places(pool.name)):
        successor, current = turn.worker(place.successor), turn.worker(place.current)
        leaving += [each for each in (successor, current) if each is not None]
        alone = turn.put_place(place.replace(successor=0))
        if current is None:
            start_anew(turn, alone)
    stop_workers(turn, pool.name, leaving, "restart", because=by)


def start(turn: Turn, pool: Pool) -> None:
    """Start every place that has no worker; one that is being stopped is started again."""
    for place in list(turn.places(pool.name)):
        current = turn.worker(place.current)
        if current is None:
            start_anew(turn, place)
        elif current.state in w.STOPPING_STATES:
            turn.put_worker(current.replace(purpose="restart"))
            turn.put_place(place.replace(state=w.RUNNING))


def start_anew(turn: Turn, place: Place) -> None:
    """Launch the newest spec in a place that has no worker; what failed before is forgotten."""
    turn.emit(StopTimer(Timer("restart", place.app, place.waits_for)))
    fresh = place.replace(unstable=(), delay=0.0, loop=(), served=())
    launch(turn, fresh, turn.the_pool(place.app).spec, place.slot)


def remember(turn: Turn, worker: Worker) -> None:
    """A worker of a place has ended: that was one run of it."""
    place = turn.place(worker.app, worker.instance)
    if place is None or place.current != worker.incarnation:
        return
    took = turn.now - worker.launched_at
    place = place.replace(runs=place.runs + 1, last_start=worker.launched_at, last_took=took)
    place = turn.put_place(place)
    spec = turn.the_pool(worker.app).spec
    if spec.cron_restart and not spec.autorestart:
        result = "stopped" if worker.purpose else "failed" if place.last_code else "succeeded"
        turn.count("run", worker.app, result, took)
        turn.report_of(
            worker,
            "error" if result == "failed" else "info",
            "run finished",
            result=result,
            exit_code=place.last_code,
            took=round(took, 3),
        )


def run_pending(turn: Turn, pool: Pool) -> None:
    """Begin the run that waited for the end of another."""
    if pool.pending and pool.mode == "running" and not _running(turn, pool):
        _start(turn, pool, "the run before has ended")
