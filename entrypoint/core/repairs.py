"""A sick worker is replaced.

Where two workers of an instance can live side by side the new one comes first, as in a
rolling reload, and the sick one goes on serving what it can until then: when all workers
of an app are sick at once the port still leads somewhere. Elsewhere it is stopped and
started again. A replacement that does not become ready is tried again, after the same
pauses as a crash and as often: `max_restarts` in vain make the app `errored`.
"""

from __future__ import annotations

from . import rolling
from . import worker as w
from .lifecycle import kill, shares_port, steer, stop_worker
from .restarts import after_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .turn import Turn
    from .worker import Place, Pool, Worker

HEALTH = "health"


def failing(turn: Turn, worker: Worker) -> None:
    """Its checks fail: no new connections for it, and another in its place."""
    if worker.state == w.LAUNCHING:
        reason = f"unhealthy: {worker.check_reason}"
        stop_worker(turn, worker, "failed start", because=reason)
        return
    if worker.state == w.ONLINE:
        short = turn.now - worker.launched_at < worker.spec.min_uptime
        worker = worker.after(w.SICKEN).replace(sick=True, never_up=short or not worker.healthy)
        worker = turn.put_worker(worker)
        turn.report_of(
            worker,
            "error",
            "worker unhealthy",
            reason=worker.check_reason,
        )
        place = _its_place(turn, worker)
        if place is not None and worker.never_up and _surges(turn, worker):
            after_failure(turn, place, worker.spec)
    _replace(turn, worker)


def succeed(turn: Turn, worker: Worker) -> None:
    """It ends by itself and serves nobody any more: let its successor not wait for that."""
    place = _its_place(turn, worker)
    if place is None or not _surges(turn, worker):
        return
    if worker.never_up:
        place = after_failure(turn, place, worker.spec)
    pool = _free_to_replace(turn, worker, place)
    spent = len(place.unstable) > worker.spec.max_restarts
    if pool is not None and not spent and turn.now >= place.repair_at:
        rolling.repair(turn, pool, worker.instance, "leaves")


def recovered(turn: Turn, worker: Worker) -> None:
    """It was sick, and a check has succeeded before it was replaced."""
    turn.put_worker(worker.after(w.READY).replace(sick=False, never_up=False))
    turn.report_of(worker, "info", "worker healthy again")


def in_vain(turn: Turn, worker: Worker, uptime: float) -> None:
    """What should have replaced this sick worker failed."""
    place = _its_place(turn, worker)
    if place is not None and worker.state == w.SICK:
        after_failure(turn, place, worker.spec, uptime)


def unfit(turn: Turn, worker: Worker, reason: str) -> None:
    """It cannot serve as it was started. Started again, it is started in another way.

    This is no failure of the program, so it counts as none. A worker that serves nobody yet
    waits in a call that we do not answer: it is killed at once.
    """
    place = turn.place(worker.app, worker.instance)
    if (
        worker.purpose
        or place is None
        or worker.incarnation
        not in (
            place.current,
            place.successor,
        )
    ):
        return
    turn.report_of(worker, "info", "worker started again", reason=reason)
    if worker.state == w.LAUNCHING:
        kill(turn, worker.replace(purpose="restart", because=reason))
        steer(turn, worker.app)
    else:
        stop_worker(turn, worker, "restart", reason)


def _replace(turn: Turn, worker: Worker) -> None:
    place = _its_place(turn, worker)
    pool = _free_to_replace(turn, worker, place) if place is not None else None
    if place is None or pool is None:
        return
    spent = len(place.unstable) > worker.spec.max_restarts
    if spent or not worker.spec.autorestart or not _surges(turn, worker):
        stop_worker(turn, worker, HEALTH, HEALTH)
    elif turn.now >= place.repair_at:
        turn.put_place(place.replace(last_exit=f"unhealthy: {worker.check_reason}"))
        rolling.repair(turn, pool, worker.instance, HEALTH)


def _free_to_replace(turn: Turn, worker: Worker, place: Place) -> Pool | None:
    """Its app, unless it is stopping or the worker is being replaced already."""
    pool = turn.the_pool(worker.app)
    if place.successor or pool.mode != "running" or turn.run.phase != "running":
        return None
    reload = pool.reload
    if reload is not None and worker.instance in (*reload.queue, *reload.active):
        return None
    return pool


def _surges(turn: Turn, worker: Worker) -> bool:
    return rolling.surges(turn.the_pool(worker.app)) and shares_port(worker.spec)


def _its_place(turn: Turn, worker: Worker) -> Place | None:
    """The place whose current worker it is, unless it was told to stop."""
    place = turn.place(worker.app, worker.instance)
    if worker.purpose or place is None or place.current != worker.incarnation:
        return None
    return place
