"""Performs the checks that the core orders, one for a worker at a time, in the one loop.

The core decides when to check, how long to wait for an answer and what follows from it. This
file begins a check, cancels it on order, and reports its result. A connection that sends more than
an answer needs, or sends it slowly, costs a bounded buffer.
"""

from __future__ import annotations

import os

from entrypoint.core import events as e

from .connections import HttpCheck, TcpCheck
from .execution import ExecCheck
from .target import Unreachable, target_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.loop import Loop
    from entrypoint.shell.children import Children, Started
    from entrypoint.sockets.ports import Ports

    from .target import Target

    Check = HttpCheck | TcpCheck | ExecCheck


class Checker:
    """All checks under way.

    `ports_of(app)` are an app's listening sockets, None if it has none; `emit` gets the
    answers (`HealthChecked`).
    """

    def __init__(
        self,
        loop: Loop,
        children: Children,
        ports_of: Callable[[str], Ports | None],
        emit: Callable[[e.Event], None],
    ) -> None:
        self._loop = loop
        self._children = children
        self._ports_of = ports_of
        self._emit = emit
        self._running: dict[int, Check] = {}

    def start(self, incarnation: int, number: int) -> None:
        """Start a check of this worker; the answer carries `number`."""
        self.stop(incarnation)
        started = self._children.get(incarnation)

        def ended(reason: str, said: str = "") -> None:
            self._running.pop(incarnation, None)
            self._emit(e.HealthChecked(incarnation, number, reason, said))

        if started is None or started.spec.health is None:
            ended("there is no process")
            return
        try:
            check = self._begin(started, ended)
        except Unreachable as error:
            ended(str(error))
        except OSError as error:
            ended(os.strerror(error.errno) if error.errno else str(error))
        else:
            self._running[incarnation] = check
            check.begin()

    def stop(self, incarnation: int) -> None:
        """Cancel its check, if there is one."""
        check = self._running.pop(incarnation, None)
        if check is not None:
            check.give_up()

    def close(self) -> None:
        """Cancel all checks."""
        for incarnation in tuple(self._running):
            self.stop(incarnation)

    def _begin(self, started: Started, ended: Callable[..., None]) -> Check:
        health = started.spec.health
        ports = self._ports_of(started.spec.name)
        assert health is not None
        if health.command:
            return ExecCheck(self._loop, self._children, started, ports, ended)
        target: Target = target_of(health, started, ports)
        if health.http:
            return HttpCheck(self._loop, target, ended)
        return TcpCheck(self._loop, target, ended)
