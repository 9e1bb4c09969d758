"""Two shells that perform the core's effects: the simulation's World, and the Runtime.

Neither has a core. A recorder replaces it: it keeps the events and orders what a test asks
for. Both shells are given the same programs by name.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.spec import AppSpec, HealthSpec, ListenSpec
from entrypoint.core.transaction import State
from entrypoint.core.view import View
from entrypoint.kernel import signals, tree
from entrypoint.logs.pump import LogPump
from entrypoint.loop import Loop
from entrypoint.shell.loader import Source
from entrypoint.shell.runtime import Runtime
from tests.simulation.world import Script, World, plan
from tests.support.ports import free_port
from tests.support.wait import wait_until

# name: (seconds until it listens or None, seconds from then until it accepts or None, script)
PROGRAMS: dict[str, tuple[float | None, float | None, Script]] = {
    "serves": (0.0, 0.0, Script()),
    "accepts later": (0.0, 0.8, Script(queue_takes=0.8, accepts_after=0.8)),
    "answers later": (0.0, 0.0, Script(answers_after=0.8)),
    "keeps connections": (0.0, 0.0, Script(closes_after=0.8)),
    "serves errors": (0.0, 0.0, Script(well_from=None)),
    # The queue of a slot holds a check until it is given up.
    "never accepts": (
        0.0,
        None,
        Script(queue_takes=None, accepts_after=None, check_takes=None),
    ),
    "never listens": (None, None, Script(says_after=None, queue_takes=0.0, check_takes=None)),
    "listens later": (0.5, None, Script(says_after=0.5, accepts_after=None)),
    "works all the time": (0.0, None, Script(accepts_after=None, busy=True)),
    "leaves when asked": (None, None, Script(says_after=None, ignores=False, stop_code=0)),
    "leaves a daemon": (None, None, Script(says_after=None, ends_after=0.01, code=0)),
}

# What a test orders goes through the shell as what the core orders does: for this event.
ORDER = e.TimerFired(e.Timer("order of a test"))

SERVER = """
import os, signal, socket, sys, time
port, listens, accepts, name = sys.argv[1:5]
if name == "leaves when asked":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    channel = socket.socket(fileno=int(os.environ["NODE_CHANNEL_FD"]))
    sys.exit(0 if b"shutdown" in channel.recv(1000) else 1)
if name == "leaves a daemon":
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        time.sleep(1000)
    os.wait()
    sys.exit(0)
if listens != "None":
    time.sleep(float(listens))
    sock = socket.socket()
    sock.bind(("127.0.0.1", int(port)))
    sock.listen()
    if accepts != "None":
        time.sleep(float(accepts))
        while True:
            conn, _ = sock.accept()
            if name == "keeps connections":
                conn.settimeout(0.8)
                try:
                    conn.recv(1000)
                except TimeoutError:
                    pass
            elif name == "answers later" and conn.recv(1000):
                time.sleep(0.8)
            status = b"200 OK" if name != "serves errors" else b"503 Service Unavailable"
            conn.sendall(b"HTTP/1.0 " + status + b"\\r\\n\\r\\n%d" % os.getpid())
            conn.close()
while name == "works all the time":
    pass
time.sleep(1000)
"""


class Recorder:
    """Replaces the core. `orders` is what it orders next."""

    def __init__(self) -> None:
        self.events: list[e.Event] = []
        self.state = self._state = State()
        self.orders: list[f.Effect] = []

    def handle(self, event: e.Event, _now: float) -> list[f.Effect]:
        if event is ORDER:
            orders, self.orders = self.orders, []
            return orders
        self.events.append(event)
        return []

    def view(self) -> View:
        return View((), "running", 1)


class Shell:
    """What both have in common."""

    events: list[e.Event]
    recorder: Recorder
    port: int
    own_port: int  # for the app without a shared port
    count: int = 0

    def __init__(self) -> None:
        self.performed: set[type[f.Effect]] = set()
        # Effects as an observer of the shell was told of them.
        self.listen_visible: list[f.Effect] = []

    def of(self, kind: type[e.Event], incarnation: int | None = None) -> list[e.Event]:
        return [
            event
            for event in self.events
            if type(event) is kind and incarnation in {None, getattr(event, "incarnation", None)}
        ]

    def _command(self, program: str, port: int) -> tuple[str, ...]:
        listens, accepts, _ = PROGRAMS[program]
        words = (str(port), str(listens), str(accepts), program)
        return (sys.executable, "-S", "-c", SERVER, *words)

    def spec(self, program: str, *more: int, **keys) -> AppSpec:
        """An app with a slot for each worker; `more`: further ports that it declares."""
        return AppSpec(
            name="web",
            command=self._command(program, self.port),
            cwd="/",
            env=tuple(os.environ.items()),
            exec_mode="cluster",
            listen=tuple(ListenSpec("inet", "127.0.0.1", port) for port in (self.port, *more)),
            share="slots",
            health=HealthSpec(http=f"http://127.0.0.1:{self.port}/", timeout=5.0),
            **keys,
        )

    def plain(self, program: str, **keys) -> AppSpec:
        """An app without a shared port."""
        return AppSpec(
            name="plain",
            command=self._command(program, self.own_port),
            cwd="/",
            env=tuple(os.environ.items()),
            **keys,
        )

    def start(self, program: str, slot: int = 0, **keys) -> int:
        """Spawn a worker of the app with slots and wait for its exec; its incarnation."""
        return self.spawn(program, self.spec(program, **keys), slot)

    def spawn(self, program: str, spec: AppSpec, slot: int = 0) -> int:
        self.count += 1
        self.prepare(program, spec)
        self.perform(f.Spawn(self.count, spec, slot, slot))
        self.until(lambda: self.of(e.WorkerExeced, self.count))
        return self.count

    def perform(self, *effects: f.Effect) -> None:
        """Have the core order this, and the shell perform it."""
        self.performed.update(map(type, effects))
        self.recorder.orders = list(effects)
        self.emit_order()

    def kill(self, worker: int) -> None:
        """Until it is gone for good."""
        self.perform(f.SendSignal(worker, 9, stop=True))
        self.until(lambda: self.of(e.WorkerExited, worker))
        self.perform(f.ReleaseWorker(worker))


class FakeShell(Shell):
    """World, with a clock of its own."""

    def __init__(self, _folder: Path) -> None:
        super().__init__()
        self.world = World()
        self.world.core = self.recorder = Recorder()
        self.world.after_turn = lambda _world, effects: self.listen_visible.extend(effects)
        self.events = self.recorder.events
        self.port = 5000
        self.own_port = 6000
        self.accept(self.spec("serves"))

    def accept(self, spec: AppSpec) -> None:
        """This revision of the app counts from now on."""
        self.world.held.setdefault("web", set()).update(spec.listen)
        self.recorder.state.apps["web"] = SimpleNamespace(spec=spec, live=0)

    def prepare(self, program: str, spec: AppSpec) -> None:
        script = PROGRAMS[program][2]
        if spec.name == "plain" and script.says_after is not None:
            script = replace(script, port=str(self.own_port))
        if program == "leaves a daemon":
            self.world.remaining_at_end = "obeys"
        self.world.upcoming.append(script)

    def emit_order(self) -> None:
        self.world.emit(ORDER)

    def until(self, condition) -> None:
        if not condition():
            self.world.run_until(condition)

    def a_while(self, seconds: float) -> None:
        self.world.advance(seconds)

    def reached(self) -> set[int]:
        """Slots that new connections reach; empty: they wait or are refused."""
        if "web" in self.world.refusing or "web" not in self.world.slots:
            return set()
        return set(self.world.routed["web"])

    def takes(self) -> bool:
        """A new connection is taken."""
        return "web" not in self.world.refusing

    def kept(self, *ports: int) -> set[int]:
        """Those of the ports that no other process can bind."""
        return {spec.port for spec in self.world.held.get("web", ())}.intersection(ports)

    def connect(self, request: bytes = b"") -> None:
        """A connection that waits in the queue."""

    def waiting_are_answered(self) -> bool:
        """The simulation has no connections: nothing depends on them."""
        return True

    def reported(self) -> list[dict[str, object]]:
        """Records of the log, with their level and event."""
        return [
            {"level": effect.level, "event": effect.event, **dict(effect.fields)}
            for _, effect in self.world.effects
            if isinstance(effect, f.Report)
        ]

    def daemons(self) -> int:
        """Processes that no worker owns, before the end is over."""
        ended = any(isinstance(event, e.RemainingEnded) for event in self.events)
        return 0 if ended else int(bool(self.world.remaining_at_end))

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
        super().__init__()
        self.port, self.own_port = free_port(), free_port()
        self.path = folder / "ecosystem.yaml"
        self.next_file(good=True)
        self.errors: list[object] = []
        # This process has other children, of its fixtures: they do not belong to the run.
        own_children = tree.own_children
        others = set(own_children())
        self._patch = mock.patch.object(
            tree, "own_children", side_effect=lambda: [p for p in own_children() if p not in others]
        )
        self._patch.start()
        loop = Loop(lambda where, error: self.errors.append((where, error)))
        self.pipe = signals.SignalPipe()
        self._log, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._text = b""
        pump = mock.patch(
            "entrypoint.shell.runtime.LogPump", lambda on, _fd, log: LogPump(on, self._writing, log)
        )
        with pump:
            self.runtime = Runtime(loop, self.pipe, Source(str(self.path)), plan())
        self.recorder = self.runtime.core = self.runtime.dispatch._core = Recorder()
        self.runtime.dispatch.observers["test"] = lambda _event, said: self.listen_visible.extend(
            said
        )
        self.events = self.recorder.events
        self._waiting: list[socket.socket] = []
        self._specs = {"web": self.spec("serves"), "plain": self.plain("serves")}
        assert not self.runtime.ports.open(tuple(self._specs.values()))
        self.runtime.pump.load_structlog()

    def accept(self, spec: AppSpec) -> None:
        self._specs[spec.name] = spec
        specs = tuple(self._specs.values())
        prepared = self.runtime.ports.prepare(specs)
        assert not prepared.problems
        self.runtime.ports.accept(specs, prepared)

    def prepare(self, _program: str, spec: AppSpec) -> None:
        if spec.name == "plain":
            self.accept(spec)

    def emit_order(self) -> None:
        self.runtime.emit(ORDER)
        self.until(lambda: self.runtime.dispatch.idle)

    def _turn(self) -> None:
        self.runtime.loop.turn(0.01)
        self.runtime.children.reap()
        try:
            self._text += os.read(self._log, 1 << 16)
        except BlockingIOError:
            pass

    def until(self, condition) -> None:
        def turned() -> bool:
            self._turn()
            return condition()

        wait_until(turned, lambda: f"{self.events} {self.errors} {self._text.decode()}")

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

    def takes(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.5):
                return True
        except (TimeoutError, ConnectionRefusedError):  # RefuseConnections drops the SYN
            return False

    def kept(self, *ports: int) -> set[int]:
        found = set()
        for port in ports:
            # Without SO_REUSEADDR: a socket that is bound and does not listen counts.
            with socket.socket() as sock:
                try:
                    sock.bind(("127.0.0.1", port))
                except OSError:
                    found.add(port)
        return found

    def connect(self, request: bytes = b"") -> None:
        self._waiting.append(socket.create_connection(("127.0.0.1", self.port), timeout=5))
        self._waiting[-1].sendall(request)

    def waiting_are_answered(self) -> bool:
        return all(self._answer(sock) for sock in self._waiting)

    def reported(self) -> list[dict[str, object]]:
        self._turn()
        return [json.loads(line) for line in self._text.splitlines()]

    def daemons(self) -> int:
        return len(self.runtime._remaining.processes())

    def next_file(self, *, good: bool) -> None:
        text = json.dumps({"apps": [{"name": "job", "script": "sleep 1000"}]})
        self.path.write_text(text if good else "apps: [")

    @property
    def exit_code(self) -> int | None:
        return self.runtime.exit_code

    def close(self) -> None:
        try:
            self._close()
        finally:
            self._patch.stop()
            os.close(self._log)
            os.close(self._writing)

    def _close(self) -> None:
        for sock in self._waiting:
            sock.close()
        for number in range(1, self.count + 1):
            if self.runtime.children.get(number) is not None and not self.of(
                e.WorkerExited, number
            ):
                self.runtime.children.signal(number, 9)
                self.until(lambda n=number: self.of(e.WorkerExited, n))
        for process in self.runtime._remaining.processes():
            tree.signal(process, 9)
        self.a_while(0.1)
        self.runtime.ports.close()
        self.runtime.loop.close()
        assert not self.errors, self.errors
        assert not self.runtime.failures.errors, self._text.decode()
