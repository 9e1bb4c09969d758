"""`pyinit logs -`: which lines are shown, by the names of any preset."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from entrypoint.client.log_filter import Filter, level_of
from entrypoint.client.log_lines import split
from entrypoint.client.records import Rendering
from entrypoint.logs.console import Style
from entrypoint.logs.layout import PRESETS, layout
from entrypoint.logs.schema import encode
from entrypoint.logs.wrap import JsonWrapper
from tests.support.run import PYINIT

WHEN = "2026-01-02T03:04:05.678901Z"


def event(preset, level="warning", **fields) -> bytes:
    form = layout(preset)
    when = form.stamp(1767323045678901000)
    return encode(form.record(when, level, "worker exited", fields)) + b"\n"


def line(preset, text, *, app="web", instance=1, stream="stdout") -> bytes:
    form = layout(preset)
    wrapper = JsonWrapper(form.lines(app, instance, 7, stream))
    return wrapper.records(text, form.stamp(1767323045678901000))


def taken(data: bytes, **filters) -> bool:
    return Filter(Rendering(Style(colour=False)), **filters).takes(data)


@pytest.mark.parametrize("preset", PRESETS)
def test_by_app_level_field_and_stream(preset) -> None:
    own = event(preset, app="web", instance=1, exit_code=3)
    assert taken(own)
    assert taken(own, apps=("web",))
    assert taken(own, apps=("web:1",))
    assert not taken(own, apps=("web:0", "api"))
    assert taken(own, level="warning")
    assert not taken(own, level="error")
    assert taken(own, fields=("exit_code=3",))
    assert taken(own, fields=("exit_code",))
    assert not taken(own, fields=("exit_code=4",))
    assert not taken(own, streams=("stdout",))

    text = line(preset, b"GET / 200", stream="stderr")
    assert taken(text, apps=("web",), level="info", streams=("stderr",))
    assert not taken(text, level="warning")
    assert not taken(text, streams=("stdout",))

    said = line(preset, b'{"level":50,"msg":"no","http":{"status":503},"user":"a b"}')
    assert taken(said, level="error", fields=("http.status=5*", "user=a ?"))
    assert not taken(said, level="critical")
    assert not taken(said, fields=("http.status=4*",))
    assert not taken(said, fields=("http.status.more",))


@pytest.mark.parametrize(
    ("value", "level"),
    [
        (10, "debug"),
        (30, "info"),
        (40, "warning"),
        (60, "critical"),
        ("WARN", "warning"),
        ("Fatal", "critical"),
        ("trace", "debug"),
        (True, ""),
        ("loud", ""),
    ],
)
def test_levels_of_any_logger(value, level) -> None:
    assert level_of(value) == level


def test_what_is_no_record_passes_without_a_filter_only() -> None:
    for other in (b"plain\n", b"[1]\n", b'{"a":1}\n', b"{broken\n", b"\xff\n"):
        assert taken(other)
        assert not taken(other, level="debug")
        assert not taken(other, apps=("web",))


def test_what_stands_before_a_record_stays_there() -> None:
    record = line("default", b"hi")
    for before in (b"web-1  | ", b"2026-01-02T03:04:05.6789Z ", b"[pod/web-1/web] "):
        assert split(before + record) == (before, record)
    for whole in (record, b'say {"x\n', b'a {"b": }\n', b"x" * 300 + record):
        assert split(whole) == (b"", whole)


def piped(data: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    environ = {name: value for name, value in os.environ.items() if "COLOR" not in name}
    return subprocess.run(
        [str(PYINIT), "logs", "-", *words], input=data, capture_output=True, env=environ
    )


def test_a_pipe_of_all_presets(tmp_path) -> None:
    data = b"".join(
        event(preset, app="web", instance=0, exit_code=3) + line(preset, b"hello")
        for preset in PRESETS
    )
    done = piped(b"before\nweb-1 | " + data + b"no newline")
    assert (done.returncode, done.stderr) == (0, b"")
    rows = done.stdout.decode().splitlines()
    assert rows[0] == "before"
    assert rows[-1] == "no newline"
    assert rows[1].startswith("web-1 | pyinit | 03:04:05.678 warning worker exited  web:0")
    assert rows.count("web:1  | hello") == len(PRESETS)
    assert len(rows) == 2 + 2 * len(PRESETS)

    done = piped(data, "web", "--level", "error")
    assert (done.returncode, done.stdout) == (0, b"")
    done = piped(data, "web:1", "--raw")
    assert done.stdout == b"hello\n" * len(PRESETS)
    done = piped(data, "--field", "exit_code=3", "--json")
    assert [json.loads(row) for row in done.stdout.splitlines()] == [
        json.loads(event(preset, app="web", instance=0, exit_code=3)) for preset in PRESETS
    ]


def test_lines_come_as_they_are_written() -> None:
    with subprocess.Popen(
        [str(PYINIT), "logs", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    ) as process:
        for text in (b"one", b"two"):
            process.stdin.write(line("default", text))
            assert process.stdout.readline().endswith(b"| " + text + b"\n")
        process.stdin.close()
        assert process.wait(20) == 0
    assert sys.stdin is not None
