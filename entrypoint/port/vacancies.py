"""Slots on which nobody accepts any more, and what still comes there.

The kernel chooses a worker by the SYN, and queues the connection there when the handshake
ends: after a second, if its last packet was lost; with the first byte, where the server
asked for TCP_DEFER_ACCEPT. By then a reload may have freed the slot. Such a connection is
passed on to the workers that there are (early.py).
"""

from __future__ import annotations

from ..kernel import sockets
from ..loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..loop import Loop
    from .early import Early
    from .group import Group


class Vacancies:
    """The vacant slots of one app. `groups()` are those whose sockets the loop watches."""

    def __init__(
        self, loop: Loop, groups: Callable[[], Iterable[Group]], early: Callable[[], Early]
    ) -> None:
        self._loop = loop
        self._groups = groups
        self._early = early
        self._vacant: set[int] = set()
        self._steered: tuple[int, ...] = ()

    def occupy(self, slot: int) -> None:
        """A worker is started that will accept on this slot."""
        if slot in self._vacant:
            self._vacant.discard(slot)
            self._attend((slot,))

    def vacate(self, slot: int) -> None:
        """Nobody accepts on this slot any more."""
        self._vacant.add(slot)
        for group in self._groups():
            group.vacate(slot)
        self._attend((slot,))

    def steered(self, slots: tuple[int, ...]) -> None:
        """New connections go to these slots: none to pass on from there, or nobody to take it."""
        self._steered = slots
        if self._vacant:
            self._attend(tuple(self._vacant))

    def events(self, group: Group, slot: int) -> int:
        """What the loop is to wait for on that socket."""
        passes_on = slot in self._vacant and self._steered and slot not in self._steered
        return READ if passes_on and not group.single else 0

    def arrived(self, group: Group, slot: int) -> None:
        """A connection waits there."""
        if not self.events(group, slot) or not group.listening:
            return
        sock = group.socket(slot)
        length = sockets.queue_length(sock)
        self._early().take(sock, length, (group.form,))
        if sockets.queue_length(sock) >= length > 0:
            # No descriptors: it would be readable for ever.
            self._loop.modify(sock.fileno(), 0)

    def _attend(self, slots: tuple[int, ...]) -> None:
        for group in self._groups():
            if group.single or not group.listening:
                continue
            descriptors = group.descriptors
            for slot in slots:
                if slot < len(descriptors):
                    self._loop.modify(descriptors[slot], self.events(group, slot))
