"""Faults of PID 1: counted, logged at a bounded rate, and survived without memory."""

from __future__ import annotations

import pytest

from entrypoint.shell import failures
from entrypoint.shell.failures import BURST, Failures


class FakeLoop:
    def __init__(self) -> None:
        self.time = 0.0
        self.withhold = False

    def now(self) -> float:
        return self.time

    def serve_owners(self) -> None:
        self.withhold = False


class House:
    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.logged: list[tuple[str, str, dict[str, object]]] = []
        self.excerpts: list[str] = []
        self.recovered = 0
        self.failures = Failures(self.loop, self.log, self.excerpts.append, self.recover)

    def log(self, *record) -> None:
        self.logged.append(record)

    def recover(self) -> None:
        self.recovered += 1

    def named(self, event: str) -> list[dict[str, object]]:
        return [fields for _, name, fields in self.logged if name == event]


@pytest.fixture
def house():
    return House()


def test_an_error_is_logged_with_its_traceback_and_its_app(house):
    try:
        raise RuntimeError("wrong")  # noqa: TRY301  it needs a traceback
    except RuntimeError as error:
        house.failures.report("here", error, "web")
    (fields,) = house.named("internal error")
    assert fields["where"] == "here"
    assert "test_failures.py" in fields["traceback"]
    assert "suppressed" not in fields
    assert house.excerpts == ["web"]
    assert house.failures.errors == 1


def test_a_fault_that_repeats_does_not_fill_the_log(house):
    for _ in range(10_000):
        house.failures.report("loop", RuntimeError("again"))
        house.loop.time += 0.001
    logged = house.named("internal error")
    assert BURST <= len(logged) <= BURST + 11
    assert house.failures.errors == 10_000
    assert house.failures.suppressed == 10_000 - len(logged)
    house.loop.time += 10
    house.failures.report("loop", RuntimeError("once more"))
    counted = sum(fields.get("suppressed", 0) for fields in house.named("internal error"))
    assert counted == house.failures.suppressed


def test_without_memory_the_reserve_is_given_back_until_there_is_some(house, monkeypatch):
    house.failures.report("reading", MemoryError())
    assert house.failures.short
    assert house.loop.withhold
    assert house.named("memory exhausted")[0]["where"] == "reading"
    house.failures.report("reading", MemoryError())
    assert house.failures.shortages == 1
    house.failures.recover()
    assert house.failures.short  # asked for again only after a while
    monkeypatch.setattr(failures, "RESERVE", 1 << 60)
    monkeypatch.setattr(failures, "LEAST_RESERVE", 1 << 50)
    house.loop.time += 1
    house.failures.recover()
    assert house.failures.short
    monkeypatch.setattr(failures, "RESERVE", 1 << 20)
    monkeypatch.setattr(failures, "LEAST_RESERVE", 1 << 18)
    house.loop.time += 1
    house.failures.recover()
    assert not house.failures.short
    assert not house.loop.withhold
    assert house.recovered == 1
    assert house.named("memory available")
    assert not house.named("internal error")


def test_shortages_that_follow_each_other_do_not_fill_the_log(house):
    for _ in range(1000):
        house.failures.report("reading", MemoryError())
        house.loop.time += failures.RETRY
        house.failures.recover()
    assert house.failures.shortages == 1000
    assert len(house.logged) <= BURST + 1000 * failures.RETRY + 1


def test_a_log_that_fails_is_survived(house, capfd):
    def broken(*_record) -> None:
        raise MemoryError

    house.failures._log = broken
    house.failures.report("here", RuntimeError("wrong"))
    house.failures.report("here", MemoryError())
    assert "RuntimeError: wrong" in capfd.readouterr().err
    assert house.failures.errors == 2


def test_turns_that_raise_pause_and_the_pause_is_bounded(house, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr(failures.time, "sleep", slept.append)
    for _ in range(20):
        house.failures.rest()
    assert slept == sorted(slept)
    assert 0 < slept[0] < 0.01
    assert slept[-1] == 0.1
    house.failures.rested()
    house.failures.rest()
    assert slept[-1] == slept[0]
