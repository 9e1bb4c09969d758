"""Starts a worker: its pipes, its descriptors, its filter, then fork(2).

Performs `Spawn` and reports the result as `WorkerSpawned` or `SpawnFailed`.
"""

from __future__ import annotations

import os

from entrypoint.core import events as e
from entrypoint.kernel import (
    child_report,
    limits,
    process,
    reap,
    signals,
)
from entrypoint.kernel.pipes import worker_pipe
from entrypoint.sockets.addresses import ListenerDownError

from .children import Started
from .notify_sockets import Notifying
from .spawn_request import after_request, instance_number, request_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from entrypoint.core.effects import Spawn
    from entrypoint.core.events import Event
    from entrypoint.core.spec import AppSpec
    from entrypoint.logs.pump import LogPump
    from entrypoint.loop import Loop
    from entrypoint.sockets.effects import PortEffects

    from .children import Children
    from .terminals import Terminals

    class Runtime(Protocol):
        """What is used of the run."""

        children: Children
        is_init: bool
        loop: Loop
        ports: PortEffects
        pump: LogPump
        terminals: Terminals

        def emit(self, event: Event) -> None:
            """Hand an event to the core."""

        def internal_error(self, where: str, error: BaseException, app: str = "") -> None:
            """Log and count a bug, or a shortage. Never raises."""

        def memory_share(self) -> int:
            """Memory that one worker may use of the container's now, bytes."""

        def log(self, level: str, event: str, fields: dict[str, object]) -> None:
            """Log one event of pyinit's own."""


class Launching:
    """The starts of one run, and what workers get at their start: NOTIFY_SOCKET, stdin."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._silent: tuple[int, int] | None = None
        self._notify = Notifying(runtime)
        self._filter_errno = 0
        # By incarnation: the channel of the commands of its `after_stop`.
        self._after: dict[int, int] = {}

    def spawn(self, effect: Spawn) -> None:
        """Perform `Spawn`."""
        runtime, spec = self._runtime, effect.spec
        ports = runtime.ports.get(spec.name)
        ours: list[int] = []
        theirs: list[int] = []
        try:
            if ports is not None:
                ports.occupy(effect.queue)
            started = Started(
                effect.incarnation, 0, spec, effect.instance, effect.slot, effect.queue
            )
            others = runtime.children.of_app(spec.name)
            number = instance_number(started, others, spec.instances)
            started = started.replace(surge_number=number, id=effect.id, restarts=effect.restarts)
            request, started = request_for(
                started,
                ports,
                notify_path=self._notify.open(effect.incarnation),
                filtered=self._filter_errno == 0,
                init=runtime.is_init,
                memory=self._memory(spec),
            )
            stdin = self._null
            if spec.tty:
                ours, theirs = ([fd] for fd in runtime.terminals.open(spec))
                stdin = theirs[0]
                request = request.replace(stdout=stdin, stderr=stdin, controlling=True)
            elif runtime.pump.form.name != "raw":
                for _ in range(2):
                    reading, writing = worker_pipe(spec.uid, spec.gid)
                    ours.append(reading)
                    theirs.append(writing)
                request = request.replace(stdout=theirs[0], stderr=theirs[1])
            if spec.stdin == "open" and not spec.tty:
                stdin = self._silent_pipe()
                theirs.append(stdin)
            started = runtime.children.start(started, request.replace(stdin=stdin))
            self._started(started, ours)
        except Exception as error:  # noqa: BLE001  the core must hear of every end of a start
            self._failed(effect, error, ours)
        finally:
            for fd in theirs:
                os.close(fd)

    def _memory(self, spec: AppSpec) -> int:
        """The worker's share of the container's memory, if the worker has to know it."""
        if spec.memory != "auto":
            return 0
        runtime = self._runtime
        memory = runtime.memory_share()
        runtime.log("debug", "memory budget", {"app": spec.name, "memory": memory})
        return memory

    def _started(self, started: Started, ours: list[int]) -> None:
        runtime, spec = self._runtime, started.spec
        ports = runtime.ports.get(spec.name)
        if ports is not None:
            ports.node_started(started.incarnation, started.pid)
        if ours:
            runtime.pump.attach(
                spec.name,
                started.instance,
                started.incarnation,
                started.pid,
                ours[0],
                None if spec.tty else ours[1],
                spec.time,
                spec.multiline,
                tty=spec.tty,
            )
        if spec.tty:
            runtime.terminals.started(started, ours[0])
        runtime.emit(e.WorkerSpawned(started.incarnation, started.pid, started.listen_visible))

    def after_stop(self, started: Started) -> int:
        """Start the commands after a worker's end; returns the pid, 0 if that fails."""
        runtime, spec = self._runtime, started.spec
        ours: list[int] = []
        theirs: list[int] = []
        try:
            ports = runtime.ports.get(spec.name)
            request = after_request(started, ports, init=runtime.is_init)
            if runtime.pump.form.name != "raw":
                for _ in range(2):
                    reading, writing = worker_pipe(spec.uid, spec.gid)
                    ours.append(reading)
                    theirs.append(writing)
                request = request.replace(stdout=theirs[0], stderr=theirs[1])
            child = process.spawn(request.replace(stdin=self._null))
        except (OSError, ValueError) as error:
            for fd in ours:
                os.close(fd)
            reason = limits.explain(error) if isinstance(error, OSError) else str(error)
            self._cannot_clean(started, f"fork: {reason}")
            return 0
        finally:
            for fd in theirs:
                os.close(fd)
        number = started.incarnation
        self._after[number] = child.channel
        if ours:
            runtime.pump.attach(
                spec.name, started.instance, number, child.pid, ours[0], ours[1], spec.time
            )
        return child.pid

    def cleaned(self, started: Started, status: int) -> None:
        """Handle the end of the `after_stop` commands."""
        code = reap.exit_code(status)
        channel = self._after.pop(started.incarnation)
        said = child_report.read_channel(channel)
        os.close(channel)
        failed = next((each for each in said if isinstance(each, child_report.SpawnFailed)), None)
        if failed is not None:
            self._cannot_clean(started, failed.text.removeprefix("before_start: "))
        elif code:
            how = f"killed by {signals.name_of(code - 128)}" if code > 128 else f"exit code {code}"
            self._cannot_clean(started, how)

    def _cannot_clean(self, started: Started, reason: str) -> None:
        what = {"app": started.spec.name, "instance": started.instance, "reason": reason}
        self._runtime.log("warning", "after_stop failed", what)

    def _failed(self, effect: Spawn, error: Exception, ours: list[int]) -> None:
        """Release what was created for a process that did not start, and report it to the core."""
        runtime, incarnation = self._runtime, effect.incarnation
        if isinstance(error, ListenerDownError):
            reason = str(error)
        elif isinstance(error, OSError):
            reason = f"fork: {limits.explain(error)}"
        elif isinstance(error, ValueError):
            reason = f"fork: {error}"
        else:
            runtime.internal_error("Spawn", error, effect.spec.name)
            short = isinstance(error, MemoryError)
            reason = f"fork: {'no memory' if short else f'a bug of pyinit: {error!r}'}"
        try:
            runtime.children.abandon(incarnation)
            for fd in ours:
                if not runtime.pump.reads(fd):
                    os.close(fd)
            self.forget(incarnation)
            ports = runtime.ports.get(effect.spec.name)
            if ports is not None:
                ports.forget(incarnation)
        except Exception as failure:  # noqa: BLE001  whatever it is, the core must hear
            runtime.internal_error("Spawn", failure, effect.spec.name)
        runtime.emit(e.SpawnFailed(incarnation, reason))

    def _silent_pipe(self) -> int:
        """The read end of a pipe that stays empty. Raises OSError.

        Opened again for each worker: a worker that makes it non-blocking, as Node does, must not
        affect the others.
        """
        if self._silent is None:
            self._silent = os.pipe2(os.O_CLOEXEC)
            # Also for `open("/dev/stdin")` of another user.
            os.fchmod(self._silent[0], 0o444)
        try:
            return os.open(f"/proc/self/fd/{self._silent[0]}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # no /proc
            return os.dup(self._silent[0])

    # -- the filter -------------------------------------------------------------------

    def filter_installed(self, started: Started, fd: int) -> None:
        """Register the notifier `fd` of a worker that has installed its filter."""
        ports = self._runtime.ports[started.spec.name]
        ports.attach_filter(started.incarnation, started.queue, fd)

    def filter_refused(self, errno: int) -> None:
        """Stop offering filters: the kernel has refused one and would refuse the next."""
        if self._filter_errno == 0:
            self._filter_errno = errno
            self._runtime.log(
                "warning",
                "interception refused",
                {
                    "reason": f"seccomp: {os.strerror(errno)}",
                    "then": "a port reaches workers by descriptors or Node's protocol only; "
                    "of others that bind the same port, the second finds it in use",
                },
            )

    def forget(self, incarnation: int) -> None:
        """Forget a worker of which no process remains."""
        self._notify.forget(incarnation)

    def close(self) -> None:
        """Close everything at the end of the run."""
        self._notify.close()
