"""Active checks of a running pyinit: real servers that hang, under load."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from tests.pid1.test_run_workers import python
from tests.support.ports import free_port
from tests.support.run import Run, get

PYTHON = sys.executable

# Answers with its pid; hangs in a loop, or fails its checks, when it is told to.
SERVER = """
import http.server, os, socketserver, sys, time
failing = False
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        global failing
        if self.path.startswith("/hang"):
            while True: pass
        if self.path.startswith("/fail"):
            failing = True
        self.send_response(503 if failing and self.path == "/healthz" else 200)
        body = str(os.getpid()).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
class Server(http.server.HTTPServer):
    request_queue_size = 100
time.sleep(float(os.environ.get("SLOW", "0")))
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

CHECK = {"http": "/healthz", "interval": "200ms", "timeout": "1s", "failures": 2}


# Of a client, s.
PATIENCE = 30.0


class Load:
    """Requests, each on a connection of its own, from a few clients at once."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answered: list[tuple[float, str]] = []
        self.failed: list[tuple[float, str]] = []
        self._stop = threading.Event()
        self._clients = [threading.Thread(target=self._ask, daemon=True) for _ in range(4)]

    def _ask(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                status, pid = get(self.port, deadline=PATIENCE)
            except OSError as error:
                self.failed.append((began, repr(error)))
            else:
                (self.answered if status == 200 else self.failed).append((began, pid))
            self._stop.wait(0.01)

    def __enter__(self) -> Load:
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for client in self._clients:
            client.join(60)


def cluster(tmp_path, port: int, slow: str = "0") -> dict:
    return python(
        tmp_path,
        "web",
        SERVER,
        exec_mode="cluster",
        instances=3,
        listen=f"127.0.0.1:{port}",
        env={"PORT": port, "SLOW": slow},
        health=CHECK,
        kill_timeout=1000,
        listen_timeout=20000,
    )


def test_a_worker_that_hangs_is_replaced_and_the_others_lose_nothing(tmp_path) -> None:
    port = free_port()
    with Run(tmp_path, [cluster(tmp_path, port)]) as run:
        run.event("app ready")
        assert {event["by"] for event in run.events("worker ready")} == {"health"}
        victim = run.event("worker started")["pid"]
        with Load(port) as load:
            run.until(lambda: len(load.answered) > 50, "load")
            os.kill(run.outer_pid(victim), signal.SIGSTOP)
            run.event("worker unhealthy", pid=victim)
            found_out = time.monotonic()
            run.event("worker exited", pid=victim)
            run.event("reload finished")
            at = len(load.answered)
            run.until(lambda: len(load.answered) > at + 50, "load after it")
            old = {str(event["pid"]) for event in run.events("worker started")[:3]}
            run.until(lambda: any(pid not in old for _, pid in load.answered), "the new one")
        # Whoever asked after it was found out was answered, and by another.
        assert not [began for began, _ in load.failed if began > found_out]
        assert not [1 for began, pid in load.answered if began > found_out and pid == str(victim)]
        # Before, what it had taken already is lost with it; what waited for it is not.
        assert len(load.failed) <= 1
        assert run.stop() == 0


def test_a_busy_loop_in_the_only_worker_is_ended(tmp_path) -> None:
    port = free_port()
    app = cluster(tmp_path, port)
    with Run(tmp_path, [{**app, "instances": 1}]) as run:
        first = run.event("app ready") and run.event("worker ready")["pid"]
        hanging = threading.Thread(target=lambda: _swallow(port, "/hang"), daemon=True)
        hanging.start()
        run.event("worker unhealthy", pid=first)
        run.event("worker exited", pid=first)
        assert get(port)[1] != str(first)
        assert run.stop() == 0


def _swallow(port: int, path: str) -> None:
    try:
        get(port, path)
    except OSError:
        return


def test_one_that_says_it_is_ill_is_steered_away_from_and_stops_politely(tmp_path) -> None:
    port, probes = free_port(), free_port()
    top = {"probes": {"listen": f"127.0.0.1:{probes}"}}
    app = cluster(tmp_path, port, slow="0.5")
    with Run(tmp_path, [app], **top) as run:
        run.event("app ready")
        with Load(port) as load:
            victim = int(get(port, "/fail")[1])
            answer = run.event("worker unhealthy", pid=victim)
            assert answer["reason"] == "HTTP 503 Service Unavailable"
            status, text = get(probes, "/readyz")
            if status == 503:  # unless the new one was that quick
                assert "unhealthy, HTTP 503 Service Unavailable" in text
            assert run.event("worker exited", pid=victim)["signal"] == "SIGTERM"
            run.event("reload finished")
        assert not load.failed
        run.until(lambda: get(probes, "/readyz")[0] == 200, "ready again")
        assert run.stop() == 0


def test_a_fork_app_checked_by_a_command_is_started_again(tmp_path) -> None:
    flag = tmp_path / "ill"
    line = f'echo "of $PYINIT_PID"; test ! -e {flag}'
    code = "import signal\nprint('up', flush=True)\nsignal.pause()\n"
    health = {"exec": ["/bin/sh", "-c", line], "interval": "100ms", "failures": 1}
    with Run(tmp_path, [python(tmp_path, "app", code, health=health)]) as run:
        pid = run.event("worker ready", by="health")["pid"]
        flag.touch()
        failed = run.event("health check failed")
        assert (failed["reason"], failed["said"]) == ("exit code 1", f"of {pid}")
        run.event("worker exited", pid=pid)
        flag.unlink()
        run.event("worker ready", 2, by="health")
        assert run.stop() == 0


def test_a_check_that_never_succeeds_ends_the_container(tmp_path) -> None:
    health = {"tcp": free_port(), "interval": "100ms"}
    app = python(
        tmp_path,
        "app",
        "import signal\nsignal.pause()\n",
        health=health,
        listen_timeout=2000,
        on_listen_timeout="abort",
        max_restarts=1,
    )
    with Run(tmp_path, [app]) as run:
        assert run.wait() == 1
        why = run.event("worker not ready in time")["reason"]
        assert why.startswith("health check not passed: connect:")
        assert len(run.events("worker started")) == 2


@pytest.mark.parametrize("share", ["one", "slots"])
def test_without_a_filter_too_each_check_is_answered(tmp_path, share) -> None:
    port = free_port()
    app = cluster(tmp_path, port)
    with Run(tmp_path, [{**app, "share": share}]) as run:
        run.event("app ready")
        at = len(run.events("health check failed"))
        run.until(lambda: len({get(port)[1] for _ in range(20)}) == 3, "all three")
        assert len(run.events("health check failed")) == at
        assert run.stop() == 0
