"""Orphans are reaped together, workers at once."""

from __future__ import annotations

import signal

import pytest

from entrypoint.kernel import reap, signals
from entrypoint.loop import Loop
from entrypoint.shell.reaper import GATHER, Reaping


class Storm:
    """What `Children` is to `Reaping`: how many end in each look."""

    def __init__(self, *looks: tuple[int, int]) -> None:
        self.looks = list(looks)
        self.orphans = 0
        self.ended = 0

    def reap(self) -> bool:
        workers, orphans = self.looks.pop(0) if self.looks else (0, 0)
        self.ended += workers
        self.orphans += orphans
        return workers + orphans >= reap.BATCH


def held() -> bool:
    return signal.SIGCHLD in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.fixture
def loop():
    loop = Loop(lambda where, error: pytest.fail(f"{where}: {error!r}"))
    yield loop
    loop.close()
    signals.release(signals.SIGCHLD)


def turns(loop: Loop) -> int:
    """How many turns until nothing is due any more."""
    count = 0
    while loop._next_deadline() is not None:
        loop.turn(10 * GATHER)
        count += 1
        assert count < 100
    return count


def test_a_worker_leaves_no_timer_and_no_signal_held(loop) -> None:
    children = Storm((1, 0))
    Reaping(loop, children).reap()
    assert children.ended == 1
    assert not held()
    assert turns(loop) == 0


def test_after_an_orphan_it_looks_until_there_is_none(loop) -> None:
    children = Storm((0, 1), (0, 7), (1, 3), (0, 0))
    reaping = Reaping(loop, children)
    reaping.reap()
    assert held()
    turns(loop)
    assert children.orphans == 11
    assert children.ended == 1
    assert not held()


def test_a_full_batch_is_followed_at_once(loop) -> None:
    children = Storm((0, reap.BATCH), (0, reap.BATCH), (0, 5))
    Reaping(loop, children).reap()
    turns(loop)
    assert children.orphans == 2 * reap.BATCH + 5
    assert not held()


def test_what_ends_while_the_signal_is_held_is_not_forgotten(loop) -> None:
    before = signal.signal(signal.SIGCHLD, lambda *_: reaping.reap())
    try:
        children = Storm((0, 1), (0, 0), (1, 0))
        reaping = Reaping(loop, children)
        reaping.reap()
        # To this thread: xdist has others, which do not hold it.
        # It ends after the first look, and is what the second finds pending.
        signal.raise_signal(signal.SIGCHLD)
        turns(loop)
        assert children.looks == [(1, 0)]
        signal.raise_signal(signal.SIGCHLD)
        assert children.ended == 1
    finally:
        signal.signal(signal.SIGCHLD, before)
