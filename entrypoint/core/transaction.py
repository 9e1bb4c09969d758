"""One transaction of the core: an event's changes are staged, and kept only if all succeeds.

A decision that raises leaves the state as it was before its event and has no effects:
`Supervisor.handle` drops the transaction. Only this module keeps the counts in `AppState`,
where workers and instances are stored.
"""

from __future__ import annotations

from . import worker as w
from .effects import Count, Effect, Report
from .record import Record
from .spec import Plan, ShutdownSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from .types import Phase
    from .worker import AppState, Instance, Worker


class Run(Record):
    """State that belongs to no app."""

    phase: Phase = "booting"
    plan: Plan = Plan(apps=(), revision=0)
    shutdown: ShutdownSpec = ShutdownSpec()
    incarnations: int = 0  # incarnation numbers assigned so far
    ids: int = 0  # instance ids assigned so far
    stop_signal: int = 0  # 0: pyinit began the stop itself
    code: int | None = None  # decided before the end: errored, or the end was forced
    failed: str = ""  # the app that caused the container's end, or its exit code
    failing_code: int = 0  # of the app that was failing when the stop came; 0: none was
    forced: bool = False
    hurried_at: float | None = None  # SIGINT or SIGQUIT came during the stop
    remaining: bool = False  # all workers are gone, other processes are being stopped
    killing: bool = False  # a user or the deadline has ended all waiting
    deadline_at: float = 0.0  # what `shutdown.timeout` means for this shutdown; 0: no bound
    config_error: str = ""


class State:
    """The whole state of the core between transactions."""

    def __init__(self) -> None:
        self.run = Run()
        self.apps: dict[str, AppState] = {}
        # By app and instance number.
        self.instances: dict[str, dict[int, Instance]] = {}
        self.workers: dict[int, Worker] = {}
        # The same workers by app: a transaction looks at one app, not at all of them.
        self.workers_by_app: dict[str, dict[int, Worker]] = {}
        # The last transaction left no follow-up work at its final state.
        self.followed_up = False


class Transaction:
    """Staged changes over a `State`. `now` is monotonic seconds."""

    def __init__(self, state: State, now: float) -> None:
        self.now = now
        self.run = state.run
        self.effects: list[Effect] = []
        self._state = state
        self._apps: dict[str, AppState | None] = {}
        self._instances: dict[tuple[str, int], Instance | None] = {}
        self._workers: dict[int, Worker | None] = {}

    def commit(self) -> None:
        """Make the staged changes the state.

        When it raises (MemoryError), call it again: it completes what it began.
        """
        state = self._state
        state.run = self.run
        _merge(state.apps, self._apps)
        for (app, number), instance in self._instances.items():
            _merge(state.instances.setdefault(app, {}), {number: instance})
        for incarnation, worker in self._workers.items():
            known = worker or state.workers.get(incarnation)
            if known is None:
                continue  # removed by a commit that was interrupted
            _merge(state.workers_by_app.setdefault(known.app, {}), {incarnation: worker})
            _merge(state.workers, {incarnation: worker})
        for name, app_state in self._apps.items():
            if app_state is None:
                state.instances.pop(name, None)
                state.workers_by_app.pop(name, None)

    @property
    def changed(self) -> bool:
        """Whether anything was staged."""
        return bool(
            self._workers or self._instances or self._apps or self.run is not self._state.run
        )

    def emit(self, *effects: Effect) -> None:
        """Emit these effects, in this order."""
        self.effects += effects

    def report(self, level: str, event: str, **fields: object) -> None:
        """Emit an event of pyinit's own log."""
        self.effects.append(Report(level, event, tuple(fields.items())))

    def report_of(self, worker: Worker, level: str, event: str, **fields: object) -> None:
        """Emit a log event about a worker."""
        self.report(
            level, event, app=worker.app, instance=worker.instance, pid=worker.pid, **fields
        )

    def count(self, what: str, app: str = "", label: str = "", seconds: float = 0.0) -> None:
        """Increment a metric (`effects.Count`)."""
        self.effects.append(Count(what, app, label, seconds))

    # -- reading ----------------------------------------------------------------

    def app(self, name: str) -> AppState | None:
        """The app, or None."""
        return self._apps[name] if name in self._apps else self._state.apps.get(name)

    def the_app(self, name: str) -> AppState:
        """The app. Raises KeyError."""
        app_state = self.app(name)
        if app_state is None:
            raise KeyError(name)
        return app_state

    def apps(self) -> list[AppState]:
        """All apps, in the file's order."""
        if not self._apps:  # most transactions ask several times and change none
            return list(self._state.apps.values())
        names = [*self._state.apps, *(n for n in self._apps if n not in self._state.apps)]
        return [app_state for name in names if (app_state := self.app(name)) is not None]

    def touched(self) -> list[AppState]:
        """The apps that this transaction has staged."""
        return [app_state for app_state in self._apps.values() if app_state is not None]

    def worker(self, incarnation: int) -> Worker | None:
        """The worker, or None when it is gone."""
        if incarnation in self._workers:
            return self._workers[incarnation]
        return self._state.workers.get(incarnation)

    def workers(self, app: str = "") -> list[Worker]:
        """All workers (of an app) that are not gone, oldest first."""
        known = self._state.workers_by_app.get(app, {}) if app else self._state.workers
        staged = self._workers
        if not staged:
            return list(known.values())
        found = [staged.get(n, worker) for n, worker in known.items()]
        found += [worker for n, worker in staged.items() if n not in self._state.workers]
        return [each for each in found if each is not None and app in ("", each.app)]

    def instance(self, app: str, number: int) -> Instance | None:
        """The instance, or None."""
        key = (app, number)
        if key in self._instances:
            return self._instances[key]
        return self._state.instances.get(app, {}).get(number)

    def instances(self, app: str) -> Iterator[Instance]:
        """The instances of an app by number."""
        instances = {*self._state.instances.get(app, {})}
        instances.update(number for name, number in self._instances if name == app)
        for number in sorted(instances):
            instance = self.instance(app, number)
            if instance is not None:
                yield instance

    # -- writing ----------------------------------------------------------------

    def next_incarnation(self) -> int:
        """A number never used before."""
        self.run = self.run.replace(incarnations=self.run.incarnations + 1)
        return self.run.incarnations

    def new_ids(self, count: int) -> tuple[int, ...]:
        """New ids for instances, as users see them; never reused, as in PM2."""
        first = self.run.ids
        self.run = self.run.replace(ids=first + count)
        return tuple(range(first, first + count))

    def put_app(self, app_state: AppState) -> AppState:
        """Stage an app."""
        self._apps[app_state.name] = app_state
        return app_state

    def drop_app(self, name: str) -> None:
        """Stage the removal of an app and its instances."""
        for instance in list(self.instances(name)):
            self._instances[(name, instance.number)] = None
        self._apps[name] = None

    def put_worker(self, worker: Worker) -> Worker:
        """Stage a worker; one in state `gone` is removed."""
        before = self.worker(worker.incarnation)
        gone = worker.state == w.GONE
        live = (0 if gone else 1) - (0 if before is None else 1)
        ready = int(worker.ready) - int(before is not None and before.ready)
        self._workers[worker.incarnation] = None if gone else worker
        if live or ready:
            app_state = self.the_app(worker.app)
            online = app_state.online
            if ready > 0:
                online = tuple(sorted((*online, worker.queue)))
            elif ready < 0:
                at = online.index(worker.queue)
                online = (*online[:at], *online[at + 1 :])
            self.put_app(
                app_state.replace(
                    live=app_state.live + live, ready=app_state.ready + ready, online=online
                )
            )
        return worker

    def put_instance(self, instance: Instance) -> Instance:
        """Stage an instance."""
        before = self.instance(instance.app, instance.number)
        self._count(before, -1)
        self._count(instance, +1)
        if before is None:
            app_state = self.the_app(instance.app)
            self.put_app(app_state.replace(created=app_state.created + 1))
        self._instances[(instance.app, instance.number)] = instance
        return instance

    def drop_instance(self, instance: Instance) -> None:
        """Stage the removal of an instance."""
        self._count(self.instance(instance.app, instance.number), -1)
        app_state = self.the_app(instance.app)
        self.put_app(app_state.replace(created=app_state.created - 1))
        self._instances[(instance.app, instance.number)] = None

    def _count(self, instance: Instance | None, by: int) -> None:
        if instance is None or instance.state not in (w.FINISHED, w.ERRORED):
            return
        app_state = self.the_app(instance.app)
        if instance.state == w.FINISHED:
            self.put_app(app_state.replace(finished=app_state.finished + by))
        else:
            self.put_app(app_state.replace(errored=app_state.errored + by))


def _merge(into: dict[Any, Any], staged: dict[Any, Any]) -> None:
    for key, value in staged.items():
        if value is None:
            into.pop(key, None)
        else:
            into[key] = value
