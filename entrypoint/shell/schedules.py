"""Periodic checks: `max_memory_restart` and `cron_restart`.

Only apps that use them cost a wake-up: at most every two seconds while memory is far
from its limit and does not grow, once a minute for a cron expression. Memory is checked
when half of the remaining memory would be used at its rate of growth: PM2 checks every
30 s, in which a fast leak grows tenfold.
"""

from __future__ import annotations

import os
import time

from entrypoint.core import events as e
from entrypoint.core.spec import AUTO
from entrypoint.kernel import cgroup, proc
from entrypoint.logs.schema import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime, tzinfo
    from typing import Protocol

    from entrypoint.core.events import Event
    from entrypoint.core.spec import AppSpec, Plan
    from entrypoint.loop import Loop

    from .children import Children

    class Runtime(Protocol):
        """What is used of the run."""

        children: Children
        loop: Loop
        plan: Plan

        def emit(self, event: Event) -> None:
            """Hand an event to the core."""

        def memory_share(self) -> int:
            """Memory that one worker may use of the container's now, bytes."""

        def log(self, level: str, event: str, fields: dict[str, object]) -> None:
            """Log one event of pyinit's own."""


# Seconds between two checks of an app's memory: at half of the limit and below, near it,
# and while it grows fast.
MEMORY_FAR = 2.0
MEMORY_NEAR = 0.25
MEMORY_GROWS = 0.05
# `max_memory_restart: auto`: above this part of the container's limit a worker that exceeds its
# share is replaced at once, at any age. The rest of the limit is for the time that this takes.
NEARLY_FULL = 0.65
# How long one turn of the loop may read processes (s).
MEMORY_SLICE = 0.005
# A wall clock can jump: the next time of a cron expression is recomputed this often.
CRON_AT_MOST = 60.0
# The two clocks differ: the wall clock may be slightly behind when the timer fires.
CRON_AT_LEAST = 0.001


class Schedules:
    """The timers of all apps of the plan."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._loop = runtime.loop
        self._timed: set[tuple[str, str]] = set()
        self._due: dict[str, float] = {}  # app: s since the epoch
        # By incarnation: bytes, and when they were seen.
        self._seen: dict[str, dict[int, tuple[int, float]]] = {}

    def follow(self, plan: Plan) -> None:
        """Set the timers for this plan; drop all others."""
        for key in self._timed:
            self._loop.cancel(key)
        self._timed.clear()
        if any(spec.cron_restart for spec in plan.apps):
            self._warn_of_zone()
        for spec in plan.apps:
            if spec.max_memory_restart:
                self._next(("memory", spec.name), MEMORY_NEAR)
            if spec.cron_restart:
                self._plan_cron(spec)
        self._seen = {name: seen for name, seen in self._seen.items() if plan.app(name)}

    def _next(self, key: tuple[str, str], delay: float) -> None:
        kind, name = key
        self._timed.add(key)
        look = self._look_at_memory if kind == "memory" else self._look_at_clock
        self._loop.call_at(key, self._loop.now() + delay, lambda: look(name))

    def next_run(self, name: str) -> float | None:
        """When `cron_restart` of this app is due next (s since the epoch)."""
        spec = self._runtime.plan.app(name)
        return self._due.get(name) if spec is not None and spec.cron_restart else None

    def status(self, name: str) -> dict[str, object]:
        """The next runs, for the log."""
        due = self.next_run(name)
        return {"next_run": stamp(round(due * 1e9))} if due is not None else {}

    # -- memory ------------------------------------------------------------------------

    def _look_at_memory(self, name: str) -> None:
        spec = self._runtime.plan.app(name)
        if spec is None or not spec.max_memory_restart:
            return
        self._go_on(name, self._memory_steps(name))

    def _go_on(self, name: str, steps: Iterator[None]) -> None:
        """Do a part of a check: a big tree takes time, with two /proc files for each process."""
        until = self._loop.now() + MEMORY_SLICE
        for _ in steps:
            if self._loop.now() > until:
                key = ("memory", name)
                self._loop.call_at(key, self._loop.now(), lambda: self._go_on(name, steps))
                return

    def _memory_steps(self, name: str) -> Iterator[None]:
        before, seen = self._seen.get(name, {}), {}
        delay = MEMORY_FAR
        auto = self._share(name)
        for started in self._runtime.children.of_app(name):
            rss = 0
            for member in proc.walk(started.pid):
                rss += proc.rss(member)
                yield
            if self._runtime.children.get(started.incarnation) is None:
                continue  # it has ended meanwhile
            now = self._loop.now()
            seen[started.incarnation] = (rss, now)
            limit = started.spec.max_memory_restart
            limit = auto if limit == AUTO else limit
            if limit and rss > limit:
                urgent = limit == auto and cgroup.memory_filled() >= NEARLY_FULL
                self._runtime.emit(e.MemoryExceeded(started.incarnation, rss, limit, urgent))
                delay = min(delay, MEMORY_NEAR)
            elif limit:
                last = before.get(started.incarnation)
                delay = min(delay, until_next_look(rss, limit, now, last))
        spec = self._runtime.plan.app(name)
        if spec is not None and spec.max_memory_restart:
            self._seen[name] = seen
            self._next(("memory", name), delay)

    def _share(self, name: str) -> int:
        """The present value of `max_memory_restart: auto`, as the container's limit may change."""
        spec = self._runtime.plan.app(name)
        if spec is None or spec.max_memory_restart != AUTO:
            return 0
        return self._runtime.memory_share()

    # -- the clock ----------------------------------------------------------------------

    def _warn_of_zone(self) -> None:
        from datetime import UTC

        # Node has its own time zone data; slim images have no system data.
        name = zone_name()
        if name and local_zone() is UTC and name not in ("UTC", "UTC0"):
            reason = f"there is no time zone {name!r} here (tzdata): it counts in UTC"
            self._runtime.log("warning", "cron_restart in UTC", {"reason": reason})

    def _plan_cron(self, spec: AppSpec) -> None:
        # The due time is kept: when the loop wakes for it, it is no longer the next one.
        try:
            self._due[spec.name] = next_time(spec.cron_restart)
        except ValueError as error:
            fields: dict[str, object] = {"app": spec.name, "reason": str(error)}
            self._runtime.log("error", "no further cron_restart", fields)
            self._due.pop(spec.name, None)
            return
        self._wait_for_clock(spec.name)

    def _wait_for_clock(self, name: str) -> None:
        left = self._due[name] - time.time()
        self._next(("cron", name), min(CRON_AT_MOST, max(CRON_AT_LEAST, left)))

    def _look_at_clock(self, name: str) -> None:
        spec = self._runtime.plan.app(name)
        if spec is None or not spec.cron_restart:
            return
        now = time.time()
        if now >= self._due[name]:
            # Planned first: the log record of the run contains the next time.
            self._plan_cron(spec)
            self._runtime.emit(e.ScheduleDue(name))
        elif next_time(spec.cron_restart) < self._due[name]:
            self._plan_cron(spec)  # the clock was set back
        else:
            self._wait_for_clock(name)


def until_next_look(rss: int, limit: int, now: float, last: tuple[int, float] | None) -> float:
    """Seconds until a worker's memory is checked again; `last`: bytes, and when.

    Of a worker that is checked for the first time only its start is known.
    """
    if last is None:
        return MEMORY_NEAR
    share = min(1.0, max(0.0, (rss / limit - 0.5) * 2))
    delay = MEMORY_FAR + (MEMORY_NEAR - MEMORY_FAR) * share
    grown, took = rss - last[0], now - last[1]
    if grown > 0 and took > 0:
        delay = min(delay, (limit - rss) / (grown / took) / 2)
    return max(MEMORY_GROWS, delay)


def next_time(expression: str, now: datetime | None = None) -> float:
    """When the cron expression is due next (s since the epoch), in the local time zone.

    Five fields, or six with seconds first, as PM2's. Raises ValueError with a sentence.
    """
    from datetime import datetime

    from cronsim import CronSim, CronSimError

    try:
        start = now or datetime.now(local_zone())
        moments = (moment.timestamp() for moment in CronSim(expression, start))
        # In the hour that occurs twice in autumn, cronsim returns the first one even in the
        # second: a time that is over would be due again and again.
        return next(moment for moment in moments if moment > start.timestamp())
    except CronSimError as error:
        raise ValueError(f"{expression!r} is no cron expression: {error}") from None
    except StopIteration:
        raise ValueError(f"{expression!r} is never due") from None


def zone_name() -> str:
    """`TZ`, which may begin with a colon (tzset(3))."""
    return os.environ.get("TZ", "").removeprefix(":")


def local_zone() -> tzinfo:
    """The zone of `TZ`, else of /etc/localtime, else UTC; with its summer time."""
    from datetime import UTC
    from zoneinfo import ZoneInfo

    name = zone_name()
    try:
        if name:
            return ZoneInfo(name)
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError, KeyError):
        return UTC
