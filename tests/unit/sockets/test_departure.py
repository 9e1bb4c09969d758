"""When new connections are kept from a queue that siblings share, and when they come again."""

from __future__ import annotations

from typing import ClassVar

import pytest

from entrypoint.sockets.departure import Departure


class Looks:
    """Stands in for `InHand`: `held` is what each look finds."""

    def __init__(self) -> None:
        self.held: bool | OSError = False

    def step(self, *, ignore_unsure: bool) -> bool:
        assert ignore_unsure
        if isinstance(self.held, OSError):
            raise self.held
        return self.held


class Attempt:
    pause = 0.01
    done: ClassVar[bool] = False

    def __init__(self, queued: bool) -> None:
        self.queued = queued

    def __call__(self) -> bool:
        return Attempt.done


class Case:
    def __init__(self, in_hand: Looks | None, *, others: bool = True) -> None:
        Attempt.done = False
        self.now = 0.0
        self.away: list[tuple[str, float]] = []
        self.attempts: list[Attempt] = []

        def keep_away() -> bool:
            self.away.append(("away", round(self.now, 3)))
            return others

        def emptying(queued: bool) -> Attempt:
            self.attempts.append(Attempt(queued))
            return self.attempts[-1]

        self.departure = Departure(
            lambda: self.now,
            keep_away,
            lambda: self.away.append(("in", round(self.now, 3))),
            emptying,
            in_hand,
        )

    def run(self, seconds: float) -> bool:
        until = self.now + seconds
        while self.now < until:
            if self.departure():
                return True
            self.now += max(0.001, self.departure.pause)
        return False


def test_connections_are_kept_away_at_an_idle_moment_and_until_all_is_answered():
    looks = Looks()
    looks.held = True
    case = Case(looks)
    assert not case.run(0.02)
    assert case.away == []
    looks.held = False
    assert not case.run(0.02)
    assert [what for what, _ in case.away] == ["away"]
    assert case.attempts[0].queued
    Attempt.done = True
    assert case.run(0.02)
    assert [what for what, _ in case.away] == ["away"]


def test_a_worker_that_is_never_idle_is_cut_off_again_and_again_and_for_longer():
    looks = Looks()
    looks.held = True
    case = Case(looks)
    assert not case.run(12)
    begun = [at for what, at in case.away if what == "away"]
    ended = [at for what, at in case.away if what == "in"]
    assert begun[0] == pytest.approx(0.03, abs=0.02)
    lasted = [b - a for a, b in zip(begun, ended, strict=False)]
    assert lasted[:6] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 1.6], abs=0.05)


@pytest.mark.parametrize("reason", ["at once", "later"])
def test_where_requests_are_not_seen_connections_stay_away(reason):
    looks = Looks()
    looks.held = OSError(13, "refused")
    case = Case(looks if reason == "later" else None)
    assert not case.run(5)
    assert [what for what, _ in case.away] == ["away"]


def test_without_another_queue_the_worker_s_hands_are_all():
    case = Case(Looks(), others=False)
    assert not case.run(5)
    assert [each.queued for each in case.attempts] == [False]
    Attempt.done = True
    assert case.run(1)
