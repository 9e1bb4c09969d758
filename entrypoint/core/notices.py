"""What a worker says of itself by `sd_notify(3)`, beside READY=1; and its watchdog.

The watchdog runs while a worker is online: whoever does not say WATCHDOG=1 in time hangs. As
under systemd it gets SIGABRT, which leaves a core dump where the file system has room for
one, then SIGKILL after `kill_timeout`, and is started again in its place: what waits on its
slot is for the next worker.

STOPPING=1 is the beginning of an end that nobody asked for: no new connections, no stop
signal either (it might cut short what goes well), and SIGKILL after `kill_timeout`. Where two
workers can live side by side its successor is started at once.
"""

from __future__ import annotations

from . import repairs
from . import worker as w
from .effects import SendSignal
from .lifecycle import arm, awaits_readiness, let_go, reach, steer, watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .events import WorkerTold
    from .turn import Turn
    from .worker import Worker

SIGABRT = 6

WATCHDOG = "watchdog"


def told(turn: Turn, worker: Worker, event: WorkerTold) -> None:
    """One message."""
    changed = worker.replace(
        status=worker.status if event.status is None else event.status,
        notes=tuple({**dict(worker.notes), **dict(event.notes)}.items()),
        reloading=worker.reloading or event.reloading,
    )
    if event.watchdog_interval is not None:
        changed = changed.replace(watchdog=event.watchdog_interval)
    if changed != worker:
        worker = turn.put_worker(changed)
    if event.extend:
        worker = _extend(turn, worker, event.extend)
    if _is_watched(worker):
        if event.watchdog == "trigger":
            missed(turn, worker, "it asked for that (WATCHDOG=trigger)")
            return
        if event.watchdog or event.watchdog_interval is not None:
            watch(turn, worker)
    if event.stopping:
        _leave(turn, worker)


def _extend(turn: Turn, worker: Worker, by: float) -> Worker:
    """EXTEND_TIMEOUT_USEC: the deadline that runs is never before that, nor brought forward."""
    kind = {w.LAUNCHING: "launch", w.TERMINATING: "kill"}.get(worker.state)
    late = worker.state == w.LAUNCHING and worker.overdue  # no deadline that is its own
    if kind is None or late or turn.now + by <= worker.due:
        return worker
    return arm(turn, worker, kind, by)


def _is_watched(worker: Worker) -> bool:
    """It serves, or it runs and its app is one of which nothing else is awaited."""
    if worker.state == w.LAUNCHING:
        return worker.execed and not awaits_readiness(worker.spec)
    return worker.state in w.SERVING_STATES


def missed(turn: Turn, worker: Worker, why: str = "") -> None:
    """It has not said WATCHDOG=1 in time."""
    if not _is_watched(worker):
        return
    why = why or f"no sign of life for {worker.watchdog:g} s"
    turn.report_of(
        worker,
        "error",
        "watchdog missed",
        reason=why,
    )
    worker = let_go(turn, worker.replace(because=why, stop_signal=SIGABRT))
    # What a person or a reload has asked for stays what follows its end.
    worker = worker.replace(purpose=worker.purpose or WATCHDOG)
    turn.put_worker(worker)
    turn.emit(SendSignal(worker.incarnation, SIGABRT, reach(worker), stop=True))


def _leave(turn: Turn, worker: Worker) -> None:
    if worker.state not in (w.LAUNCHING, *w.SERVING_STATES):
        return
    short = turn.now - worker.launched_at < worker.spec.min_uptime
    worker = worker.replace(never_up=short or not worker.up_at)
    serving = worker.state != w.LAUNCHING
    turn.report_of(worker, "info", "worker leaves")
    worker = turn.put_worker(let_go(turn, worker))
    steer(turn, worker.app)
    if serving and worker.spec.autorestart and not worker.spec.stop_exit_codes:
        repairs.succeed(turn, worker)
