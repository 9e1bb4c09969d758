"""A control service over a simulated core: as much of a runtime as commands look at."""

from __future__ import annotations

import socket

from entrypoint.api.control import Service
from entrypoint.api.probes import Answer, Handover
from entrypoint.api.socket_path import Peer
from entrypoint.core import events as e
from entrypoint.core.spec import LogSpec
from entrypoint.http.listening import ConnectionLimiter
from entrypoint.logs.log_format import LogFormat
from entrypoint.loop import Loop
from entrypoint.shell.journaling import Journaling
from tests.simulation.world import World, app, plan, shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.http.http1 import Request


class _Pump:
    form = LogFormat(LogSpec(format="json"), (1, 2), {})


class _Rereading:
    def begin(self, *_args: object) -> None:
        """The file is never read."""


class _Families:
    def left_behind(self, *_args: object) -> list[object]:
        return []


class _Children:
    families = _Families()


class _Schedules:
    def next_run(self, *_args: object) -> float:
        return 0.0


class _Dispatch:
    def __init__(self) -> None:
        self.observers: dict[str, object] = {}

    def after(self, callback: Callable[[], None]) -> None:
        """The simulation decides at once."""
        callback()


class Stand:
    """`with Stand() as stand: stand.ask(request)`."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.loop = Loop(lambda _where, error: self.errors.append(error))
        self.world = World()
        self.core = self.world.core
        self.plan = plan(shared(instances=2), app("job"), app("7"))
        self.world.emit(e.Booted(self.plan))
        self.world.advance(1)
        self.journal = Journaling(self)
        self.journal.open()
        self.pump = _Pump()
        self.rereading = _Rereading()
        self.ports: dict[str, object] = {}
        self.children = _Children()
        self.schedules = _Schedules()
        self.dispatch = _Dispatch()
        self.world.after_turn = self._turned
        self.recent = None
        self.service = Service(self)

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.close()

    def _turned(self, world: World, effects: list[object]) -> None:
        for observer in tuple(self.dispatch.observers.values()):
            observer(world.history[-1][1], effects)

    def emit(self, event: e.Event) -> None:
        self.world.emit(event)

    def log(self, *_what: object) -> None:
        """Nobody reads it."""

    def internal_error(self, _where: str, error: BaseException, _app: str = "") -> None:
        self.errors.append(error)

    def ask(self, request: Request) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.settimeout(1)
        with theirs:
            answer = self.service.answer(request, Peer(ours))
            if isinstance(answer, Answer):
                assert 200 <= answer.status < 500, answer
                ours.close()
                return
            assert isinstance(answer, Handover)
            answer.begin(ours, ConnectionLimiter(4))
            self.world.advance(1)
            self.loop.turn(0)
            assert theirs.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        self.world.advance(20)
        self.loop.turn(0)
        assert not self.errors, self.errors
