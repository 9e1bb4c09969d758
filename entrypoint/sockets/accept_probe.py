"""A probe: connects to one address of a worker to learn when the worker accepts.

The client connects and sends nothing but a FIN, at once, so a server that reads finds
the end of the stream and closes. Whether the connection was accepted is what the kernel reports
(`sock_diag(7)`): a socket gets its inode from accept(2). Until then it waits in the queue,
through the whole start of the worker; one connection is made for each launch.

*Who accepted.* The address's program sends connections from the probe's source port to the
worker's own slot (`Group.direct`). If only the worker's own processes hold that socket, no other
process can have accepted. Otherwise (siblings with `share: one` or `generations` or a unix path,
processes that a former worker of the slot left) the connection stays open until its inode is found
among the worker's descriptors. Another one follows if another process accepted it, or if it was
closed and it is unknown who accepted it. A worker also counts if one of its threads was seen to
wait for connections at the socket, in accept(2) or a poll (`kernel/awaiting.py`). A worker that
may not be inspected counts after `patience`, and is reported as unknown.
"""

from __future__ import annotations

from entrypoint.core.record import Record
from entrypoint.kernel import (
    awaiting,
    clients,
    credentials,
    sockdiag,
)
from entrypoint.loop import (
    ERROR,
    HANGUP,
    READ,
    WRITE,
)

from .address import landing, local
from .relay import was_relayed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Callable, Iterable

    from entrypoint.loop import Loop
    from entrypoint.shell.children import Started

    from .accepters import Accepters
    from .group import Group
else:
    import _socket

# Time between two checks of a waiting connection, and between two connections (s).
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.25
# A server that wants data first (TCP_DEFER_ACCEPT) gets a FIN after this time (s).
_DEFERRED = 1.0
# After this many connections accepted by others before `patience`, the probe may end.
_TRIALS = 8


class Target(Record):
    """Where to connect. `group`: the app's own sockets, so a slot of them is the target."""

    family: str
    host: str = ""
    port: int = 0
    path: str = ""
    group: Group | None = None


def target_of(address: str, group: Group | None, groups: Iterable[Group] = ()) -> Target:
    """The target of an address as people write it, or of the matching address of `groups`."""
    if group is not None and group.form.family != "unix":
        family, host = landing(group, groups)
        return Target(family, host, group.form.port, group=group)
    if address.startswith("unix:"):
        return Target("unix", path=address.removeprefix("unix:"), group=group)
    host, _, port = address.rpartition(":")
    if host.startswith("["):
        return Target("inet6", local(host[1:-1]), int(port))
    return Target("inet", local(host), int(port))


class AcceptProbe:
    """Connects until the worker accepts a connection; then calls `accepted`, once.

    `accepted(known)`: False if the worker may not be inspected and others may accept too.
    `find()` gives the present target. `worker()` is its process, or
    None once it has ended, which ends the probe. `alone()`: no sibling takes connections.
    """

    def __init__(
        self,
        loop: Loop,
        find: Callable[[], Target],
        worker: Callable[[], Started | None],
        alone: Callable[[], bool],
        accepters: Accepters,
        patience: float,
        accepted: Callable[[bool], None],
    ) -> None:
        self._loop = loop
        self._find = find
        self._worker = worker
        self._alone = alone
        self._accepters = accepters
        self._patience = patience
        self._accepted = accepted
        self._target: Target | None = None
        self._sock: _socket.socket | None = None
        self._fd = -1
        self._waits = 0
        self._directed = 0
        # Others may accept from the socket: keep the connection open until it is known who did.
        self._shared = self._disputed = False
        self._hung_up = False
        self._connected_at = 0.0
        self._pause = _FIRST_PAUSE
        self._others_since = 0.0
        self._trials = 0
        self._arrived = False
        self.over = False

    def begin(self) -> None:
        """Connect; `accepted` may be called before this returns."""
        self._connect()

    def close(self) -> None:
        """Cancel the probe."""
        self.over = True
        self._hang_up()
        self._loop.cancel(("probe", id(self)))

    def _later(self, what: Callable[[], None]) -> None:
        self._loop.call_at(("probe", id(self)), self._loop.now() + self._pause, what)
        self._pause = min(self._pause * 1.5, _LONGEST_PAUSE)

    # -- a connection -------------------------------------------------------------------

    def _connect(self) -> None:
        started = self._worker()
        if started is None:
            self.close()
            return
        target = self._find()
        if not self._may_try(started, target):
            self._later(self._connect)
            return
        self._target = target
        try:
            self._sock = self._begin_connect(started, target)
        except OSError:  # a full backlog, no descriptors, no listener: try again
            self._undirect()
            self._later(self._connect)
            return
        self._fd = self._sock.fileno()
        self._hung_up = self._arrived = False
        if target.family == "unix" or clients.is_connected(self._sock):
            self._connected()
        else:
            self._wait(WRITE)
            self._later(self._look)

    def _begin_connect(self, started: Started, target: Target) -> _socket.socket:
        if target.family == "unix":
            self._shared = self._disputed or not self._alone()
            return _connect_unix(target.path, started)
        group = target.group
        sock = clients.client(target.family, target.host if group is not None else "")
        try:
            if group is not None:
                source = sock.getsockname()[1]
                if group.direct(source, started.queue):
                    self._directed = source
            sole = group is not None and group.is_sole(started.queue)
            directed = self._directed and not (group is not None and group.shared)
            alone = directed or sole or self._alone()
            self._shared = self._disputed or not alone
            clients.begin_connect(sock, target.host, target.port)
        except OSError:
            sock.close()
            raise
        return sock

    def _may_try(self, started: Started, target: Target) -> bool:
        """Whether the connection can reach the worker: its own socket or a shared one listens."""
        group = target.group
        if group is None:
            return True
        if not group.single and group.steers:
            # Before its own socket listens, a sibling would get the connection.
            if not group.listens(started.queue):
                return False
            if not group.shared or self._alone():
                return True
            return self._accepters.holds(started, group.inodes_of(started.queue)) is not False
        if self._alone():
            return True
        return self._accepters.holds(started, group.inodes) is not False

    def _connected(self) -> None:
        self._undirect()
        self._connected_at = self._loop.now()
        self._pause = _FIRST_PAUSE
        if not self._shared:
            self._end_stream()
        if self._sock is not None:
            self._wait(READ)
            self._look()

    def _end_stream(self) -> None:
        if self._sock is None or self._hung_up:
            return
        self._hung_up = True
        try:
            self._sock.shutdown(_socket.SHUT_WR)
        except OSError:
            self._again()

    # -- was it accepted? ---------------------------------------------------------------

    def _ready(self, events: int) -> None:
        if self._sock is None:
            return
        if self._waits == WRITE:
            if clients.pending_error(self._sock):
                self._again()
            elif events & WRITE:
                self._connected()
            return
        if events & (READ | HANGUP | ERROR):
            self._read(self._sock)

    def _read(self, sock: _socket.socket) -> None:
        """Handle an answer or its end: accepted. A reset: not accepted, or closed abruptly."""
        if self._shared and self._look_whose(sock):
            return
        try:
            sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            self._again()
            return
        # Closed already: its inode is gone, so the owner cannot be found.
        self._judge(0)

    def _look(self) -> None:
        sock = self._sock
        if sock is None:
            return
        if self._worker() is None:
            self.close()
            return
        if self._waits == WRITE:
            self._later(self._look)
            return
        if self._shared:
            if self._look_whose(sock):
                return
            if self._loop.now() - self._connected_at >= _DEFERRED:
                self._end_stream()
        elif self._look_whose(sock):
            return
        elif self._left_the_queue():
            self._judge(0)
            return
        if self._sock is not None:
            self._later(self._look)

    def _left_the_queue(self) -> bool:
        """Whether the slot's queue is empty again, if the kernel does not list connections."""
        target, started = self._target, self._worker()
        if target is None or target.group is None or started is None or self._sock is None:
            return False
        if not self._directs(target.group) or sockdiag.works():
            return False
        length = target.group.queue_length(started.queue)
        arrived, self._arrived = self._arrived, self._arrived or length > 0
        return arrived and length == 0

    @staticmethod
    def _directs(group: Group) -> bool:
        return group.steers and not group.single and not group.shared

    def _look_whose(self, sock: _socket.socket) -> bool:
        """Whether it was accepted; if so, find out who accepted it."""
        inode = sockdiag.accepted_as(sock)
        if not inode:
            return False
        self._judge(inode)
        return True

    def _judge(self, inode: int) -> None:
        """Handle an accept as `inode`; 0: it is already closed again."""
        started, target = self._worker(), self._target
        if started is None or target is None:
            self.close()
            return
        its_own = bool(inode) and self._accepters.holds(started, (inode,))
        if (
            its_own
            or self._accepters.others_hold(started, _listeners(target, started.queue)) is False
        ):
            self._done()
        else:
            self._by_another(started, target)

    def _by_another(self, started: Started, target: Target) -> None:
        """Handle an accept that may not be the worker's."""
        now = self._loop.now()
        if not self._trials:
            self._others_since = now
        self._trials += 1
        self._disputed = True
        inodes = _listeners(target, started.queue)
        waits = awaiting.waits_at(self._accepters.of_worker(started), inodes)
        if waits:
            self._done()
            return
        enough = self._trials >= _TRIALS and now - self._others_since >= self._patience
        if enough and waits is None and self._accepters.holds(started, inodes) is not False:
            self._done(known=False)
            return
        self._again()

    def _again(self) -> None:
        self._hang_up()
        if not self.over:
            self._pause = max(self._pause, 0.02)
            self._later(self._connect)

    def _done(self, *, known: bool = True) -> None:
        if self.over:
            return
        if self._sock is not None and was_relayed(self._sock):
            # Connections that waited in a crashed worker's queue were relayed to its siblings.
            self._again()
            return
        self.close()
        self._accepted(known)

    # -- descriptors --------------------------------------------------------------------

    def _undirect(self) -> None:
        if self._directed and self._target is not None and self._target.group is not None:
            self._target.group.undirect(self._directed)
        self._directed = 0

    def _wait(self, events: int) -> None:
        if self._waits == 0:
            self._loop.register(self._fd, events, self._ready)
        elif self._waits != events:
            self._loop.modify(self._fd, events)
        self._waits = events

    def _hang_up(self) -> None:
        self._undirect()
        sock, self._sock = self._sock, None
        if self._waits:
            self._loop.unregister(self._fd)
            self._waits = 0
        if sock is None:
            return
        try:
            # Unread data would turn the FIN into a reset.
            sock.recv(65536)
        except OSError:
            pass
        sock.close()


def _listeners(target: Target, slot: int) -> tuple[int, ...]:
    """The inodes of the sockets from which the connection may have been accepted.

    In a group: those of the slot to which it was directed, or all; and any other socket that
    listens on the port, because the kernel may have chosen that one.
    """
    found = sockdiag.listeners() or ()
    group = target.group
    if target.family == "unix" or group is None:
        there = [each for each in found if each.path == target.path and each.port == target.port]
        known = group.inodes if group is not None else ()
        return (*known, *(each.inode for each in there if each.inode not in known))
    known = group.inodes
    foreign = (each.inode for each in found if each.port == target.port)
    own = known if group.single or not group.steers else group.inodes_of(slot)
    return (*own, *(inode for inode in foreign if inode not in known))


def _connect_unix(path: str, started: Started) -> _socket.socket:
    """Connect as the worker's user if pyinit's own may not. Raises OSError."""
    made: _socket.socket = credentials.look_at(started.pid, lambda: clients.connect_unix(path))
    return made
