"""Waiting for a condition, the only way in which a test waits."""

from __future__ import annotations

import os
import time

TIMEOUT = 20.0
# The most by which a deadline is stretched on a busy machine.
STRETCH = 8.0


def slowness():
    """How many processes want each CPU: 1 on a machine that has time, at most `STRETCH`."""
    return min(STRETCH, max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0))))


def wait_until(condition, what="", timeout=TIMEOUT, *, step=None, error=AssertionError):
    """What `condition()` returns as soon as it is true.

    Raises `error` after `timeout` s, and later on a busy machine. `what` (a text, or a function
    that makes one) is then shown. `step()` is called between two looks, such as one turn of a
    loop; without it the pauses grow from 1 to 20 ms.
    """
    begin = time.monotonic()
    pause = 0.001
    while not (value := condition()):
        passed = time.monotonic() - begin
        if passed > timeout and passed > timeout * slowness():
            found = what() if callable(what) else what
            raise error(f"not within {passed:.0f} s: {found or condition}")
        if step is not None:
            step()
        else:
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)
    return value
