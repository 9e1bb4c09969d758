"""Sockets that pyinit makes for a worker, in answer to socket(2).

The worker's own open file then is pyinit's as well, and nothing has to be replaced at bind: for
programs where something refers to the socket before bind, and for processes whose memory
and descriptors cannot be read (they dropped root without exec). Only for those: each TCP
socket of such a worker costs a notification, outgoing connections too.

- pyinit's duplicate must be closed as soon as the socket becomes a client: while it is open,
  the worker's close(2) sends no FIN. epoll reports this, edge-triggered.
- close(2) of an unused socket is not reported. Such duplicates are dropped when the
  budget is used up, and with their process.
- Once the worker has listened, and shortly after for its other ports, socket(2) is left to
  the kernel.
"""

from __future__ import annotations

from entrypoint.kernel import limits, look, seccomp, sockets
from entrypoint.loop import EDGE, WRITE

from .claims import inode_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket

    from entrypoint.loop import Loop
else:
    import _socket

_PROTOCOLS = (0, _socket.IPPROTO_TCP, 262)  # IPPROTO_MPTCP: plain TCP is its fallback
# Time between two checks of what the processes of an app have open (s): thousands of
# descriptors take milliseconds.
_SWEEP_PAUSE = 1.0
# The most duplicates, and their share of pyinit's own limit of descriptors.
_BUDGET = 512
_PART = 8


class CreatedSocket:
    """A socket that pyinit made, not bound yet. `pid` and `fd`: its process and descriptor."""

    def __init__(self, sock: _socket.socket, incarnation: int, pid: int, fd: int) -> None:
        self.sock = sock
        self.incarnation = incarnation
        self.pid = pid
        self.fd = fd
        self.inode = inode_of(sock.fileno())


class CreatedSockets:
    """The duplicates of the workers of one app."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._created: dict[int, CreatedSocket] = {}
        limit = limits.open_files()
        self._sweep_again = 0.0
        self._budget = _BUDGET if limit < 0 else min(_BUDGET, limit // _PART)

    def __len__(self) -> int:
        return len(self._created)

    def make(
        self, notifier: seccomp.Notifier, call: seccomp.Notification, incarnation: int, pid: int
    ) -> bool:
        """Answer socket(2) with a socket of pyinit's; False: leave it to the kernel.

        `pid` is the process of the calling thread. Raises NotTakenError, OSError.
        """
        family, kind, protocol = call.args[:3]
        if protocol not in _PROTOCOLS or not self._has_room():
            return False
        protocol = _socket.IPPROTO_TCP if protocol else 0
        sock = sockets.create(family, kind, protocol)
        try:
            number = notifier.give(call, sock.fileno(), cloexec=bool(kind & _socket.SOCK_CLOEXEC))
        except BaseException:
            sock.close()
            raise
        if number < 0:
            sock.close()
            return True  # killed meanwhile, or its call restarts
        created = CreatedSocket(sock, incarnation, pid, number)
        self._created[created.inode] = created
        # A socket that is not connected always reports a hang-up: only changes count.
        self._loop.register(sock.fileno(), WRITE | EDGE, lambda _events: self._changed(created))
        return True

    def _changed(self, created: CreatedSocket) -> None:
        if sockets.is_client(created.sock):
            self.drop(created)

    def _has_room(self) -> bool:
        if len(self._created) >= self._budget and self._loop.now() >= self._sweep_again:
            self._sweep_again = self._loop.now() + _SWEEP_PAUSE
            self._sweep()
        return len(self._created) < self._budget

    def _sweep(self) -> None:
        """Drop what its process has closed, and what cannot be checked any more."""
        for pid in {created.pid for created in self._created.values()}:
            seen = look.sockets((pid,))
            for created in tuple(self._created.values()):
                if created.pid == pid and not seen.holds(created.inode):
                    self.drop(created)

    def take(self, inode: int) -> _socket.socket | None:
        """The duplicate of that socket, which then belongs to the caller."""
        created = self._created.pop(inode, None)
        if created is None:
            return None
        self._loop.unregister(created.sock.fileno())
        return created.sock

    def of(self, pid: int, fd: int) -> tuple[CreatedSocket, ...]:
        """Sockets that this descriptor of a process may be: its original one, else any.

        For a process that cannot be inspected: it may have duplicated it.
        """
        own = [created for created in self._created.values() if created.pid == pid]
        return tuple(created for created in own if created.fd == fd) or tuple(own)

    def drop(self, created: CreatedSocket) -> None:
        """Close pyinit's duplicate."""
        sock = self.take(created.inode)
        if sock is not None:
            sock.close()

    def release(self, incarnation: int) -> None:
        """Drop the sockets of a worker that has ended."""
        for created in tuple(self._created.values()):
            if created.incarnation == incarnation:
                self.drop(created)

    def close(self) -> None:
        """Drop all."""
        for created in tuple(self._created.values()):
            self.drop(created)
