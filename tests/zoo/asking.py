"""One question to a server, in its own protocol, on a connection of its own."""

from __future__ import annotations

import socket
import struct


class WrongAnswerError(Exception):
    """The connection was made, and what came is no answer."""


def connect(address: int | str, deadline: float) -> socket.socket:
    """A connection to a port of loopback, or to a unix path. Raises OSError."""
    if isinstance(address, int):
        return socket.create_connection(("127.0.0.1", address), timeout=deadline)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(deadline)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def ask(speaks: str, address: int | str, deadline: float = 10.0) -> str:
    """The body of the answer. Raises OSError or WrongAnswerError."""
    with connect(address, deadline) as sock:
        return _PROTOCOLS[speaks](sock)


def _all(sock: socket.socket) -> bytes:
    """Everything until the end, or until a whole HTTP answer is there."""
    data = b""
    while True:
        more = sock.recv(65536)
        if not more:
            return data
        data += more
        head, end, body = data.partition(b"\r\n\r\n")
        if end:
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:") and len(body) >= int(line[15:]):
                    return data


def _http(sock: socket.socket, expected: tuple[bytes, ...] = (b"200",)) -> str:
    sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    data = _all(sock)
    words = data.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or words[1] not in expected:
        raise WrongAnswerError(repr(data[:100]))
    return data.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")


def _any_http(sock: socket.socket) -> str:
    """A forward proxy, or an RPC server: any answer of HTTP's is one."""
    return _http(sock, tuple(str(code).encode() for code in range(200, 600)))


def _redis(sock: socket.socket) -> str:
    sock.sendall(b"PING\r\n")
    return _expect(sock, b"+PONG")


def _memcached(sock: socket.socket) -> str:
    sock.sendall(b"version\r\n")
    return _expect(sock, b"VERSION")


def _mqtt(sock: socket.socket) -> str:
    sock.sendall(b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03zoo")
    return _expect(sock, b"\x20\x02")


def _fcgi(sock: socket.socket) -> str:
    def record(kind: int, body: bytes) -> bytes:
        return struct.pack("!BBHHBB", 1, kind, 1, len(body), 0, 0) + body

    given = {
        "SCRIPT_FILENAME": "/nowhere.php",
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
    }
    pairs = b"".join(bytes((len(k), len(v))) + k.encode() + v.encode() for k, v in given.items())
    sock.sendall(
        record(1, struct.pack("!HB5x", 1, 0)) + record(4, pairs) + record(4, b"") + record(5, b"")
    )
    data = _all(sock)
    # No such script is there: that is php-fpm's own answer.
    if b"Status: 404" not in data and b"File not found" not in data:
        raise WrongAnswerError(repr(data[:100]))
    return ""


def _http2(sock: socket.socket) -> str:
    sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0")
    data = sock.recv(4096)
    if data[3:4] != b"\x04":  # its first frame is SETTINGS (RFC 9113, 3.4)
        raise WrongAnswerError(repr(data[:100]))
    return ""


def _expect(sock: socket.socket, begins: bytes) -> str:
    data = sock.recv(4096)
    if not data.startswith(begins):
        raise WrongAnswerError(repr(data[:100]))
    return ""


# The first byte of a question.
BEGINNINGS = {
    "http": b"G",
    "http2": b"P",
    "proxy": b"G",
    "redis": b"P",
    "memcached": b"v",
    "mqtt": b"\x10",
    "fcgi": b"\x01",
}
_PROTOCOLS = {
    "http": _http,
    "http2": _http2,
    "proxy": _any_http,
    "redis": _redis,
    "memcached": _memcached,
    "mqtt": _mqtt,
    "fcgi": _fcgi,
}
