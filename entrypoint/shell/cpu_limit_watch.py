"""Watches the CPU limit of the container, which a kubelet may change while it runs.

A write to a file of a cgroup is an event of inotify(7), even on a read-only mount. So
nothing is polled, and nothing is watched unless an app sets its instances by the CPUs.
"""

from __future__ import annotations

from entrypoint.core import events as e
from entrypoint.kernel import cgroup
from entrypoint.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.core.events import Event
    from entrypoint.core.spec import Plan
    from entrypoint.kernel.inotify import Inotify
    from entrypoint.loop import Loop


class CpuLimitWatch:
    """Emits `CpusChanged` when the number of usable CPUs changes."""

    def __init__(
        self,
        loop: Loop,
        emit: Callable[[Event], None],
        log: Callable[[str, str, dict[str, object]], None],
    ) -> None:
        self._loop = loop
        self._emit = emit
        self._log = log
        self._inotify: Inotify | None = None
        self._cpus = 0

    def follow(self, plan: Plan) -> None:
        """Watch the limit if an app of this plan depends on it."""
        self._cpus = plan.cpus
        if not any(spec.by_cpus is not None for spec in plan.apps):
            self.close()
        elif self._inotify is None:
            try:
                self._open()
            except (OSError, ImportError) as error:
                self.close()
                reason = f"the CPU limit of the container: {error}"
                self._log("error", "cannot watch", {"reason": reason})
        else:
            self._look()

    def _open(self) -> None:
        from entrypoint.kernel.inotify import Inotify

        files = cgroup.cpu_limit_files()
        if not files:
            return  # no cgroup is visible
        self._inotify = Inotify()
        for path in files:
            self._inotify.add(path.encode())
        self._loop.register(self._inotify.fd, READ, self._changed)
        # It may have changed since the file was read.
        self._look()

    def _changed(self, _events: int) -> None:
        if self._inotify is not None:
            self._inotify.read()
            self._look()

    def _look(self) -> None:
        cpus = cgroup.usable_cpus()
        if cpus != self._cpus:
            self._cpus = cpus
            self._emit(e.CpusChanged(cpus))

    def close(self) -> None:
        """Stop watching."""
        if self._inotify is not None:
            self._loop.unregister(self._inotify.fd)
            self._inotify.close()
            self._inotify = None
