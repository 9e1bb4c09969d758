"""Watches the files of the apps and pyinit's own file.

Starts after the first workers are spawned: missing a change in the first
milliseconds does no harm, but every worker would wait for the walk of the trees.
"""

from __future__ import annotations

import os

from entrypoint.core import events as e

from .cpu_limit_watch import CpuLimitWatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.core.events import Event
    from entrypoint.core.spec import AppSpec, Plan
    from entrypoint.loop import Loop
    from entrypoint.watch.watcher import Watcher

# The key of the watcher of the file itself; no app has an empty name.
CONFIG = ""


def _config_files(plan: Plan) -> tuple[str, ...]:
    """The file, and the files of variables and secrets that it names."""
    return (os.path.abspath(plan.source), *plan.files)


class Watching:
    """One watcher for each app with `watch`, and one for the file (`watch_config`).

    Also one for the CPU limit, if apps set their instances by it.
    """

    def __init__(
        self,
        loop: Loop,
        emit: Callable[[Event], None],
        log: Callable[[str, str, dict[str, object]], None],
        reload_config: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._emit = emit
        self._log = log
        self._reload_config = reload_config
        self._watchers: dict[str, tuple[object, Watcher]] = {}
        self._cpu_limit = CpuLimitWatch(loop, emit, log)

    def follow(self, plan: Plan) -> None:
        """Watch exactly the files of this plan. Unchanged watchers are kept."""
        self._cpu_limit.follow(plan)
        config = _config_files(plan) if plan.watch_config and plan.source else ()
        wanted: dict[str, object] = {
            spec.name: (spec.watch, spec.ignore_watch, spec.watch_delay, spec.cwd, config)
            for spec in plan.apps
            if spec.watch
        }
        if config:
            wanted[CONFIG] = config
        for name in tuple(self._watchers):
            if self._watchers[name][0] != wanted.get(name):
                self._watchers.pop(name)[1].close()
        for name, asked in wanted.items():
            if name not in self._watchers:
                spec = plan.app(name)
                watcher = self._start_config(config) if spec is None else self._start(spec, config)
                if watcher is not None:
                    self._watchers[name] = (asked, watcher)

    def _start(self, spec: AppSpec, config: tuple[str, ...]) -> Watcher | None:
        """Watch the files of an app; pyinit's own file has a watcher of its own."""
        from entrypoint.watch.ignoring import ignorer

        def changed(path: str) -> None:
            shown = os.path.relpath(path, spec.cwd) if path.startswith(spec.cwd + "/") else path
            self._log("info", "files changed", {"app": spec.name, "path": shown})
            self._emit(e.RenewRequested(spec.name, "files changed"))

        by_pattern = ignorer(spec.ignore_watch, spec.cwd, spec.watch)
        own = {os.fsencode(path) for path in config}
        return self._watcher(
            {"app": spec.name},
            spec.watch,
            lambda path: path in own or by_pattern(path),
            changed,
            spec.watch_delay,
        )

    def _start_config(self, config: tuple[str, ...]) -> Watcher | None:
        def changed(path: str) -> None:
            self._log("info", "config changed", {"path": path})
            self._reload_config()

        return self._watcher({"config": config[0]}, config, lambda _path: False, changed)

    def _watcher(
        self,
        what: dict[str, object],
        roots: tuple[str, ...],
        ignored: Callable[[bytes], bool],
        changed: Callable[[str], None],
        delay: float = 0.0,
    ) -> Watcher | None:
        try:
            from entrypoint.watch.watcher import Watcher

            return Watcher(
                self._loop,
                roots,
                ignored,
                changed,
                lambda sentence: self._failed(what, sentence),
                delay,
            )
        except (OSError, ImportError) as error:
            self._failed(what, str(error))
            return None

    def _failed(self, what: dict[str, object], sentence: str) -> None:
        self._log("error", "cannot watch", {**what, "reason": sentence})

    def close(self) -> None:
        """Stop watching."""
        self._cpu_limit.close()
        for _, watcher in self._watchers.values():
            watcher.close()
        self._watchers.clear()
