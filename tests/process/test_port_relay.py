"""Connections that are passed on from a listener that ends: more than are relayed at a time."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys

import pytest

from tests.process.test_port_faithful import ANSWER
from tests.support.portlab import Lab, spec
from tests.support.ports import free_port
from tests.support.wait import wait_until

# Slot 0 accepts nothing and closes its listener at SIGUSR2; the others serve.
CLOSES = """
if os.environ["SLOT"] == "0":
    s = socket.create_server((host, port), backlog=4096)
    signal.signal(signal.SIGUSR2, lambda *_: (s.close(), print("closed", flush=True)))
    while True:
        signal.pause()
serve(socket.create_server((host, port), backlog=4096))
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
for c in socks:
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


def clients(port, count):
    words = [sys.executable, "-c", CLIENTS, str(port), str(count)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("limit", [4096, 700])
@pytest.mark.parametrize("declared", [False, True])
def test_nothing_is_reset_for_being_too_many(tmp_path, descriptors, declared, limit):
    """700: PID 1 has not the descriptors to relay as many at a time as it would."""
    descriptors(limit)
    port = free_port()
    path = tmp_path / "program.py"
    path.write_text(ANSWER + CLOSES)
    listen = (spec(f"127.0.0.1:{port}"),) if declared else ()
    held = len(os.listdir("/proc/self/fd"))
    command = [sys.executable, str(path), str(port)]
    count = 450 if declared or limit > 1000 else 180
    with Lab(command, listen=listen, handoff="intercept") as lab:
        workers = lab.run(2)
        lab.steer(0)
        crowd = clients(port, count)
        assert crowd.stdout.readline() == "connected\n"
        wait_until(lambda: lab.queue(0) == count, "all wait at the first")
        lab.steer(0, 1)
        # As in a container that has a low limit, and uses most of it.
        used = limit - 300 if limit < 1000 else 0
        spare = [os.open("/dev/null", os.O_RDONLY) for _ in range(used)]
        os.kill(workers[0].pid, signal.SIGUSR2)
        wait_until(lambda: "closed" in lab.text(), "it has closed")
        assert json.loads(crowd.stdout.readline()) == {"answered": count}
        assert crowd.wait(30) == 0
        crowd.stdout.close()
        for fd in spare:
            os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == held
