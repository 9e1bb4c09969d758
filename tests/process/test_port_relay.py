"""Connections that are passed on from a listener that ends: more than are relayed at a time."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys

import pytest

from entrypoint.sockets import relay
from tests.process.test_port_faithful import ANSWER, refused
from tests.support.portlab import Lab, get, spec
from tests.support.ports import free_port
from tests.support.wait import wait_until

# Slot 0 accepts nothing and closes its listener at SIGUSR2; the others serve.
CLOSES = """
s = socket.create_server((host, port), backlog=4096)
signal.signal(signal.SIGUSR2, lambda *_: (s.close(), print("closed", flush=True)))
while os.environ["SLOT"] != "0" and s.fileno() >= 0:
    try:
        answer(s.accept()[0])
    except OSError:
        pass
while True:
    signal.pause()
"""

# Many clients at once, in a process of their own: "connected", then what each was answered.
CLIENTS = """
import json, selectors, socket, sys
port, count = int(sys.argv[1]), int(sys.argv[2])
socks = []
for _ in range(count):
    c = socket.create_connection(("127.0.0.1", port), timeout=30)
    c.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    socks.append(c)
print("connected", flush=True)
got = {}
for c in socks[::-1] if "backwards" in sys.argv else socks:
    try:
        data = c.recv(4096)
        said = "answered" if data.startswith(b"HTTP/1.1 200") else repr(data)
    except OSError as error:
        said = type(error).__name__
    c.close()
    got[said] = got.get(said, 0) + 1
print(json.dumps(got), flush=True)
"""


@pytest.fixture
def descriptors():
    """Set the limit of this process, which is PID 1 here; it is back at the end."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda soft: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def clients(port, count, *order):
    words = [sys.executable, "-c", CLIENTS, str(port), str(count), *order]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def fill(free):
    """Use descriptors until only `free` are left, as in a container that has a low limit."""
    spare = []
    while free is not None:
        try:
            spare.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            for fd in spare[-free:]:
                os.close(fd)
            return spare[:-free]
    return spare


@pytest.mark.parametrize("free", [None, 240, 40])
@pytest.mark.parametrize("declared", [False, True])
def test_nothing_is_reset_for_being_too_many(tmp_path, descriptors, declared, free):
    """`free`: so many descriptors PID 1 has to relay them by."""
    descriptors(4096 if free is None else 700)
    port = free_port()
    path = tmp_path / "program.py"
    path.write_text(ANSWER + CLOSES)
    listen = (spec(f"127.0.0.1:{port}"),) if declared else ()
    held = len(os.listdir("/proc/self/fd"))
    command = [sys.executable, str(path), str(port)]
    count = 450 if free is None else 250
    with Lab(command, listen=listen, handoff="intercept") as lab:
        workers = lab.run(2)
        lab.steer(0)
        crowd = clients(port, count)
        assert crowd.stdout.readline() == "connected\n"
        wait_until(lambda: lab.queue(0) == count, "all wait at the first")
        lab.steer(0, 1)
        spare = fill(free)
        os.kill(workers[0].pid, signal.SIGUSR2)
        wait_until(lambda: "closed" in lab.text(), "it has closed")
        assert json.loads(crowd.stdout.readline()) == {"answered": count}
        assert crowd.wait(30) == 0
        crowd.stdout.close()
        for fd in spare:
            os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == held


def test_clients_that_keep_what_is_answered_do_not_keep_others_from_it(
    tmp_path, descriptors, monkeypatch
):
    """They ask one after the other, and read the last answer first."""
    monkeypatch.setattr(relay, "ANSWERED", 0.05)
    descriptors(700)
    port = free_port()
    path = tmp_path / "program.py"
    path.write_text(ANSWER + CLOSES)
    with Lab([sys.executable, str(path), str(port)]) as lab:
        workers = lab.run(2)
        lab.steer(0)
        crowd = clients(port, 80, "backwards")
        assert crowd.stdout.readline() == "connected\n"
        wait_until(lambda: lab.queue(0) == 80, "all wait at the first")
        lab.steer(0, 1)
        spare = fill(40)
        os.kill(workers[0].pid, signal.SIGUSR2)
        assert json.loads(crowd.stdout.readline()) == {"answered": 80}
        assert crowd.wait(30) == 0
        crowd.stdout.close()
        for fd in spare:
            os.close(fd)


def test_a_listener_that_is_kept_for_its_queue_does_not_keep_the_port(tmp_path):
    port = free_port()
    path = tmp_path / "program.py"
    path.write_text(ANSWER + CLOSES)
    with Lab([sys.executable, str(path), str(port)]) as lab:
        workers = lab.run(2)
        lab.steer(0)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as waits:
            waits.sendall(b"GET / HTTP/1.0\r\n\r\n")
            lab.steer(0, 1)
            os.kill(workers[0].pid, signal.SIGUSR2)
            wait_until(lambda: "closed" in lab.text(), "it has closed")
            assert waits.recv(100).startswith(b"HTTP/1.1 200")
        assert {get(port) for _ in range(9)} == {"1"}
        os.kill(workers[1].pid, signal.SIGUSR2)
        wait_until(lambda: refused(port), "the port is free")
