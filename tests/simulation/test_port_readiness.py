"""Readiness without `listen`: only a port to which clients may come is probed and counts."""

from __future__ import annotations

import pytest

from entrypoint.core import events as e
from entrypoint.core.spec import AppSpec
from tests.simulation.bare import BareCore


class Core(BareCore):
    """The workers of an app without `listen`."""

    def __init__(self, command: tuple[str, ...] = ("x",), **keys) -> None:
        super().__init__(AppSpec("web", command, "/", exec_mode="cluster", share="slots", **keys))

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
