"""A retiring worker: its queue must empty, and the requests it took must be answered.

A server that stops abruptly drops the requests in hand at its signal. So the signal is sent when
the worker has no request in hand (in_hand.py), in two consecutive checks. If that cannot be
observed the worker gets a fixed time, from the moment its queue was empty. On a machine with
too few CPUs it would spend most of that waiting for a CPU: this wait does not count.
"""

from __future__ import annotations

import time

from entrypoint.kernel import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.core.effects import WatchQueue

    from .in_hand import InHand

# Interval of checks of a queue that must empty: there is no event for it (s).
QUEUE_PAUSE = 0.005
# Time between two checks of the connections: the least, the usual most, and as a multiple of the
# duration of a check.
_LEAST, _MOST, _SHARE = 0.01, 0.05, 10.0
_LOOKS = 2
# The same for a worker that may keep its connections for hours.
_RARE, _RARE_SHARE = 5.0, 200.0
# Less than this is no reason for another check (s).
_NEGLIGIBLE = 0.005
# Interval of checks whether it still waits for a CPU (s): each thread is a file of /proc.
_PAUSE = 0.05


class Emptying:
    """Called again after `pause` s; returns whether the worker of process tree `pid` is done.

    `ordered` says what to wait for. `in_hand` checks its requests; if that is impossible,
    `blind` is called with the reason.
    """

    def __init__(
        self,
        now: Callable[[], float],
        queue_length: Callable[[], int],
        pid: int,
        ordered: WatchQueue,
        in_hand: InHand | None = None,
        blind: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self.pause = QUEUE_PAUSE
        self._now = now
        self._queue_length = queue_length
        self._pid = pid
        self._answer_time = ordered.answer_time
        self._quiet_time = ordered.quiet_time
        self._hurried = ordered.hurried
        self._most, self._share = (_RARE, _RARE_SHARE) if ordered.closed else (_MOST, _SHARE)
        self._in_hand = in_hand
        self._blind = blind
        if in_hand is None:
            self._wait_instead()
        self._clean = 0
        self._took = 0.0
        # Since when its queue has been empty, or it has accepted nothing.
        self._since: float | None = None
        self._idle_since: float | None = None
        # Seconds of it that are over; when to check again whether more are.
        self._had = 0.0
        self._due: dict[float, float] = {}
        self._before: dict[int, proc.Scheduled] = {}

    def __call__(self) -> bool:
        """Whether the queue is empty, and the worker has answered or its time is over."""
        empty = self._queue_length() == 0
        if not empty:
            self._since = None
            self._clean = 0
        elif self._since is None:
            self._since = self._now()
            self._had = 0.0
            self._due.clear()
            if self._answer_time > 0 or self._quiet_time > 0:
                self._before = proc.scheduled(self._pid)
        if self._in_hand is None:
            return (empty and self._has_had(self._answer_time)) or self._stalls(empty=empty)
        if empty or self._hurried:
            self._look(self._in_hand)
        quiet = self._clean >= _LOOKS and self._has_had(self._answer_time)
        return (empty and quiet) or self._stalls(empty=empty)

    def _look(self, in_hand: InHand) -> None:
        began = time.monotonic()
        try:
            held = in_hand.step(ignore_unsure=self._has_had(self._quiet_time))
        except OSError as error:
            self._in_hand = None
            self._wait_instead()
            self._blind(error.strerror or str(error))
            return
        self._took += time.monotonic() - began
        if held is None:
            self.pause = 0.0
            return
        self._clean = 0 if held else self._clean + 1
        if held:
            self._idle_since = None
        pause = _LEAST if not held else min(self._most, max(_LEAST, self.pause * 1.5))
        self.pause = max(pause, self._share * self._took)
        self._took = 0.0

    def _wait_instead(self) -> None:
        self.pause = QUEUE_PAUSE
        if not self._hurried:
            self._answer_time = max(self._answer_time, self._quiet_time)

    def _stalls(self, *, empty: bool) -> bool:
        """Whether it has nothing in hand and takes nothing from its queue."""
        if empty or not self._hurried:
            self._idle_since = None
            return False
        if self._idle_since is None:
            self._idle_since = self._now()
        return self._now() - self._idle_since >= self._quiet_time

    def _has_had(self, seconds: float) -> bool:
        """Whether its queue has been empty that long, without the time in which it had no CPU."""
        if self._since is None:
            return False
        if seconds <= self._had:
            return True
        now = self._now()
        if now < self._due.get(seconds, self._since + seconds):
            return False
        gone = now - self._since
        left = seconds + self._waited(gone) - gone
        if left < _NEGLIGIBLE:
            self._had = seconds
            return True
        self._due[seconds] = now + min(left, _PAUSE)
        return False

    def _waited(self, gone: float) -> float:
        """How much of the elapsed time its slowest thread has waited for a CPU."""
        most = 0.0
        for thread, now in proc.scheduled(self._pid).items():
            before = self._before.get(thread, _NEW)
            most = max(most, now.waited - before.waited)
            if now.runnable:
                # It may have waited for long: that is counted when the wait is over.
                most = max(most, gone - (now.ran - before.ran))
        return most


_NEW = proc.Scheduled(0.0, 0.0, runnable=False)
