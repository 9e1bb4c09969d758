"""What a turn costs, counted in calls and not in seconds: machines differ, counts do not."""

from __future__ import annotations

import sys

from entrypoint.core import events as e
from tests.simulation.world import SIGTERM, World, shared


def calls_of_a_life(instances: int) -> int:
    """Python calls of starting so many workers, all ready, and a shutdown."""
    world = World().boot(shared())
    handle = world.core.handle
    calls = 0

    def count(_frame, what: str, _argument) -> None:
        nonlocal calls
        calls += what == "call"

    def counted(event: e.Event, now: float):
        sys.setprofile(count)
        try:
            return handle(event, now)
        finally:
            sys.setprofile(None)

    world.core.handle = counted
    world.emit(e.ScaleRequested("web", instances))
    world.run_until(lambda: world.ready() == instances)
    world.emit(e.SignalArrived(SIGTERM))
    world.run_until(lambda: world.exit_code is not None)
    return calls


def test_the_calls_for_a_worker_do_not_grow_with_their_number():
    few, many = calls_of_a_life(25), calls_of_a_life(200)
    assert many < 8 * few * 1.3
