"""Decides when children are reaped: a worker at once, orphans together.

SIGCHLD wakes PID 1 for each child that ends. A worker has to be replaced within
milliseconds, so this is right for the first child. But an orphan seldom comes alone, and if
each of thousands a second woke or interrupted the loop, that would cost several times
what reaping does. So after an orphan SIGCHLD is blocked, and children are reaped each
`GATHER` seconds until there is none. A worker that ends among orphans waits that
long; no other signal is delayed.
"""

from __future__ import annotations

from entrypoint.kernel import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.loop import Loop

    from .children import Children

# How long orphans are left to accumulate before they are reaped together (s).
GATHER = 0.003


class Reaping:
    """Reaps after SIGCHLD, and schedules its own next run."""

    def __init__(self, loop: Loop, children: Children) -> None:
        self._loop = loop
        self._children = children
        self._gathering = False

    def reap(self) -> None:
        """Reap all children that have ended: SIGCHLD was or may have been received."""
        if not self._gathering:
            # Blocked here already: children that end meanwhile would interrupt each step.
            self._gathering = True
            signals.hold(signals.SIGCHLD)
        orphans = self._children.orphans
        try:
            more = self._children.reap()
        except BaseException:
            # SIGCHLD is blocked: only a timer starts the next run.
            self._loop.call_at("reap", self._loop.now() + GATHER, self._look)
            raise
        if more:
            # More than one batch: let the loop serve the others before the next.
            self._loop.call_at("reap", self._loop.now(), self._look)
        elif self._children.orphans > orphans:
            self._loop.call_at("reap", self._loop.now() + GATHER, self._look)
        else:
            self._gathering = False
            signals.release(signals.SIGCHLD)

    def _look(self) -> None:
        if self._gathering:
            # Signals pending now are handled now: they must not wake the loop again. A child
            # that ends after this line makes the signal pending again.
            signals.take_pending(signals.SIGCHLD)
        self.reap()
