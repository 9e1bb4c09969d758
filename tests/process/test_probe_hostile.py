"""Hostile clients of a real pyinit: it answers others, does not grow, and nothing changes."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest

from tests.support.ports import free_port
from tests.support.run import DEADLINE, Run, get

pytestmark = pytest.mark.process

HOST = b" HTTP/1.1\r\nHost: x\r\n"
ATTACKS = {
    "silence": b"",
    "half a line": b"GET /live",
    "an endless field": b"GET /livez" + HOST + b"X: " + b"y" * 20_000,
    "too many fields": b"GET /livez" + HOST + b"A: b\r\n" * 2_000,
    "a long target": b"GET /" + b"a" * 20_000 + HOST + b"\r\n",
    "a long query": b"GET /readyz?" + b"exclude=a&" * 800 + HOST + b"\r\n",
    "empty lines": b"\r\n" * 2_000,
    "binary": b"\x00\xff\xfe" * 4_000,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 500,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "thousands of requests at once": (b"GET /status" + HOST + b"\r\n") * 2_000,
    "hundreds of scrapes at once": (b"GET /metrics" + HOST + b"\r\n") * 200,
    "a bad chunk": b"POST /livez" + HOST + b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\n",
    "a chunk of all memory": b"PUT /x"
    + HOST
    + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"
    + b"x" * 5_000,
    "two lengths": b"GET /livez" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a command": b"POST /control/stop?app=all" + HOST + b"Content-Length: 0\r\n\r\n",
    "another command": b"GET /control/reload?app=all" + HOST + b"\r\n",
}
ROUNDS = 60


def resident(pid: int) -> int:
    """kB."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(row.split()[1]) for row in status if row.startswith("VmRSS:"))


def descriptors(port: int) -> int:
    _, text = get(port, "/metrics")
    return int(
        next(row for row in text.splitlines() if row.startswith("process_open_fds")).split()[1]
    )


def workers(port: int) -> list:
    apps = json.loads(get(port, "/status")[1])["apps"]
    return [(each["pid"], each["state"]) for app in apps for each in app["workers"]]


def attack(port: int, data: bytes) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    with contextlib.suppress(OSError):
        sock.connect(("127.0.0.1", port))
    with contextlib.suppress(OSError):
        sock.send(data)
    return sock


def test_a_thousand_of_all_kinds(tmp_path):
    port = free_port()
    apps = [{"name": "api", "script": "sleep 1000", "instances": 2}]
    with Run(tmp_path, apps, probes=f"127.0.0.1:{port}") as run:
        run.event("app ready", app="api")
        for path in ("/status", "/metrics", "/readyz?verbose"):  # what is loaded late
            assert get(port, path)[0] == 200
        before, held, running = resident(run.pid), descriptors(port), workers(port)
        attackers = []
        try:
            for _ in range(ROUNDS):
                attackers += [attack(port, data) for data in ATTACKS.values()]
                assert get(port, "/readyz") == (200, "ok")
            for sock in attackers:  # those that are still held go on
                with contextlib.suppress(OSError):
                    sock.send(b"x")
            assert get(port, "/readyz") == (200, "ok")
            assert resident(run.pid) - before < 4_000, "kB"
        finally:
            for sock in attackers:
                sock.close()
        run.until(lambda: descriptors(port) <= held, "descriptors given back")
        assert workers(port) == running
        assert not run.events("internal error")
        assert not run.events("reload started")
        assert run.stop() == 0


@pytest.mark.parametrize("data", ATTACKS.values(), ids=ATTACKS.keys())
def test_each_alone_is_answered_or_closed_and_nothing_else(one, data):
    with socket.create_connection(("127.0.0.1", one), DEADLINE) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while more := sock.recv(1 << 16):
                answer += more
    assert not answer or answer.startswith(b"HTTP/1.1 ")
    assert b"500 Internal" not in answer[:30]
    assert get(one, "/livez") == (200, "ok")


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    port = free_port()
    with Run(
        tmp_path_factory.mktemp("one"),
        [{"name": "api", "script": "sleep 1000"}],
        probes=f"127.0.0.1:{port}",
    ) as run:
        run.event("app ready", app="api")
        yield port
        assert not run.events("internal error")
