"""When a worker that retires is done."""

from __future__ import annotations

import pytest

from entrypoint.core.effects import WatchQueue
from entrypoint.sockets import drain
from entrypoint.sockets.drain import Emptying


class Worker:
    """`queue` connections wait for it; `held`: it has a request in hand, or why nobody knows."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.time = 100.0
        self.queue = 0
        self.held: bool | OSError | None = False
        self.looks: list[bool] = []
        self.said: list[str] = []
        patch.setattr(drain.proc, "scheduled", lambda _pid: {})

    def step(self, *, ignore_unsure: bool) -> bool | None:
        self.looks.append(ignore_unsure)
        if isinstance(self.held, OSError):
            raise self.held
        return self.held

    def retires(self, *, sees: bool = True, **ordered: object) -> Emptying:
        order = WatchQueue(1, "web", 0, **ordered)
        looks = self if sees else None
        queue = lambda: self.queue  # noqa: E731
        return Emptying(lambda: self.time, queue, 7, order, looks, self.said.append)

    def done(self, emptying: Emptying, within: float = 60.0) -> float | None:
        """After how many seconds it is done; None: not within that time."""
        begun = self.time
        while self.time - begun < within:
            if emptying():
                return round(self.time - begun, 2)
            self.time += max(emptying.pause, 0.001)
        return None


@pytest.fixture
def worker(monkeypatch):
    return Worker(monkeypatch)


def test_two_looks_at_a_worker_with_nothing_in_hand_are_enough(worker):
    assert worker.done(worker.retires(quiet_time=0.5)) == 0.01
    assert len(worker.looks) == 2


def test_a_request_in_hand_is_waited_for_and_looked_at_less_often(worker):
    worker.held = True
    retires = worker.retires(quiet_time=0.5)
    assert worker.done(retires, within=2.0) is None
    assert 35 < len(worker.looks) < 60
    assert worker.looks[0] is False
    assert worker.looks[-1] is True  # what cannot be told does not count any more
    worker.held = False
    assert worker.done(retires) < 0.1


def test_a_connection_that_comes_late_begins_it_anew(worker):
    worker.queue = 1
    retires = worker.retires(quiet_time=0.5)
    assert worker.done(retires, within=1.0) is None
    assert not worker.looks
    worker.queue = 0
    assert worker.done(retires) == 0.01


def test_the_least_time_of_the_file_is_kept(worker):
    assert worker.done(worker.retires(answer_time=2.0, quiet_time=2.0)) == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("sees", [True, False])
def test_where_nothing_can_be_told_it_has_its_time(worker, sees):
    worker.held = OSError(13, "Permission denied")
    retires = worker.retires(sees=sees, quiet_time=0.5)
    assert worker.done(retires) == pytest.approx(0.5, abs=0.05)
    assert worker.said == ["Permission denied"] * sees


@pytest.mark.parametrize("sees", [True, False])
def test_in_a_shutdown_an_empty_queue_is_enough_there(worker, sees):
    worker.held = OSError(95, "Operation not supported")
    assert worker.done(worker.retires(sees=sees, quiet_time=0.5, hurried=True)) == 0.0


@pytest.mark.parametrize("sees", [True, False])
def test_in_a_shutdown_a_queue_from_which_nothing_is_taken_is_left(worker, sees):
    worker.queue = 3
    retires = worker.retires(sees=sees, quiet_time=0.5, hurried=True)
    assert worker.done(retires) == pytest.approx(0.5, abs=0.05)


def test_in_a_shutdown_a_queue_behind_a_request_is_waited_for(worker):
    worker.queue, worker.held = 3, True
    retires = worker.retires(quiet_time=0.5, hurried=True)
    assert worker.done(retires, within=3.0) is None
    worker.queue, worker.held = 0, False
    assert worker.done(retires) < 0.1


def test_a_look_that_takes_several_turns_goes_on_at_once(worker):
    worker.held = None
    retires = worker.retires(quiet_time=0.5)
    assert not retires()
    assert retires.pause == 0.0
