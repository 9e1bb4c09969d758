"""Socket files that are watched: a change is looked at once, and rest costs nothing."""

from __future__ import annotations

import os
import socket

import pytest

from entrypoint.loop import Loop
from entrypoint.sockets import path_watch
from entrypoint.sockets.path_watch import PathWatch


class File:
    def __init__(self, path) -> None:
        self.path = str(path)

    def act(self, what):
        return what(self.path)


class Group:
    def __init__(self, path) -> None:
        self.file = File(path)
        self.looks = 0
        self.removed = False

    def mend(self) -> bool:
        self.looks += 1
        removed, self.removed = self.removed, False
        return removed


@pytest.fixture
def loop():
    loop = Loop(lambda _where, error: (_ for _ in ()).throw(error))
    yield loop
    loop.close()


@pytest.fixture
def path(tmp_path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "a.sock"))
        yield tmp_path / "a.sock"


def turn(loop) -> int:
    """Until nothing is due any more; how many turns that took."""
    for turns in range(100):
        if not loop.deadlines:
            return turns
        loop.turn(1.0)
    raise AssertionError("the loop is never at rest")


def test_a_change_that_removes_nothing_is_looked_at_once_and_then_there_is_rest(loop, path):
    group, restored = Group(path), []
    watch = PathWatch(loop, restored.append, lambda *_: None)
    watch.follow(group)
    os.chmod(path, 0o600)
    loop.turn(1.0)
    assert group.looks == 1
    turn(loop)
    assert group.looks == 1
    assert not restored
    # It still listens, also for what came during the pause.
    os.chmod(path, 0o666)
    loop.turn(1.0)
    os.chmod(path, 0o600)
    group.removed = True
    turn(loop)
    loop.turn(1.0)
    assert restored == [group]
    watch.close()
    assert not loop.deadlines


def test_nothing_is_held_once_nothing_is_watched(loop, path):
    before = os.listdir("/proc/self/fd")
    watch = PathWatch(loop, lambda _group: None, lambda *_: None)
    group = Group(path)
    watch.follow(group)
    os.chmod(path, 0o600)
    loop.turn(1.0)
    assert loop.deadlines
    watch.forget(group)
    assert not loop.deadlines
    assert not loop.descriptors
    assert os.listdir("/proc/self/fd") == before
    watch.follow(group)
    assert loop.descriptors
    watch.close()


def test_changes_are_looked_at_no_more_often_than_the_pause(loop, path, monkeypatch):
    monkeypatch.setattr(path_watch, "PAUSE", 60.0)
    group = Group(path)
    watch = PathWatch(loop, lambda _group: None, lambda *_: None)
    watch.follow(group)
    for number in range(20):
        os.chmod(path, 0o600 + number % 2)
        loop.turn(0)
    assert group.looks == 1
    watch.close()
