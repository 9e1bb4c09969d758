"""Apps come, change and go: from the plan to pools, and `depends_on`."""

from __future__ import annotations

from . import rolling
from . import worker as w
from .effects import GrowPort, StopTimer
from .events import Timer
from .lifecycle import shares_port, stop_workers
from .worker import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import AppSpec, DependsSpec
    from .turn import Turn


def add_app(turn: Turn, spec: AppSpec) -> None:
    """A new app; its workers start once what it depends on is there.

    An app of that name that is still being removed is waited for.
    """
    if turn.pool(spec.name) is not None:
        return
    turn.put_pool(Pool(spec.name, spec, wanted=spec.instances, mode="waiting"))


def remove_app(turn: Turn, pool: Pool) -> None:
    """No longer in the file: its workers stop, then its listeners are closed."""
    turn.put_pool(pool.replace(mode="removing", reload=None))
    for place in list(turn.places(pool.name)):
        turn.emit(StopTimer(Timer("restart", pool.name, place.waits_for)))
        turn.put_place(place.replace(state=w.STOPPED, successor=0, waits_for=0))
    stop_workers(turn, pool.name, turn.workers(pool.name), "remove")


def change_app(turn: Turn, pool: Pool, spec: AppSpec) -> None:
    """The file says something else of it: scale, reload, or both."""
    only_scaled = pool.spec.replace(instances=spec.instances) == spec
    pool = turn.put_pool(pool.replace(spec=spec))
    if shares_port(spec) and pool.slots:
        turn.emit(GrowPort(pool.name, pool.slots))
    # The reload first: instances that the scaling adds begin with the new spec.
    if not only_scaled:
        rolling.begin(turn, pool, "config changed")
    if spec.instances != pool.wanted:
        rolling.scale(turn, turn.the_pool(spec.name), spec.instances)


def start_waiting(turn: Turn) -> None:
    """Start the apps whose dependencies are met."""
    if turn.run.phase != "running":
        return
    for pool in turn.pools():
        if pool.mode == "waiting" and all(_met(turn, d) for d in pool.spec.depends_on):
            started = turn.put_pool(pool.replace(mode="running"))
            rolling.add_places(turn, started)


def _met(turn: Turn, depends: DependsSpec) -> bool:
    other = turn.pool(depends.app)
    if other is None:
        return True
    if depends.condition == "service_completed_successfully":
        return is_finished(other) and not exit_code(turn, other)
    if depends.condition == "service_healthy":
        return other.was_ready and other.ready >= other.wanted
    return other.mode != "waiting"


def is_finished(pool: Pool) -> bool:
    """Every worker ended by its own will, and none will be restarted."""
    return 0 < pool.wanted == pool.finished


def exit_code(turn: Turn, pool: Pool) -> int:
    """Of an app that finished: the first of its instances that is not 0."""
    return next((place.last_code for place in turn.places(pool.name) if place.last_code), 0)


def never_starts(turn: Turn, pool: Pool, asked: tuple[str, ...] = ()) -> bool:
    """It waits for an app which finished otherwise than it must have."""
    if pool.mode != "waiting" or pool.name in asked:
        return False
    for depends in pool.spec.depends_on:
        other = turn.pool(depends.app)
        if other is None or _met(turn, depends):
            continue
        if is_finished(other) or never_starts(turn, other, (*asked, pool.name)):
            return True
    return False
