"""`depends_on`: when an app may start, when it never will, and who is stopped first.

The conditions are Compose's. An app waits until all of its are met, once: what happens
to the other app later does not stop it. In the end the order is reversed, also through
an app that has done its work: with `web → migrate → db` the server goes before the
database, though `migrate` has long ended.
"""

from __future__ import annotations

from . import worker as w

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import DependsSpec
    from .turn import Turn
    from .worker import Pool

COMPLETED = "service_completed_successfully"
HEALTHY = "service_healthy"


def is_finished(pool: Pool) -> bool:
    """Every worker ended by its own will, and none will be restarted."""
    return 0 < pool.wanted == pool.finished


def exit_code(turn: Turn, pool: Pool) -> int:
    """Of an app that finished: the first of its instances that is not 0."""
    return next((place.last_code for place in turn.places(pool.name) if place.last_code), 0)


def awaits_time(pool: Pool) -> bool:
    """It will run again by itself."""
    return bool(pool.spec.cron_restart) and pool.mode == "running"


def ends_run(pool: Pool) -> bool:
    """It is errored, and its file says that this ends the container."""
    return pool.errored > 0 and pool.spec.on_errored != "keep" and not _was_edited(pool)


def awaits_change(turn: Turn, pool: Pool) -> bool:
    """A change of its files broke it: the next change starts it again."""
    return _was_edited(pool) and (pool.errored > 0 or exit_code(turn, pool) != 0)


def _was_edited(pool: Pool) -> bool:
    return pool.edited and pool.spec.on_errored == "wait"


def may_start(turn: Turn, pool: Pool) -> bool:
    """All that it depends on is there."""
    return all(_met(turn, depends) for depends in pool.spec.depends_on)


def _met(turn: Turn, depends: DependsSpec) -> bool:
    other = turn.pool(depends.app)
    if other is None:
        return True
    if depends.condition == COMPLETED:
        return is_finished(other) and not exit_code(turn, other)
    if depends.condition == HEALTHY:
        return other.was_ready and other.ready >= other.wanted and _checked(turn, other)
    # One that was never started, for its `autostart: false`, has no place yet.
    if other.mode == "waiting":
        return False
    if other.spec.cron_restart and not other.spec.autostart:
        return any(place.state != w.IDLE for place in turn.places(other.name))
    return other.placed > 0 or other.wanted == 0


def _checked(turn: Turn, pool: Pool) -> bool:
    """None of its workers counts as ready for the mere reason that its time was over."""
    return pool.spec.health is None or all(
        each.healthy for each in turn.workers(pool.name) if each.ready
    )


def obstacles(turn: Turn) -> dict[str, DependsSpec]:
    """Apps that never start, and why.

    What they wait for, also through others, has ended otherwise than it must have. Each
    app is looked at once: a file may hold a long chain.
    """
    pools = turn.pools()
    # Most of the time there is none, and nothing to look for.
    if not any(is_finished(pool) for pool in pools):
        return {}
    found: dict[str, DependsSpec] = {}
    dependents: dict[str, list[str]] = {}
    for pool in pools:
        if pool.mode != "waiting":
            continue
        for depends in pool.spec.depends_on:
            other = turn.pool(depends.app)
            if other is None or _met(turn, depends):
                continue
            dependents.setdefault(other.name, []).append(pool.name)
            if is_finished(other) and not awaits_time(other):
                found.setdefault(pool.name, depends)
    todo = list(found)
    while todo:
        name = todo.pop()
        for dependent in dependents.get(name, ()):
            if dependent not in found:
                found[dependent] = found[name]
                todo.append(dependent)
    return found


def held(turn: Turn) -> set[str]:
    """Apps that others which still have workers depend on, directly or through others."""
    found: set[str] = set()
    for pool in turn.pools():
        if pool.live and pool.spec.depends_on:
            todo = [depends.app for depends in pool.spec.depends_on]
            seen = {pool.name}
            while todo:
                name = todo.pop()
                other = turn.pool(name)
                if name not in seen and other is not None:
                    seen.add(name)
                    todo += [depends.app for depends in other.spec.depends_on]
            found |= seen - {pool.name}
    return found
