"""Requests of 0 to 3 s in the hands of servers that exit at their signal: how many are lost.

    python -m benchmarks.in_hand                  100 reloads of 2 workers, 100 stops
    python -m benchmarks.in_hand --longest 0      quick requests: how long a reload takes

Each request has a connection of its own. In a stop a client is refused once the port is closed;
lost is a request that was sent and not answered.
"""

from __future__ import annotations

import argparse
import random
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.namespace import enter
from tests.support.ports import free_port
from tests.support.run import Run

SERVER = """
import os, signal, socket, sys, threading, time
for signum in (signal.SIGTERM, signal.SIGINT):
    signal.signal(signum, lambda *_: os._exit(0))
sock = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1000)
def serve(conn):
    with conn:
        time.sleep(float(conn.recv(100)))
        conn.sendall(b"yes")
while True:
    threading.Thread(target=serve, args=(sock.accept()[0],), daemon=True).start()
"""


class Clients:
    """`rate` requests a second that take up to `longest` seconds each."""

    def __init__(self, port: int, rate: float, longest: float) -> None:
        self.port, self.rate, self.longest = port, rate, longest
        self.answered = self.refused = 0
        self.lost: list[str] = []
        self._over = threading.Event()
        self._asking: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Clients:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for each in self._asking:
            each.join()

    def _run(self) -> None:
        while not self._over.wait(random.expovariate(self.rate)):
            asking = threading.Thread(target=self._ask, args=(random.uniform(0, self.longest),))
            asking.start()
            self._asking.append(asking)

    def _ask(self, seconds: float) -> None:
        try:
            sock = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        except ConnectionRefusedError:
            self.refused += 1
            return
        with sock:
            began = time.monotonic()
            try:
                sock.sendall(str(seconds).encode())
                answer = sock.recv(10)
            except OSError as error:
                answer = repr(error).encode()
            if answer == b"yes":
                self.answered += 1
            else:
                took = time.monotonic() - began
                self.lost.append(f"{seconds:.2f} s, {answer!r} after {took:.2f} s")


def served(folder: str, port: int, delay: str) -> Run:
    """An app of two workers."""
    (Path(folder) / "server.py").write_text(SERVER)
    app = {"name": "web", "script": f"{sys.executable} -S server.py {port}", "instances": 2}
    app |= {"exec_mode": "cluster", "listen": f"127.0.0.1:{port}"}
    if delay:
        app["retire_delay"] = delay
    return Run(Path(folder), [app])


def reloads(count: int, options: argparse.Namespace) -> None:
    """One app, reloaded again and again."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, served(folder, port, options.retire_delay) as run:
        run.event("app ready")
        with Clients(port, options.rate, options.longest) as clients:
            for number in range(count):
                run.signal(signal.SIGHUP)
                run.until(lambda n=number: len(run.events("reload finished")) > n, "", 60)
        took = sorted(event["took"] for event in run.events("reload finished"))
        busy = len(run.events("worker busy at its stop signal"))
    lost = len(clients.lost)
    print(
        f"{count} reloads: {clients.answered} answered, {lost} lost {clients.lost[:5]}, {busy} busy"
    )
    print(f"  a reload took {statistics.median(took):.2f} s (median), {took[-1]:.2f} s at most")


def stop(options: argparse.Namespace) -> tuple[Clients, float, int]:
    """One container that is stopped under load."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, served(folder, port, options.retire_delay) as run:
        run.event("app ready")
        with Clients(port, options.rate, options.longest) as clients:
            run.until(lambda: clients.answered > options.rate, "", 60)
            began = time.monotonic()
            run.signal(signal.SIGTERM)
            code = run.process.wait(60)
            took = time.monotonic() - began
        assert code == 0, run.story()
    return clients, took, code


def main() -> None:
    """Measure, and print."""
    enter("benchmarks.in_hand")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--stops", type=int, default=100)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--longest", type=float, default=3.0)
    parser.add_argument("--retire-delay", default="")
    options = parser.parse_args()
    if options.reloads:
        reloads(options.reloads, options)
    if options.stops:
        with ThreadPoolExecutor(4) as pool:
            done = list(pool.map(lambda _: stop(options), range(options.stops)))
        lost = [each for clients, _, _ in done for each in clients.lost]
        answered = sum(clients.answered for clients, _, _ in done)
        took = sorted(seconds for _, seconds, _ in done)
        print(f"{options.stops} stops: {answered} answered, {len(lost)} lost {lost[:5]}")
        print(f"  a stop took {statistics.median(took):.2f} s (median), {took[-1]:.2f} s at most")


if __name__ == "__main__":
    main()
