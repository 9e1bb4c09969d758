"""`before_start` and `after_stop`: what their time means for a worker's launch and end."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.spec import AppSpec, Plan
from entrypoint.core.supervisor import Supervisor


class Core:
    """A core that is driven event by event."""

    def __init__(self, **keys) -> None:
        self.core = Supervisor()
        self.now = 0.0
        self.effects: list[f.Effect] = []
        keys = {"kill_timeout": 4.0, "treekill": "group", **keys}
        self.emit(e.Booted(Plan((AppSpec("web", ("x",), "/", **keys),))))

    def emit(self, event: e.Event) -> None:
        self.effects = self.core.handle(event, self.now)

    def of(self, kind: type) -> list:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def timers(self) -> dict[str, float]:
        return {each.timer.kind: each.delay for each in self.of(f.StartTimer)}

    def up(self) -> None:
        self.emit(e.WorkerSpawned(1, 100))
        self.emit(e.WorkerExeced(1))


def test_the_time_to_be_ready_begins_after_the_commands() -> None:
    core = Core(before_start=(("a",),), wait_ready=True, listen_timeout=3.0)
    core.emit(e.WorkerSpawned(1, 100))
    assert "launch" not in core.timers()
    core.emit(e.WorkerExeced(1))
    assert core.timers()["launch"] >= 3.0


@pytest.mark.parametrize("treekill", ["group", "none"])
def test_a_restart_waits_for_the_commands_after(treekill) -> None:
    core = Core(after_stop=(("a",),), treekill=treekill)
    core.up()
    core.now = 10.0
    core.emit(e.WorkerExited(1, code=1, cleaning=True))
    assert not core.of(f.Spawn)
    assert not core.of(f.SendSignal)
    assert core.timers()["kill"] == 4.0
    core.emit(e.GroupEmptied(1))
    assert core.of(f.Spawn)


def test_commands_that_do_not_end_are_killed() -> None:
    core = Core(after_stop=(("a",),))
    core.up()
    core.emit(e.SignalArrived(15))
    core.emit(e.WorkerExited(1, signum=15, cleaning=True))
    assert not core.of(f.Finish)
    core.now = 4.0
    core.emit(e.TimerFired(e.Timer("kill", "web", 1)))
    assert core.of(f.SendSignal)[0].signum == 9
    core.emit(e.GroupEmptied(1))
    assert not [app for app in core.core.view().apps if app.workers[0].incarnation]
    assert core.effects


def test_after_sigkill_of_the_worker_they_have_their_time() -> None:
    core = Core(after_stop=(("a",),))
    core.up()
    core.emit(e.StopRequested("web"))
    core.emit(e.TimerFired(e.Timer("kill", "web", 1)))
    core.emit(e.WorkerExited(1, signum=9, cleaning=True))
    assert e.Timer("abandon", "web", 1) in [each.timer for each in core.of(f.StopTimer)]
    assert core.timers() == {"kill": 4.0}
    core.emit(e.GroupEmptied(1))
    assert core.core.view().apps[0].workers[0].state == "stopped"
