"""Clients that check every answer and tell failures apart by the moment of the end."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter

from tests.support.wait import wait_until

PAUSE = 0.01
# So many answers of each kind are what a test may conclude something from.
ENOUGH = 20


class Load:
    """`with Load(port) as load:`; two clients of each kind ask until the block ends.

    The server answers `GET /N` with `NAME /N`, of any `NAME` without a space. In `counts`:
    `ok`, on kept connections also `closed` (by the answer's own word, while idle, or before
    any byte of an answer: what a client may repair by itself); everything else is in
    `failures`. A request that is not answered in `hung` seconds is one of them.
    """

    def __init__(self, port: int, hung: float = 15.0) -> None:
        self.port = port
        self.hung = hung
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.names: list[str] = []
        self._ends = threading.Event()
        self._numbers = iter(range(1, 10_000_000))
        self._threads = [
            threading.Thread(target=self._run, args=(turn,), daemon=True)
            for turn in (self._new, self._new, self._keep, self._keep)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            wait_until(lambda: self.failures or self._enough(), lambda: str(self.counts))
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _enough(self) -> bool:
        return min(self.counts["ok"], self.counts["ok kept"]) > ENOUGH

    def _run(self, turn) -> None:
        while not self._ends.is_set():
            turn()

    def _fail(self, what: str, number: int, error: object = "") -> None:
        self.failures.append(f"{time.time():.3f} {what} {error} (/{number})")

    def _new(self) -> None:
        number = next(self._numbers)
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=self.hung) as sock:
                sock.sendall(
                    f"GET /{number} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
                )
                answer = b"".join(iter(lambda: sock.recv(65536), b""))
        except OSError as error:
            self._fail("new", number, repr(error))
        else:
            if self._right(answer, number):
                self.counts["ok"] += 1
            else:
                self._fail("new", number, answer)
        time.sleep(PAUSE)

    def _right(self, answer: bytes, number: int) -> bool:
        head, _, body = answer.partition(b"\r\n\r\n")
        name, _, rest = body.decode().partition(" ")
        self.names.append(name)
        return head.startswith(b"HTTP/1.1 200 ") and rest == f"/{number}"

    def _keep(self) -> None:
        try:
            sock = socket.create_connection(("127.0.0.1", self.port), timeout=self.hung)
        except OSError as error:
            self._fail("keep: connect", 0, repr(error))
            return
        with sock:
            while not self._ends.is_set() and self._asked(sock):
                time.sleep(PAUSE)

    def _asked(self, sock: socket.socket) -> bool:
        """One request; whether the connection lives."""
        number = next(self._numbers)
        answer = b""
        try:
            sock.sendall(f"GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            while not _whole(answer):
                data = sock.recv(65536)
                if not data:
                    raise ConnectionResetError
                answer += data
        except ConnectionError as error:
            if answer:
                self._fail("keep: in the middle of an answer", number, repr(error))
            self.counts["closed"] += 1
            return False
        except OSError as error:
            self._fail("keep", number, repr(error))
            return False
        if not self._right(answer, number):
            self._fail("keep", number, answer)
        self.counts["ok kept"] += 1
        return b"Connection: close" not in answer


def _whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    lines = head.lower().split(b"\r\n")
    length = next((x for x in lines if x.startswith(b"content-length:")), b":0")
    return len(body) >= int(length.partition(b":")[2])
