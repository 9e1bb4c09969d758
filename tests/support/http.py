"""A small HTTP client: one request on a connection of its own."""

from __future__ import annotations

import http.client
import socket

TIMEOUT = 20.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=TIMEOUT)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(self.path)


def get(target, path="/", host="127.0.0.1", method="GET"):
    """`(status, body)` from a port, or from a unix socket when `target` is a path."""
    if isinstance(target, int):
        connection = http.client.HTTPConnection(host, target, timeout=TIMEOUT)
    else:
        connection = _UnixConnection(str(target))
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()
