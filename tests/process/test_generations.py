"""`share: generations` with real workers: one queue for a release, and nothing lost in a reload."""

from __future__ import annotations

import signal
import socket
import sys
import threading

from tests.support.ports import free_port
from tests.support.run import Run

# Answers one connection after another, and drops all at its stop signal.
RUDE = """
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
sock = socket.create_server(("127.0.0.1", int(sys.argv[1])), reuse_port=True)
while True:
    conn = sock.accept()[0]
    with conn:
        asked = conn.recv(100)
        time.sleep(float(asked or 0))
        conn.sendall(str(os.getpid()).encode())
"""


class Clients:
    """So many clients at a time, a connection for each request; who answered, what was lost."""

    def __init__(self, port: int, at_once: int) -> None:
        self.answers: list[bytes] = []
        self.lost: list[str] = []
        self._port = port
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(at_once)
        ]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        while not self._over.is_set():
            try:
                answer = ask(self._port, 0.002 * (number + 1))
            except OSError as error:
                self.lost.append(str(error))
                continue
            (self.answers if answer else self.lost).append(answer or "closed")


def ask(port: int, seconds: float) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(str(seconds).encode())
        return client.recv(100)


def test_one_queue_and_no_loss_in_reloads_of_servers_that_drop_all(tmp_path) -> None:
    (tmp_path / "rude.py").write_text(RUDE)
    port = free_port()
    app = {"name": "web", "script": f"{sys.executable} rude.py {port}", "exec_mode": "cluster"}
    app |= {"instances": 2, "share": "generations"}
    with Run(tmp_path, [app]) as run:
        run.event("app ready")
        with socket.create_connection(("127.0.0.1", port), 30) as busy:
            busy.sendall(b"1")
            # While one works all others get their answers of its sibling: none waits behind it.
            found = {ask(port, 0.0) for _ in range(20)}
            busy.setblocking(False)
            try:
                early = busy.recv(100)
            except BlockingIOError:
                early = b""
            busy.setblocking(True)
            assert early or len(found) == 1
        with Clients(port, 3) as clients:
            for count in (1, 2, 3):
                run.signal(signal.SIGHUP)
                run.event("reload finished", count)
        assert not clients.lost
        assert len(set(clients.answers)) >= 6
        assert not run.events("worker busy at its stop signal")
