"""The sockets of one address in one form: a slot's own, or one for all slots."""

from __future__ import annotations

import errno
import os

from ..kernel import sockets
from .addresses import Form

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Collection, Sequence

    from ..kernel.credentials import Credentials
    from ..kernel.unixpath import SocketFile


# Each takes two instructions of a program.
MAX_DIRECTED = 500

# Places of sockets beyond those of the slots, of which there are fewer.
_EXTRA = 1 << 20
# The slot of a socket that was replaced.
REPLACED = -1


class Group:
    """TCP: one `SO_REUSEPORT` socket for each slot (one in all when `single`).

    `steered` holds the slots that new connections go to; () means all. `users` are the
    incarnations that were handed one of the sockets.

    `on_demand`: no file declares the address. A slot's socket is bound when its worker asks
    for it, and listens when its worker does. Else all sockets are bound and listen at once.
    `credentials`: for whom it is bound; None: by us, as the file says.

    Sockets are known by their *place*: the slot's number, or a number from `_EXTRA` up for a
    further socket of a slot (a worker's own second one) and for one that was replaced.
    """

    # Of a unix socket, if it has one.
    file: SocketFile | None = None

    def __init__(
        self,
        form: Form,
        backlog: int,
        *,
        single: bool = False,
        on_demand: bool = False,
        credentials: Credentials | None = None,
    ) -> None:
        self.form = form
        self._credentials = credentials
        self.backlog = backlog
        self.single = single
        self.on_demand = on_demand
        # The socket that all slots have, when it is one.
        self._one = 0
        self.listening = False
        self.users: set[int] = set()
        # Of an address that no file declares: slot → incarnation that was handed its
        # socket. The others' slots get nothing: with PM2's `increment_var: PORT` each
        # worker binds a port of its own, and nobody would take what another is given.
        self.takers: dict[int, int] = {}
        # The same for every address: who was handed a socket by a call or a message.
        self.holders: dict[int, int] = {}
        # Where the last of them were: their next workers, if there will be any, come there.
        self._awaited: tuple[int, ...] = ()
        # Slots whose worker has closed its socket and lives on, and that worker.
        self.closed: dict[int, int] = {}
        self.declared = False
        self._plug: _socket.socket | None = None
        self.steered: tuple[int, ...] = ()
        # Source port → slot, of pyinit's own connections that check one worker.
        self._directed: dict[int, int] = {}
        self._sink = 0  # the inode of the socket that it keeps busy
        self._paused = False  # it listened, and will again
        self.steers = True  # False once the kernel has refused the program
        self._sockets: dict[int, _socket.socket] = {}
        # Our book of the kernel's array: which place is at which index.
        self._array: list[int] = []
        # Further sockets of a slot: place → slot, or REPLACED.
        self._extras: dict[int, int] = {}
        # A worker's own socket which takes over its slot when it listens.
        self._coming: dict[int, _socket.socket] = {}
        self._numbers = _EXTRA
        # Places of which a worker has ended the listening, and that do not listen again yet.
        self._down: list[int] = []

    def open(self, slots: int) -> None:
        """Bind. Raises OSError, leaving nothing open."""
        try:
            self.grow(slots)
        except OSError:
            self.close()
            raise

    def grow(self, slots: int) -> None:
        """Have at least `slots` sockets. Raises OSError."""
        if self.on_demand:
            return
        grown = False
        for slot in range(1 if self.single else max(1, slots)):
            if slot not in self._sockets:
                self._sockets[slot] = self._bind()
                grown = True
                if self.listening:
                    self._listen(slot)
        if grown and self.listening:
            # A program that names fewer sockets than there are leaves out the new one
            # only because it is attached again.
            self.steer(self.steered)

    def _bind(self) -> _socket.socket:
        form = self.form
        return sockets.bind_shared(
            form.family,
            form.host,
            form.port,
            v6only=form.v6only,
            scope=form.scope,
            credentials=self._credentials,
        )

    def admits(self, credentials: Credentials | None) -> bool:
        """Whether this process could have bound the address itself."""
        if credentials is None or credentials == self._credentials:
            return True
        return sockets.may_bind(self.form.port, credentials)

    def declare(self, slots: int) -> None:
        """A file declares it from now on. Raises OSError."""
        self.declared = True
        self._credentials = None
        self.on_demand = False
        self.grow(slots)
        if self.listening:
            for slot in tuple(self._sockets):
                if slot not in self._array:
                    self._listen(slot)
            self.steer(self.steered)

    def listen(self, place: int | None = None) -> None:
        """Take connections. Raises OSError (EADDRINUSE: somebody listens there).

        `place`: the socket whose worker listens; the others too unless `on_demand`.
        """
        if self.on_demand and place is not None:
            if place not in self._array:
                self.listening = True
                self._listen(place)
                self.steer(self.steered)
            return
        if self.listening:
            return
        self.listening = True
        places = tuple(self._sockets)
        # Those that take connections first, then the program, then the others: between
        # a listen(2) and the program the kernel spreads connections by itself, and one
        # given to a spare slot would wait for ever.
        slots = self.open_slots()
        first = [place for place in places if place in slots] or list(places)
        for each in first:
            self._listen(each)
        self.steer(self.steered)
        for each in places:
            if each not in first:
                self._listen(each)

    def _listen(self, place: int) -> None:
        self._sockets[place].listen(self.backlog)
        self._array.append(place)

    # -- workers' own sockets -----------------------------------------------------------

    def adopt(self, slot: int, incarnation: int, own: _socket.socket) -> None:
        """Bind a worker's own socket, to serve this slot once the worker listens on it.

        Takes ownership of `own`, our duplicate. Raises OSError with nothing changed.
        """
        form = self.form
        sockets.bind_own(
            own,
            form.host,
            form.port,
            v6only=form.v6only,
            scope=form.scope,
            credentials=self._credentials,
        )
        self.join(slot, incarnation, own)

    def join(self, slot: int, incarnation: int, own: _socket.socket) -> None:
        """As `adopt`, of one that is bound to the address already."""
        if slot not in self._sockets:
            self._sockets[slot] = own
        elif slot in self._coming or self.holders.get(slot) == incarnation:
            # Its second one for this address: SO_REUSEPORT in the program itself.
            self._numbers += 1
            self._sockets[self._numbers] = own
            self._extras[self._numbers] = slot
        else:
            self._coming[slot] = own
        self.taken(slot, incarnation)

    def begins(self, inode: int) -> _socket.socket | None:
        """The worker listens on its own socket of that inode. Raises OSError.

        The listener that it replaces is returned, for its queue; it takes no connections
        any more, and stays open until `drop_replaced`.
        """
        place = self.place_of(inode)
        if place is None:
            return None
        slot = self._extras.get(place, place)
        own = self._coming.get(slot)
        if own is None or os.fstat(own.fileno()).st_ino != inode:
            if place not in self._array:
                self.listening = True
                self._listen(place)
                self.steer(self.steered)
            return None
        del self._coming[slot]
        old = self._sockets.pop(slot)
        self._sockets[slot] = own
        self._numbers += 1
        self._sockets[self._numbers] = old
        self._extras[self._numbers] = REPLACED
        if slot in self._array:
            self._array[self._array.index(slot)] = self._numbers
        self.listening = True
        self._listen(slot)
        self.steer(self.steered)
        return old

    def place_of(self, inode: int) -> int | None:
        """Which of its sockets has this inode."""
        for place, sock in (*self._coming.items(), *self._sockets.items()):
            if os.fstat(sock.fileno()).st_ino == inode:
                return place
        return None

    def slot_of(self, place: int) -> int:
        """The slot that this socket serves, or REPLACED."""
        return self._extras.get(place, place)

    def remove(self, inode: int) -> _socket.socket | None:
        """Take the socket of that inode out; the caller closes it.

        Until it is closed it may still be in the kernel's array: close it before `steer`.
        """
        place = self.place_of(inode)
        if place is None:
            return None
        coming = self._coming.get(place)
        if coming is not None and os.fstat(coming.fileno()).st_ino == inode:
            return self._coming.pop(place)
        self._extras.pop(place, None)
        sock = self._sockets.pop(place)
        if place in self._array:
            index = self._array.index(place)
            # The kernel moves the last one there (`reuseport_detach_sock`).
            last = self._array.pop()
            if last != place:
                self._array[index] = last
        self.listening = bool(self._array)
        return sock

    # -- changes ------------------------------------------------------------------------

    def unite(self) -> None:
        """From now on all slots have one socket: one whose worker accepts now.

        The others stay, for what waits there; nothing more comes to them.
        """
        if not self.single:
            self.single = True
            listening = (slot for slot in self.steered if slot in self._array)
            self._one = next(listening, next(iter(self._sockets), 0))
            self.steer(self.steered)

    def tune(self, backlog: int, mode: int | None) -> None:  # noqa: ARG002
        """Another backlog, and another `mode` where there is a file. Raises OSError."""
        if backlog == self.backlog or self._plug is not None:
            return
        self.backlog = backlog
        for place in self._array:
            self._sockets[place].listen(backlog)

    def quiet(self) -> None:
        """Refuse connections, keep the port; `listen` takes them again."""
        self.listening = False
        for sock in self._sockets.values():
            sockets.stop_listening(sock)
        self._array.clear()

    def pause(self) -> None:
        """Refuse connections until `resume`."""
        self._paused = self.listening
        self.quiet()

    def resume(self) -> None:
        """Take connections again, after `refuse` or `pause`. Raises OSError."""
        listened = self._paused or self.listening
        self._paused = False
        self._unplug()
        for sock in self._sockets.values():
            sockets.take_again(sock)
        if listened and not self.listening:
            self.listen()
        else:
            self.steer(self.steered)

    def _unplug(self) -> None:
        """End `_refuse_by_sink`."""
        if self._plug is None:
            return
        self._plug.close()
        self._plug = None
        sink = self.remove(self._sink)
        if sink is not None:
            sink.close()

    def refuse(self) -> None:
        """Take no new connections; what is queued stays (`sockets.take_no_more`)."""
        if not self.listening:
            return
        for sock in self._sockets.values():
            try:
                sockets.take_no_more(sock)
            except PermissionError:
                # Newer kernels want CAP_NET_ADMIN for a filter on a TCP socket, which
                # containers do not have.
                self._refuse_by_sink()
                return

    def _refuse_by_sink(self) -> None:
        """Turn new connections to a socket whose queue is full: their SYN is dropped.

        Nobody accepts on it. A backlog of 0 holds one connection (`listen(2)`: the queue
        is full when it is longer), which is our own. Without steering there is no way:
        connections then come until `close`.
        """
        if self.single or not self.steers or not self._array:
            return
        sink = self._bind()
        self._numbers += 1
        self._sockets[self._numbers] = sink
        self._sink = os.fstat(sink.fileno()).st_ino
        self._extras[self._numbers] = REPLACED
        sink.listen(0)
        self._array.append(self._numbers)
        sockets.steer(self._sockets[self._array[0]], (len(self._array) - 1,))
        self._plug = sockets.connect_to_self(sink)

    def steer(self, slots: tuple[int, ...]) -> None:
        """New connections go to these slots only; () means all."""
        self.steered = slots
        if not self._array or not self.steers or len(self._sockets) < 2 or self._plug:
            return
        wanted = (self._one,) if self.single else self.open_slots()
        places = tuple(
            index
            for index, place in enumerate(self._array)
            if self._extras.get(place, place) in wanted
        )
        try:
            # By one that listens: before that a socket is in no group but its own.
            member = self._sockets[self._array[0]]
            sockets.steer(member, places or self._fallback(), self._directions())
        except OSError as error:
            if error.errno not in (errno.ENOPROTOOPT, errno.EPERM, errno.EINVAL):
                raise
            self.steers = False  # the kernel's own hash spreads connections from here on

    def _fallback(self) -> tuple[int, ...]:
        """Where no wanted slot listens: all but those that were replaced, if there are any."""
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
        """Connections of this host from source port `port` go to this slot.

        False: they will go to any, for there is one socket for all, or no steering.
        Raises OSError (EAGAIN) when too many are on their way.
        """
        if self.single or not self.steers or len(self._sockets) < 2:
            return False
        if len(self._directed) >= MAX_DIRECTED:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._directed[port] = slot
        self.steer(self.steered)
        return self.steers

    def is_sole(self, slot: int) -> bool:
        """No other socket of it listens, and siblings do not have this one."""
        return not self.single and self._array == [slot]

    def undirect(self, port: int) -> None:
        """Forget that port."""
        if self._directed.pop(port, None) is not None:
            self.steer(self.steered)

    def open_slots(self) -> tuple[int, ...]:
        """Of those that are steered to, the ones whose worker has this very address."""
        if self.declared:
            return tuple(slot for slot in self.steered if slot not in self.closed) or self.steered
        both = tuple(slot for slot in self.steered if slot in self.takers)
        return both or tuple(self.takers) or self._awaited or self.steered

    def revive(self, fallen: Sequence[int] = ()) -> tuple[int, ...]:
        """Listen again where a worker has shut a socket down; those slots.

        `fallen`: the order in which that happened, as far as it is known. With each one the
        kernel's array changes, so the same sockets gone in another order leave another array.
        """
        if not self.listening:
            return ()
        down = tuple(
            place
            for place in dict.fromkeys((*fallen, *self._sockets))
            if place in self._array and not sockets.is_listening(self._sockets[place])
        )
        self._down += down
        for place in down:
            # The last of the array took its place.
            index = self._array.index(place)
            last = self._array.pop()
            if last != place:
                self._array[index] = last
        revived = [place for place in self._down if place in self._sockets]
        for place in revived:
            self._listen(place)
            self._down.remove(place)
        self._down.clear()
        if revived:
            self.steer(self.steered)
        return tuple(revived)

    @property
    def is_down(self) -> bool:
        """A worker has ended it, and `revive` could not make it again."""
        return bool(self._down)

    def socket(self, slot: int) -> _socket.socket:
        """The socket of a slot, made if there are not that many. Raises OSError."""
        if self.single:
            slot = self._one
        if slot not in self._sockets:
            if self.on_demand:
                self._sockets[slot] = self._bind()
            else:
                self.grow(slot + 1)
        return self._sockets[slot]

    def at(self, place: int) -> _socket.socket:
        """The socket at a place that there is."""
        return self._sockets[place]

    def has(self, slot: int) -> bool:
        """There is a socket for this slot already."""
        return (self._one if self.single else slot) in self._sockets

    def hand(self, slot: int, incarnation: int) -> _socket.socket:
        """The socket of a slot, for a worker that will accept on it. Raises OSError."""
        sock = self.socket(slot)
        self.taken(slot, incarnation)
        return sock

    def taken(self, slot: int, incarnation: int) -> None:
        """This worker has the slot's socket from now on."""
        changed = slot in self.closed
        self.closed.pop(slot, None)
        self.holders[slot] = incarnation
        if not self.declared:
            changed = changed or slot not in self.takers
            self.takers[slot] = incarnation
            self._awaited = ()
        if changed:
            self.steer(self.steered)

    def gave_up(self, slot: int, incarnation: int) -> None:
        """Its worker has closed the slot's socket and lives on."""
        self.users.discard(incarnation)
        if self.holders.get(slot) == incarnation:
            del self.holders[slot]
        if self.declared:
            self.closed[slot] = incarnation
        elif self.takers.get(slot) == incarnation:
            del self.takers[slot]
        self.steer(self.steered)

    def release(self, incarnation: int) -> None:
        """The worker is gone; its slot counts again when it is handed out again."""
        self.users.discard(incarnation)
        for book in (self.holders, self.closed):
            for slot in [slot for slot, holder in book.items() if holder == incarnation]:
                del book[slot]
        gone = [slot for slot, taker in self.takers.items() if taker == incarnation]
        for slot in gone:
            del self.takers[slot]
        if gone and not self.takers:
            self._awaited = tuple(gone)

    def forget_workers(self) -> None:
        """Another app has it now."""
        self.users.clear()
        self.takers.clear()
        self.holders.clear()
        self.closed.clear()
        self._awaited = ()

    @property
    def awaited(self) -> tuple[int, ...]:
        """Slots whose next worker may bind the address again."""
        return self._awaited

    @property
    def empty(self) -> bool:
        """There is no socket left."""
        return not self._sockets and not self._coming

    def vacate(self, slot: int) -> None:
        """No worker will come to this slot: nobody is to wait there for one."""
        if slot in self._awaited:
            self._awaited = tuple(each for each in self._awaited if each != slot)
            self.steer(self.steered)

    def set_blocking(self, slot: int, blocking: bool) -> None:
        """Whether accept(2) waits, for all who hold this slot's socket."""
        sockets.set_blocking(self.socket(slot), blocking)

    def queue_length(self, slot: int) -> int:
        """Connections waiting for this slot alone (0 when siblings share its queue)."""
        if not self.listening or (self.single and slot == self._one):
            return 0
        return sum(sockets.queue_length(self._sockets[place]) for place in self.places((slot,)))

    def places(self, slots: Collection[int]) -> dict[int, int]:
        """Place → descriptor of the sockets of these slots."""
        found = [slot for slot in slots if slot in self._sockets]
        found += [place for place, slot in self._extras.items() if slot in slots]
        return {place: self._sockets[place].fileno() for place in found}

    def depths(self) -> tuple[sockets.Depth, ...]:
        """The accept queue of each socket that workers may take connections from."""
        if not self.listening:
            return ()
        found = (self._depth(sock) for sock in self._sockets.values())
        # A backlog of 0 is the plug's (`_refuse_by_sink`), which is full on purpose.
        return tuple(each for each in found if each is not None and each.limit > 0)

    @staticmethod
    def _depth(sock: _socket.socket) -> sockets.Depth | None:
        return sockets.depth(sock)

    def waiting(self) -> tuple[tuple[_socket.socket, int], ...]:
        """Sockets with a queue, and its length."""
        found = ((sock, sockets.queue_length(sock)) for sock in self._sockets.values())
        return tuple((sock, length) for sock, length in found if length)

    def of_inode(self, inode: int) -> _socket.socket | None:
        """Its socket of that inode."""
        for sock in (*self._coming.values(), *self._sockets.values()):
            if os.fstat(sock.fileno()).st_ino == inode:
                return sock
        return None

    def listens_at(self, inode: int) -> bool:
        """The socket of that inode takes connections."""
        return self.place_of(inode) in self._array

    def listens(self, place: int) -> bool:
        """This socket of it takes connections."""
        return place in self._array

    @property
    def descriptors(self) -> dict[int, int]:
        """Place → descriptor of all sockets that may listen."""
        return {place: sock.fileno() for place, sock in self._sockets.items()}

    @property
    def inodes(self) -> tuple[int, ...]:
        """The sockets as /proc names them."""
        held = (*self._sockets.values(), *self._coming.values())
        return tuple(os.fstat(sock.fileno()).st_ino for sock in held)

    def mend(self) -> bool:
        """Nothing to do for TCP (`UnixGroup.mend`)."""
        return False

    def close(self) -> None:
        """Close all; what is queued is reset."""
        self.listening = False
        self._array.clear()
        for sock in (*self._sockets.values(), *self._coming.values()):
            sock.close()
        self._sockets.clear()
        self._coming.clear()
        self._extras.clear()
        if self._plug is not None:
            self._plug.close()
            self._plug = None
