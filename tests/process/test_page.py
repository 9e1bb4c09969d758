"""The status page and its stream of events, on a real pyinit."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
from pathlib import Path

import pytest

from entrypoint.core.spec import ListenSpec, Plan
from entrypoint.core.view import AppView, View, WorkerView
from entrypoint.http.server import CONNECTION_LIMIT, ProbeServer
from entrypoint.loop import Loop
from entrypoint.page import feed, viewer
from entrypoint.page.document import Page
from tests.support.commands import pyinit
from tests.support.namespace import ROOT
from tests.support.ports import free_port
from tests.support.run import Run
from tests.support.wait import wait_until
from tests.support.watching import Watcher, fetch

pytestmark = pytest.mark.process

NOTE = [sys.executable, "-S", str(ROOT / "tests/support/note_imports.py")]
APP = {"name": "web", "script": "sh -c 'echo up; exec sleep 1000'", "env": {"KEY": "s3cret"}}


def noted(path: Path) -> bool:
    return "entrypoint.page.feed" in path.read_text().split()


def timers(port: int) -> int:
    return json.loads(fetch(port, "/status")[2])["timers"]


def test_a_page_that_is_live_only_while_somebody_looks(tmp_path: Path) -> None:
    port = free_port()
    top = {"probes": {"listen": f"127.0.0.1:{port}"}}
    with Run(tmp_path, [APP], wrap=(*NOTE, str(tmp_path / "noted")), **top) as run:
        run.said("up")
        run.event("app ready", app="web")
        assert fetch(port, "/status")[0] == 200
        assert not noted(tmp_path / "noted"), "loaded before anybody asked"

        status, fields, body = fetch(port)
        assert (status, fields["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in fields["Content-Security-Policy"]
        assert body.endswith(b"</html>\n")
        assert fetch(port, method="HEAD")[::2] == (200, b"")
        assert fetch(port, "/events", method="HEAD")[0] == 200
        assert noted(tmp_path / "noted")

        before = timers(port)
        watcher = Watcher(port)
        code, head = watcher.head()
        assert code == 200
        assert "text/event-stream" in head
        told = watcher.event()
        # `/status`, the checks of `/readyz`, and of `/metrics` what the graphs need.
        assert set(told) == {"at", "checks", "read_at", "usage", "queues", "status"}
        assert set(told["status"]) == set(json.loads(fetch(port, "/status")[2]))
        assert told["checks"] == [["web", "", ""], ["shutdown", "", ""]]
        worker = told["status"]["apps"][0]["workers"][0]
        cpu, memory, files = told["usage"][str(worker["incarnation"])]
        assert cpu >= 0
        assert memory > 10_000
        assert files > 0
        assert "s3cret" not in json.dumps(told)
        assert "sleep" not in json.dumps(told)

        # A change is sent when it happens; the next reading would tell no sooner than after 2 s.
        assert pyinit(run, "stop", "web").returncode == 0
        while not told["status"]["apps"][0]["stopped"]:
            told = watcher.event()
        assert told["checks"][0][1].startswith("stopped")
        reads = {watcher.event()["read_at"] for _ in range(2)}
        assert len(reads) == 2

        watcher.close()
        run.until(lambda: timers(port) <= before, "no timer is left")
        assert run.stop() == 0


def test_off_with_a_key_also_while_somebody_looks(tmp_path: Path) -> None:
    port = free_port()
    top = {"probes": {"listen": f"127.0.0.1:{port}", "metrics": False}}
    with Run(tmp_path, [APP], **top) as run:
        run.event("app ready", app="web")
        watcher = Watcher(port)
        assert watcher.head()[0] == 200
        assert set(watcher.event()) == {"at", "checks", "status"}
        top["probes"]["page"] = False
        run.write(json.dumps({"apps": [APP], **top}))
        assert pyinit(run, "reload", "--config").returncode == 0
        assert watcher.ended()
        for path in ("/", "/events"):
            assert fetch(port, path)[::2] == (404, b"not found: probes.page is false\n")
        assert run.stop() == 0


class Loops:
    """What the feed uses of a run, and a view as big as it is wanted."""

    def __init__(self, loop, workers=0):
        self.loop = loop
        self.plan = Plan(())
        self.core = self
        self.children = self
        self.dispatch = self
        self.ports = {}
        self.observers = {}
        self.shown = View((app_of(workers),), "running", 1)
        self.server = None

    def view(self):
        return self.shown

    def adopt_helper(self, _pid, _ended):
        raise AssertionError("no worker has a process")

    def body(self):
        return self.server.status_body()


def app_of(count):
    workers = tuple(
        WorkerView("web", n, n + 1, n, 0, "stopped", False, 0, 0.0, "exit code 1 " * 20)
        for n in range(count)
    )
    return AppView("web", "fork", count, 0, False, False, False, True, workers)


@pytest.fixture
def served():
    """`served(workers)` makes a server with the page, and what it serves."""
    made = []

    def make(workers=0):
        raised = []
        loop = Loop(lambda _where, error: raised.append(error))
        run = Loops(loop, workers)
        pages = Page(run, run.body)
        spec = ListenSpec("inet", "127.0.0.1", 0, backlog=4096)
        run.server = ProbeServer(
            loop, (spec,), run.view, "all", "0", dict, page=pages.answer, private=False
        )
        run.server.open()
        run.port = run.server.addresses[0][1]
        made.append((run, raised))
        return run

    yield make
    for run, raised in made:
        run.server.close()
        assert raised == []
        assert run.observers == {}
        assert run.loop.deadlines == 0
        assert run.loop.descriptors == ()
        run.loop.close()


def turn_until(run, condition):
    wait_until(condition, step=lambda: run.loop.turn(0.01))


def joined(run, count):
    """So many watchers, each of whom has its head."""
    watchers = [Watcher(run.port) for _ in range(count)]
    turn_until(run, lambda: run.server.requests.get(("events", 200), 0) >= count)
    return watchers


def test_a_hundred_may_look_and_probes_get_through(served) -> None:
    run = served()
    watchers = joined(run, feed.STREAM_LIMIT)
    refused = Watcher(run.port)
    turn_until(run, lambda: ("events", 503) in run.server.requests)
    assert refused.head()[0] == 503
    # Clients that do not even ask: the viewers make room for them, and they for a probe.
    held = [socket.create_connection(("127.0.0.1", run.port)) for _ in range(200)]
    with socket.create_connection(("127.0.0.1", run.port)) as probe:
        probe.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        turn_until(run, lambda: ("livez", 200) in run.server.requests)
        assert probe.recv(100).startswith(b"HTTP/1.1 200 ")
    assert run.server.connections <= CONNECTION_LIMIT
    for each in (*watchers, *held, refused):
        each.close()
    turn_until(run, lambda: run.server.connections == 0)
    assert not run.observers


def test_who_does_not_read_gets_the_newest_or_is_dropped(served, monkeypatch) -> None:
    monkeypatch.setattr(feed, "INTERVAL", 0.01)
    monkeypatch.setattr(feed, "CLOSEST", 0.01)
    monkeypatch.setattr(feed, "SPARED", 0)
    run = served(400)
    slow, other = Watcher(run.port, rcvbuf=2304), Watcher(run.port)
    other.sock.setblocking(False)
    got = bytearray()

    def read() -> int:
        with contextlib.suppress(BlockingIOError):
            while more := other.sock.recv(1 << 16):
                got.extend(more)
        return got.count(b"data: ")

    turn_until(run, lambda: read() >= 20)
    # Twenty events of more than 100 kB, and one of them is kept for it at most.
    assert 0 < max(c.pending for c in run.server._limiter.clients) < len(got) / 15
    event = next(line for line in bytes(got).split(b"\n\n") if line.startswith(b"data: "))
    assert len(json.loads(event[6:])["status"]["apps"][0]["workers"]) == 400
    # It reads again: it gets the rest of that event, then the newest.
    slow.sock.setblocking(False)
    late = bytearray()

    def catch_up() -> int:
        with contextlib.suppress(BlockingIOError):
            late.extend(slow.sock.recv(1 << 20))
        return late.count(b"data: ")

    turn_until(run, lambda: catch_up() >= 2)
    ats = [json.loads(e[6:])["at"] for e in bytes(late).split(b"\n\n")[1:2]]
    assert ats
    monkeypatch.setattr(viewer, "PATIENCE", 0.05)
    turn_until(run, lambda: read() and run.server.connections == 1)
    slow.close()
    other.close()
    turn_until(run, lambda: run.server.connections == 0)


def test_what_it_costs_bounds_how_often_it_is_sent(served, monkeypatch) -> None:
    monkeypatch.setattr(feed, "INTERVAL", 0.0)
    monkeypatch.setattr(feed, "CLOSEST", 0.0)
    monkeypatch.setattr(feed, "SPARED", 50)
    run = served(400)
    watcher = Watcher(run.port)
    turn_until(run, lambda: run.observers)
    used, began = time.process_time(), time.monotonic()
    watcher.sock.setblocking(False)
    events = 0

    def read() -> bool:
        nonlocal events
        # Each event of the core asks for a look, and nothing has changed.
        run.observers["page"](None, ())
        with contextlib.suppress(BlockingIOError):
            events += watcher.sock.recv(1 << 20).count(b"data: ")
        return events >= 4

    wait_until(read, step=lambda: run.loop.turn(0.5))
    # Our reading is in it too.
    assert time.process_time() - used < 0.2 * (time.monotonic() - began)
    watcher.close()
    turn_until(run, lambda: run.server.connections == 0)
