"""`cron_restart` and `max_memory_restart`: when they are looked at, by clocks of our own."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from entrypoint.core import events as e
from entrypoint.core.spec import AppSpec, Plan
from entrypoint.shell import schedules
from entrypoint.shell.schedules import Schedules, next_time, until_next_look

BERLIN = ZoneInfo("Europe/Berlin")
MB = 1 << 20


def at(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=BERLIN)


class Clocks:
    """A loop whose clock we move, and a wall clock that may jump."""

    def __init__(self, wall: datetime) -> None:
        self.steady = 1000.0
        self.wall = wall.timestamp()
        self.timers: dict = {}

    def now(self) -> float:
        return self.steady

    def call_at(self, key, when, callback) -> None:
        self.timers[key] = (when, callback)

    def cancel(self, key) -> None:
        self.timers.pop(key, None)

    def pass_by(self, seconds: float) -> None:
        """Run every timer that comes due, at its time."""
        end = self.steady + seconds
        while self.timers:
            key, (when, callback) = min(self.timers.items(), key=lambda item: item[1][0])
            if when > end:
                break
            self._to(max(when, self.steady))
            del self.timers[key]
            callback()
        self._to(end)

    def _to(self, steady: float) -> None:
        self.wall += steady - self.steady
        self.steady = steady


class Runtime:
    def __init__(self, clocks: Clocks, *specs: AppSpec) -> None:
        self.loop = clocks
        self.plan = Plan(tuple(specs))
        self.renewed: list[datetime] = []
        self.logged: list[str] = []

    def emit(self, event: e.Event) -> None:
        assert event == e.ScheduleDue("web")
        self.renewed.append(datetime.fromtimestamp(self.loop.wall, BERLIN))

    def log(self, _level, event, _fields) -> None:
        self.logged.append(event)


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")

    def begin(expression: str, wall: datetime) -> tuple[Clocks, Runtime]:
        clocks = Clocks(wall)
        monkeypatch.setattr(schedules.time, "time", lambda: clocks.wall)

        class Now(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.fromtimestamp(clocks.wall, tz)

        monkeypatch.setattr("datetime.datetime", Now)
        runtime = Runtime(clocks, AppSpec("web", ("x",), "/", cron_restart=expression))
        Schedules(runtime).follow(runtime.plan)
        return clocks, runtime

    return begin


def seen(runtime: Runtime) -> list[str]:
    return [when.strftime("%d %H:%M:%S%z") for when in runtime.renewed]


HOUR = 3600.0


def test_it_is_due_at_its_time_and_once(clock) -> None:
    clocks, runtime = clock("0 3 * * *", at(2026, 1, 1, 2, 59, 30))
    clocks.pass_by(48 * HOUR)
    assert seen(runtime) == ["01 03:00:00+0100", "02 03:00:00+0100"]


def test_six_fields_have_seconds_first(clock) -> None:
    clocks, runtime = clock("*/20 * * * * *", at(2026, 1, 1, 0, 0, 1))
    clocks.pass_by(60)
    assert seen(runtime) == ["01 00:00:20+0100", "01 00:00:40+0100", "01 00:01:00+0100"]


def test_while_it_is_far_it_wakes_once_a_minute(clock) -> None:
    clocks, _ = clock("0 3 * * *", at(2026, 1, 1, 4, 0))
    turns = 0
    for _ in range(60):
        before = dict(clocks.timers)
        clocks.pass_by(60)
        turns += clocks.timers != before
    assert turns == 60


def test_a_clock_that_is_set_forward_past_it_makes_it_due_once(clock) -> None:
    clocks, runtime = clock("0 3 * * *", at(2026, 1, 1, 1, 0))
    clocks.pass_by(10)
    clocks.wall += 5 * HOUR
    clocks.pass_by(2 * HOUR)
    assert [when.strftime("%d %H") for when in runtime.renewed] == ["01 06"]


def test_a_clock_that_is_set_back_is_followed(clock) -> None:
    clocks, runtime = clock("0 3 * * *", at(2026, 1, 3, 4, 0))
    clocks.pass_by(10)
    clocks.wall -= 26 * HOUR  # the next time is one day earlier now
    clocks.pass_by(2 * HOUR)
    assert seen(runtime) == ["02 03:00:00+0100"]


def test_in_spring_the_hour_that_is_left_out_and_in_autumn_the_one_that_comes_twice(clock) -> None:
    clocks, runtime = clock("30 2 * * *", at(2026, 3, 28, 12, 0))
    clocks.pass_by(48 * HOUR)
    # 02:30 of the 29th is not there.
    assert [when.day for when in runtime.renewed] == [29, 30]
    assert seen(runtime)[1] == "30 02:30:00+0200"
    clocks, runtime = clock("30 2 * * *", at(2026, 10, 24, 12, 0))
    clocks.pass_by(48 * HOUR)
    assert [when.day for when in runtime.renewed] == [25, 26]


def test_the_zone_is_that_of_tz_and_utc_when_there_is_no_such_zone(monkeypatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    winter = datetime(2026, 1, 1, tzinfo=schedules.local_zone())
    assert winter.utcoffset().total_seconds() == -5 * HOUR
    assert (
        next_time("0 12 * * *", winter)
        == datetime(2026, 1, 1, 17, tzinfo=ZoneInfo("UTC")).timestamp()
    )
    monkeypatch.setenv("TZ", "Middle/Earth")
    assert datetime(2026, 7, 1, tzinfo=schedules.local_zone()).utcoffset().total_seconds() == 0


def test_a_zone_that_is_not_there_is_told(clock, monkeypatch) -> None:
    _, runtime = clock("0 3 * * *", at(2026, 1, 1))
    assert runtime.logged == []
    for zone, found in (("Middle/Earth", ["cron_restart in UTC"]), ("UTC", []), ("", [])):
        monkeypatch.setenv("TZ", zone)
        runtime.logged.clear()
        Schedules(runtime).follow(runtime.plan)
        assert runtime.logged == found


def test_an_expression_that_never_comes_due_is_said_and_harms_nobody(clock) -> None:
    clocks, runtime = clock("99 * * * *", at(2026, 1, 1))
    clocks.pass_by(HOUR)
    assert (runtime.logged, runtime.renewed) == (["no further cron_restart"], [])


# -- memory -----------------------------------------------------------------------------


def overshoot(rate: float, limit: int = 100 * MB, start: float = 0.0) -> float:
    """MB above the limit at the look that finds it, of a leak of `rate` MB/s."""
    now, last = start, None
    while True:
        rss = int(rate * MB * now)
        if rss > limit:
            return (rss - limit) / MB
        now, last = now + until_next_look(rss, limit, now, last), (rss, now)


@pytest.mark.parametrize("rate", [1, 10, 40, 100, 400])
@pytest.mark.parametrize("start", [0.0, 0.13, 0.25])
def test_a_leak_is_found_within_a_twentieth_of_a_second_of_growth(rate, start) -> None:
    assert overshoot(rate, start=start) <= rate * max(schedules.MEMORY_GROWS, 0.0) * 1.01 or (
        # So fast that it is over before it was looked at twice.
        rate * (start + schedules.MEMORY_NEAR) > 100
    )


def test_what_does_not_grow_is_left_in_peace() -> None:
    assert until_next_look(10 * MB, 100 * MB, 9.0, (10 * MB, 7.0)) == schedules.MEMORY_FAR
    assert until_next_look(95 * MB, 100 * MB, 9.0, (95 * MB, 8.7)) >= schedules.MEMORY_NEAR
    assert until_next_look(10 * MB, 100 * MB, 9.0, (50 * MB, 7.0)) == schedules.MEMORY_FAR
