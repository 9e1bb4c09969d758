"""Watching the files of the apps and the file of pyinit itself.

Begins after the first workers are spawned: nothing is late if a change of the first
milliseconds is missed, while every worker would wait for the walk of the trees.
"""

from __future__ import annotations

import os

from .core import events as e

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .core.spec import AppSpec, Plan
    from .runtime import Runtime
    from .watch.watcher import Watcher

# The key of the watcher of the file itself; no app has an empty name.
CONFIG = ""


def _config_files(plan: Plan) -> tuple[str, ...]:
    """The file, and the files of variables and secrets that it names."""
    return (os.path.abspath(plan.source), *plan.files)


class Watching:
    """One watcher for each app with `watch`, and one for the file (`watch_config`)."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._watchers: dict[str, tuple[object, Watcher]] = {}

    def follow(self, plan: Plan) -> None:
        """Watch what this plan says, and nothing else. What stays is not touched."""
        wanted: dict[str, object] = {
            spec.name: (spec.watch, spec.ignore_watch, spec.watch_delay, spec.cwd)
            for spec in plan.apps
            if spec.watch
        }
        if plan.watch_config and plan.source:
            wanted[CONFIG] = _config_files(plan)
        for name in tuple(self._watchers):
            if self._watchers[name][0] != wanted.get(name):
                self._watchers.pop(name)[1].close()
        for name, asked in wanted.items():
            if name not in self._watchers:
                watcher = self._start(plan, plan.app(name))
                if watcher is not None:
                    self._watchers[name] = (asked, watcher)

    def _start(self, plan: Plan, spec: AppSpec | None) -> Watcher | None:
        from .watch.ignoring import ignorer
        from .watch.watcher import Watcher

        runtime = self._runtime
        what = {"app": spec.name} if spec is not None else {"config": plan.source}

        def failed(sentence: str) -> None:
            runtime.log("error", "cannot watch", {**what, "reason": sentence})

        def app_changed(path: str) -> None:
            if spec is not None:
                runtime.log("info", "files changed", {**what, "path": path})
                runtime.emit(e.RenewAsked(spec.name, "files changed"))

        def config_changed(path: str) -> None:
            runtime.log("info", "config changed", {**what, "path": path})
            runtime.rereading.begin()

        try:
            if spec is None:
                roots = _config_files(plan)
                return Watcher(runtime.loop, roots, lambda _path: False, config_changed, failed)
            ignored = ignorer(spec.ignore_watch, spec.cwd)
            return Watcher(runtime.loop, spec.watch, ignored, app_changed, failed, spec.watch_delay)
        except (OSError, ValueError, ImportError) as error:
            failed(str(error))
            return None

    def close(self) -> None:
        """Stop watching."""
        for _, watcher in self._watchers.values():
            watcher.close()
        self._watchers.clear()
