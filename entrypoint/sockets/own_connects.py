"""Handles workers' connections to the app's own TCP port before they have bound it.

Some servers connect to their port first, to see whether it is free (CherryPy, Robyn). They reach
the listener of PID 1 or of a sibling, and exit. Refusing such a connect(2) helps them, but a
filter cannot see the port, so each connection of such a worker is reported. So this is
only for apps of which a worker has ended before it bound a port that is listened on; and no
longer once a reported worker binds without having connected.

A worker is refused at most three times for each address.
"""

from __future__ import annotations

import errno

from . import sockaddr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.kernel import seccomp

    from .group import Group
    from .listeners import Listeners

_REFUSALS = 3


class OwnConnects:
    """Which workers of one app are reported, and the answers to their calls."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._suspected = False
        # A worker was refused and bound later: this is how the program works.
        self._known = False
        self._reported: set[int] = set()
        self._refused: dict[int, dict[Group, int]] = {}
        self._leaving: set[int] = set()

    def report(self, incarnation: int) -> bool:
        """Whether the connections of this worker, which starts now, have to be reported."""
        self._learn()
        if self._suspected:
            self._reported.add(incarnation)
        return self._suspected

    def _learn(self) -> None:
        for reported in self._reported:
            if self._listeners.has_bound(reported):
                self._known = self._known or reported in self._refused
                self._suspected = self._known

    def leaving(self, incarnation: int) -> None:
        """Record that the worker was sent a stop signal: its end shows nothing."""
        self._leaving.add(incarnation)

    def ended(self, incarnation: int) -> None:
        """Handle the end of a worker, whose claims still exist."""
        self._learn()
        if incarnation not in self._leaving and any(
            group.listening and incarnation not in group.users
            for group in self._listeners.tcp_groups()
        ):
            self._suspected = True
        self._leaving.discard(incarnation)
        self._reported.discard(incarnation)
        self._refused.pop(incarnation, None)

    def answer(self, incarnation: int, call: seccomp.Notification) -> int:
        """The errno of a connect, 0 to let it continue. Raises OSError."""
        from entrypoint.kernel import calling_process, memory  # with the first filter

        refused = self._refused.get(incarnation, {})
        groups = [
            group
            for group in self._listeners.tcp_groups()
            if group.listening
            and incarnation not in group.users
            and refused.get(group, 0) < _REFUSALS
        ]
        if incarnation not in self._reported or not groups or not 2 < call.args[2] <= 128:
            return 0
        size = min(call.args[2], sockaddr.MAX_SIZE)
        asked = sockaddr.parse(memory.read(call.pid, call.args[1], size))
        if asked is None or asked.family == "unix":
            return 0
        found = next((group for group in groups if _leads_to(asked, group)), None)
        if (
            found is None
            or calling_process.protocol_of(call.pid, call.args[0])
            not in sockaddr.PROTOCOLS[asked.family]
            or not calling_process.same_network(call.pid)
        ):
            return 0
        self._refused.setdefault(incarnation, refused)[found] = refused.get(found, 0) + 1
        return errno.ECONNREFUSED


def _leads_to(asked: sockaddr.Asked, group: Group) -> bool:
    """Whether a connection there reaches this group: by loopback, or by its own address."""
    if asked.port != group.form.port:
        return False
    host = asked.host.removeprefix(sockaddr.MAPPED)
    loopback = ("::1", "::", "0.0.0.0")  # noqa: S104  a connect to it is one to loopback
    return host.startswith("127.") or host in (*loopback, group.form.host)
