"""Nonsense, floods and strangers on the private socket: PID 1 goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.test_control_commands import sleeper
from tests.support.commands import answering, asked, connect, private_socket, pyinit, workers
from tests.support.ports import free_port
from tests.support.run import Run, get

pytestmark = [pytest.mark.process, pytest.mark.pid1]

HOST = b"\r\nHost: p\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    port = free_port()
    with Run(folder, [sleeper("web")], probes={"listen": f"127.0.0.1:{port}"}) as run:
        answering(run)
        run.event("worker ready")
        run.port = port
        yield run


def rss(run: Run) -> int:
    status = Path(f"/proc/{run.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /control/stop?app=web HTTP/1.1", b"405"),
        (b"POST /control/apps HTTP/1.1", b"405"),
        (b"POST /control/explode?app=web HTTP/1.1", b"404"),
        (b"POST /control HTTP/1.1", b"404"),
        (b"POST /control/stop/web HTTP/1.1", b"404"),
        (b"POST /control/stop HTTP/1.1", b"400"),
        (b"POST /control/stop?app=%ff HTTP/1.1", b"400"),
        (b"POST /control/scale?app=web&to= HTTP/1.1", b"400"),
        (b"POST /control/scale?app=web&to=-2 HTTP/1.1", b"400"),
        (b"POST /control/signal?app=web HTTP/1.1", b"400"),
        (b"GET /control/logs?lines=-1 HTTP/1.1", b"400"),
        (b"POST /control/stop?app=" + b"x" * 10_000 + b" HTTP/1.1", b"414"),
        (b'{"command": "stop"}', b"400"),
        (b"\x16\x03\x01" + bytes(500), b"400"),
    ],
)  # fmt: skip
def test_malformed_and_huge_messages_are_refused(run, request_line, status) -> None:
    answer = asked(private_socket(run), request_line + HOST)
    assert answer.startswith(b"HTTP/1.1 " + status), answer
    # It has no port, and may not be ready yet.
    assert workers(run, "web")[0]["status"] in ("launching", "online")


def test_a_body_is_not_read(run) -> None:
    head = b"POST /control/stop?app=web HTTP/1.1\r\nHost: p\r\nContent-Length: 100000000\r\n\r\n"
    assert asked(private_socket(run), head).startswith(b"HTTP/1.1 413")
    assert workers(run, "web")[0]["status"] == "online"


def test_nothing_on_the_probe_port_changes_anything(run) -> None:
    for command in ("reload", "restart", "stop", "start", "scale", "signal"):
        for method in ("GET", "POST", "PUT", "DELETE", "HEAD"):
            target = f"http://127.0.0.1:{run.port}/control/{command}?app=web&to=5&signal=KILL"
            code = ["curl", "-s", "-o", os.devnull, "-m", "20", "-w", "%{http_code}"]
            code += ["-I"] if method == "HEAD" else ["-X", method]
            answer = subprocess.run([*code, target], capture_output=True, text=True)
            assert answer.stdout in {"404", "405"}
    assert get(run.port, "/control/apps")[0] == 404
    assert get(run.port, "/control/logs?follow=1")[0] == 404
    assert not run.events("command received")
    [worker] = workers(run, "web")
    assert (worker["status"], worker["restarts"]) == ("online", 0)


def test_a_thousand_clients_that_never_read(run) -> None:
    path = private_socket(run)
    follow = b"GET /control/logs?follow=1&lines=1000 HTTP/1.1\r\nHost: p\r\n\r\n"
    apps = b"GET /control/apps HTTP/1.1\r\nHost: p\r\n\r\n" * 50
    before = rss(run)
    clients = []
    try:
        for number in range(1000):
            client = connect(path)
            clients.append(client)
            try:
                client.sendall(follow if number % 2 else apps)
            except OSError:
                continue  # its place was given to another one
        # Somebody who does read is served all the same.
        assert pyinit(run, "ls").returncode == 0
        assert pyinit(run, "health", "live", "--timeout", "20").returncode == 0
        assert pyinit(run, "restart", "web").returncode == 0
        assert rss(run) - before < 16 << 20
        assert len(os.listdir(f"/proc/{run.pid}/fd")) < 200
    finally:
        for client in clients:
            client.close()
    assert pyinit(run, "ls").returncode == 0
    assert not run.events("internal error")


def test_a_stranger_is_told_who_may_ask(run) -> None:
    code = f"""
import os, socket
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sock = socket.socket(socket.AF_UNIX)
try:
    sock.connect({private_socket(run)!r})
except PermissionError:
    print("PermissionError")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "PermissionError", done.stderr
