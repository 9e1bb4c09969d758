"""Messages of sd_notify(3), also of those who do not know it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.core.events import NotifyReceived, WorkerReady
from entrypoint.shell.notify_messages import STATUS_AT_MOST, Batch, event_of


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"STATUS": "a\x1b[31m\nb"}, {"status": "a\ufffd[31m\ufffdb"}),
        ({"STATUS": ""}, {"status": ""}),
        ({"STOPPING": "1"}, {"stopping": True}),
        ({"RELOADING": "1", "MONOTONIC_USEC": "123"}, {"reloading": True}),
        ({"WATCHDOG": "1"}, {"watchdog": "1"}),
        ({"WATCHDOG": "trigger"}, {"watchdog": "trigger"}),
        ({"WATCHDOG_USEC": "1500000"}, {"watchdog_interval": 1.5}),
        ({"WATCHDOG_USEC": "0"}, {"watchdog_interval": 0.0}),
        ({"WATCHDOG_USEC": "1"}, {"watchdog_interval": 0.01}),
        ({"EXTEND_TIMEOUT_USEC": "2500000"}, {"extend": 2.5}),
        ({"EXTEND_TIMEOUT_USEC": "99999999999999999999"}, {"extend": 3600.0}),
        ({"ERRNO": "2"}, {"notes": (("errno", "ENOENT: No such file or directory"),)}),
        ({"BUSERROR": "org.a.B"}, {"notes": (("bus_error", "org.a.B"),)}),
        ({"EXIT_STATUS": "7"}, {"notes": (("exit_status", 7),)}),
    ],
)
def test_what_is_understood(fields, expected):
    assert event_of(3, fields) == NotifyReceived(3, **expected)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"READY": "1"},
        {"MAINPID": "17"},
        {"FDSTORE": "1", "FDNAME": "x"},
        {"BARRIER": "1"},
        {"STOPPING": "yes"},
        {"WATCHDOG": "0"},
        {"WATCHDOG_USEC": "-1"},
        {"WATCHDOG_USEC": "1e9"},
        {"WATCHDOG_USEC": "\u0661"},
        {"EXTEND_TIMEOUT_USEC": "9" * 21},
        {"ERRNO": "0"},
        {"EXIT_STATUS": "256"},
    ],
)
def test_what_changes_nothing(fields):
    assert event_of(3, fields) is None


KEYS = (
    "STATUS", "STOPPING", "RELOADING", "WATCHDOG", "WATCHDOG_USEC", "EXTEND_TIMEOUT_USEC",
    "ERRNO", "BUSERROR", "EXIT_STATUS", "X",
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), st.text() | st.integers(0, 10**19).map(str)))
def test_whatever_comes_is_bounded(fields):
    event = event_of(3, fields)
    if event is not None:
        assert len(event.status or "") <= STATUS_AT_MOST + 1
        assert (event.status or "").isprintable()
        assert 0 <= event.extend <= 3600
        assert event.watchdog in ("", "1", "trigger")


# -- what came together ----------------------------------------------------------------


def batch(*messages: dict[str, str]) -> list[object]:
    """The events of messages that were received together."""
    made = Batch(7)
    for message in messages:
        made.add(message)
    return made.events()


def test_a_flood_is_one_event():
    flood = [{"WATCHDOG": "1", "STATUS": str(number)} for number in range(1000)]
    assert batch(*flood) == [NotifyReceived(7, watchdog="1", status="999")]


def test_nothing_that_counts_is_dropped():
    events = batch(
        {"WATCHDOG": "1"},
        {"WATCHDOG_USEC": "2000000"},
        {"STATUS": "first"},
        {"ERRNO": "2"},
        {"EXTEND_TIMEOUT_USEC": "5000000"},
        {"STATUS": "last"},
        {"EXTEND_TIMEOUT_USEC": "1000000"},
        {"EXIT_STATUS": "3"},
        {"WATCHDOG": "trigger"},
        {"STOPPING": "1"},
        {"READY": "1"},
        {"nothing": "1"},
    )
    told_, ready = events
    assert ready == WorkerReady(7, "notify")
    assert told_.watchdog == "trigger"
    assert told_.watchdog_interval == 2.0
    assert told_.status == "last"
    assert told_.extend == 5.0
    assert told_.stopping
    assert dict(told_.notes)["exit_status"] == 3
    assert "errno" in dict(told_.notes)


def test_a_reload_ends_with_the_ready_after_it_and_not_with_one_before():
    ready, reloading = WorkerReady(7, "notify"), NotifyReceived(7, reloading=True)
    assert batch({"RELOADING": "1"}, {"READY": "1"}) == [reloading, ready]
    assert batch({"READY": "1"}, {"RELOADING": "1"}) == [ready, reloading]
    assert batch({"READY": "1"}, {"STOPPING": "1"}) == [ready, NotifyReceived(7, stopping=True)]
    many = [{"READY": "1"}, {"RELOADING": "1"}] * 500
    assert batch(*many, {"READY": "1"}) == [ready, reloading, ready]


def test_what_says_nothing_is_no_event():
    assert batch() == []
    assert batch({}, {"X": "1"}, {"READY": "0"}) == []


keys = st.sampled_from(
    [
        {"READY": "1"},
        {"STOPPING": "1"},
        {"RELOADING": "1"},
        {"WATCHDOG": "1"},
        {"WATCHDOG": "trigger"},
        {"STATUS": "a"},
        {"STATUS": "b"},
        {"WATCHDOG_USEC": "1000000"},
        {"RELOADING": "1", "READY": "1"},
        {"nothing": "1"},
    ]
)


def outcome(events) -> dict[str, object]:
    """What a worker that hears of these events is left with."""
    state: dict[str, object] = {"ready": False, "reloading": False, "signs": 0}
    for event in events:
        if isinstance(event, WorkerReady):
            state["ready"], state["reloading"] = True, False
            continue
        state["reloading"] = event.reloading or state["reloading"]
        for name in ("stopping", "status", "watchdog_interval"):
            value = getattr(event, name)
            if value not in (None, False):
                state[name] = value
        if event.watchdog:
            state["signs"] = 1
            state["trigger"] = event.watchdog == "trigger" or state.get("trigger", False)
    return state


@given(messages=st.lists(keys, max_size=30))
def test_merged_or_one_by_one_they_come_to_the_same(messages):
    one_by_one = [event for message in messages for event in batch(message)]
    together = batch(*messages)
    assert outcome(together) == outcome(one_by_one)
    assert len(together) <= len(one_by_one)
