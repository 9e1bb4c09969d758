"""When an operation has ended, and how: asked of the core itself, without a kernel."""

from __future__ import annotations

import pytest

from entrypoint.api import completion
from entrypoint.api.operations import Operation
from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.spec import AppSpec, DependsSpec, Plan
from entrypoint.core.supervisor import Supervisor

WEB = AppSpec("web", ("web",), "/", instances=2, share="slots", on_errored="keep")


class Stream:
    """Keeps what a client would be sent."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.is_open = True

    def send(self, lines, *, must=False) -> bool:
        self.lines.append(lines)
        return True

    def end(self, lines=b"") -> None:
        self.lines.append(lines)
        self.is_open = False


class World:
    """A core whose effects are answered at once, but for what `broken` says."""

    def __init__(self, *apps: AppSpec) -> None:
        self.core = Supervisor()
        self.now = 0.0
        self.pids: dict[int, int] = {}
        self.broken = False
        self.watched: Operation | None = None
        self.stream = Stream()
        self.later: list[e.Event] = []
        self.emit(e.Booted(Plan(apps)))
        self.run_on()

    def emit(self, event) -> None:
        self.now += 1.0
        effects = self.core.handle(event, self.now)
        if self.watched:
            self.watched.turned(event, effects, self.core.view())
        for effect in effects:
            self.answer(effect)

    def answer(self, effect) -> None:
        if isinstance(effect, f.Spawn):
            number = effect.incarnation
            self.later.append(e.WorkerSpawned(number, 100 + number))
            if self.broken:
                self.later.append(e.WorkerExited(number, code=1))
            else:
                self.later.append(e.WorkerExeced(number))
        elif isinstance(effect, f.SendSignal):
            self.later.append(e.WorkerExited(effect.incarnation, code=0))
        elif isinstance(effect, f.WatchQueue):
            self.later.append(e.QueueEmptied(effect.incarnation))
        elif isinstance(effect, f.StartTimer) and effect.timer.kind in ("retire", "launch"):
            self.later.append(e.TimerFired(effect.timer))

    def run_on(self, limit: int = 500) -> None:
        while self.later and limit:
            limit -= 1
            self.emit(self.later.pop(0))

    def ask(self, verb: str, event, wanted: int = 0, run_on: bool = True) -> list[str]:
        view = self.core.view()
        app = completion.app_of(view, "web")
        self.watched = Operation(lambda: self.now)
        self.watched.attach(self.stream)
        self.watched.aim([completion.goal_for(app, verb, wanted)], view)
        self.emit(event)
        self.watched.asked(self.core.view())
        if run_on:
            self.run_on()
        return self.said

    @property
    def said(self) -> list[str]:
        return b"".join(self.stream.lines).decode().splitlines()


def test_a_reload_tells_each_worker_and_ends_well() -> None:
    said = World(WEB).ask("reload", e.ReloadRequested("web"))
    assert '"state":"launching"' in said[0]
    assert sum('"state":"gone"' in line for line in said) == 2
    assert '"outcome":"reloaded"' in said[-2]
    assert '"done":2,"total":2' in said[-2]
    assert said[-1] == '{"exit":0,"message":""}'


def test_a_reload_to_something_broken_fails_and_says_that_the_old_ones_stay() -> None:
    world = World(WEB)
    world.broken = True
    said = world.ask("reload", e.ReloadRequested("web"))
    assert '"outcome":"failed"' in said[-2]
    assert "the old workers stay" in said[-2]
    assert said[-1].startswith('{"exit":1')


@pytest.mark.parametrize(
    ("verb", "event"),
    [("restart", e.RestartRequested("web")), ("start", e.StartRequested("web")),
     ("stop", e.StopRequested("web"))],
)  # fmt: skip
def test_commands_end_well(verb, event) -> None:
    said = World(WEB).ask(verb, event)
    assert f'"outcome":"{completion.DONE[verb]}"' in said[-2]
    assert said[-1].startswith('{"exit":0')


def test_a_stop_ends_when_also_the_group_has_ended() -> None:
    world = World(WEB.replace(instances=1))
    (row,) = world.core.view().apps[0].workers
    world.ask("stop", e.StopRequested("web"), run_on=False)
    world.later.clear()
    world.emit(e.WorkerExited(row.incarnation, code=0, group_left=True))
    assert not any('"outcome"' in line for line in world.said)
    world.emit(e.GroupEmptied(row.incarnation))
    gone, outcome, end = world.said[-3:]
    assert f'"pid":{row.pid},' in gone
    assert '"state":"gone"' in gone
    assert '"outcome":"stopped"' in outcome
    assert end.startswith('{"exit":0')


@pytest.mark.parametrize("wanted", [0, 1, 2, 5])
def test_scaling(wanted) -> None:
    world = World(WEB)
    said = world.ask("scale", e.ScaleRequested("web", wanted), wanted)
    assert f'"outcome":"scaled","message":"","done":{wanted},"total":{wanted}' in said[-2]
    assert len(completion.running(world.core.view().apps[0])) == wanted


def test_a_stopped_app_is_scaled_for_later() -> None:
    world = World(WEB)
    world.emit(e.StopRequested("web"))
    world.run_on()
    said = world.ask("scale", e.ScaleRequested("web", 3), 3)
    assert "once it is started" in said[-2]
    assert said[-1].startswith('{"exit":0')


@pytest.mark.parametrize("wanted", [1, 2, 4])
def test_a_changed_app_that_is_scaled_too_ends_with_the_number_of_the_file(wanted) -> None:
    spec = WEB.replace(instances=wanted, env=(("A", "1"),))
    said = World(WEB).ask("change", e.PlanAccepted(Plan((spec,), revision=2)), wanted)
    assert f'"outcome":"changed","message":"","done":{wanted},"total":{wanted}' in said[-2]


def test_a_restart_of_an_app_that_waits_for_another_ends_and_says_so() -> None:
    job = WEB.replace(name="job")
    waits = DependsSpec("job", "service_completed_successfully")
    world = World(job, WEB.replace(depends_on=(waits,)))
    said = world.ask("restart", e.RestartRequested("web"))
    assert "it waits for another app" in said[-2]
    assert said[-1].startswith('{"exit":0')


def test_a_restart_that_ends_in_errored_fails() -> None:
    world = World(WEB.replace(max_restarts=2, min_uptime=1000.0))
    world.broken = True
    said = world.ask("restart", e.RestartRequested("web"))
    assert "errored (" in said[-2]
    assert "exit code 1" in said[-2]
    assert said[-1].startswith('{"exit":1')


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (e.StopRequested("web"), "stopped meanwhile"),
        (e.RestartRequested("web"), "another command came between"),
        (e.PlanAccepted(Plan((), revision=2)), "another command came between"),
        (e.SignalArrived(15), "pyinit is stopping"),
    ],
)
def test_what_comes_between_a_reload_and_its_end_is_told(event, why) -> None:
    world = World(WEB, WEB.replace(name="other"))
    world.ask("reload", e.ReloadRequested("web"), run_on=False)
    world.later.clear()
    world.emit(event)
    world.run_on()
    assert why in world.said[-2]
    assert world.said[-1].startswith('{"exit":1')


def test_a_second_reload_during_one_is_waited_for() -> None:
    world = World(WEB)
    world.ask("reload", e.ReloadRequested("web"), run_on=False)
    world.emit(e.ReloadRequested("web"))
    world.run_on()
    assert '"outcome":"reloaded"' in world.said[-2]
