"""Messages of sd_notify(3), also of those who do not know it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.core.events import WorkerTold
from entrypoint.notifications import STATUS_AT_MOST, told


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
    assert told(3, fields) == WorkerTold(3, **expected)


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
    assert told(3, fields) is None


KEYS = (
    "STATUS", "STOPPING", "RELOADING", "WATCHDOG", "WATCHDOG_USEC", "EXTEND_TIMEOUT_USEC",
    "ERRNO", "BUSERROR", "EXIT_STATUS", "X",
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), st.text() | st.integers(0, 10**19).map(str)))
def test_whatever_comes_is_bounded(fields):
    event = told(3, fields)
    if event is not None:
        assert len(event.status or "") <= STATUS_AT_MOST + 1
        assert (event.status or "").isprintable()
        assert 0 <= event.extend <= 3600
        assert event.watchdog in ("", "1", "trigger")
