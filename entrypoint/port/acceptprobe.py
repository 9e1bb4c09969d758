"""A connection of our own to one address of a worker: once it is accepted, somebody serves.

The client connects and says no more: it sends its FIN at once, so a server that reads finds
the end of the stream and closes. Whether the connection was accepted is what the kernel says
(`sock_diag(7)`): a socket gets its inode from accept(2). It waits in the queue until then,
through the whole start of the worker; one is sent for each launch.

*Whose accept it was.* The address's program sends what comes from the probe's source port to
the worker's own slot (`Group.direct`). One socket that siblings share (`share: one`, unix
paths) has no such way. There the connection stays open until its inode is found among the
descriptors of the worker or of a sibling, and if it was a sibling's another one follows. A
worker that holds the listening socket all the while counts in the end (`patience`).
"""

from __future__ import annotations

from ..core.record import Record
from ..kernel import credentials, look, sockdiag, sockets
from ..loop import ERROR, HANGUP, READ, WRITE
from .early import was_relayed
from .sockaddr import MAPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Callable

    from ..children import Started
    from ..loop import Loop
    from .group import Group
else:
    import _socket

# Between two looks at a connection that waits, and between two connections (s).
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.25
# A server that wants data first (TCP_DEFER_ACCEPT) gets a FIN after this time (s).
_DEFERRED = 1.0
# Connections that siblings accept before `patience` may end the trial.
_TRIALS = 8
_ANY4, _ANY6 = "0.0.0.0", "::"  # noqa: S104  compared


class Target(Record):
    """Where to connect. `group`: the app's own sockets, so that a slot of them is meant."""

    family: str
    host: str = ""
    port: int = 0
    path: str = ""
    group: Group | None = None


def target_of(address: str, group: Group | None) -> Target:
    """The target of an address as people write it, or of the group that has it."""
    if group is not None and group.form.family != "unix":
        form = group.form
        if form.takes4:
            # A dual-stack `::` takes IPv4 as well.
            host = _ANY4 if form.host == _ANY6 else form.host.removeprefix(MAPPED)
            return Target("inet", _local(host), form.port, group=group)
        return Target("inet6", _local(form.host), form.port, group=group)
    if address.startswith("unix:"):
        return Target("unix", path=address.removeprefix("unix:"), group=group)
    host, _, port = address.rpartition(":")
    if host.startswith("["):
        return Target("inet6", _local(host[1:-1]), int(port))
    return Target("inet", _local(host), int(port))


def _local(host: str) -> str:
    return {_ANY4: "127.0.0.1", _ANY6: "::1"}.get(host, host)


class AcceptProbe:
    """Connects until a connection is accepted by the worker; then calls `accepted`, once.

    `find()` gives the target of now. `worker()` is its process,
    None once it has ended: then the probe ends. `alone()`: no sibling takes connections.
    """

    def __init__(
        self,
        loop: Loop,
        find: Callable[[], Target],
        worker: Callable[[], Started | None],
        alone: Callable[[], bool],
        patience: float,
        accepted: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._find = find
        self._worker = worker
        self._alone = alone
        self._patience = patience
        self._accepted = accepted
        self._target: Target | None = None
        self._sock: _socket.socket | None = None
        self._fd = -1
        self._waits = 0
        self._directed = 0
        self._shared = False
        self._hung_up = False
        self._connected_at = 0.0
        self._pause = _FIRST_PAUSE
        self._siblings_since = 0.0
        self._trials = 0
        self._arrived = False
        self.over = False

    def begin(self) -> None:
        """Connect; `accepted` may be called before this returns."""
        self._connect()

    def close(self) -> None:
        """Nobody waits for it any more."""
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
        except OSError:  # a full backlog, no descriptors, nobody listens: try again
            self._undirect()
            self._later(self._connect)
            return
        self._fd = self._sock.fileno()
        self._hung_up = self._arrived = False
        if target.family == "unix" or sockets.is_connected(self._sock):
            self._connected()
        else:
            self._wait(WRITE)
            self._later(self._look)

    def _begin_connect(self, started: Started, target: Target) -> _socket.socket:
        if target.family == "unix":
            self._shared = not self._alone()
            return _connect_unix(target.path, started)
        group = target.group
        sock = sockets.client(target.family, target.host if group is not None else "")
        try:
            if group is not None:
                source = sock.getsockname()[1]
                if group.direct(source, started.slot):
                    self._directed = source
            sole = group is not None and group.is_sole(started.slot)
            self._shared = not self._directed and not sole and not self._alone()
            sockets.begin_connect(sock, target.host, target.port)
        except OSError:
            sock.close()
            raise
        return sock

    def _may_try(self, started: Started, target: Target) -> bool:
        """The connection can reach the worker: its socket listens, or it holds a shared one."""
        group = target.group
        if group is None:
            return True
        if not group.single and group.steers:
            # Before its own socket listens, a sibling would get the connection.
            return group.listens(started.slot)
        if self._alone():
            return True
        return self._holds(started, group.inodes) is not False

    @staticmethod
    def _holds(started: Started, inodes: tuple[int, ...]) -> bool | None:
        seen = look.sockets(look.tree(started.pid), inodes)
        if any(inode in seen.holders for inode in inodes):
            return True
        return None if seen.unknown else False

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
            if sockets.pending_error(self._sock):
                self._again()
            elif events & WRITE:
                self._connected()
            return
        if events & (READ | HANGUP | ERROR):
            self._read(self._sock)

    def _read(self, sock: _socket.socket) -> None:
        """An answer or its end: somebody has accepted it. A reset: nobody has, or rudely."""
        if self._shared and self._look_whose(sock):
            return
        try:
            sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            self._again()
            return
        if self._shared:
            self._by_a_sibling()
        else:
            self._done()

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
        elif sockdiag.accepted_as(sock) or self._left_the_queue():
            self._done()
            return
        if self._sock is not None:
            self._later(self._look)

    def _left_the_queue(self) -> bool:
        """Where the kernel tells nothing of a connection: the slot's queue is empty again."""
        target, started = self._target, self._worker()
        if target is None or target.group is None or started is None or self._sock is None:
            return False
        if not self._directs(target.group) or sockdiag.works():
            return False
        length = target.group.queue_length(started.slot)
        arrived, self._arrived = self._arrived, self._arrived or length > 0
        return arrived and length == 0

    @staticmethod
    def _directs(group: Group) -> bool:
        return group.steers and not group.single

    def _look_whose(self, sock: _socket.socket) -> bool:
        """It was accepted, and it is known by whom."""
        inode = sockdiag.accepted_as(sock)
        started = self._worker()
        if not inode or started is None:
            return False
        if self._holds(started, (inode,)):
            self._done()
        else:
            self._by_a_sibling()
        return True

    def _by_a_sibling(self) -> None:
        now = self._loop.now()
        if not self._trials:
            self._siblings_since = now
        self._trials += 1
        started, target = self._worker(), self._target
        enough = self._trials >= _TRIALS and now - self._siblings_since >= self._patience
        if enough and started is not None and target is not None:
            group = target.group
            if group is None or self._holds(started, group.inodes) is not False:
                self._done()
                return
        self._again()

    def _again(self) -> None:
        self._hang_up()
        if not self.over:
            self._pause = max(self._pause, 0.02)
            self._later(self._connect)

    def _done(self) -> None:
        if self.over:
            return
        if self._sock is not None and was_relayed(self._sock):
            # What waited in a crashed worker's queue has gone to its siblings.
            self._again()
            return
        self.close()
        self._accepted()

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
            # What was not read would make of the FIN a reset.
            sock.recv(65536)
        except OSError:
            pass
        sock.close()


def _connect_unix(path: str, started: Started) -> _socket.socket:
    """As the worker's user where ours may not. Raises OSError."""
    made: _socket.socket = credentials.look_at(started.pid, lambda: sockets.connect_unix(path))
    return made
