"""Which processes can accept from a worker's socket: its own, and what others there are.

A listening socket belongs to whoever holds it. PID 1 hands each slot's socket to the worker of
that slot alone, but processes inherit it: a child that a former worker of the slot has left
(`treekill: false`, a daemon in a session of its own) goes on accepting. So a connection that was
accepted, and is closed again, was accepted by the worker only if nobody else holds the socket.

*Others* are children of PID 1 that it did not start, with all below them, unless they carry the
worker's own mark; and workers of the same slot, in one socket for all slots every sibling. The
socket of another slot's worker is another one: those are not looked at, for they may have many
connections, and may not be readable.
"""

from __future__ import annotations

from entrypoint.kernel import look, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from entrypoint.shell.children import Children, Started


class Accepters:
    """Looks at who holds the sockets of workers. None: unknown, for a look was refused."""

    def __init__(self, children: Children) -> None:
        self._children = children

    def of_worker(self, started: Started) -> tuple[int, ...]:
        """Its processes: by parentage, and by its mark those that were reparented."""
        own = look.tree(started.pid)
        left = tree.marked(started.incarnation, self._reparented(), limit=look.PROCESSES)
        return (*own, *(pid for pid in left if pid not in own))

    def holds(self, started: Started, inodes: Collection[int]) -> bool | None:
        """One of its processes holds one of these sockets."""
        return _any(self.of_worker(started), inodes)

    def others_hold(self, started: Started, inodes: Collection[int]) -> bool | None:
        """A process that is not the worker's holds one of these sockets."""
        own = set(self.of_worker(started))
        roots = [*self._reparented(), *self._beside(started)]
        found = (pid for root in roots for pid in look.tree(root))
        return _any(tuple(dict.fromkeys(pid for pid in found if pid not in own)), inodes)

    def _reparented(self) -> tuple[int, ...]:
        return tree.reparented(self._children.known, limit=look.PROCESSES)

    def _beside(self, started: Started) -> list[int]:
        """The workers that may hold the same socket."""
        spec = started.spec
        one = spec.share == "one" or any(each.family == "unix" for each in spec.listen)
        return [
            each.pid
            for each in self._children.of_app(spec.name)
            if each.incarnation != started.incarnation and (one or each.queue == started.queue)
        ]


def _any(pids: Collection[int], inodes: Collection[int]) -> bool | None:
    seen = look.sockets(pids, inodes)
    if any(inode in seen.holders for inode in inodes):
        return True
    return None if seen.unknown else False
