"""The moment for a stop signal of a worker that shares a unix socket."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from entrypoint.sockets import idle


class Loop:
    """A clock, and what is to be called next."""

    def __init__(self) -> None:
        self.time = 100.0
        self.next: tuple[float, object] | None = None

    def now(self) -> float:
        return self.time

    def call_at(self, _key: object, when: float, what: object) -> None:
        self.next = (when, what)


class Worker:
    """One process. `stops_after`: seconds from SIGSTOP until its threads stand still."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.loop = Loop()
        self.stops_after = 0.0
        self.busy = self.churns = False
        self.looks = 0
        self.stopped_at: float | None = None
        self.signal_at = 0.0
        self.sent_at = 0.0
        suspend = SimpleNamespace(
            suspend=self.suspend,
            resume=self.resume,
            is_suspended=lambda _pid: self.suspended(),
            only_waits=lambda _pid: True,
        )
        patch.setattr(idle, "suspend", suspend)
        patch.setattr(
            idle,
            "look",
            SimpleNamespace(
                tree=lambda pid: (pid,),
                sockets=lambda _pids, _taken: SimpleNamespace(holders=self.holders()),
            ),
        )
        patch.setattr(idle, "sockdiag", SimpleNamespace(accepted=lambda _paths: {1}))

    def holders(self) -> dict[int, tuple[int, ...]]:
        self.looks += 1
        return {self.looks if self.churns else 1: (7,)} if self.busy else {}

    def suspend(self, _pids: object) -> bool:
        if self.stopped_at is None:
            self.stopped_at = self.loop.time + self.stops_after
        return True

    def resume(self, _pids: object) -> None:
        self.stopped_at = None

    def suspended(self) -> bool:
        return self.stopped_at is not None and self.loop.time >= self.stopped_at

    def begin(self) -> None:
        def signal() -> None:
            self.signal_at = self.loop.time

        idle.Idle(self.loop, "key", 7, ("/a",), signal, lambda: self.loop.time < self.sent_at)

    def run(self, seconds: float) -> None:
        end = self.loop.time + seconds
        while self.loop.next is not None and not (self.signal_at and self.stopped_at is None):
            when, what = self.loop.next
            if when > end:
                break
            self.loop.next = None
            self.loop.time = when
            what()
        if not self.signal_at:
            self.loop.time = end


@pytest.fixture
def worker(monkeypatch):
    return Worker(monkeypatch)


def test_an_idle_worker_gets_it_at_once_and_while_it_is_held(worker):
    worker.begin()
    worker.run(1)
    assert worker.signal_at - 100 < 0.01
    assert worker.stopped_at is None  # it goes on


def test_it_is_held_until_the_signal_is_sent(worker):
    """A large tree, or a busy machine: it must not take a connection before."""
    worker.sent_at = 100.05
    worker.begin()
    assert worker.signal_at == 0.0 or worker.stopped_at is not None
    worker.run(0.04)
    assert worker.signal_at
    assert worker.stopped_at is not None
    worker.run(1)
    assert worker.stopped_at is None
    assert 100.05 <= worker.loop.time < 100.07


def test_a_worker_with_kept_connections_gets_it_in_the_end(worker):
    worker.busy = True
    worker.begin()
    worker.run(5)
    assert idle.PATIENCE <= worker.signal_at - 100 < 2 * idle.PATIENCE


def test_one_that_has_other_connections_at_each_look_is_tried_for_longer(worker):
    worker.busy = worker.churns = True
    worker.begin()
    worker.run(4 * idle.PATIENCE)
    assert not worker.signal_at
    worker.busy = False
    worker.run(1)
    assert worker.signal_at


def test_on_a_busy_machine_it_is_tried_for_longer(worker):
    """No hold has shown anything by then: that is no reason to end what it may have in hand."""
    worker.busy = True
    worker.stops_after = 60.0
    worker.begin()
    worker.run(2 * idle.PATIENCE)
    assert not worker.signal_at
    worker.stops_after, worker.busy = 0.0, False
    worker.run(1)
    assert worker.signal_at
    assert worker.stopped_at is None


def test_one_that_never_stands_still_gets_it_too(worker):
    worker.stops_after = 60.0
    worker.begin()
    worker.run(20)
    assert 2 < worker.signal_at - 100 < 5
