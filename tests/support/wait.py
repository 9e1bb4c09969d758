"""Waiting for a condition, the only way in which a test waits."""

from __future__ import annotations

import time

TIMEOUT = 20.0


def wait_until(condition, what="", timeout=TIMEOUT):
    """What `condition()` returns as soon as it is true.

    Raises AssertionError after `timeout` s. `what` (a text, or a function that makes
    one) is then shown.
    """
    end = time.monotonic() + timeout
    pause = 0.001
    while not (value := condition()):
        if time.monotonic() > end:
            told = what() if callable(what) else what
            raise AssertionError(f"not within {timeout} s: {told or condition}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    return value
