"""Which sockets of a group get new connections, and which workers hold them."""

from __future__ import annotations

import errno
import os

from entrypoint.kernel import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Collection

    from .addresses import Form

# Each takes two instructions of a program.
MAX_DIRECTED = 500
# The slot of a socket that was replaced.
REPLACED = -1


class Steered:
    """Sockets, slots and workers of a group, and the BPF program that follows from them."""

    def __init__(self, form: Form, *, single: bool) -> None:
        self.form = form
        self.single = single
        # Several workers may have one slot's socket (`share: generations`).
        self.shared = False
        # The socket that all slots share, if there is one.
        self._one = 0
        self.users: set[int] = set()
        # A worker uses the socket that was passed to it, without bind(2) or listen(2).
        self.in_use = False
        # For an undeclared address: slot → incarnation that got its
        # socket. Other slots get nothing: with PM2's `increment_var: PORT` each
        # worker binds its own port, and no worker would accept another one's connections.
        self.bound_by: dict[int, set[int]] = {}
        # The same for every address: workers that got a socket by a call or a message.
        self.holders: dict[int, set[int]] = {}
        # Slots of the last of them: their next workers, if any, bind there.
        self._awaited: tuple[int, ...] = ()
        # The slot that gets all connections for a while (late_binds.py).
        self._preferred: int | None = None
        # Slots whose worker has closed its socket but keeps running, and that worker.
        self.closed: dict[int, int] = {}
        self.declared = False
        self._plug: _socket.socket | None = None
        self.steered: tuple[int, ...] = ()
        # Source port → slot, of pyinit's own connections that check one worker.
        self._directed: dict[int, int] = {}
        self.steers = True  # False once the kernel has refused the program
        self._sockets: dict[int, _socket.socket] = {}
        # A copy of the kernel's array: which key is at which index.
        self._array: list[int] = []
        # Further sockets of a slot: key → slot, or REPLACED.
        self._extras: dict[int, int] = {}
        # A worker's own socket that takes over its slot when it listens.
        self._coming: dict[int, _socket.socket] = {}

    def key_of(self, inode: int) -> int | None:
        """The key of its socket with this inode."""
        for key, sock in (*self._coming.items(), *self._sockets.items()):
            if os.fstat(sock.fileno()).st_ino == inode:
                return key
        return None

    def slot_of(self, key: int) -> int:
        """The slot that this socket serves, or REPLACED."""
        return self._extras.get(key, key)

    def of_inode(self, inode: int) -> _socket.socket | None:
        """Its socket of that inode."""
        for sock in (*self._coming.values(), *self._sockets.values()):
            if os.fstat(sock.fileno()).st_ino == inode:
                return sock
        return None

    def at(self, key: int) -> _socket.socket:
        """The socket of a known key."""
        return self._sockets[key]

    def descriptors_of(self, slots: Collection[int]) -> dict[int, int]:
        """Key → descriptor of the sockets of these slots."""
        found = [slot for slot in slots if slot in self._sockets]
        found += [key for key, slot in self._extras.items() if slot in slots]
        return {key: self._sockets[key].fileno() for key in found}

    def listens_at(self, inode: int) -> bool:
        """Whether the socket of that inode takes connections."""
        return self.key_of(inode) in self._array

    def listens(self, key: int) -> bool:
        """Whether this socket of it takes connections."""
        return key in self._array

    @property
    def descriptors(self) -> dict[int, int]:
        """Key → descriptor of all sockets that may listen."""
        return {key: sock.fileno() for key, sock in self._sockets.items()}

    @property
    def inodes(self) -> tuple[int, ...]:
        """The sockets as /proc names them."""
        found = (*self._sockets.values(), *self._coming.values())
        return tuple(os.fstat(sock.fileno()).st_ino for sock in found)

    def inodes_of(self, slot: int) -> tuple[int, ...]:
        """The inodes of the sockets of one slot."""
        found = [os.fstat(fd).st_ino for fd in self.descriptors_of((slot,)).values()]
        if slot in self._coming:
            found.append(os.fstat(self._coming[slot].fileno()).st_ino)
        return tuple(found)

    def waiting(self) -> tuple[tuple[_socket.socket, int], ...]:
        """Sockets with a queue, and its length."""
        found = ((sock, sockets.queue_length(sock)) for sock in self._sockets.values())
        return tuple((sock, length) for sock, length in found if length)

    def steer(self, slots: tuple[int, ...]) -> None:
        """Route new connections to these slots only; () means all."""
        self.steered = slots
        if not self._array or not self.steers or len(self._sockets) < 2 or self._plug:
            return
        wanted = (self._one,) if self.single else self.open_slots()
        if len(set(wanted)) == 1:
            wanted = wanted[:1]
        # A slot that is named once for each of its workers gets more.
        indexes = tuple(
            index
            for index, key in enumerate(self._array)
            for _ in range(wanted.count(self._extras.get(key, key)))
        )
        try:
            # By a listening one: before that a socket is in no group but its own.
            member = self._sockets[self._array[0]]
            sockets.steer(member, indexes or self._fallback(), self._directions())
        except OSError as error:
            if error.errno not in (errno.ENOPROTOOPT, errno.EPERM, errno.EINVAL):
                raise
            self.steers = False  # the kernel's own hash spreads connections from here on

    def _fallback(self) -> tuple[int, ...]:
        """All but replaced sockets, if there are any, when no wanted slot listens."""
        indices = tuple(range(len(self._array)))
        return tuple(i for i in indices if self._extras.get(self._array[i]) != REPLACED) or indices

    def _directions(self) -> dict[int, int]:
        """Source port → index in the kernel's array."""
        return {
            port: self._array.index(slot)
            for port, slot in self._directed.items()
            if slot in self._array
        }

    def direct(self, port: int, slot: int) -> bool:
        """Route connections of this host from source port `port` to this slot.

        False: they go to any slot, because there is one socket for all, or no steering.
        Raises OSError (EAGAIN) if too many are under way.
        """
        if self.single or not self.steers or len(self._sockets) < 2:
            return False
        if len(self._directed) >= MAX_DIRECTED:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._directed[port] = slot
        self.steer(self.steered)
        return self.steers

    def is_sole(self, slot: int) -> bool:
        """Whether no other socket of it listens, and siblings do not have this one."""
        return not self.single and not self.shared and self._array == [slot]

    def has_siblings(self, slot: int, incarnation: int) -> bool:
        """Whether another worker has that slot's socket."""
        if self.shared:
            return bool(self.holders.get(slot, set()) - {incarnation})
        return self.single and len(self.users) > 1

    def undirect(self, port: int) -> None:
        """Remove that port's route."""
        if self._directed.pop(port, None) is not None:
            self.steer(self.steered)

    def open_slots(self) -> tuple[int, ...]:
        """Those of the wanted slots whose worker has this very address."""
        if self.declared:
            return tuple(slot for slot in self.steered if slot not in self.closed) or self.steered
        both = tuple(slot for slot in self.steered if slot in self.bound_by)
        if self._preferred in both:
            return (self._preferred,)
        return both or tuple(self.bound_by) or self._awaited or self.steered

    def prefer(self, slot: int | None) -> None:
        """Route new connections only to this slot if it is a wanted one; None: to all of them."""
        if self._preferred != slot:
            self._preferred = slot
            self.steer(self.steered)

    def taken(self, slot: int, incarnation: int) -> None:
        """Record that this worker has the slot's socket."""
        changed = slot in self.closed
        self.closed.pop(slot, None)
        self._own(self.holders, slot, incarnation)
        if not self.declared:
            changed = changed or slot not in self.bound_by
            self._own(self.bound_by, slot, incarnation)
            self._awaited = ()
        if changed:
            self.steer(self.steered)

    def _own(self, owners: dict[int, set[int]], slot: int, incarnation: int) -> None:
        if self.shared:
            owners.setdefault(slot, set()).add(incarnation)
        else:
            owners[slot] = {incarnation}

    @staticmethod
    def _disown(owners: dict[int, set[int]], slot: int, incarnation: int) -> bool:
        """Remove the last owner of a slot."""
        left = owners.get(slot, set())
        if incarnation not in left:
            return False
        left.discard(incarnation)
        if not left:
            del owners[slot]
        return not left

    def gave_up(self, slot: int, incarnation: int) -> None:
        """Record that its worker has closed the slot's socket but keeps running."""
        self.users.discard(incarnation)
        self._disown(self.holders, slot, incarnation)
        self._disown(self.bound_by, slot, incarnation)
        if self.declared and not (self.shared and slot in self.holders):
            self.closed[slot] = incarnation
        self.steer(self.steered)

    def release(self, incarnation: int) -> None:
        """Release the slots of a worker that is gone; each counts again once it is assigned."""
        self.users.discard(incarnation)
        for slot in [slot for slot, holder in self.closed.items() if holder == incarnation]:
            del self.closed[slot]
        for slot in tuple(self.holders):
            self._disown(self.holders, slot, incarnation)
        bound = tuple(self.bound_by)
        gone = [slot for slot in bound if self._disown(self.bound_by, slot, incarnation)]
        if gone and not self.bound_by:
            self._awaited = tuple(gone)

    def forget_workers(self) -> None:
        """Forget all workers: another app has it now."""
        self.users.clear()
        self.bound_by.clear()
        self.holders.clear()
        self.closed.clear()
        self._awaited = ()

    @property
    def awaited(self) -> tuple[int, ...]:
        """Slots whose next worker may bind the address again."""
        return self._awaited

    def vacate(self, slot: int) -> None:
        """Record that no worker will come to this slot, so none is awaited there."""
        if slot in self._awaited:
            self._awaited = tuple(each for each in self._awaited if each != slot)
            self.steer(self.steered)
