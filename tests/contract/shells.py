"""Two shells that perform the core's effects: the simulation's World, and the Runtime.

Neither has a core: a recorder stands in its place, decides nothing and keeps the events.
Both are given the same programs by name.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.spec import AppSpec, HealthSpec, ListenSpec
from entrypoint.core.turn import State
from entrypoint.core.view import View
from entrypoint.kernel import signals
from entrypoint.loading import Source
from entrypoint.loop import Loop
from entrypoint.runtime import Runtime
from tests.simulation.world import Script, World, plan
from tests.support.ports import free_port
from tests.support.wait import wait_until

# name: (seconds until it listens or None, seconds from then until it accepts or None, script)
PROGRAMS: dict[str, tuple[float | None, float | None, Script]] = {
    "serves": (0.0, 0.0, Script()),
    "accepts later": (0.0, 0.8, Script(queue_takes=0.8, accepts_after=0.8)),
    "never accepts": (0.0, None, Script(queue_takes=None, accepts_after=None)),
    "never listens": (None, None, Script(says_after=None, queue_takes=0.0, well_from=None)),
}

SERVER = """
import os, socket, sys, time
port, listens, accepts = sys.argv[1:4]
if listens != "None":
    time.sleep(float(listens))
    sock = socket.socket()
    sock.bind(("127.0.0.1", int(port)))
    sock.listen()
    if accepts != "None":
        time.sleep(float(accepts))
        while True:
            conn, _ = sock.accept()
            conn.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n%d" % os.getpid())
            conn.close()
time.sleep(1000)
"""


class Recorder:
    """In the place of the core."""

    def __init__(self) -> None:
        self.events: list[e.Event] = []
        self.state = self._state = State()

    def handle(self, event: e.Event, _now: float) -> list[f.Effect]:
        self.events.append(event)
        return []

    def view(self) -> View:
        return View((), "running", 1)


class Shell:
    """What both have in common. `slots` are those of the workers by their incarnation."""

    events: list[e.Event]

    def of(self, kind: type[e.Event], incarnation: int | None = None) -> list[e.Event]:
        return [
            event
            for event in self.events
            if type(event) is kind and incarnation in {None, getattr(event, "incarnation", None)}
        ]

    def spec(self, program: str, **keys) -> AppSpec:
        listens, accepts, _ = PROGRAMS[program]
        words = (str(self.port), str(listens), str(accepts))
        return AppSpec(
            name="web",
            command=(sys.executable, "-S", "-c", SERVER, *words),
            cwd="/",
            env=tuple(os.environ.items()),
            exec_mode="cluster",
            listen=(ListenSpec("inet", "127.0.0.1", self.port),),
            share="slots",
            health=HealthSpec(http=f"http://127.0.0.1:{self.port}/", timeout=5.0),
            **keys,
        )

    def start(self, program: str, slot: int = 0, **keys) -> int:
        """Spawn a worker and wait for its exec; its incarnation."""
        self.count += 1
        self.prepare(program)
        self.perform(f.Spawn(self.count, self.spec(program, **keys), slot, slot))
        self.until(lambda: self.of(e.WorkerExeced, self.count))
        return self.count


class FakeShell(Shell):
    """World, with a clock of its own."""

    def __init__(self, _folder: Path) -> None:
        self.world = World()
        self.world.core = Recorder()
        self.events = self.world.core.events
        self.count = 0
        self.port = 5000
        self.world.held["web"] = set()

    def prepare(self, program: str) -> None:
        self.world.upcoming.append(PROGRAMS[program][2])

    def perform(self, effect: f.Effect) -> None:
        getattr(self.world, f"_do_{type(effect).__name__.lower()}")(effect)

    def until(self, condition) -> None:
        if not condition():
            self.world.run_until(condition)

    def a_while(self, seconds: float) -> None:
        self.world.advance(seconds)

    def reached(self) -> set[int]:
        """Slots that new connections reach; empty: they wait or are refused."""
        if "web" in self.world.refusing or "web" not in self.world.slots:
            return set()
        return set(self.world.steered["web"])

    def connect(self) -> None:
        """A connection that waits in the queue."""

    def next_file(self, *, good: bool) -> None:
        self.world.next_plan = plan(revision=2) if good else "wrong"

    @property
    def exit_code(self) -> int | None:
        return self.world.exit_code

    def close(self) -> None:
        return


class LinuxShell(Shell):
    """The Runtime on this kernel. This process must be a child subreaper."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.path = folder / "ecosystem.yaml"
        self.next_file(good=True)
        self.errors: list[object] = []
        loop = Loop(lambda where, error: self.errors.append((where, error)))
        self.pipe = signals.SignalPipe()
        self.runtime = Runtime(loop, self.pipe, Source(str(self.path)), plan())
        self.recorder = self.runtime.core = self.runtime.dispatch._core = Recorder()
        self.events = self.recorder.events
        self.count = 0
        self._waiting: list[socket.socket] = []
        self.runtime.ports.open((self.spec("serves"),))

    def prepare(self, _program: str) -> None:
        return

    def perform(self, effect: f.Effect) -> None:
        self.runtime.dispatch._perform[type(effect)](effect)

    def _turn(self) -> None:
        self.runtime.loop.turn(0.01)
        self.runtime.children.reap()

    def until(self, condition) -> None:
        def turned() -> bool:
            self._turn()
            return condition()

        wait_until(turned, lambda: f"{self.events} {self.errors}")

    def a_while(self, seconds: float) -> None:
        end = self.runtime.loop.now() + seconds
        while self.runtime.loop.now() < end:
            self._turn()

    def reached(self) -> set[int]:
        """By forty connections: the pids that answer, and their slots."""
        by_pid = {event.pid: event.incarnation for event in self.of(e.WorkerSpawned)}
        found = set()
        for _ in range(40):
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as sock:
                    answer = self._answer(sock)
            except OSError:
                return set()
            started = self.runtime.children.get(by_pid[int(answer.split()[-1])])
            found.add(started.slot)
        return found

    def _answer(self, sock: socket.socket) -> bytes:
        """What comes while the loop turns: a worker may wait for it in a system call."""
        sock.settimeout(0.02)
        for _ in range(100):
            self._turn()
            try:
                return sock.recv(100)
            except TimeoutError:
                continue
        raise OSError

    def connect(self) -> None:
        self._waiting.append(socket.create_connection(("127.0.0.1", self.port), timeout=5))

    def next_file(self, *, good: bool) -> None:
        text = json.dumps({"apps": [{"name": "job", "script": "sleep 1000"}]})
        self.path.write_text(text if good else "apps: [")

    @property
    def exit_code(self) -> int | None:
        return self.runtime.exit_code

    def close(self) -> None:
        for sock in self._waiting:
            sock.close()
        for number in range(1, self.count + 1):
            if self.runtime.children.get(number) is not None and not self.of(
                e.WorkerExited, number
            ):
                self.runtime.children.signal(number, 9)
                self.until(lambda n=number: self.of(e.WorkerExited, n))
        self.a_while(0.1)
        self.runtime.ports.close()
        self.runtime.loop.close()
        assert not self.errors, self.errors
