"""Checks across several apps or several keys."""

from __future__ import annotations

from entrypoint.core.grace import fitted, killing_after
from entrypoint.sockets.declared_address import overlap, parse

from . import findings
from .read import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from entrypoint.core.spec import AppSpec, ListenSpec, ShutdownSpec

    from .apps import RawApp
    from .errors import Problems
    from .tree import Node


def check_names(problems: Problems, apps: Iterable[RawApp]) -> None:
    """Check that each name is unique."""
    first: dict[str, RawApp] = {}
    for app in apps:
        if app.name not in first:
            first[app.name] = app
            continue
        where = _where(problems, first[app.name].node, app.node)
        node, path = app.location("name")
        hint = "" if "name" in app.values else "; give this one a `name`"
        problems.error(node, path, f"the name {app.name!r} is taken by the app in {where}{hint}")


def _where(problems: Problems, node: Node, seen_from: Node) -> str:
    """The location of `node`, relative to the file of `seen_from`."""
    file = problems.file_of(node)
    if file != problems.file_of(seen_from):
        return f"{file}:{node.line}" if node.line else file
    return f"line {node.line}" if node.line else "above"


def check_listeners(
    problems: Problems,
    apps: Iterable[RawApp],
    probes: tuple[ListenSpec, ...],
    probes_location: tuple[Node | None, str],
) -> None:
    """Check that each address occurs once in the file."""
    taken: list[tuple[ListenSpec, RawApp]] = []
    for app in apps:
        node, path = app.location("listen")
        for spec in app.value("listen", ()):
            for other, owner in taken:
                if owner.name != app.name and overlap(spec, other):
                    by = f"app {owner.name!r} ({_where(problems, owner.node, app.node)})"
                    problems.error(node, path, f"{spec.text} is already used by {by}")
            taken.append((spec, app))
    for spec in probes:
        for other, owner in taken:
            if overlap(spec, other):
                problems.error(
                    *probes_location, f"{spec.text} is already used by app {owner.name!r}"
                )


def check_depends(problems: Problems, apps: tuple[RawApp, ...]) -> None:
    """Check that every dependency exists, and that no app waits for itself."""
    by_name = {app.name: app for app in apps}
    wanted: dict[str, list[str]] = {}
    for app in apps:
        node, path = app.location("depends_on")
        wanted[app.name] = []
        for depends in app.value("depends_on", ()):
            if depends.app not in by_name:
                shown = Reader.redacted(node, depends.app)
                near = problems.suggest(depends.app, by_name)
                problems.error(node, path, f"there is no app {shown}{near}")
            else:
                wanted[app.name].append(depends.app)
                _check_condition(problems, by_name[depends.app], depends.condition, node, path)
    for cycle in _cycles(wanted):
        node, path = by_name[cycle[0]].location("depends_on")
        problems.error(node, path, f"waits for itself: {' → '.join((*cycle, cycle[0]))}")


def _check_condition(
    problems: Problems, target: RawApp, condition: str, node: Node, path: str
) -> None:
    ends = not target.value("autorestart", True) or 0 in target.value("stop_exit_codes", ())
    if condition == "service_completed_successfully" and not ends:
        problems.error(
            node,
            path,
            f"{target.name!r} is restarted whenever it ends, so it never completes; "
            "give it `autorestart: false`",
        )


def _cycles(wanted: dict[str, list[str]]) -> list[tuple[str, ...]]:
    """Cycles that have no app in common, each from its first app in the file on."""
    from graphlib import CycleError, TopologicalSorter

    order = list(wanted)
    found: list[tuple[str, ...]] = []
    left = wanted
    while True:
        try:
            TopologicalSorter(left).prepare()
        except CycleError as error:
            # Each is what the next one waits for, and the first is the last again.
            cycle = error.args[1][:0:-1]
            at = cycle.index(min(cycle, key=order.index))
            found.append((*cycle[at:], *cycle[:at]))
            left = {
                name: [each for each in names if each not in cycle]
                for name, names in left.items()
                if name not in cycle
            }
        else:
            return found


def check_app(problems: Problems, raw: RawApp, app: AppSpec) -> None:
    """Check for keys that contradict each other."""
    words = "\0".join((*app.command, *(value for _, value in raw.value("env", {}).items())))
    for placeholder in ("{fd}", "{port}"):
        if placeholder in words and not app.listen and app.placeholders:
            node, path = raw.location("script")
            problems.error(node, path, f"{placeholder} needs the app's `listen`, which is missing")
    if app.tty and app.stdin == "open":
        problems.warn(*raw.location("stdin"), "a `tty` is its input already")
    if app.overlap and not app.cron_restart and app.autorestart:
        problems.warn(*raw.location("overlap"), "is for apps with `cron_restart`, or run by hand")
    node, path = raw.location("handoff")
    if app.handoff == "none" and app.listen:
        problems.error(node, path, "with `none` nobody would accept on the addresses of `listen`")
    elif app.handoff == "fds" and not app.listen:
        problems.error(node, path, "`fds` hands over the addresses of `listen`, which is missing")
    elif app.handoff == "node" and not app.node:
        problems.warn(node, path, "`node` is for Node programs, which this one seems not to be")
    if app.listen and app.share == "none":
        node, path = raw.location("share")
        problems.error(node, path, "cannot be `none` together with `listen`")
    if app.health is not None and app.health.http.startswith("/") and not app.listen:
        node, path = raw.location("health")
        problems.error(
            node, path, "a path needs the app's `listen`; write a whole http:// URL instead"
        )
    if app.health is not None and app.health.tcp and _is_own(app, app.health.tcp):
        node, path = raw.location("health")
        problems.warn(
            node,
            path,
            "pyinit itself listens there, so a connection is always taken; ask by `http` or `exec`",
        )
    if app.shutdown_with_message and not app.node:
        node, path = raw.location("shutdown_with_message")
        problems.warn(node, path, "only Node programs get the message; this one gets the signal")


def note_pm2(problems: Problems, raw: RawApp, app: AppSpec) -> None:
    """Note differences from PM2 that are only visible in the resolved app."""
    if app.exec_mode == "cluster" and not app.node and app.command:
        node, path = raw.location("exec_mode", "instances")
        text = "cluster mode of a program that node does not run: PM2 loads it as JavaScript"
        problems.note(node, path, text, findings.CLUSTER_OF_OTHERS)
    if "kill_timeout" not in raw.values:
        text = "is 8 s where the file says nothing; under PM2 1.6 s"
        path = f"{raw.path}.kill_timeout" if raw.path else "kill_timeout"
        problems.note(raw.node, path, text, findings.KILL_TIMEOUT)


def note_native(problems: Problems, raw: RawApp, app: AppSpec) -> None:
    """Note what PM2's users do not expect of a YAML file."""
    if app.node and app.kill_signal is None and not app.shutdown_with_message:
        text = "SIGTERM by default; PM2 stops every app with SIGINT"
        path = f"{raw.path}.kill_signal" if raw.path else "kill_signal"
        problems.note(raw.node, path, text, findings.NATIVE_SIGNAL)


def check_times(
    problems: Problems,
    apps: tuple[AppSpec, ...],
    shutdown: ShutdownSpec,
    location: tuple[Node | None, str],
) -> ShutdownSpec:
    """Fit the times of a shutdown into the grace period; warn if they do not fit unchanged."""
    if problems.errors:
        return shutdown
    workers = _longest_stop(apps)
    needed = shutdown.drain_delay + workers
    killing = killing_after(shutdown.timeout)
    if 0 < killing < needed:
        problems.warn(
            *location,
            f"drain_delay and kill_timeout may take {needed:g} s ({_which(apps)}), but after "
            f"{killing:g} s of the timeout of {shutdown.timeout:g} s what is left is killed",
        )
        needed = shutdown.timeout
    fits = fitted(shutdown, workers)
    cut = fits.stop_share < 1 or fits.drain_delay < shutdown.drain_delay
    if cut or 0 < shutdown.grace < shutdown.timeout:
        problems.warn(
            *location,
            f"the shutdown may take {needed:g} s (drain_delay {shutdown.drain_delay:g} s, then "
            f"{_which(apps)}), but the orchestrator ends everything after {shutdown.grace:g} s: "
            f"the drain gets {fits.drain_delay:g} s and the workers "
            f"{workers * fits.stop_share:g} s, the rest is for the last log lines",
        )
    return fits


def _which(apps: tuple[AppSpec, ...]) -> str:
    if any(app.depends_on for app in apps):
        return "each kill_timeout in the order of depends_on"
    return "the longest kill_timeout"


def _longest_stop(apps: tuple[AppSpec, ...]) -> float:
    """Seconds that the workers may take: those of an app, then of what it depends on."""
    by_name = {app.name: app for app in apps}
    # App → seconds of its own workers, and of those that can only stop after them.
    own: dict[str, float] = {}
    after: dict[str, float] = {}
    # Without recursion; none waits for itself, or there was an error.
    for first in apps:
        todo = [first]
        while todo:
            app = todo[-1]
            depends = [d for d in app.depends_on if d.app in by_name]
            missing = [by_name[d.app] for d in depends if d.app not in own]
            if missing:
                todo += missing
                continue
            todo.pop()
            own[app.name] = app.kill_timeout
            after[app.name] = max(
                (
                    after[d.app]
                    # An app that had to complete first has ended when this app has workers.
                    + (0.0 if d.condition == "service_completed_successfully" else own[d.app])
                    for d in depends
                ),
                default=0.0,
            )
    return max((own[name] + after[name] for name in own), default=0.0)


def _is_own(app: AppSpec, target: str) -> bool:
    asked = parse(target, dual_stack=False)
    if asked.family == "unix":
        return any(spec.path == asked.path for spec in app.listen)
    return any(spec.port == asked.port for spec in app.listen)
