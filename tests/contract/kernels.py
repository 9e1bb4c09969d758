"""Two kernels that are asked the same: the fake one of the simulation, and Linux.

Linux answers through `entrypoint.shell.children` and `entrypoint.loop`, which is what the
running pyinit asks. Both are given the same behaviours by name.
"""

from __future__ import annotations

import os

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.transaction import State
from entrypoint.kernel.process import SpawnRequest
from entrypoint.loop import Loop
from entrypoint.shell.children import Children, Started
from tests.simulation.world import Script, World, app
from tests.support.wait import wait_until

# name: (a command line of sh, the same as a script, processes of its group)
BEHAVIOURS: dict[str, tuple[str, Script, int]] = {
    "sleeps": ("exec sleep 1000", Script(stop_code=None), 1),
    "exits with 3": ("exit 3", Script(ends_after=0.01, code=3), 0),
    "ignores": ("trap '' TERM INT; exec sleep 1000", Script(ignores=True), 1),
    "leads a group": (
        "sleep 1000 & exec sleep 1000",
        Script(stop_code=None, group="obeys"),
        2,
    ),
    "leads a stubborn group": (
        "(trap '' TERM INT; exec sleep 1000) & exec sleep 1000",
        Script(stop_code=None, group="stubborn"),
        2,
    ),
    "leaves a group": (
        "sleep 1000 & exit 0",
        Script(ends_after=0.01, code=0, group="obeys"),
        0,
    ),
    "is missing": ("", Script(exec_fails="exec: No such file or directory"), 0),
}


class _Recorder:
    """In the place of the core: it orders nothing, and knows nobody."""

    def __init__(self) -> None:
        self.events: list[e.Event] = []
        self._state = State()

    def handle(self, event: e.Event, _now: float) -> list[f.Effect]:
        self.events.append(event)
        return []


class Fake:
    """The kernel of tests/simulation."""

    def __init__(self) -> None:
        self.world = World()
        self.world.core = _Recorder()
        self.fired: list[str] = []
        self._count = 0

    @property
    def events(self) -> list[e.Event]:
        return self.world.core.events

    def start(self, behaviour: str, *, treekill: str = "tree") -> int:
        self._count += 1
        self.world.upcoming.append(BEHAVIOURS[behaviour][1])
        self.world._do_spawn(f.Spawn(self._count, app(treekill=treekill), 0, 0, 0))
        if BEHAVIOURS[behaviour][2]:
            self.until(lambda: self.world.processes[self._count].execed)
        return self._count

    def signal(
        self, incarnation: int, signum: int, *, scope: str = "process", stop: bool = True
    ) -> None:
        self.world._do_sendsignal(f.SendSignal(incarnation, signum, scope, stop))

    def until(self, condition) -> None:
        self.world.run_until(condition)

    def a_while(self) -> None:
        self.world.advance(0.1)

    def call_at(self, name: str, delay: float) -> None:
        self.world._do_starttimer(f.StartTimer(e.Timer(name), delay))

    def cancel(self, name: str) -> None:
        self.world._do_stoptimer(f.StopTimer(e.Timer(name)))

    def timers_fired(self) -> list[str]:
        return [each.timer.kind for each in self.events if isinstance(each, e.TimerFired)]

    def close(self) -> None:
        return


class Linux:
    """The running kernel. The process must be a child subreaper, or orphans are lost."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.loop = Loop(lambda _where, error: self.errors.append(error))
        self.events: list[e.Event] = []
        self.children = Children(
            self.loop, self.events.append, lambda _started, _fd: None, lambda _errno: None
        )
        self._fired: list[str] = []
        self._pids: list[int] = []
        self._null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)

    def start(self, behaviour: str, *, treekill: str = "tree") -> int:
        line, _, members = BEHAVIOURS[behaviour]
        argv = ("/bin/sh", "-c", line) if line else ("/nowhere/missing",)
        number = len(self._pids) + 1
        started = self.children.start(
            Started(number, 0, app(treekill=treekill), 0, 0, 0),
            SpawnRequest(argv, dict(os.environ), stdin=self._null, stdout=self._null),
        )
        self._pids.append(started.pid)
        self.events.append(e.WorkerSpawned(number, started.pid))
        # Until all of its group are what they are meant to be: a signal that comes
        # before `trap` would end them.
        wait_until(lambda: _sleeping(started.pid) >= members)
        return number

    def signal(
        self, incarnation: int, signum: int, *, scope: str = "process", stop: bool = True
    ) -> None:
        self.children.signal(incarnation, signum, scope=scope, stop=stop)

    def _turn(self) -> None:
        self.loop.turn(0.01)
        self.children.reap()

    def until(self, condition) -> None:
        def turned() -> bool:
            self._turn()
            return condition()

        wait_until(turned, lambda: f"{self.events}")

    def a_while(self) -> None:
        # Nothing can be waited for where nothing is to happen: some turns of the loop.
        for _ in range(5):
            self._turn()

    def call_at(self, name: str, delay: float) -> None:
        deadline = self.loop.now() + delay
        self.loop.call_at(name, deadline, lambda: self._fired.append(name))

    def cancel(self, name: str) -> None:
        self.loop.cancel(name)

    def timers_fired(self) -> list[str]:
        return self._fired

    def close(self) -> None:
        for pid in self._pids:
            try:
                os.killpg(pid, 9)
            except OSError:
                continue
        for number in range(1, len(self._pids) + 1):
            self.children.forget(number)
        wait_until(lambda: self.children.reap() or not any(map(_sleeping, self._pids)))
        self.loop.close()
        os.close(self._null)
        assert not self.errors


def _sleeping(group: int) -> int:
    """How many processes of the group run `sleep`."""
    found = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                    name, _, rest = file.read().partition("(")[2].rpartition(")")
            except OSError:
                continue
            state, _parent, pgrp = rest.split()[:3]
            found += name == "sleep" and int(pgrp) == group and state != "Z"
    return found
