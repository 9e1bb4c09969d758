"""Reads the file again while the apps run: either all of it is applied, or nothing changes.

The loader's child parses the file; newly declared addresses are bound; only then does
the core get the event. A second request during a load starts another load after it, because
the file may have changed since.
"""

from __future__ import annotations

from entrypoint.core import events as e
from entrypoint.core.diff import fixed_keys
from entrypoint.kernel import limits
from entrypoint.loop import READ
from entrypoint.sockets.addresses import PortErrors

from .loader import Loading, Outcome

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from entrypoint.core.events import Event
    from entrypoint.core.spec import Plan
    from entrypoint.core.supervisor import Supervisor
    from entrypoint.http.server import ProbeServer
    from entrypoint.logs.pump import LogPump
    from entrypoint.loop import Loop
    from entrypoint.sockets.effects import PortEffects

    from .children import Children
    from .file_watch import Watching
    from .loader import Source
    from .schedules import Schedules

    Preview = Callable[[Outcome], bool]

    class Runtime(Protocol):
        """What is used of the run."""

        children: Children
        core: Supervisor
        loop: Loop
        plan: Plan
        ports: PortEffects
        probes: ProbeServer | None
        pump: LogPump
        schedules: Schedules
        source: Source
        watching: Watching

        def emit(self, event: Event) -> None:
            """Hand an event to the core."""

        def internal_error(self, where: str, error: BaseException, app: str = "") -> None:
            """Log and count a bug, or a shortage. Never raises."""

        def log(self, level: str, event: str, fields: dict[str, object]) -> None:
            """Log one event of pyinit's own."""


# A load that takes longer is given up (s): a `.config.js` may hang.
LOAD_AT_MOST = 60.0


def _take_it(_outcome: Outcome) -> bool:
    return True


class Rereading:
    """The loads of one run."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._loop = runtime.loop
        self._loading: Loading | None = None
        # Who waits for this load, and for the next one.
        self._previews: list[Preview] = []
        self._again: list[Preview] = []

    def begin(self, preview: Preview = _take_it) -> None:
        """Start a load, or schedule one after the load under way.

        `preview(outcome)` decides whether the result is applied.
        """
        if self._loading is not None:
            self._again.append(preview)
            return
        self._previews.append(preview)
        try:
            loading = Loading(self._runtime.source, self._runtime.plan.revision + 1)
        except OSError as error:
            self._found(
                Outcome(None, (), (f"cannot start a process to read it: {limits.explain(error)}",))
            )
            return
        self._loading = loading
        self._runtime.children.adopt_helper(loading.pid, loading.ended)
        self._loop.register(loading.fd, READ, lambda _events: self._read(loading))
        self._loop.call_at("load", self._loop.now() + LOAD_AT_MOST, lambda: self._overdue(loading))

    def _overdue(self, loading: Loading) -> None:
        self._loop.unregister(loading.fd)
        loading.abandon()
        self._found(Outcome(None, (), (f"reading it took longer than {LOAD_AT_MOST:g} s",)))

    def _read(self, loading: Loading) -> None:
        outcome = loading.read(before_close=self._loop.unregister)
        if outcome is None:
            return
        self._loop.cancel("load")
        self._found(outcome)

    def _found(self, outcome: Outcome) -> None:
        """Handle the end of this load; requests received meanwhile start another one."""
        self._loading = None
        previews, self._previews = self._previews, []
        wanted = [preview(outcome) for preview in previews]
        if any(wanted):
            try:
                self._take(outcome)
            except Exception as error:  # noqa: BLE001  somebody may wait for the answer
                self._runtime.internal_error("rereading", error)
                self._runtime.emit(e.PlanRejected(f"a bug of pyinit: {error!r}"))
        again, self._again = self._again, []
        if again:
            self._previews = again[1:]
            self.begin(again[0])

    def _take(self, outcome: Outcome) -> None:
        runtime = self._runtime
        phase = runtime.core.view().phase
        if phase != "running":
            # The core accepts no plan any more: nothing may be bound or handed over for it.
            runtime.emit(e.PlanRejected(f"pyinit is {phase}: it ends"))
            return
        if outcome.plan is None:
            runtime.emit(e.PlanRejected("; ".join(outcome.errors)))
            return
        for warning in outcome.warnings:
            runtime.log("warning", "config warning", {"reason": warning})
        try:
            self._prepare_ports(outcome.plan)
        except PortErrors as error:
            runtime.emit(e.PlanRejected("; ".join(error.problems)))
            return
        for name in fixed_keys(runtime.plan, outcome.plan):
            runtime.log("warning", "config change needs a new container", {"key": name})
        runtime.plan = outcome.plan
        runtime.pump.configure(outcome.plan.log, outcome.plan.apps)
        runtime.emit(e.PlanAccepted(outcome.plan))
        runtime.watching.follow(outcome.plan)
        runtime.schedules.follow(outcome.plan)

    def _prepare_ports(self, plan: Plan) -> None:
        """Bind new addresses before anything changes. Raises PortErrors with nothing changed."""
        ports = self._runtime.ports
        prepared = ports.prepare(plan.apps)
        problems = prepared.problems
        probes = self._runtime.probes
        if probes is not None:
            from entrypoint.http.server import ProbeErrors

            try:
                probes.prepare(plan.probes.listen)
            except ProbeErrors as error:
                problems += error.sentences
        if problems:
            if probes is not None:
                probes.discard()
            ports.discard(prepared)
            raise PortErrors(problems)
        ports.accept(plan.apps, prepared)
        if probes is not None:
            probes.change(plan.probes.listen, plan.probes.ready_when)
