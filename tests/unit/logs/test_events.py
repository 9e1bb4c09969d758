from __future__ import annotations

import json
import subprocess
import sys

import pytest

from entrypoint.logs import schema, structlog_import
from entrypoint.logs.console import Style
from entrypoint.logs.events import Events
from entrypoint.logs.layout import Flat, Keys

AT = 1_767_323_045_678_901_000
WHEN = "2026-01-02T03:04:05.678901Z"


class Written(list):
    def events(self):
        return [json.loads(record) for record in self]


@pytest.fixture
def written():
    return Written()


def test_events_wait_for_structlog_and_keep_their_time_and_order(written):
    events = Events(written.append)
    events.emit(AT, "info", "first", {"app": "web"})
    events.emit(AT + 1000, "warning", "second", {})
    assert written == []
    assert events.load() == ""
    events.emit(AT + 2000, "info", "third", {})
    assert [e["event"] for e in written.events()] == ["first", "second", "third"]
    assert written.events()[0] == {
        "timestamp": WHEN,
        "level": "info",
        "event": "first",
        "app": "web",
    }
    assert list(written.events()[1]) == ["timestamp", "level", "event"]


def test_the_level_filters(written):
    events = Events(written.append, level="warning")
    for level in schema.LEVELS:
        events.emit(AT, level, "waits", {})
    events.load()
    for level in schema.LEVELS:
        events.emit(AT, level, "x", {})
    levels = [e["level"] for e in written.events()]
    assert levels == ["warning", "error", "critical"] * 2


FIELDS = {
    "number": 1,
    "text": 'quo"te\n\\é',
    "list": ["a", 2, None],
    "nested": {"a": [True]},
    "odd": "\udcff",
    "method": "m",
    "self": "s",
    "logger": "l",
    "level_": 2,
}


def test_with_and_without_structlog_the_records_are_the_same(written):
    loaded, bare = Events(written.append), Events(written.append)
    loaded.load()
    bare.release()
    for events in (loaded, bare):
        events.emit(AT, "info", "x", FIELDS)
    assert written[0] == written[1]
    assert written[0].endswith(b"}\n")
    assert written[0].count(b"\n") == 1


@pytest.mark.parametrize("load", [True, False])
@pytest.mark.parametrize("style", [None, Style(colour=False)])
def test_exceptions_become_tracebacks(written, load, style):
    events = Events(written.append, style=style)
    if load:
        events.load()
    else:
        events.release()
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        events.emit(AT, "error", "failed", {"exc_info": error})
    text = written[0].decode()
    assert "Traceback" in text
    assert "ZeroDivisionError" in text
    assert ("\\n" in text) is (style is None)


def test_keys_can_be_named_otherwise(written):
    events = Events(
        written.append, layout=Flat(Keys(timestamp="time", level="severity", event="message"))
    )
    events.load()
    events.emit(AT, "info", "x", {})
    assert written.events() == [{"time": WHEN, "severity": "info", "message": "x"}]


def test_without_structlog_there_are_logs(written, monkeypatch):
    def missing():
        raise ImportError("no structlog")

    monkeypatch.setattr(structlog_import, "import_structlog", missing)
    events = Events(written.append)
    events.emit(AT, "info", "x", {})
    assert "no structlog" in events.load()
    assert [e["event"] for e in written.events()] == ["x"]


def test_too_many_waiting_events_are_told_without_structlog(written):
    events = Events(written.append)
    for number in range(1500):
        events.emit(AT, "info", str(number), {})
    assert [e["event"] for e in written.events()] == [str(n) for n in range(1500)]


WITHOUT_ASYNCIO = """
import sys
from entrypoint.logs import structlog_import
from entrypoint.logs.events import Events
from entrypoint.logs.layout import Flat, Keys
out = []
events = Events(out.append)
assert events.load() == ""
events.emit(0, "info", "x", {"a": 1})
heavy = {"asyncio", "ssl", "socket", "threading", "subprocess", "logging", "dataclasses",
         "concurrent.futures", "rich", "typing", "traceback", "datetime"} & set(sys.modules)
assert not heavy, heavy
# A module of Python's own that was imported meanwhile would keep a placeholder for good.
for name, module in list(sys.modules.items()):
    if not name.startswith(("structlog", "entrypoint")):
        kept = [key for key, value in vars(module).items()
                if isinstance(value, structlog_import._Placeholder)
                or value is structlog_import._cast
                or (isinstance(value, type) and structlog_import._Empty in value.__mro__)]
        assert not kept, (name, kept)
assert "structlog" in sys.modules
assert out[0].startswith(b'{"timestamp":"1970-01-01T00:00:00.000000Z","level":"info",'), out
assert out[0].endswith(b'"event":"x","a":1}\\n'), out
# What was kept out can be had.
import asyncio, threading, logging, typing, structlog.stdlib, structlog.typing
assert typing.get_type_hints and structlog.typing.BindableLogger.bind
assert asyncio.run and threading.Thread and logging.getLogger and structlog.stdlib.BoundLogger.bind
"""

PLAIN = """
import sys
from entrypoint.logs import structlog_import
def fails():
    import structlog
    raise RuntimeError("a later structlog")
structlog_import._import_lean = fails
structlog = structlog_import.import_structlog()
assert "asyncio" in sys.modules
assert structlog.stdlib.BoundLogger
"""

AT_BOOT = """
import sys
before = set(sys.modules)
import entrypoint.logs.pump, entrypoint.logs.boot_messages
new = set(sys.modules) - before
heavy = {"dataclasses", "typing", "enum", "re", "signal", "socket", "json", "logging", "inspect",
         "threading", "asyncio", "subprocess", "collections", "contextlib", "datetime"} & new
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "code", [WITHOUT_ASYNCIO, PLAIN, AT_BOOT], ids=["without asyncio", "fallback", "boot"]
)
def test_what_is_imported(code):
    # -S: site-packages may have .pth files that import what they like.
    paths = [p for p in sys.path if p]
    prelude = f"import sys; sys.path[:] = {paths!r}\n"
    run = subprocess.run(
        [sys.executable, "-S", "-c", prelude + code], capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr


EARLY = """
from entrypoint.logs import boot_messages
boot_messages.write("error", "boot failed", app="web", errors=["a", "b"])
boot_messages.write("info", "elsewhere", descriptor=1)
boot_messages.write("info", "nowhere", descriptor=99)
"""


def test_early_messages_need_nothing():
    run = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, timeout=60)
    assert run.returncode == 0
    written = json.loads(run.stderr)
    assert list(written) == ["timestamp", "level", "event", "app", "errors"]
    assert json.loads(run.stdout)["event"] == "elsewhere"
