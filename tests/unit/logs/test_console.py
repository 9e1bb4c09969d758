from __future__ import annotations

import pytest

from entrypoint.logs.console import ConsoleWrapper, Style, wants_colour

WHEN = "2026-01-02T03:04:05.678901Z"


@pytest.mark.parametrize(
    ("environ", "is_terminal", "expected"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, True, False),
    ],
)
def test_who_wants_colour(environ, is_terminal, expected):
    assert wants_colour(environ, is_terminal) is expected


def test_labels_are_aligned_once_the_longest_is_known():
    style = Style(colour=False)
    short = ConsoleWrapper("a", 0, "stdout", style, time=False)
    long = ConsoleWrapper("a-long-name", 12, "stdout", style, time=False)
    assert long.feed(b"x\n", WHEN) == b"a-long-name:12 | x\n"
    assert short.feed(b"x\n", WHEN) == b"a:0            | x\n"
    assert style.event(WHEN, "info", "online", {}).startswith(b"pyinit         | 03:04:05.678 ")


def test_time_stands_before_the_lines_of_apps_that_want_it():
    wrapper = ConsoleWrapper("web", 0, "stdout", Style(colour=False), time=True)
    assert wrapper.feed(b"x\ny\n", WHEN).splitlines() == [
        b"web:0  | 2026-01-02T03:04:05.678Z x",
        b"web:0  | 2026-01-02T03:04:05.678Z y",
    ]


def test_labels_that_are_expected_align_from_the_first_line():
    style = Style(colour=False)
    style.expect(["web:11", "x" * 99])
    assert style.event(WHEN, "info", "e", {}).startswith(b"pyinit" + b" " * 18 + b" | ")
    assert style.label("web:0") == b"web:0".ljust(24)


def test_an_exit_says_who_and_why_and_no_more():
    fields = {"app": "web", "instance": 1, "pid": 27, "exit_code": 1, "uptime": 2.1}
    fields |= {"expected": False, "reason": "exit code 1", "last_lines": ["a", "b"]}
    written = Style(colour=False).event(WHEN, "error", "worker exited", fields)
    assert written == (
        b"pyinit | 03:04:05.678 error worker exited: exit code 1  web:1  pid=27 uptime=2.1\n"
    )
    written = Style(colour=False).event(WHEN, "info", "app ready", {"app": "web", "workers": 2})
    assert written == b"pyinit | 03:04:05.678 app ready  web  workers=2\n"


def test_values_with_lines_stand_below_under_the_label():
    style = Style(colour=False)
    got = style.event(WHEN, "error", "exited", {"code": 1, "last": "a\nb", "why": "two words"})
    lines = got.decode().splitlines()
    assert all(line.startswith("pyinit | ") for line in lines)
    assert lines[0].endswith("error exited  code=1 why='two words'")
    assert [line[9:] for line in lines[1:]] == ["last:", "  a", "  b"]


def test_colour_is_never_left_on():
    style = Style(colour=True)
    wrapper = ConsoleWrapper("web", 0, "stderr", style, time=False)
    for line in (wrapper.feed(b"x\n", WHEN), style.event(WHEN, "info", "e", {"a": 1})):
        assert line.count(b"\x1b[") == 2 * line.count(b"\x1b[0m")
