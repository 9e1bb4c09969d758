from __future__ import annotations

import signal

import pytest

from entrypoint.kernel import signals


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("SIGTERM", 15),
        ("TERM", 15),
        ("term", 15),
        (" sigusr1 ", 10),
        ("15", 15),
        (15, 15),
        ("RTMIN", signal.SIGRTMIN),
        ("RTMIN+3", signal.SIGRTMIN + 3),
        ("SIGRTMAX-1", signal.SIGRTMAX - 1),
        ("SIGCLD", signal.SIGCHLD),
    ],
)
def test_a_signal_by_name_or_number(text, number):
    assert signals.parse_signal(text) == number


@pytest.mark.parametrize(
    "text", ["", "SIG", "NOPE", "0", 0, "65", -1, "-9", "RTMIN+99", "RTMIN+", "SIG_IGN", "32", "٣"]
)
def test_what_is_no_signal_is_refused_by_name(text):
    with pytest.raises(ValueError, match="there is no signal"):
        signals.parse_signal(text)


def test_every_signal_has_a_name_that_means_it():
    for number in signals.ALL:
        assert signals.parse_signal(signals.name_of(number)) == number
    for usual in (signal.SIGCHLD, signal.SIGABRT, signal.SIGIO, signal.SIGTERM):
        assert signals.name_of(usual) == usual.name
    assert signals.name_of(99) == "signal 99"


def test_what_our_own_writes_and_faults_raise_is_not_caught():
    assert not signals.CAUGHT & {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGSEGV, signal.SIGKILL}
    assert {signal.SIGUSR1, signal.SIGWINCH, signal.SIGRTMIN, signal.SIGTERM} <= signals.CAUGHT
