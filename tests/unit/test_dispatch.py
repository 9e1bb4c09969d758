"""Events and effects in order, in bounded parts, and once more when memory runs out."""

from __future__ import annotations

import math
import time

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.loop import Loop
from entrypoint.shell import dispatch
from entrypoint.shell.dispatch import Dispatch


class FakeLoop:
    def __init__(self) -> None:
        self.time = 0.0
        self.wakeups = 0
        self.turn_began = math.inf
        self.due: dict[object, tuple[float, object]] = {}

    def now(self) -> float:
        return self.time

    def call_at(self, key, deadline, callback) -> None:
        self.due[key] = (deadline, callback)

    def turn(self) -> bool:
        if not self.due:
            return False
        key, (deadline, callback) = min(self.due.items(), key=lambda item: item[1][0])
        del self.due[key]
        self.wakeups += 1
        self.time = self.turn_began = max(self.time, deadline)
        callback()
        self.turn_began = math.inf
        return True


class Core:
    """Orders a signal for each number in an event's reason."""

    def __init__(self, house: House) -> None:
        self.house = house

    def handle(self, event: e.ReloadRequested | e.SignalRefused, _now: float) -> list[f.Effect]:
        if isinstance(event, e.SignalRefused):
            self.house.heard.append(event.incarnation)
            return []
        self.house.said.append(f"decide {event.app}")
        self.house.fail(f"decide {event.app}")
        return [f.SendSignal(int(word), 15) for word in event.reason.split()]


class House:
    def __init__(self, loop: Loop | None = None) -> None:
        self.loop = loop or FakeLoop()
        self.slow = 0.0
        self.said: list[str] = []
        self.failing: dict[str, list[BaseException]] = {}
        self.reported: list[tuple[str, BaseException]] = []
        self.turned_events: list[str] = []
        self.heard: list[int] = []  # of which signals the core knows that they were not sent
        self.cost = 0.0
        self.cpu, self.waits = 0.0, 0  # what was used so far
        self.takes_cpu = True  # `cost` is work, and no wait for a CPU
        self.nested: dict[int, e.Event] = {}
        self.dispatch = Dispatch(
            self.loop,
            Core(self),
            {f.SendSignal: self.perform, f.Report: self.perform_report},
            self,
            self,
        )

    def fail(self, where: str) -> None:
        if self.failing.get(where):
            raise self.failing[where].pop(0)

    def perform(self, effect: f.SendSignal) -> None:
        if self.cost:
            self.loop.time += self.cost
            self.cpu += self.cost * self.takes_cpu
        time.sleep(self.slow)
        self.fail(f"perform {effect.incarnation}")
        self.said.append(f"perform {effect.incarnation}")
        if effect.incarnation in self.nested:
            self.dispatch.emit(self.nested.pop(effect.incarnation))

    def perform_report(self, _effect: f.Report) -> None:
        self.fail("report")
        self.said.append("report")

    # -- failures and the journal -----------------------------------------------------

    def report(self, where: str, error: BaseException, _app: str = "") -> None:
        self.reported.append((where, error))

    def turned(self, _now, event, _effects, error: str = "") -> None:
        if isinstance(event, e.ReloadRequested):
            self.turned_events.append(event.app + (" failed" if error else ""))

    def app_of(self, _what: object) -> str:
        return ""


@pytest.fixture
def house(monkeypatch):
    found = House()
    monkeypatch.setattr(dispatch.proc, "used", lambda: (found.cpu, found.waits))
    return found


def asked(app: str, *numbers: int) -> e.ReloadRequested:
    return e.ReloadRequested(app, " ".join(map(str, numbers)))


def test_what_is_emitted_meanwhile_comes_after(house):
    house.nested[1] = asked("b", 3)
    house.dispatch.emit(asked("a", 1, 2))
    assert house.said == ["decide a", "perform 1", "perform 2", "decide b", "perform 3"]
    assert house.dispatch.idle


def test_much_is_spread_over_turns_in_order(house):
    house.cost = 0.003
    house.dispatch.emit(asked("a", *range(100)))
    house.dispatch.emit(asked("b", 100))
    assert not house.dispatch.idle
    longest = 0.0
    while not house.dispatch.idle:
        before = house.loop.time
        assert house.loop.turn()
        longest = max(longest, house.loop.time - before)
    assert longest < dispatch.TURN_TIME + 2 * house.cost
    performed = [line for line in house.said if line.startswith("perform")]
    assert performed == [f"perform {n}" for n in range(101)]
    assert house.said.index("decide b") == len(house.said) - 2


def test_many_events_of_one_turn_are_spread_over_turns_too(house):
    """Each event must not continue what was postponed: the turn would take them all."""
    house.cost = 0.004
    house.loop.turn_began = 0.0
    for number in range(50):
        house.dispatch.emit(asked(f"app{number}", number))
    assert house.loop.time < dispatch.TURN_TIME + 2 * house.cost
    while not house.dispatch.idle:
        assert house.loop.turn()
    assert [x for x in house.said if "perform" in x] == [f"perform {n}" for n in range(50)]


def test_a_wait_for_a_cpu_does_not_postpone_what_is_left(house):
    house.cost, house.takes_cpu = 0.06, False
    house.loop.turn_began = 0.0
    house.dispatch.emit(asked("a", *range(10)))
    assert house.dispatch.idle
    house.takes_cpu = True
    house.dispatch.emit(asked("b", *range(10)))
    assert not house.dispatch.idle


def test_a_wait_for_anything_else_does(house):
    house.cost, house.takes_cpu = 0.06, False
    house.loop.turn_began = 0.0
    house.fail = lambda _where: setattr(house, "waits", house.waits + 1)
    house.dispatch.emit(asked("a", *range(10)))
    assert len(house.said) == 2  # the decision, and one effect
    assert not house.dispatch.idle


def test_the_end_of_a_worker_overtakes_what_is_left_but_not_its_own_events(house):
    decided: list[e.Event] = []
    house.dispatch._core.handle = lambda event, _now: decided.append(event) or []
    house.dispatch.emit(asked("a"))
    house.dispatch._postponed = True  # nothing more in this turn
    ends = [e.WorkerExited(number, 0) for number in (1, 2)]
    reload, execed, timer = asked("b"), e.WorkerExeced(2), e.TimerFired(e.Timer("kill", "web", 1))
    heard: list[int] = []
    for event in (asked("first"), reload, execed, timer):
        house.dispatch.emit(event)
    house.dispatch.after(lambda: heard.append(len(decided)))
    for event in (*ends, asked("last")):
        house.dispatch.emit(event)
    house.dispatch._continue()
    first, last = asked("first"), asked("last")
    assert decided[1:] == [first, ends[0], execed, ends[1], reload, timer, last]
    assert heard == [len(decided) - 1]  # all that came before it, and the ends


def test_among_very_many_events_it_takes_its_place_at_the_end(house):
    decided: list[e.Event] = []
    house.dispatch._core.handle = lambda event, _now: decided.append(event) or []
    house.dispatch._postponed = True
    for number in range(dispatch.OVERTAKEN + 1):
        house.dispatch.emit(asked("a", number))
    house.dispatch.emit(e.WorkerExited(1, 0))
    house.dispatch._continue()
    assert isinstance(decided[-1], e.WorkerExited)


def test_who_waits_for_a_decision_hears_of_it_once_it_is_made(house):
    heard: list[int] = []
    house.dispatch.after(lambda: heard.append(0))
    assert heard == [0]  # nothing is under way
    house.cost = 0.004
    house.loop.turn_began = 0.0
    for number in range(9):
        house.dispatch.emit(asked(f"app{number}", number))
    house.dispatch.after(lambda: heard.append(len(house.said)))
    assert heard == [0]
    house.dispatch.emit(asked("later", 9))
    while not house.dispatch.idle:
        assert house.loop.turn()
    assert heard == [0, 18]  # nine decisions, nine effects


def test_what_is_left_comes_in_the_next_turn_of_the_loop():
    """Not among the deadlines of the same turn."""
    loop = Loop(lambda _where, error: (_ for _ in ()).throw(error))
    house = House(loop)
    house.slow = 0.4 * dispatch.TURN_TIME
    loop.call_at("start", 0.0, lambda: house.dispatch.emit(asked("a", *range(30))))
    turns = []
    while len(house.said) < 31:
        began = time.monotonic()
        loop.turn(0)
        turns.append(time.monotonic() - began)
    loop.close()
    assert len(turns) >= 9  # at most four effects in one


def test_an_effect_without_memory_is_performed_later_and_nothing_overtakes_it(house):
    house.failing["perform 1"] = [MemoryError(), MemoryError()]
    house.dispatch.emit(asked("a", 1, 2))
    house.dispatch.emit(asked("b", 3))
    assert house.said == ["decide a"]
    while house.loop.turn():
        pass
    assert house.said == ["decide a", "perform 1", "perform 2", "decide b", "perform 3"]
    assert len(house.reported) == 2


def test_a_decision_without_memory_is_made_later_and_journaled_once(house):
    house.failing["decide a"] = [MemoryError()]
    house.dispatch.emit(asked("a", 1))
    house.dispatch.emit(asked("b", 2))
    while house.loop.turn():
        pass
    assert house.said == ["decide a", "decide a", "perform 1", "decide b", "perform 2"]
    assert house.turned_events == ["a", "b"]


def test_a_bug_costs_its_event_or_its_effect_alone(house):
    house.failing["decide a"] = [RuntimeError()]
    house.failing["perform 2"] = [RuntimeError()]
    house.dispatch.emit(asked("a", 1))
    house.dispatch.emit(asked("b", 2, 3))
    assert house.said == ["decide a", "decide b", "perform 3"]
    assert house.turned_events == ["a failed", "b"]
    assert [where.partition(":")[0] for where, _ in house.reported] == ["core", "SendSignal"]
    assert house.heard == [2]
    assert house.dispatch.idle


def test_what_never_gets_memory_is_given_up(house):
    house.failing["perform 1"] = [MemoryError() for _ in range(1000)]
    house.dispatch.emit(asked("a", 1, 2))
    while house.loop.turn():
        pass
    assert house.said == ["decide a", "perform 2"]
    assert house.heard == [1]
    assert 5 < house.loop.time < 60


def test_what_the_system_refuses_is_heard_by_the_core_and_no_internal_error(house):
    house.failing["perform 1"] = [OSError(24, "Too many open files")]
    house.dispatch.emit(asked("a", 1, 2))
    assert house.heard == [1] and house.said == ["decide a", "perform 2"]
    assert not house.reported


def test_a_record_is_not_repeated(house):
    house.failing["report"] = [MemoryError()]
    house.dispatch._core.handle = lambda _event, _now: [f.Report("info", "x"), f.SendSignal(1, 15)]
    house.dispatch.emit(asked("a"))
    assert house.said == ["perform 1"]


def test_the_observer_hears_of_an_event_when_its_effects_are_performed(house):
    seen: list[tuple[str, int, bool]] = []

    def observer(event, effects) -> None:
        seen.append((event.app, len(effects), "perform 2" in house.said))

    house.dispatch.observers["test"] = observer
    house.failing["decide b"] = [RuntimeError()]
    house.dispatch.emit(asked("a", 1, 2))
    house.dispatch.emit(asked("b", 3))
    assert seen == [("a", 2, True)]
