"""Apps are added, changed and removed: applies the plan to their state."""

from __future__ import annotations

from . import jobs, rolling, slots
from . import worker as w
from .depends import exit_code, may_start, obstacles
from .diff import keeps_workers
from .effects import StopTimer
from .events import Timer
from .lifecycle import shares_port, stop_workers
from .worker import AppState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .events import CpusChanged
    from .spec import AppSpec, DependsSpec
    from .transaction import Transaction
    from .types import AppMode


def add_app(tx: Transaction, spec: AppSpec) -> None:
    """Add an app. Its workers start once its dependencies are met.

    With `autostart: false` they wait until a user starts the app, as in PM2, or until the first
    time of `cron_restart`. If an app of that name is still being removed, the new one waits
    for it.
    """
    if tx.app(spec.name) is not None:
        return
    mode: AppMode = "waiting" if spec.autostart or jobs.begins_idle(spec) else "stopped"
    ids = tx.new_ids(spec.instances)
    tx.put_app(AppState(spec.name, spec, wanted=spec.instances, ids=ids, mode=mode))


def remove_app(tx: Transaction, app_state: AppState) -> None:
    """Remove an app that the file no longer has: stop its workers, then close its listeners."""
    tx.put_app(slots.forget_queues(tx, app_state).replace(mode="removing", reload=None))
    for instance in list(tx.instances(app_state.name)):
        tx.emit(StopTimer(Timer("restart", app_state.name, instance.restart_timer)))
        tx.put_instance(instance.replace(state=w.STOPPED, successor=0, restart_timer=0))
    stop_workers(tx, app_state.name, tx.workers(app_state.name), "remove")


def change_app(tx: Transaction, app_state: AppState, spec: AppSpec) -> None:
    """Apply a changed spec: scale, reload, or both."""
    kept = keeps_workers(app_state.spec, spec)
    # A number of instances set by a user stays until the file changes its own number.
    rescaled = spec.instances not in (app_state.spec.instances, app_state.wanted)
    untrimmed = app_state.untrimmed or (shares_port(app_state.spec) and not kept)
    app_state = tx.put_app(app_state.replace(spec=spec, untrimmed=untrimmed))
    if app_state.slots:
        app_state = slots.grow_port(tx, app_state)
    # Reload first: instances that the scaling adds then start with the new spec.
    if not kept and not jobs.keeps_run(tx, app_state):
        rolling.begin(tx, app_state, "config changed")
    if rescaled:
        rolling.scale(tx, tx.the_app(spec.name), spec.instances)


def follow_cpus(tx: Transaction, event: CpusChanged) -> None:
    """Fit apps with `instances: max` to the present number of CPUs.

    Apps that a user has scaled since are left alone.
    """
    if tx.run.phase != "running" or event.cpus == tx.run.plan.cpus:
        return
    tx.report("info", "cpus changed", was=tx.run.plan.cpus, cpus=event.cpus)
    tx.run = tx.run.replace(plan=tx.run.plan.replace(cpus=event.cpus))
    for app_state in tx.apps():
        spec = app_state.spec
        if spec.by_cpus is None or app_state.mode == "removing":
            continue
        follows = app_state.wanted == spec.instances
        spec = spec.replace(instances=max(1, event.cpus + spec.by_cpus))
        changed = tx.put_app(app_state.replace(spec=spec))
        if follows and spec.instances != changed.wanted:
            rolling.scale(tx, changed, spec.instances)


def start_waiting(tx: Transaction) -> None:
    """Start the apps whose dependencies are met."""
    if tx.run.phase != "running":
        return
    for app_state in tx.apps():
        if app_state.mode == "waiting" and may_start(tx, app_state):
            tx.put_app(app_state.replace(mode="running"))


def tell_blocked(tx: Transaction) -> AppState | None:
    """Report each app whose dependencies can never be met, once; end the run if one requires it."""
    fatal = None
    never = obstacles(tx)
    for app_state in tx.apps():
        if app_state.blocked != (app_state.name in never):
            tx.put_app(app_state.replace(blocked=app_state.name in never))
            if app_state.name in never:
                _report_blocked(tx, app_state, never[app_state.name])
        if app_state.name in never and app_state.spec.on_errored != "keep":
            fatal = fatal or app_state
    return fatal


def _report_blocked(tx: Transaction, app_state: AppState, why: DependsSpec) -> None:
    root = tx.the_app(why.app)
    failed = [instance.last_exit for instance in tx.instances(root.name) if instance.last_code]
    tx.report(
        "error",
        "app never starts",
        app=app_state.name,
        depends_on=why.app,
        condition=why.condition,
        because=f"{why.app}: {failed[0] if failed else 'ended'}",
        on_errored=app_state.spec.on_errored,
    )


def blocked_code(tx: Transaction, app_state: AppState) -> int:
    """Exit code of a run that ends because `pool` never starts; never 0."""
    why = obstacles(tx).get(app_state.name)
    return exit_code(tx, tx.the_app(why.app)) if why is not None else 0
