"""When children are reaped: a worker at once, orphans together.

SIGCHLD wakes PID 1 for each child that ends. A worker is to be replaced within
milliseconds, so it is right for the first. An orphan seldom comes alone, and thousands
of them a second would cost several times what reaping does if each woke or interrupted
the loop. So once there was an orphan SIGCHLD is blocked, and children are reaped each
`GATHER` seconds until there is none. A worker that ends among orphans waits for that
long; no other signal does.
"""

from __future__ import annotations

from entrypoint.kernel import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.loop import Loop

    from .children import Children

# How long orphans may gather before they are reaped together (s).
GATHER = 0.003


class Reaping:
    """Reaps after SIGCHLD, and schedules its own next look."""

    def __init__(self, loop: Loop, children: Children) -> None:
        self._loop = loop
        self._children = children
        self._gathering = False

    def reap(self) -> None:
        """SIGCHLD came, or may have come: reap all that has ended."""
        if not self._gathering:
            # Already here: what ends meanwhile would interrupt each step of it.
            self._gathering = True
            signals.hold(signals.SIGCHLD)
        orphans = self._children.orphans
        try:
            more = self._children.reap()
        except BaseException:
            # SIGCHLD is held: only a deadline brings the next look.
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
            # What is pending now is answered now: it must not wake us once more. What
            # ends after this line is pending again.
            signals.take_pending(signals.SIGCHLD)
        self.reap()
