"""One turn of the core: what an event changes is staged, and kept only if all went well.

A decision that raises leaves the state as it was before its event and has no effects:
`Supervisor.handle` drops the turn. The counts in `Pool` are kept here, where workers
and places are put, and nowhere else.
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

    from .worker import Place, Pool, Worker


class Run(Record):
    """What belongs to no app."""

    phase: str = "booting"  # booting | running | draining | stopping | finished
    plan: Plan = Plan(apps=(), revision=0)
    shutdown: ShutdownSpec = ShutdownSpec()
    incarnations: int = 0  # numbers given so far
    ids: int = 0  # likewise
    stop_signal: int = 0  # 0: the stop is pyinit's own idea
    code: int | None = None  # decided early: errored, or the end was forced
    forced: bool = False
    hurried_at: float | None = None  # SIGINT or SIGQUIT came during the stop
    remaining: bool = False  # all workers are gone, other processes are being stopped
    killing: bool = False  # a person or the deadline has ended all waiting
    ends_by: float = 0.0  # what `shutdown.timeout` means for this shutdown; 0: no bound
    config_error: str = ""


class State:
    """Everything that the core knows, between turns."""

    def __init__(self) -> None:
        self.run = Run()
        self.pools: dict[str, Pool] = {}
        # By app and instance number.
        self.places: dict[str, dict[int, Place]] = {}
        self.workers: dict[int, Worker] = {}
        # The same workers by app: a turn looks at one app, not at all.
        self.crews: dict[str, dict[int, Worker]] = {}
        # The last turn left nothing to follow from where it had led.
        self.settled = False


class Turn:
    """Staged changes over a `State`. `now` is monotonic seconds."""

    def __init__(self, state: State, now: float) -> None:
        self.now = now
        self.run = state.run
        self.effects: list[Effect] = []
        self._state = state
        self._pools: dict[str, Pool | None] = {}
        self._places: dict[tuple[str, int], Place | None] = {}
        self._workers: dict[int, Worker | None] = {}

    def commit(self) -> None:
        """Make the staged changes the state.

        When it raises (MemoryError), call it again: it completes what it began.
        """
        state = self._state
        state.run = self.run
        _merge(state.pools, self._pools)
        for (app, instance), place in self._places.items():
            _merge(state.places.setdefault(app, {}), {instance: place})
        for incarnation, worker in self._workers.items():
            known = worker or state.workers.get(incarnation)
            if known is None:
                continue  # removed by a commit that was interrupted
            _merge(state.crews.setdefault(known.app, {}), {incarnation: worker})
            _merge(state.workers, {incarnation: worker})
        for name, pool in self._pools.items():
            if pool is None:
                state.places.pop(name, None)
                state.crews.pop(name, None)

    @property
    def changed(self) -> bool:
        """Something was staged."""
        return bool(self._workers or self._places or self._pools or self.run is not self._state.run)

    def emit(self, *effects: Effect) -> None:
        """Order these, in this order."""
        self.effects += effects

    def report(self, level: str, event: str, **fields: object) -> None:
        """An event of pyinit's own log."""
        self.effects.append(Report(level, event, tuple(fields.items())))

    def report_of(self, worker: Worker, level: str, event: str, **fields: object) -> None:
        """The same of a worker."""
        self.report(
            level, event, app=worker.app, instance=worker.instance, pid=worker.pid, **fields
        )

    def count(self, what: str, app: str = "", label: str = "", seconds: float = 0.0) -> None:
        """One more for the metrics (`effects.Count`)."""
        self.effects.append(Count(what, app, label, seconds))

    # -- reading ----------------------------------------------------------------

    def pool(self, name: str) -> Pool | None:
        """The app, or None."""
        return self._pools[name] if name in self._pools else self._state.pools.get(name)

    def the_pool(self, name: str) -> Pool:
        """The app. Raises KeyError."""
        pool = self.pool(name)
        if pool is None:
            raise KeyError(name)
        return pool

    def pools(self) -> list[Pool]:
        """All apps, in the file's order."""
        if not self._pools:  # most turns ask several times and change none
            return list(self._state.pools.values())
        names = [*self._state.pools, *(n for n in self._pools if n not in self._state.pools)]
        return [pool for name in names if (pool := self.pool(name)) is not None]

    def touched(self) -> list[Pool]:
        """The apps that this turn has staged."""
        return [pool for pool in self._pools.values() if pool is not None]

    def worker(self, incarnation: int) -> Worker | None:
        """The worker, or None when it is gone."""
        if incarnation in self._workers:
            return self._workers[incarnation]
        return self._state.workers.get(incarnation)

    def workers(self, app: str = "") -> list[Worker]:
        """All workers (of an app) that are not gone, oldest first."""
        known = self._state.crews.get(app, {}) if app else self._state.workers
        staged = self._workers
        if not staged:
            return list(known.values())
        found = [staged.get(n, worker) for n, worker in known.items()]
        found += [worker for n, worker in staged.items() if n not in self._state.workers]
        return [each for each in found if each is not None and app in ("", each.app)]

    def place(self, app: str, instance: int) -> Place | None:
        """The place, or None."""
        key = (app, instance)
        if key in self._places:
            return self._places[key]
        return self._state.places.get(app, {}).get(instance)

    def places(self, app: str) -> Iterator[Place]:
        """The places of an app by instance number."""
        instances = {*self._state.places.get(app, {})}
        instances.update(instance for name, instance in self._places if name == app)
        for instance in sorted(instances):
            place = self.place(app, instance)
            if place is not None:
                yield place

    # -- writing ----------------------------------------------------------------

    def next_incarnation(self) -> int:
        """A number never used before."""
        self.run = self.run.replace(incarnations=self.run.incarnations + 1)
        return self.run.incarnations

    def new_ids(self, count: int) -> tuple[int, ...]:
        """Numbers for instances, as people name them; never used twice, as PM2's."""
        first = self.run.ids
        self.run = self.run.replace(ids=first + count)
        return tuple(range(first, first + count))

    def put_pool(self, pool: Pool) -> Pool:
        """Stage an app."""
        self._pools[pool.name] = pool
        return pool

    def drop_pool(self, name: str) -> None:
        """Stage the removal of an app and its places."""
        for place in list(self.places(name)):
            self._places[(name, place.instance)] = None
        self._pools[name] = None

    def put_worker(self, worker: Worker) -> Worker:
        """Stage a worker; one in state `gone` is removed."""
        before = self.worker(worker.incarnation)
        gone = worker.state == w.GONE
        live = (0 if gone else 1) - (0 if before is None else 1)
        ready = int(worker.ready) - int(before is not None and before.ready)
        self._workers[worker.incarnation] = None if gone else worker
        if live or ready:
            pool = self.the_pool(worker.app)
            online = pool.online
            if ready > 0:
                online = tuple(sorted((*online, worker.slot)))
            elif ready < 0:
                at = online.index(worker.slot)
                online = (*online[:at], *online[at + 1 :])
            self.put_pool(
                pool.replace(live=pool.live + live, ready=pool.ready + ready, online=online)
            )
        return worker

    def put_place(self, place: Place) -> Place:
        """Stage a place."""
        before = self.place(place.app, place.instance)
        self._count(before, -1)
        self._count(place, +1)
        if before is None:
            pool = self.the_pool(place.app)
            self.put_pool(pool.replace(placed=pool.placed + 1))
        self._places[(place.app, place.instance)] = place
        return place

    def drop_place(self, place: Place) -> None:
        """Stage the removal of a place."""
        self._count(self.place(place.app, place.instance), -1)
        pool = self.the_pool(place.app)
        self.put_pool(pool.replace(placed=pool.placed - 1))
        self._places[(place.app, place.instance)] = None

    def _count(self, place: Place | None, by: int) -> None:
        if place is None or place.state not in (w.FINISHED, w.ERRORED):
            return
        pool = self.the_pool(place.app)
        if place.state == w.FINISHED:
            self.put_pool(pool.replace(finished=pool.finished + by))
        else:
            self.put_pool(pool.replace(errored=pool.errored + by))


def _merge(into: dict[Any, Any], staged: dict[Any, Any]) -> None:
    for key, value in staged.items():
        if value is None:
            into.pop(key, None)
        else:
            into[key] = value
