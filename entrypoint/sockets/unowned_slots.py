"""Slots on which no worker accepts any more, and late connections to them.

The kernel chooses a worker by the SYN, and queues the connection there when the handshake
ends: after a second, if its last packet was lost; with the first byte, if the server
asked for TCP_DEFER_ACCEPT. By then a reload may have freed the slot. Such a connection is
relayed to the present workers (relay.py).
"""

from __future__ import annotations

from entrypoint.kernel import sockdiag, sockets
from entrypoint.loop import READ

from .steered import REPLACED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from entrypoint.loop import Loop

    from .group import Group
    from .relay import ConnectionRelay


# Time between two attempts to relay connections that were too many (s).
PAUSE = 0.05


class UnownedSlots:
    """The slots of one app without a worker. `groups()`: groups whose sockets the loop watches.

    `changed(group, slots)` is called when other events of their sockets matter from now on.
    """

    def __init__(
        self,
        loop: Loop,
        groups: Callable[[], Iterable[Group]],
        relay: Callable[[], ConnectionRelay],
        changed: Callable[[Group, Collection[int]], None],
    ) -> None:
        self._loop = loop
        self._groups = groups
        self._relay = relay
        self._changed = changed
        self._vacant: set[int] = set()
        self._steered: tuple[int, ...] = ()

    def occupy(self, slot: int) -> None:
        """Mark this slot as used: a worker that will accept on it is being started."""
        if slot in self._vacant:
            self._vacant.discard(slot)
            self._attend((slot,))

    def vacate(self, slot: int) -> None:
        """Mark this slot as unused: no worker accepts on it any more."""
        self._vacant.add(slot)
        for group in self._groups():
            group.vacate(slot)
        self._attend((slot,))

    def steered(self, slots: tuple[int, ...]) -> None:
        """New connections go to these slots: there are none to relay, or no worker to relay to."""
        changed = {*self._steered} ^ {*slots}
        self._steered = slots
        self._attend(self._vacant | changed)

    def events(self, group: Group, key: int) -> int:
        """The events to watch on that socket: connections to relay."""
        slot = group.slot_of(key)
        if group.single:
            return 0
        if slot == REPLACED:
            return READ
        vacant = slot in self._vacant or slot in group.closed
        return READ if vacant and self._steered and slot not in group.open_slots() else 0

    def serves(self, group: Group, key: int) -> bool:
        """Whether new connections go to the worker of that socket's slot."""
        routed = group.single or group.slot_of(key) in self._steered
        return routed and key in group.descriptors

    def arrived(self, group: Group, key: int) -> None:
        """Handle a waiting connection."""
        if not self.events(group, key) or not group.listening:
            return
        sock = group.at(key)
        length = sockets.queue_length(sock)
        self._relay().take(sock, length, (group.form,))
        if sockets.queue_length(sock) >= length > 0:
            # Too many, or no descriptors: it would be readable forever.
            self._loop.modify(sock.fileno(), 0)
            timer = ("unowned", id(self), key)
            again = self._loop.now() + PAUSE
            self._loop.call_at(timer, again, lambda: self._changed(group, (group.slot_of(key),)))

    def relay(self, slot: int, *, everybody: bool, stalled: bool = False) -> None:
        """Relay connections for the next worker of this slot, until that worker is there.

        `stalled`: it is there and accepts nothing; until new connections go to it again.
        Without `everybody`, only if all clients waiting for this port are on this host, so that
        workers see the same address as before. The kernel does not say who waits in which slot.
        """
        waiting = False
        for group in self._groups():
            if group.single or not group.listening:
                continue
            if slot in (self._steered if stalled else group.holders):
                continue
            for key in group.descriptors_of((slot,)):
                sock = group.at(key)
                length = sockets.queue_length(sock)
                if length and (everybody or sockdiag.waits_from_here(group.form.port)):
                    self._relay().take(sock, length, (group.form,))
                    waiting = waiting or sockets.queue_length(sock) > 0
        if waiting:
            again = self._loop.now() + PAUSE
            self._loop.call_at(
                ("relay", id(self), slot),
                again,
                lambda: self.relay(slot, everybody=everybody, stalled=stalled),
            )

    def _attend(self, slots: Collection[int]) -> None:
        for group in self._groups():
            if not group.single and group.listening:
                self._changed(group, (*slots, *group.closed, REPLACED))
