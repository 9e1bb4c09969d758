"""A real worker that accepts nothing: found out, passed by, and left alone when it goes on."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.support import commands
from tests.support.ports import free_ports
from tests.support.run import Run, get

pytestmark = [pytest.mark.process, pytest.mark.pid1]

SERVER = """
const http = require("http");
http.createServer((request, response) => response.end(String(process.pid)))
  .listen(Number(process.env.PORT), "127.0.0.1");
"""
PYTHON = """
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())
    def log_message(self, *args):
        pass
class Server(HTTPServer):
    request_queue_size = 100
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


class Clients:
    """A new connection each 20 ms, whatever becomes of the others."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.begun: list[float] = []
        self.answered: list[tuple[float, str]] = []
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._main = threading.Thread(target=self._begin, daemon=True)

    def _begin(self) -> None:
        while not self._over.wait(0.02):
            thread = threading.Thread(target=self._ask, args=(time.monotonic(),), daemon=True)
            self._threads.append(thread)
            self.begun.append(time.monotonic())
            thread.start()

    def _ask(self, at: float) -> None:
        status, body = get(self.port, deadline=60)
        if status == 200:
            self.answered.append((at, body))

    def __enter__(self) -> Clients:
        self._main.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._main.join(60)
        for thread in self._threads:
            thread.join(60)


def app(folder: Path, kind: str, port: int) -> dict:
    path = folder / ("server.js" if kind == "node" else "server.py")
    path.write_text(SERVER if kind == "node" else PYTHON)
    script = str(path) if kind == "node" else f"python3 -S {path}"
    keys = {"exec_mode": "cluster", "instances": 2, "listen": f"127.0.0.1:{port}"}
    return {"name": "web", "script": script, "env": {"PORT": str(port)}, **keys}


@pytest.mark.parametrize("kind", ["python", pytest.param("node", marks=pytest.mark.node)])
def test_one_of_two_workers_stands_still(tmp_path, kind) -> None:
    port = free_ports(2)
    probes = {"listen": f"127.0.0.1:{port + 1}"}
    with Run(tmp_path, [app(tmp_path, kind, port)], probes=probes) as run:
        run.event("app ready")
        victim = next(each["pid"] for each in commands.workers(run, "web"))
        with Clients(port) as clients:
            run.until(lambda: len(clients.answered) > 20, "answers")
            os.kill(run.outer_pid(victim), signal.SIGSTOP)
            stalled = run.event("worker stalled", pid=victim)
            assert stalled["after"] >= 5
            assert stalled["waiting"] > 0
            code, page = get(port + 1, "/readyz?verbose")
            assert (code, "0: stalled" in page) == (200, True), page
            # Nothing comes to it any more, and what waited is answered by its sibling.
            at = time.monotonic()
            run.until(
                lambda: sum(begun > at for begun, _ in list(clients.answered)) > 20, "answers"
            )
            os.kill(run.outer_pid(victim), signal.SIGCONT)
            run.event("worker accepts again", pid=victim)
        assert len(clients.answered) == len(clients.begun)
        run.until(
            lambda: [each["ready"] for each in commands.workers(run, "web")] == [True, True],
            "both workers",
        )
        assert victim in [each["pid"] for each in commands.workers(run, "web")]
        assert get(port + 1, "/metrics")[1].count('pyinit_worker_stalls_total{app="web"} 1') == 1
        assert not run.events("worker exited")
