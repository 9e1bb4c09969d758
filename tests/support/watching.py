"""Reads the stream of events of the status page (`GET /events`), and the page itself."""

from __future__ import annotations

import http.client
import json
import socket

TIMEOUT = 30.0


class Watcher:
    """One client of `/events`, as a browser's EventSource."""

    def __init__(self, port, *, rcvbuf=0):
        self.sock = socket.socket()
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(("127.0.0.1", port))
        self.sock.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        self.data = b""

    def head(self):
        """Status and header fields."""
        head = self._until(b"\r\n\r\n")
        return int(head[9:12]), head.decode()

    def event(self):
        """The next event's value."""
        while True:
            text = self._until(b"\n\n").decode()
            if text.startswith("data: "):
                return json.loads(text.removeprefix("data: "))

    def ended(self):
        """Read the rest; whether the server has closed it."""
        try:
            while self.sock.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
        return True

    def _until(self, end):
        while end not in self.data:
            more = self.sock.recv(1 << 16)
            assert more, self.data
            self.data += more
        found, _, self.data = self.data.partition(end)
        return found

    def close(self):
        self.sock.close()


def fetch(port, path="/", method="GET"):
    """Status, header fields and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()
