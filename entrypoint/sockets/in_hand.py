"""Which requests a worker has in hand, by the counters of its TCP connections.

A connection is *free* if nothing of it is unread or unacknowledged, its worker sent
later than it received, and nothing was sent for `QUIET`. Otherwise it is *held*, with three
exceptions:

- Events within one tick of the kernel have no order. Then a later acknowledgement without data
  belongs to an answer; without one the connection is *unsure*, and is held until `ignore_unsure`.
- A keep-alive connection that was free, or was answered, and is used again may continue
  forever. It is held until `ignore_unsure`.
- A request in hand for longer than a stop may take is a stream, or is never answered.

/proc/PID/fd of the worker's tree tells which held connections are its own. Nothing is read there
while none is held.
"""

from __future__ import annotations

import errno

from entrypoint.kernel import look
from entrypoint.kernel.connections import CLOSE_WAIT, SYN_RECV, of_port

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Iterable, Iterator

    from entrypoint.kernel.connections import Connection

    from .group import Group

    # Received and sent bytes at the last check; answered since the first one;
    # free, or used again after an answer.
    Before = tuple[int, int, bool, bool]
else:
    import _socket

_FAMILIES = {"inet": _socket.AF_INET, "inet6": _socket.AF_INET6}

# A pause in an answer, or before a next request, is not longer than this (s).
QUIET = 0.1
# Parts of a dump, of a hundred connections each, that are read in one step.
_PARTS = 4
# A descriptor appears a moment after the inode: it has to be missing this many times.
_MISSES = 2

FREE, UNSURE, HELD = 0, 1, 2


def verdict(connection: Connection, longest: float) -> int:
    """Whether its worker has a request in hand: FREE, UNSURE or HELD.

    `longest`: seconds after which a request is no longer waited for.
    """
    sent, received = connection.sent_ago, connection.received_ago
    ended = connection.state == CLOSE_WAIT  # the end of the stream counts as one byte
    if min(sent, received) > longest:
        return FREE
    if connection.unread > ended or connection.unsent:
        return HELD
    if not connection.segments:
        asked = connection.received > ended
        return HELD if asked or received < QUIET else FREE
    if received < sent or sent < QUIET:
        return HELD
    if received > sent or (not ended and connection.acknowledged_ago < received):
        return FREE
    return UNSURE


def ports_of(groups: Iterable[Group]) -> tuple[tuple[int, int], ...]:
    """Family and port of the TCP addresses among these."""
    forms = (group.form for group in groups if group.form.family in _FAMILIES)
    return tuple({(_FAMILIES[form.family], form.port): None for form in forms})


class InHand:
    """Checks the connections of `addresses` (family, port) for those of process tree `pid`.

    `closed`: each of them counts as held until it is closed.
    """

    def __init__(
        self,
        addresses: tuple[tuple[int, int], ...],
        pid: int,
        longest: float,
        *,
        closed: bool = False,
    ) -> None:
        self._addresses = addresses
        self._pid = pid
        self._longest = longest
        self._closed = closed
        self._before: dict[int, Before] = {}
        self._now: dict[int, Before] = {}
        self._first = True
        # Handshakes that had begun before the worker stopped getting connections.
        self._handshakes: set[bytes] = set()
        self._open: set[bytes] = set()
        self._mine: set[int] = set()
        self._others: dict[int, int] = {}
        # State of the check under way.
        self._parts: Iterator[list[Connection]] | None = None
        self._held: set[int] = set()
        self._used_again: set[int] = set()

    def step(self, *, ignore_unsure: bool) -> bool | None:
        """Continue a check. None: not finished; otherwise, whether any request is in hand.

        Raises OSError if that cannot be known.
        """
        if self._parts is None:
            self._parts = self._all()
            self._now, self._held, self._used_again, self._open = {}, set(), set(), set()
        for _ in range(_PARTS):
            part = next(self._parts, None)
            if part is None:
                self._parts = None
                return self._judge(ignore_unsure=ignore_unsure)
            for connection in part:
                self._see(connection)
        return None

    def _all(self) -> Iterator[list[Connection]]:
        for family, port in self._addresses:
            yield from of_port(family, port)

    def _see(self, connection: Connection) -> None:
        if connection.state == SYN_RECV:
            self._open.add(connection.opened)
            return
        inode = connection.inode
        if not inode:
            return  # it waits in a queue
        if self._closed:
            self._held.add(inode)
            return
        found = verdict(connection, self._longest)
        received, written = connection.received, connection.acknowledged + connection.unsent
        before = self._before.get(inode)
        answered = again = False
        if before is not None:
            was_received, was_written, answered, again = before
            newer = received > was_received
            later = connection.received_ago < connection.sent_ago
            again = again or (newer and (answered or (later and written > was_written)))
            answered = answered or written > was_written
        again = again or found == FREE
        self._now[inode] = (received, written, answered, again)
        if found == UNSURE or (found == HELD and again):
            self._used_again.add(inode)
        elif found == HELD:
            self._held.add(inode)

    def _judge(self, *, ignore_unsure: bool) -> bool:
        self._before, self._now = self._now, {}
        self._handshakes = self._open if self._first else self._handshakes & self._open
        self._first = False
        counts = self._held if ignore_unsure else self._held | self._used_again
        if not ignore_unsure and self._handshakes:
            return True
        if counts & self._mine:
            return True
        unknown = {each for each in counts if self._others.get(each, 0) < _MISSES}
        if not unknown:
            return False
        seen = look.sockets(look.tree(self._pid), unknown)
        if not seen.holders and (seen.refused or seen.cut):
            raise OSError(errno.EACCES, "the descriptors of its processes may not be read")
        self._mine |= seen.holders.keys()
        missing = {each: self._others.get(each, 0) + 1 for each in unknown - seen.holders.keys()}
        still = self._before if not self._closed else self._held
        known = {each: count for each, count in self._others.items() if each in still}
        self._others = {**known, **missing}
        return bool(seen.holders)
