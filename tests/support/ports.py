"""Ports that nobody uses."""

from __future__ import annotations

import os
import random
import socket

# Below those that the kernel gives to clients and to `bind` of port 0
# (net.ipv4.ip_local_port_range), so a port stays free between here and its use. Each process
# of pytest-xdist has a part of its own.
_FIRST, _END, _PARTS = 10_240, 32_000, 8
# A test may use the next ports after the one that it got.
_STEP = 4


def _part() -> range:
    name = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
    size = (_END - _FIRST) // _PARTS
    first = _FIRST + int(name.removeprefix("gw")) % _PARTS * size
    return range(first, first + size)


class _Search:
    """Where the next search begins: random, for another run of the tests may be beside this one."""

    part = _part()
    next = random.choice(part)


def free_port():
    """A TCP port that is free on all addresses, and so are the three above it."""
    return free_ports(_STEP)


def free_ports(count):
    """The first of `count` ports in a row that are free, others at each call."""
    part = _Search.part
    for _ in range(2 * len(part)):
        first = _Search.next
        fits = first + 2 * count <= part.stop
        _Search.next = first + count if fits else part.start
        if all(_free(port) for port in range(first, first + count)):
            return first
    raise RuntimeError(f"no {count} free ports in a row")


def answers(port, host="127.0.0.1"):
    """Somebody accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _free(port):
    """The port when it can be bound on all addresses, of both families; else 0."""
    with socket.socket(socket.AF_INET6) as probe:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            probe.bind(("::", port))
        except OSError:
            return 0
        return probe.getsockname()[1]
