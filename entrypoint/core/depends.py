"""`depends_on`: when an app may start, when it never can, and which apps stop first.

The conditions are Compose's. An app waits until all of its conditions are met, once: later
changes of the other app do not stop it. The shutdown reverses the order, also through
an app that has finished: with `web → migrate → db` the server stops before the
database, though `migrate` ended long ago.
"""

from __future__ import annotations

from . import worker as w

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .spec import DependsSpec
    from .transaction import Transaction
    from .worker import AppState

COMPLETED = "service_completed_successfully"
HEALTHY = "service_healthy"


def is_finished(app_state: AppState) -> bool:
    """Whether every worker ended by itself and none will be restarted."""
    return 0 < app_state.wanted == app_state.finished


def exit_code(tx: Transaction, app_state: AppState) -> int:
    """Exit code of a finished app: the first one of its instances that is not 0."""
    return next(
        (instance.last_code for instance in tx.instances(app_state.name) if instance.last_code), 0
    )


def awaits_time(app_state: AppState) -> bool:
    """Whether the app will run again by itself."""
    return bool(app_state.spec.cron_restart) and app_state.mode == "running"


def ends_run(app_state: AppState) -> bool:
    """Whether the app is errored and its file says that this ends the container."""
    return (
        app_state.errored > 0 and app_state.spec.on_errored != "keep" and not _was_edited(app_state)
    )


def awaits_change(tx: Transaction, app_state: AppState) -> bool:
    """Whether a change of its files broke the app: the next change starts it again."""
    return _was_edited(app_state) and (app_state.errored > 0 or exit_code(tx, app_state) != 0)


def _was_edited(app_state: AppState) -> bool:
    return app_state.edited and app_state.spec.on_errored == "wait"


def may_start(tx: Transaction, app_state: AppState) -> bool:
    """Whether all dependencies of the app are met."""
    return all(_met(tx, depends) for depends in app_state.spec.depends_on)


def _met(tx: Transaction, depends: DependsSpec) -> bool:
    other = tx.app(depends.app)
    if other is None:
        return True
    if depends.condition == COMPLETED:
        return is_finished(other) and not exit_code(tx, other)
    if depends.condition == HEALTHY:
        return other.was_ready and other.ready >= other.wanted and _checked(tx, other)
    # An app that was never started, because of `autostart: false`, has no instance yet.
    if other.mode == "waiting":
        return False
    if other.spec.cron_restart and not other.spec.autostart:
        return any(instance.state != w.IDLE for instance in tx.instances(other.name))
    return other.created > 0 or other.wanted == 0


def _checked(tx: Transaction, app_state: AppState) -> bool:
    """Whether no worker counts as ready merely because its timeout passed."""
    return app_state.spec.health is None or all(
        each.healthy for each in tx.workers(app_state.name) if each.ready
    )


def obstacles(tx: Transaction) -> dict[str, DependsSpec]:
    """Apps that can never start, with the reasons.

    A dependency, direct or indirect, has ended in a way that does not meet the condition. Each
    app is checked once: a file may hold a long chain.
    """
    apps = tx.apps()
    # Usually there is none, and the search can be skipped.
    if not any(is_finished(app_state) for app_state in apps):
        return {}
    found: dict[str, DependsSpec] = {}
    dependents: dict[str, list[str]] = {}
    for app_state in apps:
        if app_state.mode != "waiting":
            continue
        for depends in app_state.spec.depends_on:
            other = tx.app(depends.app)
            if other is None or _met(tx, depends):
                continue
            dependents.setdefault(other.name, []).append(app_state.name)
            if is_finished(other) and not awaits_time(other):
                found.setdefault(app_state.name, depends)
    todo = list(found)
    while todo:
        name = todo.pop()
        for dependent in dependents.get(name, ()):
            if dependent not in found:
                found[dependent] = found[name]
                todo.append(dependent)
    return found


def needed_by_others(tx: Transaction) -> set[str]:
    """Apps that other apps with workers depend on, directly or through others."""
    found: set[str] = set()
    for app_state in tx.apps():
        if app_state.live and app_state.spec.depends_on:
            todo = [depends.app for depends in app_state.spec.depends_on]
            seen = {app_state.name}
            while todo:
                name = todo.pop()
                other = tx.app(name)
                if name not in seen and other is not None:
                    seen.add(name)
                    todo += [depends.app for depends in other.spec.depends_on]
            found |= seen - {app_state.name}
    return found
