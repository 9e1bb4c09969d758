"""Calls that are tried again: what they may cost PID 1, and in which order they come."""

from __future__ import annotations

import heapq
import itertools

import pytest

from entrypoint.sockets.pending_calls import AT_MOST, Pending, pause


class FakeLoop:
    """The part of the loop that is used here, with a clock of its own."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.heap: list[tuple[float, int, object]] = []
        self.count = itertools.count()
        self.turns = 0

    def now(self) -> float:
        return self.time

    def call_at(self, key, deadline, callback) -> None:
        self.heap = [entry for entry in self.heap if entry[3] is not key]
        heapq.heappush(self.heap, (deadline, next(self.count), callback, key))

    def run(self, seconds: float) -> None:
        end = self.time + seconds
        while self.heap and self.heap[0][0] <= end:
            deadline, _, callback, _ = heapq.heappop(self.heap)
            self.time = max(self.time, deadline)
            self.turns += 1
            callback()
        self.time = max(self.time, end)


@pytest.fixture
def loop():
    return FakeLoop()


def never(loop: FakeLoop, cost: float, spent: list[float]):
    def attempt() -> bool:
        loop.time += cost
        spent.append(cost)
        return False

    return attempt


def no_resume() -> None:
    raise AssertionError("reading was never stopped")


def test_a_worker_that_never_runs_costs_a_tenth(loop):
    waiting, spent = Pending(loop, lambda *_: None), []
    waiting.add("a", never(loop, 0.004, spent), no_resume)
    loop.run(60)
    assert len(spent) > 100
    assert sum(spent) < 6


def test_many_of_them_hold_up_no_turn_for_longer_than_one(loop):
    waiting, spent = Pending(loop, lambda *_: None), []
    for name in range(50):
        waiting.add(name, never(loop, 0.004, spent), no_resume)
    loop.run(10)
    assert len(spent) <= loop.turns


def test_the_pause_grows_and_is_bounded():
    pauses = [pause(failures) for failures in range(1, 5000)]
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.001
    assert pauses[-1] == 1.0


def test_other_threads_of_a_worker_have_their_turn(loop):
    waiting, spent, done = Pending(loop, lambda *_: None), [], []
    waiting.add("a", never(loop, 0.004, spent), no_resume)
    assert waiting.has("a")
    for name in range(3):
        waiting.add("a", lambda name=name: done.append(name) or True, no_resume)
    loop.run(0.1)
    assert done == [0, 1, 2]
    assert waiting.has("a")


def test_a_worker_that_has_run_is_served_at_once_again(loop):
    waiting, tries = Pending(loop, lambda *_: None), []

    def third_time() -> bool:
        tries.append(loop.time)
        return len(tries) == 3

    waiting.add("a", third_time, no_resume)
    loop.run(1)
    assert len(tries) == 3
    assert not waiting.has("a")
    assert not loop.heap


def test_attempts_that_wait_and_succeed_are_spread_over_turns(loop):
    waiting, done = Pending(loop, lambda *_: None), []

    def slowly() -> bool:
        loop.time += 0.003
        done.append(loop.turns)
        return True

    for _ in range(20):
        waiting.add("a", slowly, no_resume)
    loop.run(1)
    assert len(done) == 20
    assert max(done.count(turn) for turn in done) <= 2


def test_reading_stops_when_many_wait_and_goes_on(loop):
    waiting, resumed, ready = Pending(loop, lambda *_: None), [], []
    full = [
        waiting.add("a", lambda: bool(ready), lambda: resumed.append(loop.time))
        for _ in range(AT_MOST)
    ]
    assert full == [False] * (AT_MOST - 1) + [True]
    loop.run(1)
    assert not resumed
    ready.append(True)
    loop.run(2)
    assert len(resumed) == 1
    assert not waiting.has("a")


def test_what_is_dropped_is_not_tried(loop):
    waiting, spent = Pending(loop, lambda *_: None), []
    waiting.add("a", never(loop, 0.001, spent), no_resume)
    waiting.add("b", never(loop, 0.001, spent), no_resume)
    waiting.drop("a")
    waiting.drop("b")
    waiting.drop("unknown")
    loop.run(1)
    assert not spent
