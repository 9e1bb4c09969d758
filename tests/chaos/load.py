"""Clients of the web app and of the probes, and what became of each request."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter

from entrypoint.core.record import Record

PAUSE = 0.005
PROBE_PAUSE = 0.02
HUNG = 90.0


class Lost(Record):
    """A request without an answer. `local`: the client's port; times of CLOCK_MONOTONIC."""

    number: int
    local: int
    began: float
    ended: float
    why: str


class Load:
    """`with Load(…) as load:` asks until the block ends."""

    def __init__(self, port: int, probes: int) -> None:
        self._port = port
        self._probes = probes
        self.counts: Counter[str] = Counter()
        self.lost: list[Lost] = []
        self.wrong: list[str] = []
        self.probe_failures: list[str] = []
        self.slowest_probe = 0.0
        self._ends = threading.Event()
        self._number = 0
        self._lock = threading.Lock()
        turns = (self._new, self._new, self._keep, self._probe)
        self._threads = [
            threading.Thread(target=self._run, args=(turn,), daemon=True) for turn in turns
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _run(self, turn) -> None:
        while not self._ends.is_set():
            turn()

    def _next(self) -> int:
        with self._lock:
            self._number += 1
            return self._number

    def _new(self) -> None:
        number, began, local = self._next(), time.monotonic(), 0
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=HUNG) as sock:
                local = sock.getsockname()[1]
                text = f"GET /{number} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
                sock.sendall(text.encode())
                answer = b"".join(iter(lambda: sock.recv(65536), b""))
        except OSError as error:
            self.lost.append(Lost(number, local, began, time.monotonic(), repr(error)))
        else:
            self._judge(number, local, began, answer)
        time.sleep(PAUSE)

    def _judge(self, number: int, local: int, began: float, answer: bytes) -> None:
        head, _, body = answer.partition(b"\r\n\r\n")
        if not answer:
            self.lost.append(Lost(number, local, began, time.monotonic(), "no answer"))
        elif head.startswith(b"HTTP/1.1 200 ") and body.endswith(b" /%d" % number):
            self.counts["answered"] += 1
        else:
            self.lost.append(Lost(number, local, began, time.monotonic(), f"{answer[:200]!r}"))

    def _keep(self) -> None:
        """One connection, until the server closes it between two requests."""
        began = time.monotonic()
        try:
            sock = socket.create_connection(("127.0.0.1", self._port), timeout=HUNG)
        except OSError as error:
            self.lost.append(Lost(0, 0, began, time.monotonic(), repr(error)))
            return
        with sock:
            local = sock.getsockname()[1]
            while not self._ends.is_set() and self._again(sock, local):
                time.sleep(PAUSE)

    def _again(self, sock: socket.socket, local: int) -> bool:
        number, began, answer = self._next(), time.monotonic(), b""
        try:
            sock.sendall(f"GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            while not answer.endswith(b" /%d" % number):
                data = sock.recv(65536)
                if not data:
                    break
                answer += data
        except ConnectionError:
            pass
        except OSError as error:
            self.lost.append(Lost(number, local, began, time.monotonic(), repr(error)))
            return False
        if not answer:
            # Between two requests a server may close: a client repairs that by itself.
            self.counts["closed while idle"] += 1
            return False
        self._judge(number, local, began, answer)
        self.counts["answered, kept"] += 1
        return b"connection: close" not in answer.lower()

    def _probe(self) -> None:
        for path in ("/livez", "/readyz?verbose", "/status", "/metrics"):
            began = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self._probes, timeout=HUNG)
            try:
                connection.request("GET", path)
                connection.getresponse().read()
                self.counts["probes"] += 1
            except (OSError, http.client.HTTPException) as error:
                self.counts["probes refused"] += 1
                self.probe_failures.append(f"{began:.3f} {path} {error!r}")
            finally:
                connection.close()
            self.slowest_probe = max(self.slowest_probe, time.monotonic() - began)
            time.sleep(PROBE_PAUSE)
