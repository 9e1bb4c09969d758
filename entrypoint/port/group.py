"""The sockets of one address in one form: a slot's own, or one for all slots."""

from __future__ import annotations

import errno
import os

from ..kernel import sockets
from .addresses import Form

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Callable, Sequence


# Each takes two instructions of a program.
MAX_DIRECTED = 500


class Group:
    """TCP: one `SO_REUSEPORT` socket for each slot (one in all when `single`).

    `steered` holds the slots that new connections go to; () means all. `users` are the
    incarnations that were handed one of the sockets.
    """

    def __init__(self, form: Form, backlog: int, *, single: bool = False) -> None:
        self.form = form
        self.backlog = backlog
        self.single = single
        # The socket that all slots have, when it is one.
        self._one = 0
        self.listening = False
        self.users: set[int] = set()
        # Of an address that no file declares: slot → incarnation that was handed its
        # socket. The others' slots get nothing: with PM2's `increment_var: PORT` each
        # worker binds a port of its own, and nobody would take what another is given.
        self.takers: dict[int, int] = {}
        # Where the last of them were: their next workers, if there will be any, come there.
        self._awaited: tuple[int, ...] = ()
        self.declared = False
        self._plug: _socket.socket | None = None
        self.steered: tuple[int, ...] = ()
        # Source port → slot, of pyinit's own connections that check one worker.
        self._directed: dict[int, int] = {}
        self.steers = True  # False once the kernel has refused the program
        self._sockets: list[_socket.socket] = []
        # Our book of the kernel's array: which slot is at which index.
        self._array: list[int] = []

    def open(self, slots: int) -> None:
        """Bind. Raises OSError, leaving nothing open."""
        try:
            self.grow(slots)
        except OSError:
            self.close()
            raise

    def grow(self, slots: int) -> None:
        """Have at least `slots` sockets. Raises OSError."""
        wanted = 1 if self.single else max(1, slots)
        grown = False
        while len(self._sockets) < wanted:
            self._sockets.append(self._bind())
            grown = True
            if self.listening:
                self._listen(len(self._sockets) - 1)
        if grown and self.listening:
            # A program that names fewer sockets than there are leaves out the new one
            # only because it is attached again.
            self.steer(self.steered)

    def _bind(self) -> _socket.socket:
        form = self.form
        return sockets.bind_shared(
            form.family, form.host, form.port, v6only=form.v6only, scope=form.scope
        )

    def listen(self) -> None:
        """Take connections. Raises OSError (EADDRINUSE: somebody listens there)."""
        if self.listening:
            return
        self.listening = True
        places = range(len(self._sockets))
        # Those that take connections first, then the program, then the others: between
        # a listen(2) and the program the kernel spreads connections by itself, and one
        # given to a spare slot would wait for ever.
        slots = self._open_slots()
        first = [place for place in places if place in slots] or list(places)
        for place in first:
            self._listen(place)
        self.steer(self.steered)
        for place in places:
            if place not in first:
                self._listen(place)

    def _listen(self, place: int) -> None:
        self._sockets[place].listen(self.backlog)
        self._array.append(place)

    def unite(self) -> None:
        """From now on all slots have one socket: one whose worker accepts now.

        The others stay, for what waits there; nothing more comes to them.
        """
        if not self.single:
            self.single = True
            self._one = next((slot for slot in self.steered if slot in self._array), 0)
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
        for sock in self._sockets:
            sockets.stop_listening(sock)
        self._array.clear()

    def refuse(self) -> None:
        """Take no new connections; what is queued stays (`sockets.take_no_more`)."""
        if not self.listening:
            return
        for sock in self._sockets:
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
        self._sockets.append(sink)
        sink.listen(0)
        self._array.append(len(self._sockets) - 1)
        sockets.steer(self._sockets[self._array[0]], (len(self._array) - 1,))
        self._plug = sockets.connect_to_self(sink)

    def steer(self, slots: tuple[int, ...]) -> None:
        """New connections go to these slots only; () means all."""
        self.steered = slots
        if not self._array or not self.steers or len(self._sockets) < 2 or self._plug:
            return
        slots = (self._one,) if self.single else self._open_slots()
        places = tuple(self._array.index(slot) for slot in slots if slot in self._array)
        try:
            # By one that listens: before that a socket is in no group but its own.
            member = self._sockets[self._array[0]]
            sockets.steer(member, places or tuple(range(len(self._array))), self._directions())
        except OSError as error:
            if error.errno not in (errno.ENOPROTOOPT, errno.EPERM, errno.EINVAL):
                raise
            self.steers = False  # the kernel's own hash spreads connections from here on

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

    def undirect(self, port: int) -> None:
        """Forget that port."""
        if self._directed.pop(port, None) is not None:
            self.steer(self.steered)

    def _open_slots(self) -> tuple[int, ...]:
        """Of those that are steered to, the ones whose worker has this very address."""
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
            for place in dict.fromkeys((*fallen, *range(len(self._sockets))))
            if place in self._array and not sockets.is_listening(self._sockets[place])
        )
        for place in down:
            # The last of the array took its place.
            index = self._array.index(place)
            last = self._array.pop()
            if last != place:
                self._array[index] = last
        for place in down:
            self._listen(place)
        if down:
            self.steer(self.steered)
        return down

    def socket(self, slot: int) -> _socket.socket:
        """The socket of a slot, made if there are not that many. Raises OSError."""
        if self.single:
            return self._sockets[self._one]
        self.grow(slot + 1)
        return self._sockets[slot]

    def hand(self, slot: int, incarnation: int) -> _socket.socket:
        """The socket of a slot, for a worker that will accept on it. Raises OSError."""
        sock = self.socket(slot)
        if self.declared:
            return sock
        known = slot in self.takers
        self.takers[slot] = incarnation
        self._awaited = ()
        if not known:
            self.steer(self.steered)
        return sock

    def release(self, incarnation: int) -> None:
        """The worker is gone; its slot counts again when it is handed out again."""
        self.users.discard(incarnation)
        gone = [slot for slot, taker in self.takers.items() if taker == incarnation]
        for slot in gone:
            del self.takers[slot]
        if gone and not self.takers:
            self._awaited = tuple(gone)

    def forget_workers(self) -> None:
        """Another app has it now."""
        self.users.clear()
        self.takers.clear()
        self._awaited = ()

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
        shared = self.single and slot == self._one
        if shared or slot >= len(self._sockets) or not self.listening:
            return 0
        return sockets.queue_length(self._sockets[slot])

    def depths(self) -> tuple[sockets.Depth, ...]:
        """The accept queue of each socket that workers may take connections from."""
        if not self.listening:
            return ()
        found = (self._depth(sock) for sock in self._sockets)
        # A backlog of 0 is the plug's (`_refuse_by_sink`), which is full on purpose.
        return tuple(each for each in found if each is not None and each.limit > 0)

    @staticmethod
    def _depth(sock: _socket.socket) -> sockets.Depth | None:
        return sockets.depth(sock)

    def waiting(self) -> tuple[tuple[_socket.socket, int], ...]:
        """Sockets with a queue, and its length."""
        found = ((sock, sockets.queue_length(sock)) for sock in self._sockets)
        return tuple((sock, length) for sock, length in found if length)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All descriptors, in the order of slots."""
        return tuple(sock.fileno() for sock in self._sockets)

    @property
    def inodes(self) -> tuple[int, ...]:
        """The sockets as /proc names them."""
        return tuple(os.fstat(sock.fileno()).st_ino for sock in self._sockets)

    def mend(self) -> bool:
        """Nothing to do for TCP (`UnixGroup.mend`)."""
        return False

    def close(self) -> None:
        """Close all; what is queued is reset."""
        self.listening = False
        self._array.clear()
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        if self._plug is not None:
            self._plug.close()
            self._plug = None


class UnixGroup(Group):
    """A unix socket: a path leads to one socket, so all slots share it.

    Workers unlink the path, before they bind or when they end, as if it were theirs. The
    file is kept by a second, hidden name next to it, and linked again when it is gone:
    connect(2) finds a socket by inode, whatever name led there.
    """

    def __init__(
        self,
        form: Form,
        backlog: int,
        *,
        mode: int | None = None,
        replace_stale: bool = False,
        make: Callable[[Callable[[], object]], object] | None = None,
    ) -> None:
        super().__init__(form, backlog, single=True)
        self._mode = mode
        self._replace_stale = replace_stale
        self._make = make
        self._identity: tuple[int, int] | None = None
        self._hidden = ""

    def _bind(self) -> _socket.socket:
        if self._make is None:
            return self._bound()
        made: list[_socket.socket] = []
        self._make(lambda: made.append(self._bound()))
        return made[0]

    def _bound(self) -> _socket.socket:
        path = self.form.path
        sock = sockets.bind_unix(path, mode=self._mode, replace_stale=self._replace_stale)
        if not path.startswith("@"):
            self._identity = sockets.file_identity(path)
            folder, name = os.path.split(path)
            hidden = os.path.join(folder, f".{name}.pyinit")
            try:
                _unlink(hidden)
                os.link(path, hidden)
                self._hidden = hidden
            except OSError:
                self._hidden = ""  # a file system without links: the path is not mended
        return sock

    def mend(self) -> bool:
        """Link the path again if it is gone; whether it was."""
        if self._identity is None or not self._sockets or not self._hidden:
            return False
        found = sockets.file_identity(self.form.path)
        if found is not None:
            return False  # ours, or somebody put another there, which is not ours to remove
        try:
            os.link(self._hidden, self.form.path)
        except OSError:
            return False
        return True

    def tune(self, backlog: int, mode: int | None) -> None:
        """A mode that is no longer said stays as it is."""
        super().tune(backlog, mode)
        if mode is None or mode == self._mode:
            return
        self._mode = mode
        path = self.form.path
        if self._identity is not None and sockets.file_identity(path) == self._identity:
            os.chmod(path, mode)

    def revive(self, fallen: Sequence[int] = ()) -> tuple[int, ...]:  # noqa: ARG002
        """A unix socket once shut down stays so: bind another at its path."""
        if not self.listening or not self._sockets:
            return ()
        old = self._sockets.pop()
        self._array.clear()
        self._remove_files()
        old.close()
        self.grow(1)
        return (0,)

    def quiet(self) -> None:
        """Never asked for: a unix socket has one form."""

    def refuse(self) -> None:
        """Whoever comes now finds no file; what is queued stays."""
        self._remove_files()

    def steer(self, slots: tuple[int, ...]) -> None:
        """All slots have the one socket."""
        self.steered = slots

    def queue_length(self, slot: int) -> int:  # noqa: ARG002
        """Siblings and successors share the queue."""
        return 0

    @staticmethod
    def _depth(sock: _socket.socket) -> sockets.Depth | None:
        from ..kernel import sockdiag

        return sockdiag.unix_depth(sock)

    def _remove_files(self) -> None:
        if self._identity is None:
            return
        if sockets.file_identity(self.form.path) == self._identity:
            _unlink(self.form.path)
        if self._hidden:
            _unlink(self._hidden)
        self._identity = None

    def close(self) -> None:
        """Close it and remove its file."""
        self._remove_files()
        super().close()


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
