"""Clients of a trial."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from .asking import WrongAnswerError, ask

if TYPE_CHECKING:
    from .catalog import Server

CLIENTS = 3


class Load:
    """Clients that ask again and again, a new connection each, until the block ends."""

    def __init__(self, server: Server, address: int | str) -> None:
        self._server, self._address = server, address
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(15)

    def _run(self) -> None:
        while not self._ends.is_set():
            began = time.monotonic()
            try:
                ask(self._server.speaks, self._address, 12.0)
                kind = "ok"
            except TimeoutError:
                kind = "timed out"
            except ConnectionRefusedError:
                kind = "refused"
            except FileNotFoundError:
                kind = "no such path"
            except (OSError, WrongAnswerError) as error:
                kind = f"{type(error).__name__} {error}"[:80]
            self.counts[kind] += 1
            self.slowest = max(self.slowest, time.monotonic() - began)
            self._ends.wait(0.03)

    @property
    def failed(self) -> str:
        """What did not come, in words; empty when everything did."""
        return ", ".join(f"{n} {kind}" for kind, n in self.counts.items() if kind != "ok")
