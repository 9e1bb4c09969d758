"""Events for the viewers of the page: one for all, and only while there are viewers.

An event holds what `/status`, `/readyz?verbose` and `/metrics` say: the status, the checks of
readiness with their reasons, and (unless `probes.metrics` is false) CPU, memory and open files of
each worker and the queues of the listeners. Environments, command lines and log lines are not in
it: the port asks nobody who they are.

The first viewer starts it and the last one ends it: without viewers there is no timer, no
observer and nothing in memory. The workers' usage is read every `INTERVAL`, by a child as for
`/metrics`. A change of state is sent sooner. Whatever an event cost, for all viewers together,
the next one waits `SPARED` times as long: so the page never takes more than half a per cent of a
core, with a thousand workers too.
"""

from __future__ import annotations

import time

from entrypoint.api.probes import checks_of
from entrypoint.metrics.child import ChildReader
from entrypoint.metrics.readings import Readings

from .viewer import Viewer

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, Protocol

    from entrypoint.core.effects import Effect
    from entrypoint.core.events import Event
    from entrypoint.core.spec import Plan
    from entrypoint.core.supervisor import Supervisor
    from entrypoint.core.view import View
    from entrypoint.http.listening import ConnectionLimiter
    from entrypoint.loop import Loop
    from entrypoint.shell.children import Children
    from entrypoint.shell.dispatch import Dispatch
    from entrypoint.sockets.effects import PortEffects

    class Runtime(Protocol):
        """What is used of the run."""

        children: Children
        core: Supervisor
        dispatch: Dispatch
        loop: Loop
        plan: Plan
        ports: PortEffects


# How many may look at once.
STREAM_LIMIT = 100
# Seconds between two readings of what the workers use, and the least between two events.
INTERVAL = 2.0
CLOSEST = 0.25
# How long nothing is sent after an event, in times of what it cost.
SPARED = 200
# Seconds of reading in one turn of the loop.
SLICE = 0.002

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"X-Content-Type-Options: nosniff\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\n"
    b"retry: 3000\n\n"
)


class Feed:
    """The viewers, and what they see. `status()` makes the body of `/status`."""

    def __init__(self, runtime: Runtime, status: Callable[[], bytes]) -> None:
        self._runtime = runtime
        self._loop = runtime.loop
        self._status = status
        self._viewers: dict[Viewer, None] = {}
        # The page shows RSS: PSS would cost more.
        self._readings = Readings(self._reader, with_pss=False)
        self._clear()

    def _clear(self) -> None:
        self._newest = b""
        self._view: View | None = None  # of the newest event
        self._readings.close()
        self._readings = Readings(self._reader, with_pss=False)
        self._read_at = 0.0
        self._work: Iterator[float] | None = None
        self._cost = 0.0  # CPU seconds since the event before
        self._quiet_until = 0.0
        self._changed = False

    def _reader(self, done: Callable[[bytes], None]) -> ChildReader:
        return ChildReader(self._loop, self._runtime.children.adopt_helper, done)

    @property
    def viewers(self) -> int:
        """The number of viewers."""
        return len(self._viewers)

    def join(self, sock: _socket.socket, limiter: ConnectionLimiter) -> None:
        """Send the newest event, and all that follow, until the browser leaves."""
        viewer = Viewer(self._loop, sock, limiter, lambda: self._newest, self._left)
        first = not self._viewers
        self._viewers[viewer] = None
        if first:
            self._runtime.dispatch.observers["page"] = self._turned
            self._loop.call_at(self, self._loop.now(), self._read)
        viewer.begin(HEAD + self._newest)

    def close(self) -> None:
        """Close all viewers."""
        for viewer in tuple(self._viewers):
            viewer.close()

    def _left(self, viewer: Viewer) -> None:
        self._viewers.pop(viewer, None)
        if not self._viewers:
            self._runtime.dispatch.observers.pop("page", None)
            self._loop.cancel(self)
            self._loop.cancel((self, "changed"))
            self._clear()

    # -- when -------------------------------------------------------------------------

    def _turned(self, _event: Event, _effects: Sequence[Effect]) -> None:
        """The core has decided something: look soon whether it shows."""
        if not self._changed:
            self._changed = True
            when = max(self._loop.now() + CLOSEST, self._quiet_until)
            self._loop.call_at((self, "changed"), when, self._look)

    def _look(self) -> None:
        self._changed = False
        if self._runtime.core.view() != self._view:
            self._publish()

    def _read(self) -> None:
        """Begin to read what the workers use, or go on with it."""
        if not self._runtime.plan.probes.page:
            self.close()
            return
        began, used = self._loop.now(), time.process_time()
        if self._work is None:
            apps = self._runtime.core.view().apps if self._runtime.plan.probes.metrics else ()
            self._work = self._readings.take([worker for app in apps for worker in app.workers])
        for pause in self._work:
            now = self._loop.now()
            if pause or now - began > SLICE:
                self._cost += time.process_time() - used
                self._loop.call_at(self, now + pause, self._read)
                return
        self._work = None
        self._read_at = self._loop.now()
        self._cost += time.process_time() - used + self._readings.spent
        self._readings.spent = 0.0
        self._publish()
        if self._viewers:
            when = max(began + INTERVAL, self._quiet_until)
            self._loop.call_at(self, when, self._read)

    # -- what -------------------------------------------------------------------------

    def _publish(self) -> None:
        used = time.process_time()
        self._view = self._runtime.core.view()
        self._newest = self._event(self._view)
        for viewer in tuple(self._viewers):
            viewer.offer(self._newest)
        self._cost += time.process_time() - used
        self._quiet_until = self._loop.now() + max(CLOSEST, SPARED * self._cost)
        self._cost = 0.0

    def _event(self, view: View) -> bytes:
        import json  # loaded with the answer to `/status`

        plan = self._runtime.plan
        update: dict[str, Any] = {
            "at": round(self._loop.now(), 3),
            "checks": [
                [check.name, check.reason, check.note]
                for check in checks_of("readyz", view, plan.probes.ready_when)
            ],
        }
        if plan.probes.metrics:
            update["read_at"] = round(self._read_at, 3)
            update["usage"] = {
                str(incarnation): [reading.cpu, reading.rss, reading.fds]
                for incarnation, reading in self._readings.of.items()
            }
            update["queues"] = {app.name: self._queues(app.name) for app in view.apps}
        body = json.dumps(update, separators=(",", ":")).encode()
        # The status last: it is made of the same view, and is JSON of one line.
        return b"data: " + body[:-1] + b',"status":' + self._status().rstrip(b"\n") + b"}\n\n"

    def _queues(self, app: str) -> list[list[object]]:
        """Of each address: connections that wait, and how many of one listener may."""
        ports = self._runtime.ports.get(app)
        if ports is None:
            return []
        return [
            [address, sum(d.waiting for d in depths), min(d.limit for d in depths)]
            for address, depths in ports.depths().items()
        ]
