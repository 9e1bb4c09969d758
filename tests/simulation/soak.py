"""`make soak`: the machine of test_machine.py with other seeds, until so many events.

`python -m tests.simulation.soak [--events=N] [--minutes=N] [--seed=N] [--jobs=N]`. Each
seed is a batch of histories; one that fails is printed, and `--replay=SEED` (`make replay
SEED=…`) runs the same batch again and shows the history that fails, with `--shrink` the
shortest that does.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as with_seed
from hypothesis.internal.conjecture import providers
from hypothesis.stateful import run_state_machine_as_test

from tests.simulation.test_machine import Machine

HISTORIES = 40
STEPS = 60

# Hypothesis draws some numbers from those that it finds in our source. Without them a seed
# means the same histories after a change of the source, as somebody who mends a bug expects.
providers._get_local_constants = providers.Constants


def batch(number: int, *, shrink: bool) -> int:
    """The histories of one seed; how many events they had. Raises what fails."""
    events = 0

    class Counted(Machine):
        def teardown(self) -> None:
            nonlocal events
            super().teardown()
            events += len(self.world.history)

    phases = [Phase.generate, *([Phase.shrink] if shrink else [])]
    chosen = settings(
        max_examples=HISTORIES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(with_seed(number)(Counted), settings=chosen)
    return events


def _worker(first: int, step: int, ends: float, wanted: int, write: int) -> None:
    """Batches until the time or the events are over; a line for each."""
    number, events = first, 0
    while time.monotonic() < ends and events < wanted:
        try:
            found = batch(number, shrink=False)
            os.write(write, b"%d %d\n" % (number, found))
            events += found
        except BaseException:
            os.write(2, traceback.format_exc()[-3000:].encode())
            os.write(write, b"%d failed\n" % number)
            return
        number += step


def soak(events: int, minutes: float, seed: int, jobs: int) -> int:
    """The exit code."""
    began = time.monotonic()
    read, write = os.pipe()
    for job in range(jobs):
        if os.fork() == 0:
            os.close(read)
            ends = began + minutes * 60
            _worker(seed + job, jobs, ends, -(-events // jobs), write)
            os._exit(0)
    os.close(write)
    failed: list[str] = []
    total = batches = 0
    with os.fdopen(read) as lines:
        for line in lines:
            number, _, reported = line.strip().partition(" ")
            if reported == "failed":
                failed.append(number)
                print(f"failed: make replay SEED={number}", flush=True)
            else:
                total += int(reported)
                batches += 1
    took = time.monotonic() - began
    histories = batches * HISTORIES
    print(f"{total} events in {histories} histories, {took:.0f} s, {total / took:.0f} a second")
    if total < events:
        print(f"fewer than the {events} that were wanted")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3)) * 1000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", type=int, metavar="SEED")
    parser.add_argument("--shrink", action="store_true", help="find the shortest: minutes")
    options = parser.parse_args()
    if options.replay is not None:
        print(f"{batch(options.replay, shrink=options.shrink)} events, none fails")
        return 0
    print(f"soak: seeds from {options.seed}", flush=True)
    return soak(options.events, options.minutes, options.seed, options.jobs)


if __name__ == "__main__":
    sys.exit(main())
