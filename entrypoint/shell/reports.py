"""Turns reports of the core into log events."""

from __future__ import annotations

from entrypoint.kernel import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from entrypoint.core.effects import Report

    from .children import Children
    from .exits import Exits
    from .journaling import Journaling
    from .schedules import Schedules

    class Runtime(Protocol):
        """What is used of the run."""

        children: Children
        exits: Exits
        journal: Journaling
        schedules: Schedules

        def log(self, level: str, event: str, fields: dict[str, object]) -> None:
            """Log one event of pyinit's own."""


class Reports:
    """Performs `Report`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def report(self, effect: Report) -> None:
        """Log the core's event, with details that only the shell knows."""
        runtime = self._runtime
        fields = dict(effect.fields)
        if isinstance(fields.get("signal"), int):
            fields["signal"] = signals.name_of(fields["signal"])  # type: ignore[arg-type]
        level = effect.level
        if "incarnation" in fields:
            reason = self._background(fields)
            level = "error" if reason else level
            fields = runtime.exits.explain(fields, reason)
        if effect.event in ("run finished", "run skipped"):
            fields.update(runtime.schedules.status(str(fields.get("app"))))
        runtime.log(level, effect.event, fields)
        if effect.event == "app errored":
            runtime.journal.excerpt(effect.event, str(fields.get("app", "")))

    def _background(self, fields: dict[str, object]) -> str:
        """Why exit code 0 is no real end, if the program went into the background."""
        if fields.get("expected") or fields.get("exit_code") != 0:
            return ""
        incarnation, uptime = fields["incarnation"], fields.get("uptime")
        if not isinstance(incarnation, int) or not isinstance(uptime, float):
            return ""
        started = self._runtime.children.get(incarnation)
        # An app that is not started again keeps its daemons: that may be its purpose.
        if started is None or not started.spec.autorestart:
            return ""
        from . import background

        if uptime > background.QUICKLY:
            return ""
        left = background.left_behind(
            incarnation, started.pid, started.spec, self._runtime.children.pids, uptime
        )
        return background.explain(left) if left else ""
