"""Turns of the loop: the longest, and how much of it was the machine's."""

from __future__ import annotations

import time

from entrypoint.loop import Loop
from entrypoint.metrics.counters import TURN_BOUNDS, Histogram
from entrypoint.shell.turn_times import LONG, Counters, Turns


def measured(environ: dict[str, str], *callbacks) -> Turns:
    loop = Loop(lambda _where, error: (_ for _ in ()).throw(error))
    found = Turns(loop, Histogram(TURN_BOUNDS), environ)
    for number, callback in enumerate(callbacks):
        loop.call_at(number, loop.now(), callback)
        loop.turn(0)
    loop.close()
    return found


def slow() -> None:
    end = time.process_time() + 1.5 * LONG
    while time.process_time() < end:
        pass


def waits() -> None:
    time.sleep(1.5 * LONG)


def quick() -> None:
    pass


def test_the_longest_turn_and_its_callback_are_known():
    answer = measured({}, quick, slow, quick).status()
    assert answer["callback"] == "slow"
    assert answer["longest"] >= LONG
    assert "last" not in answer


def test_work_and_waiting_of_our_own_count_as_long():
    found = measured({"PYINIT_MEASURE_TURNS": "1"}, slow, quick, waits)
    if not found.measured:
        return  # this kernel has no schedstat
    answer = found.status()
    assert found.long == 2
    assert [turn["callback"] for turn in answer["last"]] == ["slow", "waits"]
    assert all(turn["own"] > LONG for turn in answer["last"])


def test_a_wait_for_a_cpu_does_not_count(monkeypatch):
    found = measured({"PYINIT_MEASURE_TURNS": "1"})
    if not found.measured:
        return
    ends = (
        (0.1, Counters(0.07, 0.01, 0, 3)),  # 70 ms without a CPU, then it waited
        (0.2, Counters(0.0, 0.2, 3, 3)),  # a page that came from a disk
        (0.3, Counters(0.1, 0.02, 0, 0)),  # it never waited: interrupts, or the host
        (0.15, Counters(0.0, 0.01, 0, 1, 0.13)),  # the kernel reclaimed memory
    )
    for seconds, end in ends:
        readings = iter([Counters(), end])
        monkeypatch.setattr(found, "_counters", lambda readings=readings: next(readings))
        found._begun()
        found._ended(seconds)
    assert (found.long, found.starved) == (0, 1)
    own = [(turn["own"], turn["major_faults"]) for turn in found.status()["slowed"]]
    assert own == [(0.03, 0), (0.2, 3), (0.02, 0), (0.02, 0)]
