"""Inspects starting workers: which addresses their processes listen on, and whether they are idle.

Performs `LookAt`. For what no system call reports: an app without a filter, or without a port.
It looks often at first and then four times a second, only until the worker is ready.
"""

from __future__ import annotations

from entrypoint.core import events as e
from entrypoint.core.readiness import REST
from entrypoint.kernel import look, proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.core import effects as f
    from entrypoint.core.spec import AppSpec
    from entrypoint.kernel.sockdiag import Listener
    from entrypoint.loop import Loop

    from .children import Children, Started

# Time between two looks (s): at first, later, and at a worker that takes minutes.
_FIRST, _USUAL, _RARE = 0.02, 0.25, 2.0
_RARE_AFTER = 120.0
# CPU seconds within `REST` that count as almost none. /proc counts in ticks of 10 ms.
_NEGLIGIBLE = 0.05
_LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")


class _Worker:
    """What was observed of one worker."""

    def __init__(self, now: float) -> None:
        self.began = now
        self.pause = _FIRST
        self.addresses: set[str] = set()
        self.rests = False
        self.samples: list[tuple[float, float]] = []

    def sample(self, now: float, cpu: float) -> bool:
        """Whether its processes are idle, now that they have used so many seconds of CPU."""
        if self.samples and cpu < self.samples[-1][1]:
            self.samples.clear()  # a process has ended, and its seconds are gone
        self.samples.append((now, cpu))
        while len(self.samples) > 1 and self.samples[1][0] <= now - REST:
            self.samples.pop(0)
        since, before = self.samples[0]
        return now - since >= REST and cpu - before <= _NEGLIGIBLE


class Looking:
    """All looks of a run.

    `chosen(started, inode)`: whether the kernel chose the port of that listener from its own
    range; None: unknown, because the worker's bind was not reported.
    """

    def __init__(
        self,
        loop: Loop,
        children: Children,
        emit: Callable[[e.Event], None],
        chosen: Callable[[Started, int], bool | None] = lambda _started, _inode: None,
    ) -> None:
        self._loop = loop
        self._children = children
        self._emit = emit
        self._chosen = chosen
        self._workers: dict[int, _Worker] = {}
        self._passing: tuple[int, int] | None = None

    def begin(self, effect: f.LookAt) -> None:
        """Perform `LookAt`."""
        incarnation = effect.incarnation
        if effect.once:
            self._see(incarnation, _Worker(0.0), lasting=True)
        elif incarnation not in self._workers:
            self._workers[incarnation] = _Worker(self._loop.now())
            self._turn(incarnation)

    def end(self, effect: f.StopLook) -> None:
        """Perform `StopLook`."""
        self.forget(effect.incarnation)

    def forget(self, incarnation: int) -> None:
        """Stop looking at a worker that is ready or gone."""
        if self._workers.pop(incarnation, None) is not None:
            self._loop.cancel(("look", incarnation))

    def _turn(self, incarnation: int) -> None:
        worker = self._workers.get(incarnation)
        if worker is None:
            return
        now = self._loop.now()
        worker.pause = min(worker.pause * 1.5, _USUAL)
        if now - worker.began > _RARE_AFTER:
            worker.pause = _RARE
        again = now + worker.pause
        self._loop.call_at(("look", incarnation), again, lambda: self._turn(incarnation))
        self._see(incarnation, worker)

    def _see(self, incarnation: int, worker: _Worker, *, lasting: bool = False) -> None:
        started = self._children.get(incarnation)
        if started is None or started.reaped:
            self.forget(incarnation)
            return
        pids = look.tree(started.pid)
        events: list[e.Event] = []
        answer = look.listening(pids)
        if answer is not None:
            listeners, seen = answer
            there = {_text(each): each for each in listeners}
            for text in sorted(there.keys() - worker.addresses):
                passing = self._is_passing(there[text].port)
                chosen = passing and self._is_chosen(started, there[text])
                events.append(
                    e.ListenSeen(incarnation, text, passing=passing, lasting=lasting, chosen=chosen)
                )
            if not seen.unknown:
                gone = worker.addresses - there.keys()
                events += [e.ListenEnded(incarnation, text) for text in sorted(gone)]
                worker.addresses = set(there)
            else:
                worker.addresses |= there.keys()
        rests = worker.sample(self._loop.now(), look.cpu_seconds(pids))
        if rests != worker.rests and not lasting:
            worker.rests = rests
            events.append(e.RestSeen(incarnation, rests))
        for event in events:
            self._emit(event)

    def _is_chosen(self, started: Started, listener: Listener) -> bool:
        """If unknown: whether only this host can connect to it, and the file does not name it."""
        known = self._chosen(started, listener.inode)
        if known is not None:
            return known
        return listener.host in _LOOPBACK and not _names(started.spec, listener.port)

    def _is_passing(self, port: int) -> bool:
        """Whether the kernel may have chosen it (`ip_local_port_range`, ip(7))."""
        if self._passing is None:
            words = proc.read("/proc/sys/net/ipv4/ip_local_port_range").split()
            both = [int(word) for word in words if word.isdigit()]
            self._passing = (both[0], both[1]) if len(both) == 2 else (32768, 60999)
        return self._passing[0] <= port <= self._passing[1]


def _names(spec: AppSpec, port: int) -> bool:
    """Whether its number is in the command or the environment of the app."""
    values = (value for _, value in spec.env)
    return any(str(port) in _numbers(text) for text in (*spec.command, *values))


def _numbers(text: str) -> list[str]:
    """The runs of digits in a text."""
    return "".join(each if each.isdigit() else " " for each in text).split()


def _text(listener: Listener) -> str:
    """The address as `ListenSpec.text` writes it."""
    if listener.family == "unix":
        return f"unix:{listener.path}"
    if listener.family == "inet6":
        return f"[{listener.host}]:{listener.port}"
    return f"{listener.host}:{listener.port}"
