"""Readiness without `listen`: only a port to which clients may come is probed and counts."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.spec import AppSpec, Plan
from entrypoint.core.supervisor import Supervisor


class Core:
    """One worker of an app without `listen`, driven event by event."""

    def __init__(self, command: tuple[str, ...] = ("x",), **keys) -> None:
        self.core = Supervisor()
        self.now = 100.0
        self.timers: dict[e.Timer, float] = {}
        self.probed: list[str] = []
        self.reports: list[f.Report] = []
        spec = AppSpec("web", command, "/", exec_mode="cluster", share="slots", **keys)
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

    def said(self, event: str) -> list[dict]:
        return [dict(each.fields) for each in self.reports if each.event == event]


CHOSEN = e.ListenSeen(1, "127.0.0.1:45001", passing=True, chosen=True)


def test_a_port_that_the_kernel_chose_is_not_probed():
    core = Core(listen_timeout=3.0)
    core.emit(CHOSEN)
    core.advance(2.9)
    assert core.probed == []
    assert core.states() == ["launching"]
    core.emit(e.ListenSeen(1, "127.0.0.1:8080"))
    assert core.probed == ["127.0.0.1:8080"]
    core.emit(e.AcceptSeen(1, "127.0.0.1:8080"))
    assert core.states() == ["online"]


def test_one_that_has_no_other_port_is_ready_when_it_rests_and_the_log_names_it():
    core = Core(listen_timeout=3.0)
    core.emit(CHOSEN)
    core.emit(e.RestSeen(1, rests=True))
    core.advance(2.9)
    assert core.states() == ["launching"]
    core.advance(0.2)
    assert core.states() == ["online"]
    assert core.said("worker has no port")[0]["not_counted"] == ":45001"
    assert core.probed == []


def test_an_accept_there_makes_nothing_ready():
    core = Core(listen_timeout=3.0)
    core.emit(CHOSEN)
    core.emit(e.AcceptSeen(1, "127.0.0.1:45001"))
    core.advance(1)
    assert core.states() == ["launching"]


@pytest.mark.parametrize("where", ["command", "variable"])
def test_a_debugger_is_not_probed_and_not_expected_of_a_successor(where):
    flag = "--inspect=127.0.0.1:9229"
    if where == "command":
        core = Core(("node", flag, "a.js"), listen_timeout=3.0, min_ready=0.0)
    else:
        env = (("NODE_OPTIONS", flag),)
        core = Core(("node", "a.js"), listen_timeout=3.0, min_ready=0.0, env=env)
    core.emit(e.ListenSeen(1, "127.0.0.1:9229"))
    assert core.probed == []
    core.emit(e.ListenSeen(1, "0.0.0.0:8080"))
    core.emit(e.AcceptSeen(1, "0.0.0.0:8080"))
    assert core.states() == ["online"]
    core.emit(e.ReloadRequested("web"))
    core.up(2)
    core.emit(e.ListenSeen(2, "0.0.0.0:8080"))
    core.emit(e.AcceptSeen(2, "0.0.0.0:8080"))
    assert "online" in core.states()
    assert core.said("worker ready")[-1]["address"] == ":8080"
    assert set(core.probed) == {"0.0.0.0:8080"}


def test_a_declared_port_of_the_kernels_range_counts():
    from entrypoint.core.spec import ListenSpec

    address = "127.0.0.1:45001"
    core = Core(listen=(ListenSpec("inet", "127.0.0.1", 45001),), listen_timeout=3.0)
    core.emit(e.ListenSeen(1, address, address, passing=True, chosen=True))
    core.emit(e.AcceptSeen(1, address, address))
    assert core.states() == ["online"]


def test_one_that_has_no_port_while_its_sibling_serves_on_one_is_named():
    """A server that finds the port in use, and asks for another one for ever (Robyn)."""
    core = Core(listen_timeout=3.0, instances=2)
    core.emit(e.ListenSeen(1, "0.0.0.0:8080"))
    core.emit(e.AcceptSeen(1, "0.0.0.0:8080"))
    core.advance(3.1)
    (late,) = core.said("worker not ready in time")
    assert late["instance"] == 1
    assert late["reason"].startswith("not listening")
    assert late["then"] == "wait until its processes rest"
    assert core.states() == ["online", "launching"]
    core.emit(e.ListenSeen(2, "0.0.0.0:8080"))
    core.emit(e.AcceptSeen(2, "0.0.0.0:8080"))
    assert core.states() == ["online", "online"]


def test_instances_without_any_port_are_ready_at_rest():
    core = Core(listen_timeout=3.0, instances=2)
    for incarnation in (1, 2):
        core.emit(e.RestSeen(incarnation, rests=True))
    core.advance(3.1)
    assert core.states() == ["online", "online"]
    assert not core.said("worker not ready in time")
