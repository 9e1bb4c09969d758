"""The sockets of one address in one form: one for each slot, or one for all slots."""

from __future__ import annotations

import os

from entrypoint.kernel import clients, sockets

from .addresses import Form
from .steered import REPLACED, Steered

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Sequence

    from entrypoint.kernel.credentials import Credentials
    from entrypoint.kernel.socket_file import SocketFile

# Keys of sockets beyond those of the slots, of which there are fewer.
_EXTRA = 1 << 20


class Group(Steered):
    """TCP: one `SO_REUSEPORT` socket for each slot (one in all when `single`).

    `steered`: the slots that get new connections; () means all. `users`: the
    incarnations that got one of the sockets.

    `on_demand`: the file does not declare the address. A slot's socket is bound when its worker
    asks for it, and listens when its worker does. Otherwise all are bound and listen at once.
    `credentials`: for whom it is bound; None: by pyinit, for the file.

    Sockets are identified by a *key*: the slot's number, or a number from `_EXTRA` up for a
    further socket of a slot (a worker's own second one) and for a replaced one.
    """

    # The file of a unix socket, if it has one.
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
        super().__init__(form, single=single)
        self._credentials = credentials
        self.backlog = backlog
        self.on_demand = on_demand
        self.listening = False
        self._sink = 0  # the inode of the socket whose queue is kept full
        self._paused = False  # it listened, and will again
        self._refuses = False  # no new connections are wanted
        self._numbers = _EXTRA
        # Keys whose listening a worker has ended, and that do not listen again yet.
        self._down: list[int] = []

    def open(self, slots: int) -> None:
        """Bind. Raises OSError with nothing open."""
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
            # A program that names fewer sockets than there are omits the new one
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
        """Mark the address as declared by the file. Raises OSError."""
        self.declared = True
        self._credentials = None
        self.on_demand = False
        self.grow(slots)
        if self.listening:
            for slot in tuple(self._sockets):
                if slot not in self._array:
                    self._listen(slot)
            self.steer(self.steered)

    def listen(self, key: int | None = None) -> None:
        """Take connections. Raises OSError (EADDRINUSE: another socket listens there).

        `key`: the socket whose worker listens; the others too unless `on_demand`.
        """
        if self.on_demand and key is not None:
            if key not in self._array:
                self.listening = True
                self._listen(key)
                self.steer(self.steered)
            return
        if self.listening:
            return
        self.listening = True
        keys = tuple(self._sockets)
        # Sockets that take connections first, then the program, then the others: between
        # a listen(2) and the program the kernel spreads connections by itself, and one
        # given to a spare slot would wait forever.
        slots = self.open_slots()
        first = [key for key in keys if key in slots] or list(keys)
        for each in first:
            self._listen(each)
        self.steer(self.steered)
        for each in keys:
            if each not in first:
                self._listen(each)

    def _listen(self, key: int) -> None:
        self._sockets[key].listen(self.backlog)
        self._array.append(key)

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
        """As `adopt`, for a socket that is already bound to the address."""
        if slot not in self._sockets:
            self._sockets[slot] = own
        elif slot in self._coming or incarnation in self.holders.get(slot, ()):
            # Its second one for this address: the program itself uses SO_REUSEPORT.
            self._numbers += 1
            self._sockets[self._numbers] = own
            self._extras[self._numbers] = slot
        else:
            self._coming[slot] = own
        self.taken(slot, incarnation)

    def begins(self, inode: int) -> _socket.socket | None:
        """Listen on the worker's own socket of that inode. Raises OSError.

        Returns the listener that it replaces, for its queue; that one takes no connections
        any more, and stays open until `drop_replaced`.
        """
        key = self.key_of(inode)
        if key is None:
            return None
        slot = self._extras.get(key, key)
        own = self._coming.get(slot)
        if own is None or os.fstat(own.fileno()).st_ino != inode:
            if key not in self._array:
                self.listening = True
                self._listen(key)
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

    def remove(self, inode: int) -> _socket.socket | None:
        """Take the socket of that inode out; the caller closes it.

        Until it is closed it may still be in the kernel's array: close it before `steer`.
        """
        key = self.key_of(inode)
        if key is None:
            return None
        coming = self._coming.get(key)
        if coming is not None and os.fstat(coming.fileno()).st_ino == inode:
            return self._coming.pop(key)
        self._extras.pop(key, None)
        sock = self._sockets.pop(key)
        if key in self._array:
            index = self._array.index(key)
            # The kernel moves the last one there (`reuseport_detach_sock`).
            last = self._array.pop()
            if last != key:
                self._array[index] = last
        self.listening = bool(self._array)
        return sock

    def retire(self, inode: int) -> bool:
        """Keep the listener of that inode for its queue; it gets no new connections.

        False: it would get some, or no other listens.
        """
        key = self.key_of(inode)
        others = any(each != key and self._extras.get(each) != REPLACED for each in self._array)
        if key is None or key not in self._array or self.single or not self.steers or not others:
            return False
        self._numbers += 1
        self._sockets[self._numbers] = self._sockets.pop(key)
        self._extras.pop(key, None)
        self._extras[self._numbers] = REPLACED
        self._array[self._array.index(key)] = self._numbers
        self.steer(self.steered)
        return self.steers

    # -- changes ------------------------------------------------------------------------

    def unite(self) -> None:
        """Make all slots share one socket: one whose worker accepts now.

        The others stay open for their queues; they get no new connections.
        """
        if not self.single:
            self.single = True
            listening = (slot for slot in self.steered if slot in self._array)
            self._one = next(listening, next(iter(self._sockets), 0))
            self.steer(self.steered)

    def tune(self, backlog: int, mode: int | None) -> None:  # noqa: ARG002
        """Set another backlog, and another `mode` if there is a file. Raises OSError."""
        if backlog == self.backlog or self._plug is not None:
            return
        self.backlog = backlog
        for key in self._array:
            self._sockets[key].listen(backlog)

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
        self._paused = self._refuses = False
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
        """Take no new connections; queued ones stay (`sockets.take_no_more`)."""
        if not self.listening:
            return
        self._refuses = True
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

        No process accepts on it. A backlog of 0 holds one connection (`listen(2)`: the queue
        is full when it is longer), which is pyinit's. Without steering this is impossible, also
        beside a socket that was not bound to share its address (an inherited one):
        connections then come until `close`.
        """
        if not self.steers or not self._array or self._plug is not None:
            return
        try:
            sink = self._bind()
        except OSError:
            return
        self._numbers += 1
        self._sockets[self._numbers] = sink
        self._sink = os.fstat(sink.fileno()).st_ino
        self._extras[self._numbers] = REPLACED
        sink.listen(0)
        self._array.append(self._numbers)
        sockets.steer(self._sockets[self._array[0]], (len(self._array) - 1,))
        self._plug = clients.connect_to_self(sink)

    def revive(self, fallen: Sequence[int] = ()) -> tuple[int, ...]:
        """Listen again on sockets that a worker has shut down; returns those slots.

        `fallen`: the order in which that happened, as far as known. Each one changes the
        kernel's array, so the same sockets removed in another order leave another array.
        """
        if not self.listening:
            return ()
        down = tuple(
            key
            for key in dict.fromkeys((*fallen, *self._sockets))
            if key in self._array and not sockets.is_listening(self._sockets[key])
        )
        self._down += down
        for key in down:
            # The last one of the array took its index.
            index = self._array.index(key)
            last = self._array.pop()
            if last != key:
                self._array[index] = last
        revived = [key for key in self._down if key in self._sockets]
        for key in revived:
            self._listen(key)
            self._down.remove(key)
        self._down.clear()
        if revived:
            self.steer(self.steered)
        return tuple(revived)

    @property
    def is_down(self) -> bool:
        """Whether a worker shut it down, and `revive` could not make it again."""
        return bool(self._down)

    def socket(self, slot: int) -> _socket.socket:
        """The socket of a slot, created if needed. Raises OSError."""
        if self.single:
            slot = self._one
        if slot not in self._sockets:
            if self.on_demand:
                self._sockets[slot] = self._bind()
            else:
                self.grow(slot + 1)
        return self._sockets[slot]

    def has(self, slot: int) -> bool:
        """Whether this slot already has a socket."""
        return (self._one if self.single else slot) in self._sockets

    def hand(self, slot: int, incarnation: int) -> _socket.socket:
        """The socket of a slot, for a worker that will accept on it. Raises OSError."""
        sock = self.socket(slot)
        self.taken(slot, incarnation)
        return sock

    @property
    def empty(self) -> bool:
        """Whether no socket remains except replaced ones."""
        left = any(self._extras.get(key) != REPLACED for key in self._sockets)
        return not left and not self._coming

    def set_blocking(self, slot: int, blocking: bool) -> None:
        """Set whether accept(2) waits, for all holders of this slot's socket."""
        sockets.set_blocking(self.socket(slot), blocking)

    def queue_length(self, slot: int) -> int:
        """Connections waiting only for this slot (0 if siblings share its queue).

        Once no new ones come, the shared queue counts for each slot.
        """
        if not self.listening:
            return 0
        if self.single and slot == self._one and not self._refuses:
            return 0
        if self.single and self._refuses:
            slot = self._one
        return sum(sockets.queue_length(self._sockets[key]) for key in self.descriptors_of((slot,)))

    def depths(self) -> tuple[sockets.Depth, ...]:
        """The accept queue of each socket that workers may take connections from."""
        if not self.listening:
            return ()
        found = (self._depth(sock) for sock in self._sockets.values())
        # A backlog of 0 belongs to the full socket of `_refuse_by_sink`.
        return tuple(each for each in found if each is not None and each.limit > 0)

    @staticmethod
    def _depth(sock: _socket.socket) -> sockets.Depth | None:
        return sockets.depth(sock)

    def mend(self) -> bool:
        """A no-op for TCP (`UnixGroup.mend`)."""
        return False

    def close(self) -> None:
        """Close all sockets; queued connections are reset."""
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
