"""The listening sockets of an app under the eyes of the loop.

A worker can shut down the open file that it shares with us (shutdown(2)): that is seen,
and the socket listens again. What comes to a slot that nobody has is passed on. And a
descriptor that a worker uses is known again by its inode.
"""

from __future__ import annotations

from ..loop import ERROR, HANGUP
from .address import Claim
from .vacancies import Vacancies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..loop import Loop
    from .address import Address
    from .early import Early
    from .group import Group

    Revived = Callable[[Group, tuple[int, ...]], None]


class Attended:
    """`groups()`: all that there are; `revived(group, slots)` is told of those that fell."""

    def __init__(
        self,
        loop: Loop,
        groups: Callable[[], Iterator[tuple[Address, Group]]],
        revived: Revived,
    ) -> None:
        self._loop = loop
        self._groups = groups
        self._revived = revived
        self._inodes: dict[int, tuple[Address, Group]] = {}
        self._watched: set[int] = set()
        # Slots whose sockets workers have shut down, in that order, until they are revived.
        self._fallen: dict[Group, list[int]] = {}
        self._early: Early | None = None
        self.vacancies = Vacancies(loop, self._watched_groups, self.proxy)

    def note(self, address: Address, group: Group) -> None:
        """Know its sockets again, and hear when a worker shuts one down."""
        for inode in group.inodes:
            self._inodes[inode] = (address, group)
        for slot, fd in enumerate(group.descriptors):
            if group.listening and fd not in self._watched:
                self._watch(group, slot, fd)
            elif not group.listening:
                self._unwatch(fd)

    def unite(self, group: Group) -> None:
        """From now on its slots have one socket: no slot of it is vacant any more."""
        group.unite()
        for slot, fd in enumerate(group.descriptors):
            if fd in self._watched:
                self._loop.modify(fd, self.vacancies.events(group, slot))

    def look_away(self, group: Group) -> None:
        """It is shut down on purpose."""
        for fd in group.descriptors:
            self._unwatch(fd)

    def let_go(self, address: Address) -> None:
        """It is closed now, or another app's."""
        self._inodes = {i: pair for i, pair in self._inodes.items() if pair[0] is not address}
        for group in address.groups.values():
            self._fallen.pop(group, None)
            self.look_away(group)

    def claim_of(self, inode: int) -> Claim | None:
        """Whose socket that is."""
        found = self._inodes.get(inode)
        return Claim(found[1], found[0]) if found is not None else None

    def proxy(self) -> Early:
        """What passes connections on to where somebody accepts."""
        if self._early is None:
            from .early import Early

            self._early = Early(self._loop)
        return self._early

    def close(self) -> None:
        """Watch nothing any more, pass nothing on."""
        if self._early is not None:
            self._early.close()
        for fd in tuple(self._watched):
            self._unwatch(fd)
        self._inodes.clear()

    def _watch(self, group: Group, slot: int, fd: int) -> None:
        events = self.vacancies.events(group, slot)
        self._loop.register(fd, events, lambda seen: self._seen(group, slot, seen))
        self._watched.add(fd)

    def _unwatch(self, fd: int) -> None:
        if fd in self._watched:
            self._watched.discard(fd)
            self._loop.unregister(fd)

    def _watched_groups(self) -> Iterator[Group]:
        for _, group in self._groups():
            if group.listening and group.descriptors[0] in self._watched:
                yield group

    def _seen(self, group: Group, slot: int, events: int) -> None:
        if events & (HANGUP | ERROR):
            # At the end of this turn, with all that fell in it: in which order they did, which
            # is that of epoll's list, tells where the kernel has put the others.
            self._fallen.setdefault(group, []).append(slot)
            key = ("revive", id(group))
            self._loop.call_at(key, self._loop.now(), lambda: self._revive(group))
        else:
            self.vacancies.arrived(group, slot)

    def _revive(self, group: Group) -> None:
        self.look_away(group)
        slots = group.revive(self._fallen.pop(group, []))
        self._inodes = {inode: pair for inode, pair in self._inodes.items() if pair[1] != group}
        for address, other in self._groups():
            if other is group:
                self.note(address, group)
        if slots:
            self._revived(group, slots)
