"""Pyinit's own events on their way out: bounded, since they have no pipe that fills."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .output import Output

# Unwritten bytes (of all that goes there) above which events are dropped, and counted.
_LIMIT = 1 << 20


class EventOutput:
    """Where events are written. `report_lost` is called with their number when there is room."""

    def __init__(self, out: Output, report_lost: Callable[[int], None]) -> None:
        self.out = out
        self.lost = 0
        self._report_lost = report_lost

    def takes(self) -> bool:
        """Whether another event may be written now; counts it as lost if not."""
        if self.out.pending <= _LIMIT:
            return True
        self.lost += 1
        if self.lost == 1:
            self.out.drained(self._drained)
        return False

    def _drained(self) -> None:
        lost, self.lost = self.lost, 0
        self._report_lost(lost)
