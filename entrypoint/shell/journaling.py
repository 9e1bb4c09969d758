"""Feeds the flight recorder with each turn of the core, and reads it on request.

The module that packs turns is loaded after the first workers have been started; until then
turns wait in a list. A recorder that fails is disabled and reported once.
"""

from __future__ import annotations

from entrypoint.core import effects as f

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from entrypoint.core import events as e
    from entrypoint.core.supervisor import Supervisor
    from entrypoint.journal.recorder import Recorder, Turned
    from entrypoint.loop import Loop

    class Runtime(Protocol):
        """What is used of the run."""

        core: Supervisor
        loop: Loop

        def internal_error(self, where: str, error: BaseException, app: str = "") -> None:
            """Log and count a bug, or a shortage. Never raises."""

        def log(self, level: str, event: str, fields: dict[str, object]) -> None:
            """Log one event of pyinit's own."""


# The least time between two logged excerpts of the same app (s).
_EXCERPT_EVERY = {"app errored": 10.0, "internal error": 60.0}
# Apps whose last excerpt time is remembered.
_REMEMBERED = 256


class Journaling:
    """The journal of one run."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._buffered: list[Turned] = []
        self._append: Callable[[Turned], None] = self._buffered.append
        self.recorder: Recorder | None = None
        self._excerpts: dict[tuple[str, str], float] = {}
        self._failed = False

    def turned(
        self, now: float, event: e.Event, effects: Sequence[f.Effect], error: str = ""
    ) -> None:
        """Record a turn of the core; call it before the effects are performed. Never raises."""
        try:
            self._append((now, event, effects, error))
        except Exception as failure:  # noqa: BLE001  the journal must not stop the core
            self._give_up(failure)

    def open(self) -> None:
        """Load the recorder; it begins with the turns so far."""
        if self.recorder is not None or self._failed:
            return
        from entrypoint.journal.recorder import Recorder

        recorder = Recorder(self._runtime.core.state)
        recorder.begin(self._buffered)
        self._buffered = []
        self._append = recorder.append
        self.recorder = recorder

    def _give_up(self, error: Exception) -> None:
        self._failed = True
        self.recorder = None
        self._buffered = []
        self._append = lambda _turned: None
        self._runtime.internal_error("journal", error)

    # -- excerpts -------------------------------------------------------------------------

    def excerpt(self, cause: str, app: str = "") -> None:
        """Log the last events of an app ("": of all), at a bounded rate. May raise."""
        now = self._runtime.loop.now()
        before = self._excerpts.get((cause, app))
        if self._failed or (before is not None and now - before < _EXCERPT_EVERY[cause]):
            return
        if len(self._excerpts) >= _REMEMBERED:
            self._excerpts.clear()
        self._excerpts[cause, app] = now
        self.open()
        if self.recorder is not None:
            from entrypoint.journal.excerpts import records

            for fields in records(self.recorder, self._runtime.core.state, app):
                self._runtime.log("error", "journal excerpt", {"because": cause, **fields})

    def app_of(self, what: object) -> str:
        """The app of an event or effect; "" if it concerns all or none."""
        app = getattr(getattr(what, "timer", what), "app", "")
        if not app:
            number = getattr(getattr(what, "timer", what), "incarnation", 0)
            worker = self._runtime.core.state.workers.get(number)
            app = worker.app if worker is not None else ""
        return str(app)
