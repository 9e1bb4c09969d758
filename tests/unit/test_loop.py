"""The loop on real descriptors: stale events, and deadlines of any size."""

from __future__ import annotations

import os
import select
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entrypoint import loop as loops
from entrypoint.loop import READ, WRITE, Loop


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
@settings(max_examples=300, deadline=None)
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
@settings(max_examples=100, deadline=None)
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
