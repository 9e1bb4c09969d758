"""Finds the moment for the stop signal of a worker that shares its queue with siblings.

New connections go to the app's other queues for a while. When its queue is empty and the worker
has no request in hand, it gets its signal. New connections stay away until it has ended or has
closed its socket: until then it might accept one.

Meanwhile the other workers of the queue are idle. So connections are let in again if the
moment does not come soon, and the next attempt keeps them away for longer. An attempt starts when
the worker has nothing in hand, or after a while: a worker that is never idle has to be cut
off first.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .drain import Emptying
    from .in_hand import InHand

# How long connections stay away: at first, and at most (s). A used keep-alive connection is known
# to be idle after half a second.
_SHORTEST, _LONGEST = 0.1, 1.6
# How long to wait for a moment with nothing in hand before that, and at most (s).
_PATIENCE, _MOST_PATIENCE = 0.03, 1.0
# Time between two checks of what it has in hand (s).
_PAUSE = 0.005


class Departure:
    """Called again after `pause` s; returns whether the worker may get its signal.

    `keep_away()` routes new connections away from its queue; False: there is no other one.
    `let_in()` ends that. `emptying(queued)` then reports when all is answered; `queued`: its
    queue has to be empty too. `in_hand` checks its requests; None: they cannot be observed.
    """

    def __init__(
        self,
        now: Callable[[], float],
        keep_away: Callable[[], bool],
        let_in: Callable[[], None],
        emptying: Callable[[bool], Emptying],
        in_hand: InHand | None,
    ) -> None:
        self.pause = _PAUSE
        self._now = now
        self._keep_away = keep_away
        self._let_in = let_in
        self._emptying = emptying
        self._in_hand = in_hand
        self._longest = _SHORTEST
        self._patience = _PATIENCE
        self._patient_until = now() + _PATIENCE
        self._attempt: Emptying | None = None
        self._until = 0.0

    def __call__(self) -> bool:
        """Whether it has nothing in hand and gets nothing more."""
        if self._attempt is None:
            if not self._is_due():
                return False
            away = self._keep_away()
            self._attempt = self._emptying(away)
            may_end = away and self._in_hand is not None
            self._until = self._now() + self._longest if may_end else float("inf")
        if self._attempt():
            return True
        self.pause = self._attempt.pause
        if self._now() >= self._until:
            self._give_up()
        return False

    def _is_due(self) -> bool:
        self.pause = _PAUSE
        if self._in_hand is None:
            return True
        try:
            held = self._in_hand.step(ignore_unsure=True)
        except OSError:
            self._in_hand = None  # the attempt finds that too, and reports it
            return True
        if held is None:
            self.pause = 0.0
        return held is False or self._now() >= self._patient_until

    def _give_up(self) -> None:
        self._let_in()
        self._attempt = None
        self._longest = min(_LONGEST, 2 * self._longest)
        self._patience = min(_MOST_PATIENCE, 2 * self._patience)
        self._patient_until = self._now() + self._patience
        self.pause = _SHORTEST
