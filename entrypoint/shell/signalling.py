"""Sends signals to workers: performs `SendSignal`, `SendShutdownMessage` and `AnnounceDrain`."""

from __future__ import annotations

from entrypoint.core import events as e
from entrypoint.core.spec import MESSAGE
from entrypoint.kernel import kill, proc, signals, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from entrypoint.core import effects as f
    from entrypoint.core.events import Event
    from entrypoint.sockets.effects import PortEffects

    from .children import Children, Started

    class Runtime(Protocol):
        """What is used of the run."""

        children: Children
        ports: PortEffects

        def emit(self, event: Event) -> None:
            """Hand an event to the core."""

        def log(self, level: str, event: str, fields: dict[str, object]) -> None:
            """Log one event of pyinit's own."""


# How many processes of a worker are checked for a handler of the signal.
_ASKED = 64


class Signalling:
    """Performs the effects, and reports refused signals to the core."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        runtime.children.families.on_refused = self._refused

    def send(self, effect: f.SendSignal) -> None:
        """Send one signal."""
        started = self._runtime.children.get(effect.incarnation)
        signum = effect.signum
        if started is not None and (effect.stop or effect.leaves):
            self._runtime.ports[started.spec.name].leaving(effect.incarnation)
        if started is not None and effect.stop:
            signum = self._noticed(started, signum)
        try:
            self._runtime.children.signal(
                effect.incarnation, signum, scope=effect.scope, stop=effect.stop
            )
        except PermissionError:
            self._refused(effect.incarnation, effect.signum)

    def _noticed(self, started: Started, signum: int) -> int:
        """SIGTERM replaces a stop signal that the worker does not react to (SIGWINCH)."""
        if signum != signals.SIGWINCH:
            return signum
        members = (started.pid, *tree.descendants(started.pid, limit=_ASKED))
        if started.reaped or any(proc.heeds(member, signum) for member in members):
            return signum
        what = {"app": started.spec.name, "instance": started.instance, "pid": started.pid}
        name = signals.name_of(signum)
        self._runtime.log("info", "stop signal replaced", {**what, "signal": name, "by": "SIGTERM"})
        return signals.SIGTERM

    def _refused(self, incarnation: int, signum: int) -> None:
        """Report a refused signal: root without CAP_KILL, or a worker that changed its user."""
        reason = "it runs as another user, and pyinit has no CAP_KILL"
        self._runtime.emit(e.SignalRefused(incarnation, signum, reason))

    def send_message(self, effect: f.SendShutdownMessage) -> None:
        """Ask a Node program to stop, over its channel."""
        started = self._runtime.children.get(effect.incarnation)
        if started is not None:
            self._runtime.children.note_family(effect.incarnation, effect.scope)
            self._runtime.ports[started.spec.name].send_message(effect.incarnation, "shutdown")

    def announce(self, effect: f.AnnounceDrain) -> None:
        """Signal processes that have a handler; the default action would end the others."""
        started = self._runtime.children.get(effect.incarnation)
        if started is None or started.reaped:
            return
        what = {"app": started.spec.name, "instance": started.instance, "pid": started.pid}
        if effect.signum == MESSAGE:
            self._runtime.ports[started.spec.name].send_message(effect.incarnation, "drain")
            self._runtime.log("info", "drain announced", {**what, "by": "message"})
            return
        count = 0
        for member in (started.pid, *tree.descendants(started.pid, limit=_ASKED)):
            if proc.catches(member, effect.signum):
                try:
                    count += kill.send_signal(member, effect.signum)
                except PermissionError:  # it runs as another user, and we lack CAP_KILL
                    continue
        name = signals.name_of(effect.signum)
        self._runtime.log("info", "drain announced", {**what, "by": name, "count": count})
