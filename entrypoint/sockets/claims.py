"""Which worker holds which of the app's sockets, and how claims end.

A worker that was given a socket holds it until no process of its tree has it open any
more. close(2) is not reported (that would cost every program a notification for each
descriptor), so pyinit checks: the descriptor where the socket was, then all
descriptors of the worker's tree, then processes that were reparented from there.

It checks when a connection arrives at the socket (at most once in `PAUSE`), and when a
worker binds. An idle app is never checked. If a check is refused the state is unknown,
and no claim ends.

A worker that is being stopped, or has ended, releases nothing: its queue waits for the
next worker of the slot, and late handshakes are relayed (unowned_slots.py).
"""

from __future__ import annotations

import os

from entrypoint.kernel import (
    look,
    proc,
    tree,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from entrypoint.core.spec import AppSpec

    from .address import Address
    from .group import Group

    Log = Callable[[str, str, dict[str, object]], None]

# The shortest and the longest time between two checks of one socket in use (s).
PAUSE = 0.1
LONGEST_PAUSE = 0.4
# How long after a worker's first listen the others of its addresses may follow (s).
UNUSED_AFTER = 3.0


class Claim:
    """One socket of the app held by one worker.

    `pid`, `fd`: where it was last found; 0 and -1 for unknown. `listens`: the worker called
    listen(2) on it. `reported`: the worker reports itself when it closes it (Node). `since`: when
    it was bound, or listened on (monotonic s).
    """

    def __init__(
        self,
        incarnation: int,
        slot: int,
        address: Address,
        group: Group,
        inode: int,
    ) -> None:
        self.incarnation = incarnation
        self.slot = slot
        self.address = address
        self.group = group
        self.inode = inode
        self.pid = 0
        self.fd = -1
        self.listens = False
        self.reported = False
        self.since = 0.0
        # It was seen to accept a connection.
        self.accepts = False


class Claims:
    """Registry of an app's claims. `ended(claim)` is called when a worker has closed its socket.

    `pid_of(incarnation)` is the worker's process, 0 when unknown.
    """

    def __init__(
        self, app: AppSpec, log: Log, pid_of: Callable[[int], int], ended: Callable[[Claim], None]
    ) -> None:
        self._app = app
        self._log = log
        self._pid_of = pid_of
        self._ended = ended
        self._claims: dict[tuple[int, int], Claim] = {}
        self._leaving: set[int] = set()
        self._said_unknown = False

    def __iter__(self) -> Iterator[Claim]:
        return iter(tuple(self._claims.values()))

    def add(self, claim: Claim) -> Claim:
        """Record that a worker got this socket; returns the existing claim if it had it already."""
        known = self._claims.setdefault((claim.incarnation, claim.inode), claim)
        if known is not claim:
            known.pid, known.fd = claim.pid, claim.fd
        return known

    def of_inode(self, inode: int) -> tuple[Claim, ...]:
        """The claims to this socket."""
        return tuple(claim for claim in self._claims.values() if claim.inode == inode)

    def find(self, incarnation: int, inode: int) -> Claim | None:
        """This worker's claim to that socket."""
        return self._claims.get((incarnation, inode))

    def of(self, incarnation: int) -> tuple[Claim, ...]:
        """All claims of this worker."""
        return tuple(claim for claim in self._claims.values() if claim.incarnation == incarnation)

    def remove(self, claim: Claim) -> None:
        """Remove a claim that is over and needs no more checks."""
        self._claims.pop((claim.incarnation, claim.inode), None)

    def drop(self, address: Address) -> None:
        """Drop claims to an address that is closed or another app's."""
        for claim in self:
            if claim.address is address:
                self.remove(claim)

    def leaving(self, incarnation: int) -> None:
        """Keep for its successor what a worker closes while it is being stopped."""
        self._leaving.add(incarnation)

    def is_leaving(self, incarnation: int) -> bool:
        """Whether it is being stopped."""
        return incarnation in self._leaving

    def release(self, incarnation: int) -> None:
        """The worker has ended."""
        self._leaving.discard(incarnation)
        for claim in self.of(incarnation):
            self.remove(claim)

    # -- checks -------------------------------------------------------------------------

    def look_at(self, inode: int) -> None:
        """End claims to this socket of workers that no longer hold it."""
        for claim in self.of_inode(inode):
            self._look(claim)

    def look_at_worker(self, incarnation: int) -> None:
        """End claims of this worker to sockets that it does not hold."""
        for claim in self.of(incarnation):
            self._look(claim)

    def look_at_address(self, address: Address) -> None:
        """End claims to this address."""
        for claim in self:
            if claim.address is address:
                self._look(claim)

    def _look(self, claim: Claim) -> None:
        if claim.reported or claim.incarnation in self._leaving:
            return
        if self._looked(claim) is False:
            self.end(claim)

    def end(self, claim: Claim) -> None:
        """End a claim: its worker has closed the socket."""
        self.remove(claim)
        if claim.incarnation not in self._leaving:
            self._ended(claim)

    def holds(self, claim: Claim) -> bool:
        """Whether the worker certainly has the socket open."""
        return self._looked(claim) is True

    def _looked(self, claim: Claim) -> bool | None:
        from entrypoint.kernel import calling_process  # with the first claim

        if claim.fd >= 0 and calling_process.socket_inode(claim.pid, claim.fd) == claim.inode:
            return True
        root = self._pid_of(claim.incarnation)
        if not root:
            return None  # it has ended, which will be reported
        for reparented in (False, True):
            pids = tree.marked(claim.incarnation) if reparented else look.tree(root)
            found = look.sockets(pids, {claim.inode})
            if found.unknown and not found.holders:
                self._say_unknown(claim)
                return None
            if found.holders:
                claim.pid = found.holders[claim.inode][0]
                claim.fd = look.number_of(claim.pid, claim.inode)
                return True
        # A dying process closes everything before its end is reported: that does not end a
        # claim, and connections that wait there are for its successor.
        return None if proc.is_ending(root) else False

    def _say_unknown(self, claim: Claim) -> None:
        if self._said_unknown:
            return
        self._said_unknown = True
        self._log(
            "info",
            "open sockets of a worker unknown",
            {
                "app": self._app.name,
                "pid": claim.pid or self._pid_of(claim.incarnation),
                "reason": "its descriptors cannot be read (it changed its user, or has too many)",
                "then": "a listener that it closes is taken for open",
            },
        )


def inode_of(fd: int) -> int:
    """The inode of one of pyinit's sockets."""
    return os.fstat(fd).st_ino
