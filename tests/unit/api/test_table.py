"""The table of `pyinit ls` and the lines of `pyinit logs`, for people."""

from __future__ import annotations

import json

import pytest

from entrypoint.client import table
from entrypoint.client.records import Rendering
from entrypoint.logs.console import Style

WORKER = {
    "id": 0,
    "instance": 0,
    "pid": 17,
    "uptime": 63.2,
    "restarts": 2,
    "status": "online",
    "cpu": 1.4,
    "memory": 36_909_875,
}
APP = {"name": "web", "mode": "cluster", "listening": ["[::]:80"], "stopped": False, "wanted": 1}


def test_a_row_for_each_worker() -> None:
    lines = table.table([{**APP, "workers": [WORKER]}], colour=False).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[1].split("│")[1:-1]] == list(table.HEADERS)
    assert [cell.strip() for cell in lines[3].split("│")[1:-1]] == [
        "web", "0", "cluster", "17", "1m", "2", "online", "1%", "35.2mb", "[::]:80",
    ]  # fmt: skip


def test_colour_changes_no_width_and_plain_is_ascii() -> None:
    apps = [{**APP, "workers": [WORKER]}, {**APP, "name": "none", "workers": []}]
    plain = table.table(apps, colour=False)
    coloured = table.table(apps, colour=True)
    for code in (table.RESET, table.BOLD, table.CYAN, table.RED, *table.COLOURS.values()):
        coloured = coloured.replace(code, "")
    assert coloured == plain
    assert table.table(apps, colour=False, plain=True).isascii()


@pytest.mark.parametrize("width", [110, 80, 70, 60, 45, 40])
@pytest.mark.parametrize("plain", [False, True])
def test_it_fits_the_terminal_and_keeps_what_says_how_it_goes(width, plain) -> None:
    long = {**APP, "name": "a-service-with-a-name", "listening": ["[::]:8080", "unix:/run/a.sock"]}
    lines = table.table(
        [{**long, "workers": [WORKER]}], colour=False, plain=plain, width=width
    ).splitlines()
    assert {len(line) for line in lines} <= set(range(width + 1))
    assert "online" in lines[3]
    assert "a-servic" in lines[3]
    if width == 110 and not plain:
        assert "unix:/run/a" in lines[3]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "0"), (0, "0s"), (59.9, "59s"), (61, "1m"), (7200, "2h"), (200_000, "2D")],
)
def test_uptimes_are_told_as_pm2_does(seconds, text) -> None:
    assert table.uptime(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0b"), (900, "900.0b"), (36_909_875, "35.2mb"), (1 << 31, "2.0gb")]
)
def test_sizes_are_told_as_pm2_does(size, text) -> None:
    assert table.memory(size) == text


def rendered(**record) -> str:
    return Rendering(Style(colour=False)).line(json.dumps(record).encode() + b"\n").decode()


def test_a_line_of_a_worker() -> None:
    origin = {"app": "web", "instance": 0, "pid": 3, "stream": "stdout"}
    assert rendered(timestamp="t", level="info", event="hi", **origin) == "web:0  | hi\n"
    assert (
        rendered(timestamp="t", event="hi", n=1, **origin) == 'web:0  | {"event": "hi", "n": 1}\n'
    )


def test_a_worker_that_names_an_app_itself_keeps_its_word() -> None:
    line = rendered(
        timestamp="t",
        app="mine",
        instance=9,
        msg="x",
        pid=3,
        pyinit_app="web",
        pyinit_instance=0,
        stream="stderr",
    )
    assert line == 'web:0  | {"app": "mine", "instance": 9, "msg": "x"}\n'


def test_an_event_and_what_is_no_record() -> None:
    line = rendered(timestamp="2026-01-02T03:04:05.678901Z", level="info", event="e", app="web")
    assert line == "pyinit | 03:04:05.678 e  web\n"
    assert Rendering(Style(colour=False)).line(b"text\n") == b"text\n"
