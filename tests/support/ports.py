"""Ports that nobody uses."""

from __future__ import annotations

import socket


def free_port(host="127.0.0.1"):
    """A TCP port that could be bound a moment ago."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def answers(port, host="127.0.0.1"):
    """Somebody accepts connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
