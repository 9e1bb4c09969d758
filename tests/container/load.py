"""Clients that keep asking, each request on a connection of its own."""

from __future__ import annotations

import http.client
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.container.engine import Container


class Load:
    """`clients` threads; counts by outcome. A context manager: leaving it ends them."""

    def __init__(self, container: Container, port: int, path: str = "/", clients: int = 4) -> None:
        self._engine = container.engine
        self._address = (container.address(), port)
        self._path = path
        self._end = threading.Event()
        self._lock = threading.Lock()
        self.answered = 0
        self.refused: list[str] = []
        self.lost: list[str] = []
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> None:
        """No new requests; those in hand are waited for."""
        self._end.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self) -> None:
        while not self._end.is_set():
            began = time.monotonic()
            try:
                self._engine.get(*self._address, self._path, timeout=20).expect(200)
            except ConnectionRefusedError as error:
                self._note(self.refused, began, error)
            except (OSError, http.client.HTTPException) as error:
                self._note(self.lost, began, error)
            else:
                with self._lock:
                    self.answered += 1

    def _note(self, where: list[str], began: float, error: Exception) -> None:
        with self._lock:
            where.append(f"{error!r} after {time.monotonic() - began:.3f} s")
        # A server that is gone is not asked in a busy loop.
        self._end.wait(0.02)
