"""Operations that a client waits for: progress line by line, and the result.

An operation only observes. After each turn of the core it compares the view with what it
reported last. It ends when `completion.judge` says so for each of its apps. Its client may leave
at any time; the requested change goes on.
"""

from __future__ import annotations

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.view import LAUNCHING, STATES
from entrypoint.logs.schema import encode

from .completion import DONE, SCALE, judge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from entrypoint.core.effects import Effect
    from entrypoint.core.events import Event
    from entrypoint.core.view import View

    from .completion import Goal, Progress
    from .line_stream import Stream

    Row = tuple[int, int, str]  # instance, pid, state


def line(**fields: object) -> bytes:
    """One line of an answer."""
    return encode(fields) + b"\n"


class Operation:
    """An operation of one client. Sends these lines, each a JSON object, to `send`:

    - `{"note": …}`, `{"warning": …}`, `{"change": …}`: sentences for people;
    - `{"app", "instance", "id", "pid", "state", "worker", "done", "total"}`: a worker's new
      state; `worker` counts the app's instances as they get their turn, `done` those that
      are through;
    - `{"app", "outcome": "reloaded" | … | "failed", "message", "done", "total"}`: an app
      is through;
    - `{"exit": 0 | 1, "message"}`: the last.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._stream: Stream | None = None
        self._goals: dict[str, Goal] = {}
        self._outcomes: dict[str, dict[str, f.ReportOutcome]] = {}
        self._rows: dict[tuple[str, int], Row] = {}
        # By instance: its id, and which of the app's workers it is for those who watch.
        self._ids: dict[tuple[str, int], int] = {}
        self._order: dict[str, list[int]] = {}
        self._progress: dict[str, Progress] = {}
        self._failed = False
        self._began = now()
        self._asking = True
        self._finished = False
        # For a plan that is not applied yet: then the goals count.
        self.awaits_plan = False

    def attach(self, stream: Stream) -> None:
        """Send lines there from now on."""
        self._stream = stream

    @property
    def waited_for(self) -> bool:
        """Whether a client still reads."""
        return not self._finished and self._stream is not None and self._stream.is_open

    def say(self, **fields: object) -> None:
        """Send a line, unless the client does not keep up."""
        if self._stream is not None:
            self._stream.send(line(**fields))

    def aim(self, goals: Sequence[Goal], view: View) -> None:
        """Set the goals; call it before the core gets the event, then `asked`."""
        self._goals = {goal.app: goal for goal in goals}
        self._outcomes = {goal.app: {} for goal in goals}
        self._rows = self._rows_of(view)

    def asked(self, view: View) -> None:
        """The core has all events of this command: from now on the goals count."""
        self._asking = False
        self.look(view)

    def finish(self, code: int, message: str = "") -> None:
        """Send the last line."""
        self._finished = True
        if self._stream is not None:
            self._stream.end(line(exit=code, message=message))

    def _rows_of(self, view: View) -> dict[tuple[str, int], Row]:
        found = {}
        for app in view.apps:
            if app.name not in self._goals:
                continue
            for row in app.workers:
                if row.id >= 0:
                    self._ids[app.name, row.instance] = row.id
                # Else between the decision to start it and fork(2).
                if row.pid or row.state != LAUNCHING:
                    key = (app.name, row.incarnation or -1 - row.instance)
                    # A reaped process has no pid any more: its last lines still name it.
                    pid = row.pid or self._rows.get(key, (0, 0, ""))[1]
                    found[key] = (row.instance, pid, row.state)
        # A new worker is reported before the old one that leaves because of it.
        return dict(sorted(found.items(), key=lambda item: STATES.index(item[1][2])))

    # -- watching ---------------------------------------------------------------------

    def turned(self, event: Event, effects: Sequence[Effect], view: View) -> None:
        """The core has had a turn."""
        if self.awaits_plan:
            if isinstance(event, e.PlanRejected):
                self.finish(1, f"rejected: {event.reason}")
                return
            if not isinstance(event, e.PlanAccepted):
                return
            self.awaits_plan = self._asking = False
        for effect in effects:
            if isinstance(effect, f.ReportOutcome) and effect.app in self._outcomes:
                self._outcomes[effect.app][f"{effect.what} {effect.result}"] = effect
        if not self._asking:
            self.look(view)

    def look(self, view: View) -> None:
        """Report news, and end if nothing more will follow."""
        if self._finished:
            return
        for name, goal in self._goals.items():
            before = self._progress.get(name)
            if before is None or not before.ended:
                self._progress[name] = judge(goal, view, self._outcomes[name])
        self._tell_rows(view)
        for name, goal in tuple(self._goals.items()):
            progress = self._progress[name]
            if progress.ended:
                self._tell_end(goal, progress)
                del self._goals[name]
                self._rows = {key: row for key, row in self._rows.items() if key[0] != name}
        if not self._goals:
            self.finish(1 if self._failed else 0)

    def _tell_rows(self, view: View) -> None:
        rows = self._rows_of(view)
        for key, row in rows.items():
            if self._rows.get(key) != row:
                self._tell_row(key[0], *row)
        for key, (instance, pid, _) in self._rows.items():
            if key not in rows and pid:
                self._tell_row(key[0], instance, pid, "gone")
        self._rows = rows

    def _tell_row(self, app: str, instance: int, pid: int, state: str) -> None:
        progress = self._progress.get(app)
        if progress is None:
            return
        order = self._order.setdefault(app, [])
        if instance not in order:
            order.append(instance)
        self.say(
            app=app,
            instance=instance,
            id=self._ids.get((app, instance)),
            pid=pid,
            state=state,
            worker=order.index(instance) + 1,
            done=progress.done,
            total=max(self._total(app, progress), len(order)),
        )

    def _total(self, app: str, progress: Progress) -> int:
        """How many instances get a turn: of a scaled app those that come or go."""
        goal = self._goals.get(app)
        if goal is not None and goal.verb == SCALE:
            return abs(goal.wanted - goal.total)
        return progress.total

    def _tell_end(self, goal: Goal, progress: Progress) -> None:
        self._failed = self._failed or bool(progress.failed)
        self.say(
            app=goal.app,
            outcome="failed" if progress.failed else DONE[goal.verb],
            message=progress.failed or progress.note,
            done=progress.done,
            total=progress.total,
            took=round(self._now() - self._began, 3),
        )
