"""Ports that nobody uses."""

from __future__ import annotations

import random
import socket

# What this process has given out: the kernel may name a port that is free again twice.
_given: set[int] = set()


def free_port():
    """A TCP port that was free on all addresses a moment ago, another one at each call."""
    while True:
        port = _free(0)
        if port and port not in _given:
            _given.add(port)
            return port


def answers(port, host="127.0.0.1"):
    """Somebody accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def free_ports(count):
    """The first of `count` ports in a row, below those that the kernel gives out itself."""
    # Test runs beside this one, in PID namespaces of their own, may have the same pid.
    for first in range(random.randrange(12_000, 31_000), 32_000):
        if all(_free(port) for port in range(first, first + count)):
            return first
    raise RuntimeError(f"no {count} free ports in a row")


def _free(port):
    """The port when it can be bound on all addresses, of both families; else 0."""
    with socket.socket(socket.AF_INET6) as probe:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            probe.bind(("::", port))
        except OSError:
            return 0
        return probe.getsockname()[1]
