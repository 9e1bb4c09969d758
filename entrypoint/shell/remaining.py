"""The end of the container: stops the processes that remain when all workers are gone.

These are daemons, and children of workers that a stop does not include. Each direct child of
this process gets the stop signal with its process group. Its own children do not, at first: a
database ends its helpers itself. When the head of a family has ended, the rest become
children of this process and get the signal then.

A process of `docker exec` has a parent outside of the container and is no child: it lives
until the container ends, and nothing waits for it.
"""

from __future__ import annotations

import os
import time

from entrypoint.core import events as e
from entrypoint.kernel import (
    kill,
    proc,
    reap,
    signals,
    tree,
)

from .descendants import name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from entrypoint.core.effects import StopRemaining
    from entrypoint.core.events import Event
    from entrypoint.loop import Loop

    from .children import Children

    class Runtime(Protocol):
        """What is used of the run."""

        children: Children
        loop: Loop

        def emit(self, event: Event) -> None:
            """Hand an event to the core."""

        def log(self, level: str, event: str, fields: dict[str, object]) -> None:
            """Log one event of pyinit's own."""


# Interval of checks for newly reparented children (s).
LOOK = 0.05
# The most new processes handled by one check: some milliseconds.
MOST = 100
# The most names in one log line.
NAMED = 20


class Remaining:
    """Stops the processes that belong to no worker; idle until the core orders it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._order: StopRemaining | None = None
        # Processes that were signalled, and their groups, with the time in clock ticks.
        self._signalled: set[tree.Process] = set()
        self._groups: dict[int, float] = {}

    def stop(self, effect: StopRemaining) -> None:
        """Send the stop signal to all remaining processes; `RemainingEnded` follows their end."""
        self._order = effect
        self.look()

    def look(self) -> None:
        """Signal new processes; find out whether any remain."""
        if self._order is None:
            return
        runtime = self._runtime
        left = self.processes() if reap.any_left() else []
        if not left:
            self._order = None
            runtime.loop.cancel("remaining")
            runtime.emit(e.RemainingEnded())
            return
        fresh = [each for each in left if each not in self._signalled]
        self._signal(self._order, fresh[:MOST])
        wait = 0.0 if len(fresh) > MOST else LOOK
        runtime.loop.call_at("remaining", runtime.loop.now() + wait, self.look)

    def processes(self) -> list[tree.Process]:
        """The children of this process that are neither workers nor helpers."""
        known = self._runtime.children.known
        found = (tree.identify(pid) for pid in tree.own_children() if pid not in known)
        return [process for process in found if process is not None]

    def names(self) -> dict[str, object]:
        """The names of the remaining processes, for the log."""
        left = self.processes()
        return {"count": len(left), "processes": [self._name(each) for each in left[:NAMED]]}

    def _name(self, process: tree.Process) -> str:
        mark = self._runtime.children.families.mark_of(process)
        app = f", of {mark.app}" if mark is not None else ""
        return f"{name_of(process.pid)} (pid {process.pid}{app})"

    def _signal(self, order: StopRemaining, fresh: list[tree.Process]) -> None:
        by_signal: dict[int, list[tree.Process]] = {}
        for process in fresh:
            self._signalled.add(process)
            signum = self._signal_for(order, process)
            if self._deliver(process, signum):
                by_signal.setdefault(signum, []).append(process)
        for signum, processes in by_signal.items():
            names = [self._name(each) for each in processes[:NAMED]]
            name = signals.name_of(signum)
            fields = {"count": len(processes), "processes": names, "signal": name}
            self._runtime.log("info", "processes left", fields)

    def _signal_for(self, order: StopRemaining, process: tree.Process) -> int:
        """The `kill_signal` of its app, unless the process ignores that signal."""
        mark = self._runtime.children.families.mark_of(process)
        wanted = dict(order.by_app).get(mark.app) if mark is not None else None
        # A shell starts background commands with SIGINT and SIGQUIT ignored.
        return wanted if wanted and proc.heeds(process.pid, wanted) else order.signum

    def _deliver(self, process: tree.Process, signum: int) -> bool:
        """Signal its group, or only the process; False if it already got the signal."""
        found = proc.stat(process.pid)
        if found is None:
            return False
        try:
            if found.group in (os.getpgrp(), 0) or found.group in self._runtime.children.known:
                tree.signal(process, signum)
            elif found.group not in self._groups:
                self._groups[found.group] = time.clock_gettime(time.CLOCK_BOOTTIME) * proc.TICKS
                kill.send_signal(found.group, signum, group=True)
            elif process.started < self._groups[found.group] - 1:
                return False
            else:
                tree.signal(process, signum)
            if found.state == "T":
                tree.signal(process, signals.SIGCONT)
        except PermissionError:
            pass  # the end of the container kills it
        return True
