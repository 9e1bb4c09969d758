"""Counts from the beginning of the run, with or without requests.

Small, because PID 1 has it in memory from its start; what makes a page of it (`collect`) is
loaded with the first scrape. The part that knows an event counts it: the core
orders `Count`, and the loop, the log pump and the probe server count their own.
"""

from __future__ import annotations

import time
from _bisect import bisect_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.core.effects import Count

# Upper bounds in seconds.
READY_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
RELOAD_BOUNDS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
TURN_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

RELOAD_RESULTS = ("aborted", "finished")
CONFIG_RESULTS = ("accepted", "rejected")


class Histogram:
    """How often a value fell into each of `bounds`; `counts` has one more for the rest."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class AppCounters:
    """Counters of one app, since it was first in the file."""

    def __init__(self) -> None:
        self.restarts: dict[str, int] = {}
        self.runs: dict[str, int] = {}
        self.stalls = 0
        self.reloads = dict.fromkeys(RELOAD_RESULTS, 0)
        self.reload_seconds = Histogram(RELOAD_BOUNDS)
        self.ready_seconds = Histogram(READY_BOUNDS)


class Counters:
    """Everything that the core ordered to count. Times are seconds since the epoch."""

    def __init__(self) -> None:
        self.began_at = self.config_accepted_at = time.time()
        self.apps: dict[str, AppCounters] = {}
        self.config = dict.fromkeys(CONFIG_RESULTS, 0)
        self.turn_seconds = Histogram(TURN_BOUNDS)

    def of_app(self, name: str) -> AppCounters:
        """An app's counters, created if it is new."""
        found = self.apps.get(name)
        if found is None:
            found = self.apps[name] = AppCounters()
        return found

    def forget(self, name: str) -> None:
        """Forget an app that is no longer in the file."""
        self.apps.pop(name, None)

    def count(self, effect: Count) -> None:
        """Perform the core's `Count`. Raises KeyError for an unknown one."""
        if effect.what == "config":
            self.config[effect.label] += 1
            if effect.label == "accepted":
                self.config_accepted_at = time.time()
            return
        counters = self.of_app(effect.app)
        if effect.what == "restart":
            counters.restarts[effect.label] = counters.restarts.get(effect.label, 0) + 1
        elif effect.what == "run":
            counters.runs[effect.label] = counters.runs.get(effect.label, 0) + 1
        elif effect.what == "stall":
            counters.stalls += 1
        elif effect.what == "ready":
            counters.ready_seconds.observe(effect.seconds)
        else:
            counters.reloads[effect.label] += 1
            if effect.label == "finished":
                counters.reload_seconds.observe(effect.seconds)
