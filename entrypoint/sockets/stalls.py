"""Detects slots on which connections wait and none is accepted.

A listening socket does not count accepted connections, and an accept queue of the same length
may contain other connections by now. But a connection that was not accepted yet has no inode
(sock_diag(7)). So if a queue was not empty and never became shorter for a second, the
connections without an inode are recorded, and four seconds later it is checked which of them
still have none. Two such checks, of a port that is overloaded or stalled, are the whole cost:
the rest is the length of the queue, read when the loop is awake for a connection anyway.
An idle port is never checked.

Only for TCP sockets of one slot each: if workers share one queue, siblings accept the waiting
connections, and only the queue's age is known.
"""

from __future__ import annotations

from entrypoint.core.record import Record
from entrypoint.kernel import sockdiag, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .group import Group
# How long nothing is accepted before a worker counts as stalled (s).
STALLED_AFTER = 5.0
# When the waiting connections are recorded (s).
REMEMBER_AFTER = 1.0
# A longer time between two checks may be a container that was frozen (s).
GAP = 2.0


class Waiting(Record):
    """Connections that waited at one moment, and how many of them were for suspects."""

    cookies: frozenset[bytes]
    needed: int


class Suspect:
    """A socket whose queue is not empty. Times are monotonic seconds."""

    __slots__ = ("before", "due", "length", "looked", "since")

    def __init__(self, now: float, length: int) -> None:
        self.restart(now, length)

    def restart(self, now: float, length: int) -> None:
        """A connection was accepted, or may have been."""
        self.since = self.looked = now
        self.due = now + STALLED_AFTER
        self.length = length
        self.before: Waiting | None = None


class Stalls:
    """The suspects of one app. `groups()` are all its groups.

    `on_stalled(group, slot, since, waiting)` is called every `STALLED_AFTER` meanwhile.
    """

    def __init__(
        self,
        now: Callable[[], float],
        groups: Callable[[], Iterable[Group]],
    ) -> None:
        self._now = now
        self._groups = groups
        self.on_stalled: Callable[[Group, int, float, int], None] | None = None
        self._suspects: dict[int, Suspect] = {}

    @staticmethod
    def watches(group: Group) -> bool:
        """Whether the queues of this group are checked: those of TCP."""
        return group.form.family != "unix"

    def age(self, group: Group) -> float:
        """Longest time since one of its queues was seen empty or shorter, seconds; 0: none."""
        now = self._now()
        found = (self._suspects.get(fd) for fd in group.descriptors.values())
        old = (now - each.since for each in found if each is not None)
        return max((age for age in old if age > 0), default=0.0) if group.waiting() else 0.0

    def look(self, group: Group, key: int) -> None:
        """Check a socket that has just received a connection: does the connection wait?"""
        sock = group.at(key)
        fd, length, now = sock.fileno(), sockets.queue_length(sock), self._now()
        suspect = self._suspects.get(fd)
        if not length:
            self._suspects.pop(fd, None)
            return
        if suspect is None:
            self._suspects[fd] = Suspect(now, length)
            return
        if length < suspect.length or now - suspect.looked > GAP:
            suspect.restart(now, length)
            return
        suspect.looked, suspect.length = now, length
        if group.single:
            return  # siblings share it: the worker that does not accept cannot be identified
        if suspect.before is None:
            if now - suspect.since >= REMEMBER_AFTER:
                suspect.before = self._remember(group.form.port)
                # Too many connections, or the kernel does not list them.
                if suspect.before is None:
                    suspect.restart(now, length)
        elif now >= suspect.due:
            if self._still_wait(group.form.port, suspect.before):
                suspect.due = now + STALLED_AFTER
                if self.on_stalled is not None:
                    self.on_stalled(group, group.slot_of(key), suspect.since, length)
            else:
                suspect.restart(now, length)

    def forget(self, fd: int) -> None:
        """Stop watching this socket."""
        self._suspects.pop(fd, None)

    def _lengths(self, port: int) -> dict[int, int]:
        """The queues of all sockets on this port, by descriptor."""
        return {
            sock.fileno(): length
            for group in self._groups()
            if group.form.port == port and group.listening and group.form.family != "unix"
            for sock, length in group.waiting()
        }

    def _remember(self, port: int) -> Waiting | None:
        cookies = sockdiag.waiting_at(port)
        if cookies is None:
            return None
        now = self._now()
        others = sum(
            length for fd, length in self._lengths(port).items() if not self._is_old(fd, now)
        )
        return Waiting(cookies, len(cookies) - others)

    def _is_old(self, fd: int, now: float) -> bool:
        suspect = self._suspects.get(fd)
        return suspect is not None and now - suspect.since >= REMEMBER_AFTER

    def _still_wait(self, port: int, before: Waiting) -> bool:
        """Whether none of the recorded connections was accepted."""
        cookies = sockdiag.waiting_at(port)
        if cookies is None or before.needed <= 0:
            return False
        # A connection that its client has reset still waits, but the kernel does not list it.
        unlisted = max(0, sum(self._lengths(port).values()) - len(cookies))
        return len(cookies & before.cookies) + unlisted >= before.needed
