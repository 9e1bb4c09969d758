"""A hundred people who look cost PID 1 less than 1 % of a core.

A figure, so it is no part of `make test`: `make browser` runs it.
"""

from __future__ import annotations

import json
import selectors
import time
from pathlib import Path

import pytest

from entrypoint.page import feed
from tests.browser.cdp import CHROMIUM
from tests.support.ports import free_port
from tests.support.run import Run
from tests.support.watching import Watcher, fetch

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not CHROMIUM, reason="no chromium: what the page costs is not measured"),
]
SECONDS = 12


def cpu(run: Run) -> float:
    """Seconds of CPU of PID 1 (proc(5), schedstat)."""
    return int(Path(f"/proc/{run.pid}/schedstat").read_text().split()[0]) / 1e9


def turns(port: int) -> int:
    return json.loads(fetch(port, "/status")[2])["loop_turns"]


@pytest.mark.parametrize("workers", [4, 200])
def test_a_hundred_viewers(tmp_path: Path, workers: int) -> None:
    port = free_port()
    apps = [{"name": "web", "script": "sleep 1000", "instances": workers}]
    with Run(tmp_path, apps, probes={"listen": f"127.0.0.1:{port}"}) as run:
        run.event("app ready", app="web")
        watchers = [Watcher(port) for _ in range(feed.STREAM_LIMIT)]
        for watcher in watchers:
            assert watcher.head()[0] == 200
            watcher.event()
        with selectors.DefaultSelector() as selector:
            for watcher in watchers:
                watcher.sock.setblocking(False)
                selector.register(watcher.sock, selectors.EVENT_READ)
            before, turned, began, size = cpu(run), turns(port), time.monotonic(), 0
            while time.monotonic() - began < SECONDS:
                for key, _ in selector.select(0.5):
                    size += len(key.fileobj.recv(1 << 20))
            took, used = time.monotonic() - began, cpu(run) - before
            turned = turns(port) - turned
        share = 100 * used / took
        print(f"\n{workers} workers, {len(watchers)} viewers: {share:.2f} % of a core,", end=" ")
        print(f"{turned / took:.1f} turns and {size / took / 1000:.0f} kB a second")
        assert share < 1
        for watcher in watchers:
            watcher.close()
        assert run.stop() == 0
