"""Which processes can accept from a worker's socket: its own, and others.

Every holder of a listening socket can accept. PID 1 gives each slot's socket only to the worker
of that slot, but processes inherit it: a child that a former worker of the slot left
(`treekill: false`, a daemon in its own session) keeps accepting. So an accepted connection that
is closed again was certainly accepted by the worker only if no other process holds the socket.

*Others* are children of PID 1 that it did not start, with their descendants, unless they carry the
worker's own mark; and workers of the same slot, or every sibling if all slots share one socket.
Workers of other slots have other sockets: they are not inspected, because they may have many
connections and may not be readable.
"""

from __future__ import annotations

from entrypoint.kernel import look, tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from entrypoint.shell.children import Children, Started


class Accepters:
    """Finds the holders of workers' sockets. None: unknown, because an inspection was refused."""

    def __init__(self, children: Children) -> None:
        self._children = children

    def of_worker(self, started: Started) -> tuple[int, ...]:
        """The worker's processes: by parentage, and by its mark those that were reparented."""
        own = look.tree(started.pid)
        left = tree.marked(started.incarnation, self._reparented(), limit=look.PROCESSES)
        return (*own, *(pid for pid in left if pid not in own))

    def holds(self, started: Started, inodes: Collection[int]) -> bool | None:
        """Whether one of its processes holds one of these sockets."""
        return _any(self.of_worker(started), inodes)

    def others_hold(self, started: Started, inodes: Collection[int]) -> bool | None:
        """Whether a process that is not the worker's holds one of these sockets."""
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
