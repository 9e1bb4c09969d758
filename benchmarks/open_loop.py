"""An open-loop client: requests come at times that no answer delays.

A closed loop (wrk) sends its next request when the last one is answered, so a server that
stalls gets fewer requests and the wait of those who would have come is never seen. Here each
request has a time, a service time and a connection of its own. What counts is its *extra wait*:
the time from the moment it was due to its answer, less the service time that it asked for.
"""

from __future__ import annotations

import random
import select
import socket
import statistics
import time
from dataclasses import dataclass, field

# After the last request is sent (s).
_LAST_ANSWERS = 20.0


@dataclass(frozen=True)
class Mix:
    """Service times: a share `slow` of the requests takes `long` seconds, the rest `short`."""

    slow: float
    long: float
    short: float

    @property
    def mean(self) -> float:
        return self.slow * self.long + (1 - self.slow) * self.short


@dataclass
class Waits:
    """Extra waits in seconds, and how many requests were not answered."""

    waits: list[float] = field(default_factory=list)
    failed: int = 0

    def ms(self, quantile: float) -> float:
        """The extra wait that this share of the requests does not exceed."""
        found = sorted(self.waits)
        return 1e3 * found[min(len(found) - 1, int(len(found) * quantile))]

    @property
    def mean_ms(self) -> float:
        return 1e3 * statistics.mean(self.waits)


def run(port: int, mix: Mix, rate: float, seconds: float, seed: int) -> Waits:
    """Send `rate` requests a second (Poisson) for so long; `GET /?S` asks for a service of S s."""
    chance = random.Random(seed)
    found = Waits()
    pending: dict[int, tuple[socket.socket, float]] = {}
    poll = select.epoll()
    due = time.monotonic() + 0.1
    end = due + seconds
    while True:
        now = time.monotonic()
        while due <= now and due < end:
            service = mix.long if chance.random() < mix.slow else mix.short
            sock = _send(port, service)
            if sock is None:
                found.failed += 1
            else:
                pending[sock.fileno()] = sock, due + service
                poll.register(sock.fileno(), select.EPOLLIN)
            due += chance.expovariate(rate)
            now = time.monotonic()
        if due >= end and (not pending or now > end + _LAST_ANSWERS):
            break
        wait = due - now if due < end else _LAST_ANSWERS
        for fd, _ in poll.poll(max(0.0, min(wait, 1.0))):
            sock, expected = pending.pop(fd)
            poll.unregister(fd)
            if _answered(sock):
                found.waits.append(time.monotonic() - expected)
            else:
                found.failed += 1
    for sock, _ in pending.values():
        sock.close()
    found.failed += len(pending)
    poll.close()
    return found


def _send(port: int, service: float) -> socket.socket | None:
    sock = socket.socket()
    sock.setblocking(False)
    try:
        # Over loopback the handshake is over when connect(2) returns.
        sock.connect_ex(("127.0.0.1", port))
        head = f"GET /?{service:g} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        sock.send(head.encode())
    except OSError:
        sock.close()
        return None
    return sock


def _answered(sock: socket.socket) -> bool:
    try:
        return sock.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
    finally:
        sock.close()
