"""Watches the listening sockets of an app on the loop.

A worker can shut down the open file that it shares with pyinit (shutdown(2)): this is detected,
and the socket listens again. Connections to a slot without a worker are relayed. If a
worker has the socket, a connection triggers a check whether it still has it (claims.py).
A descriptor that a worker uses is identified by its inode.
"""

from __future__ import annotations

from entrypoint.kernel import sockets
from entrypoint.loop import (
    EDGE,
    ERROR,
    HANGUP,
    READ,
    WRITE,
)

from .address import Assignment
from .claims import LONGEST_PAUSE, PAUSE, inode_of
from .stalls import Stalls
from .unowned_slots import UnownedSlots

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Callable, Collection, Iterator

    from entrypoint.loop import Loop

    from .address import Address
    from .claims import Claims
    from .group import Group
    from .path_watch import PathWatch
    from .relay import ConnectionRelay

    Revived = Callable[[Group, tuple[int, ...]], None]
    Arrived = Callable[[Group, int], None]
    Down = Callable[[Group, OSError], None]

# The pause before another attempt to make a socket (s).
REVIVE_PAUSE, LONGEST_REVIVE_PAUSE = 0.25, 2.0


class ListenerMonitor:
    """`groups()`: all groups; `revived(group, slots)` gets slots that stopped listening.

    `arrived(group, inode)` is called for a connection to a socket that a worker has, at
    most once in `PAUSE`. `down(group, error)`: a socket cannot be revived; this is
    retried. `paths` watches the socket files.
    """

    def __init__(
        self,
        loop: Loop,
        groups: Callable[[], Iterator[tuple[Address, Group]]],
        revived: Revived,
        claims: Claims,
        arrived: Arrived,
        down: Down,
        paths: PathWatch,
    ) -> None:
        self._down = down
        self._paths = paths
        self._loop = loop
        self._groups = groups
        self._revived = revived
        self._claims = claims
        self._arrived = arrived
        # Descriptors that are not watched for connections just now; the last time and pause.
        self._resting: set[int] = set()
        self._rests: dict[int, tuple[float, float]] = {}
        self._inodes: dict[int, tuple[Address, Group]] = {}
        # Descriptor → inode.
        self._watched: dict[int, int] = {}
        # Descriptor → key of listening ones: replacing a socket changes it.
        self._keys: dict[int, int] = {}
        # Sockets that do not listen: their workers may turn them into clients.
        self._clients: set[int] = set()
        # Slots whose sockets workers have shut down, in that order, until they are revived.
        self._fallen: dict[Group, list[int]] = {}
        self._relay: ConnectionRelay | None = None
        self.stalls = Stalls(loop.now, self._all_groups)
        self.unowned = UnownedSlots(loop, self._watched_groups, self.proxy, self.refresh)

    def note(self, address: Address, group: Group) -> None:
        """Register its sockets again, and watch for a shutdown by a worker."""
        for inode in group.inodes:
            self._inodes[inode] = (address, group)
        if group.file is not None:
            self._paths.follow(group)
        for key, fd in group.descriptors.items():
            if not group.listens(key):
                if fd not in self._clients:
                    self._unwatch(fd)
                continue
            if fd in self._clients or self._keys.get(fd) != key:
                self._unwatch(fd)
            if fd not in self._watched:
                self._watch(group, key, fd)
            else:
                self._loop.modify(fd, self._events(group, key, fd))

    def await_connect(self, sock: _socket.socket, connected: Callable[[], None]) -> None:
        """Call `connected` when a worker turns this socket, which is only bound, into a client.

        Then pyinit's duplicate must be closed, or the peer never sees the worker's close.
        """
        fd = sock.fileno()
        if fd in self._watched:
            return

        def changed(_events: int) -> None:
            if sockets.is_client(sock):
                connected()

        # A socket that is not connected always reports a hang-up: only changes count.
        self._loop.register(fd, WRITE | EDGE, changed)
        self._watched[fd] = inode_of(fd)
        self._clients.add(fd)

    def unite(self, group: Group) -> None:
        """Make all its slots share one socket, so that no slot is without a worker."""
        group.unite()
        self.refresh(group)

    def refresh(self, group: Group, slots: Collection[int] | None = None) -> None:
        """Update the watched events of its sockets, or of those of some slots."""
        changed = None if slots is None else group.descriptors_of(slots)
        for key, fd in group.descriptors.items() if changed is None else changed.items():
            if fd in self._watched and fd not in self._clients:
                self._loop.modify(fd, self._events(group, key, fd))

    def look_away(self, group: Group) -> None:
        """Stop watching it: it is shut down on purpose."""
        for fd in group.descriptors.values():
            self._unwatch(fd)

    def forget(self, sock: _socket.socket) -> None:
        """Forget a socket that will be closed."""
        self._unwatch(sock.fileno())
        self._inodes.pop(inode_of(sock.fileno()), None)

    def let_go(self, address: Address) -> None:
        """Forget one that is closed now, or another app's."""
        self._inodes = {i: pair for i, pair in self._inodes.items() if pair[0] is not address}
        for group in address.groups.values():
            self._fallen.pop(group, None)
            self._paths.forget(group)
            self.look_away(group)

    def assignment_of(self, inode: int) -> Assignment | None:
        """The assignment that a socket belongs to."""
        found = self._inodes.get(inode)
        return Assignment(found[1], found[0]) if found is not None else None

    def proxy(self) -> ConnectionRelay:
        """Relays connections to sockets with accepting workers."""
        if self._relay is None:
            from .relay import ConnectionRelay

            self._relay = ConnectionRelay(self._loop)
        return self._relay

    def close(self) -> None:
        """Stop watching and relaying."""
        if self._relay is not None:
            self._relay.close()
        self._paths.close()
        for fd in tuple(self._watched):
            self._unwatch(fd)
        self._inodes.clear()

    def _watch(self, group: Group, key: int, fd: int) -> None:
        self._watched[fd] = inode_of(fd)
        self._keys[fd] = key
        events = self._events(group, key, fd)
        self._loop.register(fd, events, lambda seen: self._seen(group, key, fd, seen))

    def _unwatch(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None:
            self._keys.pop(fd, None)
            self._clients.discard(fd)
            self._resting.discard(fd)
            self._rests.pop(fd, None)
            self.stalls.forget(fd)
            self._loop.cancel(("arm", fd))
            self._loop.unregister(fd)

    def _events(self, group: Group, key: int, fd: int) -> int:
        """READ if a connection matters to pyinit."""
        passes_on = self.unowned.events(group, key)
        if passes_on or fd in self._resting:
            return passes_on
        claims = self._claims.of_inode(self._watched[fd])
        if any(not each.reported for each in claims):
            return READ
        # Its worker reports its closes itself: check only whether it accepts (stalls.py).
        return READ if self.stalls.watches(group) and self.unowned.serves(group, key) else 0

    def _all_groups(self) -> Iterator[Group]:
        return (group for _, group in self._groups())

    def _watched_groups(self) -> Iterator[Group]:
        for _, group in self._groups():
            if group.listening and any(fd in self._watched for fd in group.descriptors.values()):
                yield group

    def _seen(self, group: Group, key: int, fd: int, events: int) -> None:
        if events & (HANGUP | ERROR):
            # At the end of this turn, with all that fell in it: the order in which they fell,
            # which is that of epoll's list, determines where the kernel has put the others.
            self._fallen.setdefault(group, []).append(key)
            timer = ("revive", id(group))
            self._loop.call_at(timer, self._loop.now(), lambda: self._try_revive(group))
        elif self.unowned.events(group, key):
            self.unowned.arrived(group, key)
        else:
            self._rest(group, key, fd)
            self._arrived(group, self._watched[fd])

    def _rest(self, group: Group, key: int, fd: int) -> None:
        """Ignore connections for a while: longer if they follow one another."""
        now = self._loop.now()
        last, pause = self._rests.get(fd, (0.0, PAUSE))
        pause = min(LONGEST_PAUSE, pause * 2) if now - last < 2 * pause else PAUSE
        self._rests[fd] = (now, pause)
        self._loop.modify(fd, 0)
        self._resting.add(fd)

        def again() -> None:
            self._resting.discard(fd)
            if fd in self._watched:
                self._loop.modify(fd, self._events(group, key, fd))
                if self.stalls.watches(group) and self.unowned.serves(group, key):
                    self.stalls.look(group, key)

        self._loop.call_at(("arm", fd), now + pause, again)

    def repair(self, group: Group) -> None:
        """Make a lost socket again that a worker needs now. Raises OSError."""
        if group.is_down:
            self._revive(group)

    def _try_revive(self, group: Group, pause: float = REVIVE_PAUSE) -> None:
        """Revive it, with retries."""
        if not any(other is group for _, other in self._groups()):
            return  # its address was closed meanwhile
        try:
            self._revive(group)
        except OSError as error:
            self._down(group, error)
            later = min(LONGEST_REVIVE_PAUSE, 2 * pause)
            at = self._loop.now() + pause
            self._loop.call_at(("revive", id(group)), at, lambda: self._try_revive(group, later))

    def _revive(self, group: Group) -> None:
        self.look_away(group)
        slots = group.revive(self._fallen.pop(group, []))
        self._loop.cancel(("revive", id(group)))
        self._inodes = {inode: pair for inode, pair in self._inodes.items() if pair[1] != group}
        for address, other in self._groups():
            if other is group:
                self.note(address, group)
        if slots:
            self._revived(group, slots)
