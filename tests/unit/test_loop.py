"""The loop on real descriptors: stale events, and deadlines of any size."""

from __future__ import annotations

import itertools
import os
import select
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrypoint import loop as loops
from entrypoint.loop import READ, WRITE, Loop
from tests.support.examples import DEEP


class Failed(Exception):
    """A callback raised."""


def _raise(where: str, error: BaseException) -> None:
    raise Failed(where) from error


@pytest.fixture
def loop():
    made = Loop(_raise)
    yield made
    made.close()


# -- stale events ----------------------------------------------------------------------


class World:
    """Pipes on a loop. `script` says what each callback does to the others."""

    def __init__(self, script: list[list[tuple[str, int]]]) -> None:
        self.loop = Loop(_raise)
        self.script = list(script)
        self.pipes: list[tuple[int, int, int]] = []  # reading end, writing end, inode
        self.calls = 0
        self.wrong: list[str] = []

    def open(self, *, ready: bool) -> None:
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        if ready:
            os.write(writing, b"x")
        pipe = (reading, writing, os.fstat(reading).st_ino)
        self.pipes.append(pipe)
        self.register(pipe)

    def register(self, pipe: tuple[int, int, int]) -> None:
        self.loop.register(pipe[0], READ, lambda events: self.called(pipe, events))

    def shut(self, which: int) -> None:
        if self.pipes:
            reading, writing, _ = self.pipes.pop(which % len(self.pipes))
            self.loop.unregister(reading)
            os.close(reading)
            os.close(writing)

    def called(self, pipe: tuple[int, int, int], events: int) -> None:
        self.calls += 1
        if pipe not in self.pipes:
            self.wrong.append("a closed descriptor was called")
        elif os.fstat(pipe[0]).st_ino != pipe[2]:
            self.wrong.append("another file has this number")
        elif not select.select([pipe[0]], [], [], 0)[0]:
            self.wrong.append("called with an event of another file")
        elif not events & READ:
            self.wrong.append(f"called without a wanted event: {events}")
        for step, which in self.script.pop() if self.script else ():
            if step == "close":
                self.shut(which)
            elif step == "reuse":  # the new one gets the number of the closed one
                self.shut(which)
                self.open(ready=False)
            elif step == "reuse ready":
                self.shut(which)
                self.open(ready=True)
            elif step == "deaf" and self.pipes:
                self.loop.modify(self.pipes[which % len(self.pipes)][0], 0)
            elif step == "again" and self.pipes:
                pipe = self.pipes[which % len(self.pipes)]
                self.loop.unregister(pipe[0])
                self.register(pipe)

    def close(self) -> None:
        while self.pipes:
            self.shut(0)
        self.loop.close()


steps = st.sampled_from(["close", "reuse", "reuse ready", "deaf", "again"])
scripts = st.lists(st.lists(st.tuples(steps, st.integers(0, 7)), max_size=4), max_size=24)


@given(script=scripts, count=st.integers(1, 8))
@settings(max_examples=3000 if DEEP else 100)
def test_an_event_reaches_only_the_file_that_had_it(script, count):
    world = World(script)
    try:
        for _ in range(count):
            world.open(ready=True)
        for _ in range(8):
            world.loop.turn(0)
        assert not world.wrong
    finally:
        world.close()


@given(script=scripts, count=st.integers(1, 8))
def test_no_ready_descriptor_is_forgotten(script, count):
    world = World(script)
    try:
        for _ in range(count):
            world.open(ready=True)
        while world.script:
            before = world.calls
            world.loop.turn(0)
            if world.calls == before:
                break
        world.script.clear()
        world.loop.turn(0)  # what was registered in the last turn counts from the next one
        heard: list[int] = []
        for reading, _, _ in world.pipes:
            world.loop.unregister(reading)
            world.loop.register(reading, READ, lambda _events, fd=reading: heard.append(fd))
        world.loop.turn(0)
        ready = select.select([pipe[0] for pipe in world.pipes], [], [], 0)[0]
        assert sorted(heard) == sorted(ready)
    finally:
        world.close()


def test_an_event_that_is_no_longer_wanted_is_dropped(loop):
    """Two sockets are writable in one batch; the first callback asks for READ alone."""
    ends = [end for _ in range(2) for end in socket.socketpair()]
    called: list[int] = []

    def ready(events: int) -> None:
        called.append(events)
        for end in ends:
            loop.modify(end.fileno(), READ)

    for end in ends:
        loop.register(end.fileno(), WRITE, ready)
    loop.turn(0)
    loop.turn(0)
    assert called == [WRITE]
    for end in ends:
        end.close()


def test_an_unknown_descriptor_cannot_be_changed(loop):
    with pytest.raises(FileNotFoundError):
        loop.modify(0, READ)


def test_a_file_closed_without_unregistering_does_not_spin(loop):
    """Another process may hold the file: then the kernel reports it after close(2)."""
    reading, writing = os.pipe()
    held = os.dup(reading)  # as a forked child would
    os.write(writing, b"x")
    called: list[int] = []
    other, far = os.pipe()
    loop.register(reading, READ, called.append)
    loop.register(other, READ, called.append)
    os.close(reading)
    loop._registered.pop(reading)
    loop.turn(0)
    assert loop._epoll.poll(0) == []
    os.write(far, b"x")
    loop.turn(0)
    assert called == [READ]
    for fd in (held, writing, other, far):
        os.close(fd)


# -- deadlines -------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [2**31 / 1000, 1e9, 1e300, float("inf")])
def test_a_far_deadline_is_only_far(loop, seconds, monkeypatch):
    reading, writing = os.pipe()
    os.write(writing, b"x")  # so that the kernel judges the timeout, and returns at once
    monkeypatch.setattr(loops.time, "monotonic", lambda: 0.0)
    called: list[object] = []
    loop.register(reading, READ, called.append)
    loop.call_at("far", seconds, lambda: called.append("far"))
    loop.turn()
    assert called == [READ]
    os.close(reading)
    os.close(writing)


def test_a_far_deadline_does_not_hold_up_a_near_one(loop):
    called: list[str] = []
    loop.call_at("never", float("inf"), lambda: called.append("never"))
    loop.call_at("far", loop.now() + 1e12, lambda: called.append("far"))
    loop.call_at("near", loop.now(), lambda: called.append("near"))
    loop.turn(0)
    assert called == ["near"]


def test_a_deadline_that_is_no_number_is_refused(loop):
    with pytest.raises(ValueError, match="not a number"):
        loop.call_at("key", float("nan"), lambda: None)


# -- failing callbacks -----------------------------------------------------------------


class Clock(Loop):
    """A loop on real descriptors whose time only the test moves."""

    time = 0.0

    def __init__(self) -> None:
        self.raised: list[BaseException] = []
        super().__init__(lambda _where, error: self.raised.append(error))

    def now(self) -> float:
        return self.time

    def pass_(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(loops.time, "sleep", made.pass_)
    yield made
    made.close()


@pytest.fixture
def pipes():
    opened: list[int] = []

    def ready() -> int:
        reading, writing = os.pipe2(os.O_NONBLOCK)
        os.write(writing, b"x")
        opened.extend((reading, writing))
        return reading

    yield ready
    for fd in opened:
        os.close(fd)


def test_a_failing_callback_is_left_alone_for_longer_each_time(clock, pipes):
    called: list[float] = []
    others: list[int] = []

    def fail(_events: int) -> None:
        called.append(clock.time)
        raise RuntimeError("a bug")

    clock.register(pipes(), READ, fail)
    clock.register(pipes(), READ, others.append)
    for _ in range(2000):
        clock.turn(0)
        clock.time += 0.005
    pauses = [then - before for before, then in itertools.pairwise(called)]
    assert len(others) == 2000
    assert len(called) == len(clock.raised)
    assert pauses == pytest.approx(sorted(pauses), abs=0.006)
    assert pauses[0] < 0.02
    assert 0.99 < pauses[-1] < 1.02
    assert len(called) < 20


def test_a_callback_that_succeeds_again_is_called_as_before(clock, pipes):
    called: list[float] = []

    def sometimes(_events: int) -> None:
        called.append(clock.time)
        if len(called) < 4:
            raise MemoryError

    clock.register(pipes(), READ, sometimes)
    for _ in range(100):
        clock.turn(0)
        clock.time += 0.01
    assert len(called) > 80
    assert len(clock.raised) == 3


def test_a_paused_descriptor_can_be_changed_and_forgotten(clock, pipes):
    called: list[int] = []

    def fail(_events: int) -> None:
        called.append(clock.wakeups)
        raise RuntimeError

    first, second = pipes(), pipes()
    clock.register(first, READ, fail)
    clock.register(second, READ, fail)
    clock.turn(0)
    clock.modify(first, 0)
    clock.unregister(second)
    clock.register(second, READ, lambda _events: called.append(-1))
    clock.time += 1
    clock.turn(0)
    clock.turn(0)
    assert called[:2] == [1, 1]
    assert set(called[2:]) == {-1}


def test_a_deadline_without_memory_comes_again(clock):
    called: list[float] = []

    def short() -> None:
        called.append(clock.time)
        if len(called) < 3:
            raise MemoryError

    def wrong() -> None:
        called.append(-1)
        raise RuntimeError

    clock.call_at("short", clock.time, short)
    clock.call_at("wrong", clock.time, wrong)
    for _ in range(10):
        clock.turn(0)
        clock.time += 0.01
    assert called.count(-1) == 1
    assert len(called) == 3
    assert len(clock.raised) == 2
    assert clock.deadlines == 0


# -- fairness --------------------------------------------------------------------------


def used(clock: Clock, log: list[str], name: str, seconds: float):
    def ready(_events: int) -> None:
        log.append(name)
        clock.time += seconds

    return ready


def test_what_has_no_owner_comes_first(clock, pipes):
    log: list[str] = []
    clock.register(pipes(), READ, used(clock, log, "worker", 0.001), owner=1)
    clock.register(pipes(), READ, used(clock, log, "signal", 0), owner=None)
    clock.turn(0)
    assert log == ["signal", "worker"]


def test_a_flood_gets_a_tenth_while_others_are_served(clock, pipes):
    log: list[str] = []
    clock.register(pipes(), READ, used(clock, log, "flood", 0.002), owner="flood")
    clock.register(pipes(), READ, used(clock, log, "probe", 0.0005))
    began = clock.time
    while clock.time < began + 10:
        clock.turn(0)
    share = log.count("flood") * 0.002 / (clock.time - began)
    assert 0.08 < share < 0.12


def test_a_flood_alone_is_unlimited(clock, pipes):
    log: list[str] = []
    clock.register(pipes(), READ, used(clock, log, "flood", 0.002), owner="flood")
    for _ in range(100):
        clock.turn(0)
    assert len(log) == 100


def test_floods_share_and_a_quiet_worker_waits_for_none(clock, pipes):
    log: list[str] = []
    for name in ("a", "b", "c"):
        clock.register(pipes(), READ, used(clock, log, name, 0.004), owner=name)
    quiet = pipes()
    for turn in range(300):
        if turn % 10 == 0:
            log.clear()
            clock.register(quiet, READ, used(clock, log, "quiet", 0.0001), owner="quiet")
        before = clock.time
        clock.turn(0)
        assert clock.time - before < 0.03
        if turn % 10 == 0:
            # Registered outside a turn, it counts in this one: before those in debt.
            assert turn == 0 or log[0] == "quiet"
            clock.unregister(quiet)
        if turn % 10 == 9:
            counts = [log.count(name) for name in "abc"]
            assert max(counts) - min(counts) <= 1
            assert sum(counts) >= 10


def test_many_owners_are_spread_over_turns(clock, pipes):
    log: list[int] = []
    for name in range(100):
        clock.register(pipes(), READ, used(clock, log, name, 0.001), owner=name)
    longest = 0.0
    for _ in range(20):
        before = clock.time
        clock.turn(0)
        longest = max(longest, clock.time - before)
    assert longest < 0.025
    assert set(log) == set(range(100))
    assert max(map(log.count, range(100))) - min(map(log.count, range(100))) <= 1


def test_all_descriptors_of_an_owner_have_one_share(clock, pipes):
    log: list[str] = []
    for name in ("stdout", "stderr", "notify"):
        clock.register(pipes(), READ, used(clock, log, name, 0.002), owner=7)
    clock.register(pipes(), READ, used(clock, log, "other", 0.0005))
    began = clock.time
    while clock.time < began + 10:
        clock.turn(0)
    flood = len(log) - log.count("other")
    assert 0.08 < flood * 0.002 / (clock.time - began) < 0.12
    assert clock._owners[7].registrations == 3


def test_owners_are_forgotten_with_their_last_descriptor(clock, pipes):
    first, second = pipes(), pipes()
    clock.register(first, READ, print, owner=1)
    clock.register(second, READ, print, owner=1)
    clock.unregister(first)
    assert 1 in clock._owners
    clock.unregister(second)
    assert not clock._owners


def test_owners_wait_while_memory_is_short(clock, pipes):
    log: list[str] = []
    clock.register(pipes(), READ, used(clock, log, "worker", 0), owner=1)
    clock.register(pipes(), READ, used(clock, log, "signal", 0))
    clock.withhold = True
    clock.turn(0)
    clock.turn(0)
    assert log == ["signal", "signal"]
    clock.serve_owners()
    clock.turn(0)
    assert log == ["signal", "signal", "signal", "worker"]


def test_no_spin_when_only_owners_are_ready_and_wait(clock, pipes):
    clock.register(pipes(), READ, used(clock, [], "worker", 0), owner=1)
    clock.withhold = True
    before = clock.time
    clock.turn()
    assert clock.time > before


def test_a_part_that_is_left_is_called_again(clock):
    reading, writing = os.pipe2(os.O_NONBLOCK)
    log: list[str] = []

    def ready(_events: int) -> None:
        log.append("called")
        if len(log) < 3:
            clock.call_again(reading)

    clock.register(reading, READ, ready, owner=1)
    clock.turn(0)
    assert not log  # nothing is in it
    clock.call_again(reading)
    for _ in range(5):
        clock.turn(0)
    assert len(log) == 3
    clock.call_again(reading)
    clock.withhold = True
    clock.turn(0)
    clock.turn(0)
    assert len(log) == 3
    clock.serve_owners()
    clock.turn(0)
    assert len(log) == 4
    clock.call_again(reading)
    clock.unregister(reading)
    clock.turn(0)
    assert len(log) == 4
    os.close(reading)
    os.close(writing)


def test_the_slowest_callback_of_a_turn_is_known(clock, pipes):
    log: list[str] = []
    slow = used(clock, log, "slow", 0.3)
    clock.register(pipes(), READ, used(clock, log, "fast", 0.001))
    clock.register(pipes(), READ, slow)
    clock.call_at("key", clock.time, lambda: None)
    clock.turn(0)
    assert clock.slowest is slow
    assert clock.slowest_time == pytest.approx(0.3)
    assert "used" in loops.name_of(slow)
