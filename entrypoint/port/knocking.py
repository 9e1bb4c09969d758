"""A connection of our own to one slot: once it is accepted, somebody serves there.

For a worker that was given its socket as a descriptor, of which nothing else can be seen
(no filter, no word of its own). The program of the group sends it to the slot: for the
moment of the connect(2) it names that slot alone.
"""

from __future__ import annotations

from ..kernel import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .group import Group


class Knocking:
    """Knock at `slot`; `close` it in the end. The worker sees a client that says nothing."""

    def __init__(self, group: Group, slot: int) -> None:
        self._group = group
        self._slot = slot
        self._arrived = False
        before = group.steered
        group.steer((slot,))
        try:
            self._client = sockets.connect_to_self(group.socket(slot))
        finally:
            group.steer(before)
        self.accepted()

    def accepted(self) -> bool:
        """Somebody has taken it, and whoever waited there with it."""
        # Connected is arrived: a quick worker accepts before its queue can be looked at.
        self._arrived = self._arrived or sockets.is_connected(self._client)
        return self._arrived and self._group.queue_length(self._slot) == 0

    def close(self) -> None:
        """Hang up."""
        self._client.close()
