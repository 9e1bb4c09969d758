"""Undeclared ports that a worker binds while it serves: its app's, or its own for a moment."""

from __future__ import annotations

import errno
import os
import socket
import sys

import pytest

from entrypoint.sockets import late_binds
from tests.support.portlab import Lab, get
from tests.support.ports import free_ports
from tests.support.wait import wait_until

# Does what it is told: `open PORT`, `reuse PORT` (SO_REUSEPORT), `close PORT`. Answers
# an errno. Each of its ports answers with the slot; after `idle PORT` nobody accepts there.
PROGRAM = """
import os, socket, sys, threading
slot = os.environ["SLOT"].encode()
port, words = int(sys.argv[1]), sys.argv[2:]
held = {}

def serve(s):
    while True:
        try:
            c, _ = s.accept()
        except OSError:
            return
        c.recv(4096)
        c.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + slot)
        c.close()

def act(word, port):
    if word == "close":
        s = held.pop(port)
        os.close(s.detach())
        return 0
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if word == "reuse":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        s.bind(("127.0.0.1", port))
        s.listen(64)
    except OSError as error:
        s.close()
        return error.errno
    held[port] = s
    # A thread in accept(2) would keep the socket open beyond close(2).
    if word != "idle":
        threading.Thread(target=serve, args=(s,), daemon=True).start()
    return 0

orders = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
orders.bind("\\0late-%d-%s" % (port, os.environ["SLOT"] + os.environ.get("AGAIN", "")))
act("open", port)
for word in words:
    act("open", int(word))
while True:
    line, sender = orders.recvfrom(100)
    word, number = line.split()
    orders.sendto(b"%d" % act(word.decode(), int(number)), sender)
"""


class Late(Lab):
    """Workers that are told which ports to open and close."""

    def __init__(self, folder, port, *more):
        path = folder / "program.py"
        path.write_text(PROGRAM)
        super().__init__([sys.executable, str(path), str(port), *map(str, more)])
        self.port = port

    def tell(self, name, word, port):
        """The errno of what this worker does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asks:
            asks.bind(f"\0late-{self.port}-{os.getpid()}-asks")
            asks.settimeout(30)
            asks.sendto(f"{word} {port}".encode(), f"\0late-{self.port}-{name}")
            return int(asks.recv(100))


def test_a_worker_finds_its_own_late_port_in_use(tmp_path):
    port = free_ports(2)
    with Late(tmp_path, port) as lab:
        lab.run(1)
        assert lab.tell(0, "open", port + 1) == 0
        assert lab.tell(0, "open", port + 1) == errno.EADDRINUSE
        assert get(port + 1) == "0"
        # With SO_REUSEPORT it says that it shares.
        assert lab.tell(0, "reuse", port + 1) == 0


def test_clients_of_a_late_port_reach_the_ready_worker_that_listened_last(tmp_path, monkeypatch):
    """It cannot be seen yet whether the port is for one transfer."""
    monkeypatch.setattr(late_binds, "NEWEST_FIRST", 3.0)
    port = free_ports(2)
    with Late(tmp_path, port) as lab:
        lab.run(3)
        for slot in (0, 2, 1):
            assert lab.tell(slot, "open", port + 1) == 0
            assert {get(port + 1) for _ in range(12)} == {str(slot)}
        # Then it is one of the app's.
        wait_until(lambda: {get(port + 1) for _ in range(30)} == {"0", "1", "2"})


def test_a_port_that_a_sibling_has_for_one_transfer_is_in_use(tmp_path):
    """What another worker has closed by then tells that it is for one."""
    port = free_ports(3)
    with Late(tmp_path, port) as lab:
        lab.run(3)
        assert lab.tell(0, "idle", port + 1) == 0
        assert lab.tell(1, "idle", port + 2) == 0
        assert lab.tell(0, "close", port + 1) == 0
        # Nobody has looked since.
        assert lab.tell(2, "open", port + 2) == errno.EADDRINUSE
        assert lab.tell(2, "open", port + 1) == 0
        assert {get(port + 1) for _ in range(9)} == {"2"}


@pytest.mark.parametrize("replaces", [False, True])
def test_a_port_of_the_start_is_shared_beside_those_for_one_transfer(
    tmp_path, monkeypatch, replaces
):
    """Metrics on a second port: a worker that comes later has it too, and its successor."""
    monkeypatch.setattr(late_binds, "UNUSED_AFTER", 0.2)
    port = free_ports(3)
    with Late(tmp_path, port, port + 1) as lab:
        first = lab.run(1)[0]
        wait_until(lambda: len(lab.happened("listening", first)) == 2)
        assert lab.tell(0, "idle", port + 2) == 0
        assert lab.tell(0, "close", port + 2) == 0
        assert lab.tell(0, "open", port + 2) == 0  # it has looked
        wait_until(lambda: lab.happened("closed", first))
        with lab.lock:
            since = lab.loop.now()
        wait_until(lambda: lab.loop.now() > since + 0.2)
        second = lab.start(0 if replaces else 1, AGAIN="again" if replaces else "")
        wait_until(lambda: len(lab.happened("listening", second)) == 2, lab.text)
        if replaces:
            lab.stop(first)
        else:
            lab.steer(0, 1)
        expected = {"0"} if replaces else {"0", "1"}
        wait_until(lambda: {get(port + 1) for _ in range(20)} == expected)
