"""Requests in the hands of real workers that exit at their stop signal without answering."""

from __future__ import annotations

import contextlib
import signal
import socket
import sys

from tests.support import commands
from tests.support.ports import free_port
from tests.support.run import Run

# Each request takes longer than the half second that a worker has where nothing is seen.
RUDE = """
import os, signal, socket, sys, threading, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
sock = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def serve(conn):
    with conn:
        while conn.recv(1000):
            os.write(1, b"asked\\n")
            time.sleep(0.8)
            conn.sendall(b"answered")
while True:
    threading.Thread(target=serve, args=(sock.accept()[0],), daemon=True).start()
"""


def test_the_stop_signal_waits_for_the_requests_in_hand(tmp_path) -> None:
    (tmp_path / "rude.py").write_text(RUDE)
    port, asked = free_port(), 0
    app = {"name": "web", "script": f"{sys.executable} rude.py {port}", "exec_mode": "cluster"}
    app |= {"instances": 2, "listen": f"127.0.0.1:{port}"}

    def ask(clients: list[socket.socket]) -> None:
        nonlocal asked
        asked += len(clients)
        for client in clients:
            client.sendall(b"ask")
        run.said("asked", asked)

    with Run(tmp_path, [app]) as run, contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))

        run.event("app ready")
        idle = [connect() for _ in range(3)]
        ask(idle)
        assert {client.recv(100) for client in idle} == {b"answered"}

        clients = [connect() for _ in range(4)]
        ask(clients)
        run.signal(signal.SIGHUP)
        assert [client.recv(100) for client in clients] == [b"answered"] * 4
        run.event("reload finished")

        clients = [connect() for _ in range(4)]
        ask(clients)
        assert commands.pyinit(run, "scale", "web", "1").returncode == 0
        assert [client.recv(100) for client in clients] == [b"answered"] * 4

        clients = [connect() for _ in range(4)]
        ask(clients)
        run.signal(signal.SIGTERM)
        assert [client.recv(100) for client in clients] == [b"answered"] * 4
        assert run.process.wait(30) == 0
        assert not run.events("worker busy at its stop signal")
        assert not run.events("requests in hand not seen")
