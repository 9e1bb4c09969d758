"""Whether a requested operation has completed: a pure function of the view.

A command is an event for the core and nothing more; the core does not know who sent it.
So the end of an operation is detected in the view: a goal says
what has to be true of an app, `judge` how far it has come.
"""

from __future__ import annotations

from entrypoint.core import view as v
from entrypoint.core.record import Record
from entrypoint.core.reload_abort import NOTE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from entrypoint.core.effects import ReportOutcome
    from entrypoint.core.view import AppView, View, WorkerView

RELOAD = "reload"
RESTART = "restart"
START = "start"
STOP = "stop"
SCALE = "scale"
REMOVE = "remove"
RUN = "run"
CHANGE = "change"  # reloaded, and as many as the new file says

DONE = {
    RELOAD: "reloaded",
    RESTART: "restarted",
    START: "started",
    STOP: "stopped",
    SCALE: "scaled",
    RUN: "ran",
    REMOVE: "removed",
    CHANGE: "changed",
}


class Goal(Record):
    """The state that `app` has to reach.

    `since`: its newest incarnation at the time of the request; `total`: its processes then;
    `runs`: runs of its instances that had ended then;
    `wanted`: the number of instances to come (`scale`); `instances`: only these, if any
    (`reload`, `restart`).
    """

    app: str
    verb: str
    since: int = 0
    total: int = 0
    wanted: int = 0
    instances: tuple[int, ...] = ()
    runs: int = 0


class Progress(Record):
    """`done` of `total` workers. `failed`: why it will not come about any more."""

    done: int
    total: int
    ended: bool = False
    failed: str = ""
    note: str = ""


def goal_for(app: AppView, verb: str, wanted: int = 0, instances: tuple[int, ...] = ()) -> Goal:
    """The goal of a command received now."""
    return Goal(
        app.name,
        verb,
        since=max((row.incarnation for row in app.workers), default=0),
        total=len(running(app)),
        wanted=wanted,
        instances=instances,
        runs=app.runs + (len(running(app)) if verb == RUN else 0),
    )


def running(app: AppView) -> list[WorkerView]:
    """Its rows that have a process, or remaining processes that are being ended."""
    return [row for row in app.workers if row.pid or row.state == v.STOPPING]


def app_of(view: View, name: str) -> AppView | None:
    """The app of that name, or None."""
    return next((app for app in view.apps if app.name == name), None)


def waits(app: AppView) -> bool:
    """Whether it has not begun, because its dependencies are not met yet."""
    return bool(app.wanted) and not app.workers and not app.stopped


def judge(goal: Goal, view: View, outcomes: Mapping[str, ReportOutcome]) -> Progress:
    """How far it is. `outcomes` of the app since then: `reload started`, `reload aborted`, …"""
    app = app_of(view, goal.app)
    if app is None:
        if goal.verb == REMOVE:
            return Progress(goal.total, goal.total, ended=True)
        return Progress(0, goal.total, ended=True, failed="removed from the file meanwhile")
    progress = _JUDGES[goal.verb](goal, app, outcomes)
    if view.phase == "running" or (progress.ended and not progress.failed):
        return progress
    # An app that errored may be what ends the container.
    why = f"{progress.failed}; " if app.errored else ""
    return progress.replace(ended=True, failed=f"{why}pyinit is stopping")


def _failure(app: AppView) -> str:
    """Why its workers will not become ready, if that is known."""
    if app.errored:
        exits = [
            f"instance {row.instance}{': ' + row.last_exit if row.last_exit else ''}"
            for row in app.workers
            if row.state == v.ERRORED
        ]
        return f"errored ({', '.join(exits)})"
    return "stopped meanwhile" if app.stopped else ""


def _through(app: AppView) -> int:
    """Instances that are ready, or have finished and will not be restarted."""
    if app.stopped:
        return 0
    finished = [row for row in app.workers if not row.incarnation and row.state == v.STOPPED]
    return min(app.wanted, app.ready_workers + len(finished))


def _reload(goal: Goal, app: AppView, outcomes: Mapping[str, ReportOutcome]) -> Progress:
    if app.reloading:
        return Progress(app.reloaded, app.to_reload)
    started = outcomes.get("reload started")
    total = started.workers if started is not None else 0
    aborted = outcomes.get("reload aborted")
    if aborted is not None:
        why = f"reload aborted: instance {aborted.instance}: {aborted.reason}"
        return Progress(0, total, ended=True, failed=f"{why}; {aborted.kept}; {NOTE}")
    failed = _failure(app)
    if failed:
        return Progress(0, total, ended=True, failed=failed)
    if "reload finished" in outcomes:
        if goal.verb == CHANGE:
            # Instances added or removed by the scaling were not in the reload, or are gone.
            return Progress(_through(app), app.wanted, ended=_reached(app))
        return Progress(total, total, ended=True)
    if started is not None:
        return Progress(0, total, ended=True, failed="another command came between")
    return Progress(0, 0, ended=True, note="it has no workers yet: there is nothing to reload")


def _reached(app: AppView) -> bool:
    surplus = any(row.instance >= app.wanted for row in running(app))
    return _through(app) >= app.wanted and not surplus


def _restart(goal: Goal, app: AppView, _outcomes: Mapping[str, ReportOutcome]) -> Progress:
    if waits(app):
        return Progress(0, 0, ended=True, note="it waits for another app: `pyinit start` starts it")
    fresh = {
        row.instance
        for row in app.workers
        if (row.ready and row.incarnation > goal.since)
        or (not row.incarnation and row.state == v.STOPPED and not app.stopped)
    }
    asked = {n for n in goal.instances or range(app.wanted) if n < app.wanted}
    done = len(fresh & asked)
    left = any(
        0 < row.incarnation <= goal.since and (not goal.instances or row.instance in asked)
        for row in running(app)
    )
    failed = _failure(app)
    ended = bool(failed) or (done >= len(asked) and not left)
    return Progress(done, len(asked), ended=ended, failed=failed)


def _start(_goal: Goal, app: AppView, _outcomes: Mapping[str, ReportOutcome]) -> Progress:
    done = _through(app)
    failed = _failure(app)
    return Progress(done, app.wanted, ended=bool(failed) or done >= app.wanted, failed=failed)


def _stop(goal: Goal, app: AppView, _outcomes: Mapping[str, ReportOutcome]) -> Progress:
    left = len(running(app))
    total = max(goal.total, left)
    if not app.stopped:
        return Progress(total - left, total, ended=True, failed="started again meanwhile")
    return Progress(total - left, total, ended=not left)


def _scale(goal: Goal, app: AppView, _outcomes: Mapping[str, ReportOutcome]) -> Progress:
    if app.wanted != goal.wanted:
        failed = f"scaled to {app.wanted} meanwhile"
        return Progress(_through(app), app.wanted, ended=True, failed=failed)
    if app.stopped:
        note = f"it is stopped: {goal.wanted} will run once it is started"
        return Progress(0, goal.wanted, ended=True, note=note)
    failed = _failure(app)
    ended = bool(failed) or _reached(app)
    return Progress(_through(app), goal.wanted, ended=ended, failed=failed)


def _remove(goal: Goal, app: AppView, _outcomes: Mapping[str, ReportOutcome]) -> Progress:
    left = len(running(app))
    total = max(goal.total, left)
    return Progress(total - left, total)


def _run(goal: Goal, app: AppView, outcomes: Mapping[str, ReportOutcome]) -> Progress:
    """A run that was already going on at the request is not the requested one."""
    if "run skipped" in outcomes:
        return Progress(0, app.wanted, ended=True, failed="a run is going on: `overlap` is skip")
    done = max(0, app.runs - goal.runs)
    if app.stopped:
        return Progress(done, app.wanted, ended=True, failed="stopped meanwhile")
    if done < app.wanted:
        return Progress(done, app.wanted)
    bad = [f"{row.last_exit} (instance {row.instance})" for row in app.workers if row.last_code]
    return Progress(done, app.wanted, ended=True, failed=", ".join(bad))


_JUDGES = {
    RUN: _run,
    RELOAD: _reload,
    CHANGE: _reload,
    RESTART: _restart,
    START: _start,
    STOP: _stop,
    SCALE: _scale,
    REMOVE: _remove,
}
