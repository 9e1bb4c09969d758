"""Events to the core, effects to the kernel: in order, and a bounded part in each turn.

An event is handed to the core when all effects of the events before it were performed.
What is left after `TURN_TIME` is done in the next turn of the loop: starting hundreds of
workers takes a second, in which probes and signals are served.

What runs out of memory is tried again: a decision that fails changes nothing
(`Supervisor.handle`), and an effect that fails stays the next one. Records and counts are
not repeated. Any other exception is a bug, or what the system refuses: it is reported, and
the core hears what was not done (failed_effects.py), so that nothing waits for it.
"""

from __future__ import annotations

from . import failed_effects
from .core import effects as f

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from .core import events as e
    from .core.supervisor import Supervisor
    from .failures import Failures
    from .journaling import Journaling
    from .loop import Loop

    Perform = dict[type[f.Effect], Callable[..., None]]
else:
    from _collections import deque

# What is done at once before others are served (s).
TURN_TIME = 0.02
# The pause before what ran out of memory is tried again, and how often it is (10 s).
RETRY = 0.05
ATTEMPTS = 200
# What is performed for an event that the core could not handle.
_DROPPED: tuple[f.Effect, ...] = ()


class Dispatch:
    """`perform`: what performs each kind of effect."""

    def __init__(
        self,
        loop: Loop,
        core: Supervisor,
        perform: Perform,
        failures: Failures,
        journal: Journaling,
    ) -> None:
        self._loop = loop
        self._core = core
        self._perform = perform
        self._failures = failures
        self._journal = journal
        # The first is the one at work; it stays until its effects are performed.
        self._events: deque[e.Event] = deque()
        self._effects: Sequence[f.Effect] | None = None  # None: not decided yet
        self._next = 0
        self._working = False
        self._attempts = 0
        self._decided_at = 0.0
        # Who hears of each event and its effects, by name.
        self.observers: dict[str, Callable[[e.Event, Sequence[f.Effect]], None]] = {}

    @property
    def idle(self) -> bool:
        """Nothing is left to decide or to perform."""
        return not self._events

    def emit(self, event: e.Event) -> None:
        """Hand an event to the core, at once unless others are before it."""
        self._events.append(event)
        if not self._working:
            self._work()

    def _work(self) -> None:
        self._working = True
        until = self._loop.now() + TURN_TIME
        try:
            while self._events:
                if self._loop.now() > until:
                    self._loop.call_at(self, 0.0, self._work)
                    return
                if not self._step():
                    self._loop.call_at(self, self._loop.now() + RETRY, self._work)
                    return
        finally:
            self._working = False

    def _step(self) -> bool:
        """Decide, perform one effect, or finish an event; False: memory ran out, try again."""
        if self._effects is None:
            return self._decide()
        if self._next < len(self._effects):
            return self._perform_next(self._effects[self._next])
        if self.observers and self._effects is not _DROPPED:
            for name, observer in tuple(self.observers.items()):
                try:
                    observer(self._events[0], self._effects)
                except Exception as error:  # noqa: BLE001  PID 1 outlives every bug of its own
                    self._failures.report(name, error)
        self._effects, self._next = None, 0
        self._events.popleft()
        return True

    def _decide(self) -> bool:
        event = self._events[0]
        if not self._attempts:
            # Also for later attempts: the journal tells when it was decided.
            self._decided_at = self._loop.now()
        now = self._decided_at
        try:
            self._effects = self._core.handle(event, now)
        except MemoryError as error:
            self._failures.report("core", error)
            if self._once_more():
                return False
            self._effects = _DROPPED
        except Exception as error:  # noqa: BLE001  as above
            self._effects = _DROPPED
            self._journal.turned(now, event, (), repr(error))
            self._failures.report(f"core: {event!r}", error, self._journal.app_of(event))
        else:
            self._journal.turned(now, event, self._effects)
        self._attempts = 0
        return True

    def _perform_next(self, effect: f.Effect) -> bool:
        try:
            self._perform[type(effect)](effect)
        except MemoryError as error:
            self._failures.report(type(effect).__name__, error)
            if not isinstance(effect, (f.Report, f.Count)) and self._once_more():
                return False
            self._failed(effect, error)
        except Exception as error:  # noqa: BLE001  as above
            event = self._failed(effect, error)
            if event is None or not failed_effects.is_shortage(error):
                where = type(effect).__name__
                self._failures.report(where, error, self._journal.app_of(effect))
        self._attempts = 0
        self._next += 1
        return True

    def _failed(self, effect: f.Effect, error: Exception) -> e.Event | None:
        """The core is to hear that this was not done: the event, None where there is none."""
        event = failed_effects.heard(effect, error)
        if event is not None:
            self._events.append(event)
        return event

    def _once_more(self) -> bool:
        self._attempts += 1
        return self._attempts < ATTEMPTS
