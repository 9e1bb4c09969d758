"""Apps come, change and go: from the plan to pools."""

from __future__ import annotations

from . import jobs, orphans, rolling
from . import worker as w
from .depends import exit_code, may_start, obstacles
from .diff import keeps_workers
from .effects import StopTimer
from .events import Timer
from .lifecycle import shares_port, stop_workers
from .worker import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import AppSpec, DependsSpec
    from .turn import Turn


def add_app(turn: Turn, spec: AppSpec) -> None:
    """A new app; its workers start once what it depends on is there.

    With `autostart: false` they wait until a person starts it, as in PM2, or for the first time
    of `cron_restart`. An app
    of that name that is still being removed is waited for.
    """
    if turn.pool(spec.name) is not None:
        return
    mode = "waiting" if spec.autostart or jobs.begins_idle(spec) else "stopped"
    ids = turn.new_ids(spec.instances)
    turn.put_pool(Pool(spec.name, spec, wanted=spec.instances, ids=ids, mode=mode))


def remove_app(turn: Turn, pool: Pool) -> None:
    """No longer in the file: its workers stop, then its listeners are closed."""
    turn.put_pool(orphans.forget(turn, pool).replace(mode="removing", reload=None))
    for place in list(turn.places(pool.name)):
        turn.emit(StopTimer(Timer("restart", pool.name, place.waits_for)))
        turn.put_place(place.replace(state=w.STOPPED, successor=0, waits_for=0))
    stop_workers(turn, pool.name, turn.workers(pool.name), "remove")


def change_app(turn: Turn, pool: Pool, spec: AppSpec) -> None:
    """The file says something else of it: scale, reload, or both."""
    kept = keeps_workers(pool.spec, spec)
    # What a person has scaled stays so until the file says another number.
    rescaled = spec.instances not in (pool.spec.instances, pool.wanted)
    untrimmed = pool.untrimmed or (shares_port(pool.spec) and not kept)
    pool = turn.put_pool(pool.replace(spec=spec, untrimmed=untrimmed))
    if pool.slots:
        pool = rolling.grow_port(turn, pool)
    # The reload first: instances that the scaling adds begin with the new spec.
    if not kept and not jobs.keeps_run(turn, pool):
        rolling.begin(turn, pool, "config changed")
    if rescaled:
        rolling.scale(turn, turn.the_pool(spec.name), spec.instances)


def start_waiting(turn: Turn) -> None:
    """Start the apps whose dependencies are met."""
    if turn.run.phase != "running":
        return
    for pool in turn.pools():
        if pool.mode == "waiting" and may_start(turn, pool):
            turn.put_pool(pool.replace(mode="running"))


def tell_blocked(turn: Turn) -> Pool | None:
    """Say once of each app that waits for what can never come; one that ends the run."""
    fatal = None
    never = obstacles(turn)
    for pool in turn.pools():
        if pool.blocked != (pool.name in never):
            turn.put_pool(pool.replace(blocked=pool.name in never))
            if pool.name in never:
                _report_blocked(turn, pool, never[pool.name])
        if pool.name in never and pool.spec.on_errored != "keep":
            fatal = fatal or pool
    return fatal


def _report_blocked(turn: Turn, pool: Pool, why: DependsSpec) -> None:
    root = turn.the_pool(why.app)
    failed = [place.last_exit for place in turn.places(root.name) if place.last_code]
    turn.report(
        "error",
        "app never starts",
        app=pool.name,
        depends_on=why.app,
        condition=why.condition,
        because=f"{why.app}: {failed[0] if failed else 'ended'}",
        on_errored=pool.spec.on_errored,
    )


def blocked_code(turn: Turn, pool: Pool) -> int:
    """The exit code of a run that ends because `pool` never starts; 0 is not one."""
    why = obstacles(turn).get(pool.name)
    return exit_code(turn, turn.the_pool(why.app)) if why is not None else 0
