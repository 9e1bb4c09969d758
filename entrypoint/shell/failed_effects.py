"""Which event the core gets for an effect that could not be performed.

An effect ends in success or in an event, whatever was raised: otherwise the core would wait
forever for the result of something that was not done. So every kind of effect is in this
table, and those without an event say why.

| effect | the core hears | and then |
|---|---|---|
| Spawn | SpawnFailed | the start is tried again, with the pauses of a crash |
| SendSignal | SignalRefused | the worker is shown as stuck |
| SendShutdownMessage | MessageNotSent | the stop signal is sent instead |
| StartTimer | TimerFired | what it was set for is done now |
| GrowPort, RouteTo, TrimPort, RefuseConnections | PortFailed | it is ordered again, with pauses |
| PausePort, ResumePort | PortFailed | likewise |
| ReleaseSlot, RelayQueue, ClosePort | PortFailed | it is logged |
| WatchQueue | QueueUnwatched | the queue is not waited for |
| StartCheck | HealthChecked | the check has failed |
| ReadPlan | PlanRejected | the running apps are kept |
| StopTimer, StopCheck | nothing | what still comes of it is known to be stale |
| StopRemaining | RemainingEnded | the end goes on, and SIGKILL ends what is left |
| ReleaseWorker | nothing | the worker is gone; what was kept for it is lost |
| ProbeAccept | ProbeFailed | it is ordered again |
| LookAt | nothing | the deadline of the launch decides |
| StopLook | nothing | what still comes of it is known to be stale |
| Report, ReportOutcome, Count | nothing | nothing is decided by them |
| Finish | nothing | it cannot fail: the end is noted before anything is done |
"""

from __future__ import annotations

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.kernel import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from entrypoint.core.types import PortOrder


def _port(order: PortOrder) -> Callable[[Any, str], e.Event]:
    return lambda effect, reason: e.PortFailed(effect.app, order, reason)


def _nothing(_effect: f.Effect, _reason: str) -> None:
    return None


HEARD: dict[type[f.Effect], Callable[[Any, str], e.Event | None]] = {
    f.Spawn: lambda effect, reason: e.SpawnFailed(effect.incarnation, reason),
    f.SendSignal: lambda effect, reason: e.SignalRefused(effect.incarnation, effect.signum, reason),
    f.SendShutdownMessage: lambda effect, reason: e.MessageNotSent(effect.incarnation, reason),
    f.AnnounceDrain: _nothing,
    f.StartTimer: lambda effect, _reason: e.TimerFired(effect.timer),
    f.StopTimer: _nothing,
    f.GrowPort: _port("grow"),
    f.RouteTo: _port("steer"),
    f.TrimPort: _port("trim"),
    f.RefuseConnections: _port("refuse"),
    f.RelayQueue: _port("relay"),
    f.PausePort: _port("pause"),
    f.ResumePort: _port("resume"),
    f.ReleaseSlot: _port("free slot"),
    f.ClosePort: _port("close"),
    f.WatchQueue: lambda effect, reason: e.QueueUnwatched(effect.incarnation, reason),
    f.ProbeAccept: lambda effect, _reason: e.ProbeFailed(
        effect.incarnation, effect.address, effect.declared
    ),
    f.LookAt: _nothing,
    f.StopLook: _nothing,
    f.ReportOutcome: _nothing,
    f.StartCheck: lambda effect, reason: e.HealthChecked(
        effect.incarnation, effect.check, f"the check could not be made: {reason}"
    ),
    f.StopCheck: _nothing,
    f.ReadPlan: lambda _effect, reason: e.PlanRejected(f"it could not be read: {reason}"),
    f.ReleaseWorker: _nothing,
    f.Report: _nothing,
    f.Count: _nothing,
    f.StopRemaining: lambda _effect, _reason: e.RemainingEnded(),
    f.Finish: _nothing,
}


def heard(effect: f.Effect, error: BaseException) -> e.Event | None:
    """The event for an effect that has raised; None: there is none."""
    return HEARD[type(effect)](effect, reason_of(effect, error))


def reason_of(effect: f.Effect, error: BaseException) -> str:
    """Why, for people."""
    if isinstance(effect, f.SendSignal) and isinstance(error, PermissionError):
        return "it runs as another user, and pyinit has no CAP_KILL"
    if isinstance(error, OSError):
        return limits.explain(error)
    return f"an internal error ({error!r})"


def is_shortage(error: BaseException) -> bool:
    """Whether the system refused it; anything else is a bug of pyinit."""
    return isinstance(error, OSError)
