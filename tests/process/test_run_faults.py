"""A real run in which effects fail: it recovers, says so, and ends as it should."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.run import PYINIT, Run, get

FAULTY = str(Path(__file__).parents[1] / "support" / "faulty.py")
SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

# As most small servers: it removes its path, and drops what it has in hand.
# It removes the path when it leaves, and not while it serves: what it has accepted is its own.
RUDE = """
import os, select, signal, socket, sys
path = sys.argv[1]
if os.path.exists(path):
    os.unlink(path)
s = socket.socket(socket.AF_UNIX)
s.bind(path)
s.listen(64)
s.setblocking(False)
stops, wakes = os.pipe()
os.set_blocking(wakes, False)
signal.set_wakeup_fd(wakes)
signal.signal(signal.SIGTERM, lambda *_: None)
while stops not in select.select([s, stops], [], [])[0]:
    try:
        c, _ = s.accept()
    except BlockingIOError:
        continue
    c.setblocking(True)
    c.recv(4096)
    c.sendall(b"ok")
    c.close()
os.unlink(path)
os._exit(0)
"""


def command(run: Run, *words: str) -> subprocess.CompletedProcess[str]:
    inside = ["nsenter", "-t", str(run.pid), "-p", "-m", "--", str(PYINIT), *words]
    return subprocess.run(inside, capture_output=True, text=True, check=False, timeout=60)


def online(run: Run) -> int:
    answer = json.loads(command(run, "ls", "--json").stdout or "{}")
    workers = [worker for app in answer.get("apps", ()) for worker in app["workers"]]
    return sum(worker["status"] == "online" for worker in workers)


def test_a_run_in_which_each_kind_of_effect_fails_twice(tmp_path) -> None:
    port = free_port()
    (tmp_path / "server.py").write_text(SERVER)
    app = {
        "name": "web",
        "script": f"{sys.executable} {tmp_path}/server.py {port}",
        "exec_mode": "cluster",
        "instances": 2,
        "listen": f"127.0.0.1:{port}",
        "retire_delay": 50,
        "listen_timeout": 20000,
        "health": {"tcp": port, "interval": "200ms", "failures": 10},
    }
    wrap = (sys.executable, FAULTY)
    with Run(tmp_path, [app], wrap=wrap, env={"FAULTS": "2"}) as run:
        run.until(lambda: online(run) == 2, "both are online")
        assert get(port)[1] == "ok"
        run.until(lambda: command(run, "reload", "web").returncode == 0, "a reload that goes well")
        run.until(lambda: online(run) == 2, "both are online after the reload")
        run.until(lambda: command(run, "scale", "web", "3").returncode == 0, "three workers")
        run.until(lambda: online(run) == 3, "three are online")
        assert command(run, "scale", "web", "2").returncode == 0
        run.until(lambda: online(run) == 2, "two are online")
        assert get(port)[1] == "ok"
        assert run.stop() in (0, 137)
        failed = {line[6:] for line in run.stderr.decode().splitlines() if line[:6] == "fault "}
        assert failed >= {
            "Spawn",
            "RouteTo",
            "StartTimer",
            "SendSignal",
            "StartCheck",
            "ReleaseWorker",
        }


@pytest.mark.skipif(not shutil.which("nsenter"), reason="there is no `nsenter`")
def test_rude_workers_on_a_unix_socket_lose_nothing_in_a_reload(tmp_path) -> None:
    path = f"/tmp/rude-{os.getpid()}.sock"
    (tmp_path / "server.py").write_text(RUDE)
    app = {
        "name": "web",
        "script": f"{sys.executable} {tmp_path}/server.py {path}",
        "exec_mode": "cluster",
        "instances": 2,
        "retire_delay": 50,
    }
    ends = threading.Event()
    answers: dict[str, int] = {}

    def ask() -> None:
        while not ends.is_set():
            try:
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(20)
                    client.connect(path)
                    client.sendall(b"?")
                    kind = client.recv(10).decode()
            except OSError as error:
                kind = type(error).__name__
            answers[kind] = answers.get(kind, 0) + 1

    with Run(tmp_path, [app]) as run:
        run.event("app ready")
        clients = [threading.Thread(target=ask) for _ in range(3)]
        for client in clients:
            client.start()
        try:
            for _ in range(3):
                assert command(run, "reload", "web").returncode == 0
            assert command(run, "scale", "web", "1").returncode == 0
        finally:
            ends.set()
            for client in clients:
                client.join()
        assert set(answers) == {"ok"} and answers["ok"] > 20, answers
        assert run.stop() == 0
    assert not os.path.exists(path)
