"""`tty: true`: a pseudo terminal for each worker.

What a worker writes there goes to the log like the lines of a pipe. If pyinit has a terminal
itself, as with `docker run -it`, the workers' terminals get its size, and its keys go to the
first worker, in the order of the file, that has one: a REPL, or keys of a development server.
Ctrl-C still stops pyinit.
"""

from __future__ import annotations

import os

from entrypoint.kernel import terminal
from entrypoint.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from entrypoint.core.spec import AppSpec, Plan
    from entrypoint.logs.pump import LogPump
    from entrypoint.loop import Loop

    from .children import Started

    class Runtime(Protocol):
        """What is used of the run."""

        loop: Loop
        plan: Plan
        pump: LogPump

        def log(self, level: str, event: str, fields: dict[str, object]) -> None:
            """Log one event of pyinit's own."""


_SIZE = 4096


class Terminals:
    """The terminals of the workers of one run."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        # By incarnation: a duplicate of our end, for writing and resizing.
        self._open: dict[int, tuple[Started, int]] = {}
        self._keys: terminal.Keys | None = None

    def open(self, spec: AppSpec) -> tuple[int, int]:
        """Open a terminal for a worker: our end, its end. Raises TerminalError."""
        return terminal.open_pair(spec.uid, terminal.size_of())

    def started(self, started: Started, fd: int) -> None:
        """Register a started worker; `fd` is our end, which the log still owns."""
        incarnation = started.incarnation
        self._open[incarnation] = (started, os.dup(fd))
        self._runtime.pump.closed(incarnation, lambda: self._ended(incarnation))
        self._take_keys()

    def _ended(self, incarnation: int) -> None:
        # The worker's last output may be read after `close`.
        _, fd = self._open.pop(incarnation, (None, -1))
        if fd >= 0:
            os.close(fd)

    def resize(self) -> None:
        """Pass on a new size of pyinit's own terminal."""
        size = terminal.size_of()
        for _, fd in self._open.values():
            terminal.resize(fd, size)

    # -- keys -------------------------------------------------------------------------

    def _take_keys(self) -> None:
        if self._keys is not None or not terminal.is_in_foreground(0):
            return
        try:
            self._keys = terminal.Keys(0)
        except Exception as error:  # noqa: BLE001  termios.error is no OSError
            self._runtime.log("warning", "no keys for workers", {"reason": str(error)})
            return
        self._runtime.loop.register(0, READ, self._typed)

    def _typed(self, _events: int) -> None:
        try:
            data = os.read(0, _SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._leave_keys()
            return
        fd = self._first()
        if fd < 0:
            return
        try:
            os.write(fd, data)
        except OSError:
            pass  # it does not read: typed keys are lost, as on any terminal

    def _first(self) -> int:
        order = [spec.name for spec in self._runtime.plan.apps]
        found = [
            (order.index(started.spec.name), started.instance, -incarnation, fd)
            for incarnation, (started, fd) in self._open.items()
            if started.spec.name in order
        ]
        return min(found)[-1] if found else -1

    def _leave_keys(self) -> None:
        if self._keys is not None:
            self._runtime.loop.unregister(0)
            self._keys.restore()
            self._keys = None

    def close(self) -> None:
        """Restore our own terminal at the end of the run."""
        self._leave_keys()
        for _, fd in self._open.values():
            os.close(fd)
        self._open.clear()
