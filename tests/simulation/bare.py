"""A core without a fake kernel: each event is given, and only its timers run by themselves."""

from __future__ import annotations

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.spec import AppSpec, Plan
from entrypoint.core.supervisor import Supervisor


class BareCore:
    """The workers of one app, driven event by event. `now`: seconds, from 100 on."""

    def __init__(self, spec: AppSpec) -> None:
        self.core = Supervisor()
        self.now = 100.0
        self.timers: dict[e.Timer, float] = {}
        self.probed: list[str] = []
        self.reports: list[f.Report] = []
        self.emit(e.Booted(Plan((spec,))))
        self.up(1)
        for incarnation in range(2, spec.instances + 1):
            self.advance(0.1)
            self.up(incarnation)

    def emit(self, event: e.Event) -> None:
        for effect in self.core.handle(event, self.now):
            if isinstance(effect, f.StartTimer):
                self.timers[effect.timer] = self.now + effect.delay
            elif isinstance(effect, f.StopTimer):
                self.timers.pop(effect.timer, None)
            elif isinstance(effect, f.ProbeAccept):
                self.probed.append(effect.address)
            elif isinstance(effect, f.Report):
                self.reports.append(effect)

    def up(self, incarnation: int) -> None:
        self.emit(e.WorkerSpawned(incarnation, 100 + incarnation))
        self.emit(e.WorkerExeced(incarnation))

    def advance(self, seconds: float) -> None:
        until = self.now + seconds
        while self.timers and min(self.timers.values()) <= until:
            timer = min(self.timers, key=self.timers.__getitem__)
            self.now = self.timers.pop(timer)
            self.emit(e.TimerFired(timer))
        self.now = until

    def states(self) -> list[str]:
        return [worker.state for worker in self.core.view().apps[0].workers]
