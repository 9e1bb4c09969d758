"""Readiness on unix paths: one queue for all workers, and servers that take nothing at first."""

from __future__ import annotations

import pytest

from entrypoint.core import events as e
from entrypoint.core.spec import AppSpec, ListenSpec
from tests.simulation.bare import BareCore

PATH, PORT = "unix:/run/a.sock", "127.0.0.1:80"
UNIX = ListenSpec("unix", path="/run/a.sock")
TCP = ListenSpec("inet", "127.0.0.1", 80)


class Core(BareCore):
    """One worker of an app with these addresses."""

    def __init__(self, *listen: ListenSpec, **keys) -> None:
        super().__init__(
            AppSpec("web", ("x",), "/", exec_mode="cluster", share="slots", listen=listen, **keys)
        )

    @property
    def said(self) -> list[str]:
        return [each.event for each in self.reports]


def test_one_that_listens_on_a_path_and_rests_is_ready_after_listen_timeout():
    core = Core(UNIX, listen_timeout=3.0)
    core.emit(e.ListenSeen(1, PATH, PATH))
    core.emit(e.RestSeen(1, rests=True))
    core.advance(2.9)
    assert core.states() == ["launching"]
    core.advance(0.2)
    core.emit(e.RestSeen(1, rests=False))
    core.emit(e.RestSeen(1, rests=True))
    assert core.states() == ["online"]
    assert "worker accepts nothing" in core.said


def test_one_that_accepts_is_ready_at_once():
    core = Core(UNIX, listen_timeout=3.0)
    core.emit(e.ListenSeen(1, PATH, PATH))
    core.emit(e.AcceptSeen(1, PATH, PATH))
    assert core.states() == ["online"]
    assert "worker accepts nothing" not in core.said


@pytest.mark.parametrize("rests", [False, True])
def test_time_alone_makes_nothing_ready(rests):
    """One that loads is not at rest; on a port only an accept counts."""
    busy = Core(UNIX, listen_timeout=3.0)
    busy.emit(e.ListenSeen(1, PATH, PATH))
    busy.advance(300)
    assert busy.states() == ["launching"]
    port = Core(TCP, listen_timeout=3.0)
    port.emit(e.ListenSeen(1, PORT, PORT))
    port.emit(e.RestSeen(1, rests=rests))
    port.advance(300)
    assert port.states() == ["launching"]
    both = Core(UNIX, TCP, listen_timeout=3.0)
    both.emit(e.ListenSeen(1, PATH, PATH))
    both.emit(e.RestSeen(1, rests=rests))
    both.advance(300)
    assert both.states() == ["launching"]


def test_no_old_worker_is_ended_for_a_successor_that_only_listens():
    core = Core(UNIX, listen_timeout=3.0, min_ready=0.0)
    core.emit(e.ListenSeen(1, PATH, PATH))
    core.emit(e.AcceptSeen(1, PATH, PATH))
    core.emit(e.ReloadRequested("web"))
    core.up(2)
    core.emit(e.ListenSeen(2, PATH, PATH))
    core.emit(e.RestSeen(2, rests=True))
    core.advance(4)
    core.emit(e.WorkerExited(2, signum=15))
    assert "reload aborted" in core.said
    assert core.states()[0] == "online"


def test_an_accept_that_cannot_be_told_from_others_counts_and_is_said():
    core = Core(UNIX, listen_timeout=3.0)
    core.emit(e.ListenSeen(1, PATH, PATH))
    core.emit(e.AcceptSeen(1, PATH, PATH, unknown=True))
    assert core.states() == ["online"]
    assert core.said.count("accept not observed") == 1
    seen = Core(UNIX, listen_timeout=3.0)
    seen.emit(e.ListenSeen(1, PATH, PATH))
    seen.emit(e.AcceptSeen(1, PATH, PATH))
    seen.emit(e.AcceptSeen(1, PATH, PATH, unknown=True))
    assert "accept not observed" not in seen.said
