"""Passes events to the core and effects to the kernel: in order, a bounded part in each turn.

An event is handed to the core after all effects of earlier events were performed.
What remains after `TURN_TIME` is done in the next turn of the loop: starting hundreds of
workers takes a second, in which probes and signals are served. The time counts from the
beginning of the turn, so it does not matter how many events the turn brings. A wait for a CPU
does not count: among many busy processes it takes longer than `TURN_TIME`, so each turn would
do one step, and the backlog would grow.

The end of a worker overtakes queued events, except events of the same worker, which move
along: until the core gets the event, a reaped worker is shown as alive.

A step that runs out of memory is retried: a decision that fails changes nothing
(`Supervisor.handle`), and an effect that fails stays the next one. Records and counts are
not repeated. Any other exception is a bug, or a refusal of the system: it is reported, and
the core learns what was not done (failed_effects.py), so that nothing waits for it.
"""

from __future__ import annotations

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.kernel import proc

from . import failed_effects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

    from entrypoint.core.supervisor import Supervisor
    from entrypoint.loop import Loop

    from .failures import Failures
    from .journaling import Journaling

    Perform = dict[type[f.Effect], Callable[..., None]]
else:
    from _collections import deque

# How long steps run before others are served (s). A turn of the loop has at most two such
# parts: one for what its descriptors report, one for its timers.
TURN_TIME = 0.01
# The pause before a step that ran out of memory is retried, and how often it is (10 s).
RETRY = 0.05
ATTEMPTS = 200
# With more queued events the end of a worker goes to the end of the queue: finding its place
# searches the queue for events of the same worker.
OVERTAKEN = 256
# What is performed for an event that the core could not handle.
_DROPPED: tuple[f.Effect, ...] = ()


class _Waiting:
    """A callback in the event queue: called when the events before it are done."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback


class Dispatch:
    """`perform`: the function that performs each kind of effect."""

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
        # The first event is in progress; it stays until its effects are performed.
        self._events: deque[e.Event | _Waiting] = deque()
        self._urgent = 0  # ends of workers, and events moved with them, after the first event
        self._effects: Sequence[f.Effect] | None = None  # None: the core has not decided yet
        self._next = 0
        self._working = False
        # A later turn continues: until then events only queue up. If each event continued the work,
        # the turn would be as long as there are events.
        self._postponed = False
        # The present turn of the loop, and the resources used when its part began.
        self._turn = -1
        self._used = (0.0, 0)
        self._attempts = 0
        self._decided_at = 0.0
        # Observers of each event and its effects, by name.
        self.observers: dict[str, Callable[[e.Event, Sequence[f.Effect]], None]] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing is left to decide or to perform."""
        return not self._events

    def emit(self, event: e.Event) -> None:
        """Hand an event to the core, at once unless others are queued."""
        if isinstance(event, e.WorkerExited) and 1 < len(self._events) <= OVERTAKEN:
            self._overtake(event)
        else:
            self._events.append(event)
        if not self._working and not self._postponed:
            if self._turn != self._loop.wakeups:
                self._begin_part()
            self._work(min(self._loop.turn_began, self._loop.now()) + TURN_TIME)

    def after(self, callback: Callable[[], None]) -> None:
        """Call a function after all earlier events are decided and performed."""
        if self.idle:
            callback()
        else:
            self._events.append(_Waiting(callback))

    def _overtake(self, event: e.WorkerExited) -> None:
        """Insert it after the event in progress and after ends of other workers."""
        first, *rest = self._events
        before = rest[: self._urgent]
        after: list[e.Event | _Waiting] = []
        for each in rest[self._urgent :]:
            own = getattr(each, "incarnation", 0) == event.incarnation
            (before if own else after).append(each)
        before.append(event)
        self._events, self._urgent = deque((first, *before, *after)), len(before)

    def _continue(self) -> None:
        self._begin_part()
        self._work(self._loop.now() + TURN_TIME)

    def _begin_part(self) -> None:
        self._turn, self._used = self._loop.wakeups, proc.used()

    def _work(self, until: float) -> None:
        self._working, self._postponed = True, False
        try:
            while self._events:
                now = self._loop.now()
                if now > until and self._is_over():
                    # Not earlier than now: this turn serves no deadline that comes after its
                    # deadlines were looked at.
                    self._postpone(now)
                    return
                if not self._step():
                    self._postpone(self._loop.now() + RETRY)
                    return
        finally:
            self._working = False

    def _is_over(self) -> bool:
        """Whether this turn has used its CPU time, or waited for anything except a CPU."""
        (before, waits_before), (cpu, waits) = self._used, proc.used()
        return waits != waits_before or cpu - before > TURN_TIME

    def _postpone(self, when: float) -> None:
        self._loop.call_at(self, when, self._continue)
        self._postponed = True

    def _step(self) -> bool:
        """Decide, perform one effect, or finish an event; False: memory ran out, try again."""
        if self._effects is None:
            first = self._events[0]
            return self._call(first) if isinstance(first, _Waiting) else self._decide(first)
        if self._next < len(self._effects):
            return self._perform_next(self._effects[self._next])
        if self.observers and self._effects is not _DROPPED:
            event = self._events[0]
            assert not isinstance(event, _Waiting)
            for name, observer in tuple(self.observers.items()):
                try:
                    observer(event, self._effects)
                except Exception as error:  # noqa: BLE001  PID 1 outlives every bug of its own
                    self._failures.report(name, error)
        self._effects, self._next = None, 0
        self._end_first()
        return True

    def _end_first(self) -> None:
        self._events.popleft()
        self._urgent = max(0, self._urgent - 1)

    def _call(self, waiting: _Waiting) -> bool:
        self._end_first()
        try:
            waiting.callback()
        except Exception as error:  # noqa: BLE001  as above
            self._failures.report("dispatch", error)
        return True

    def _decide(self, event: e.Event) -> bool:
        if not self._attempts:
            # Kept for later attempts: the journal records when it was decided.
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
        """The event that tells the core that this was not done; None if there is none."""
        event = failed_effects.heard(effect, error)
        if event is not None:
            self._events.append(event)
        return event

    def _once_more(self) -> bool:
        self._attempts += 1
        return self._attempts < ATTEMPTS
