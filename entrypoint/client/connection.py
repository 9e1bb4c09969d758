"""The other end of the private socket, for the commands: one request, an answer in lines."""

from __future__ import annotations

import _socket
import json
import time
from contextlib import closing

from . import health

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# Seconds until the head of the answer: PID 1 answers within milliseconds.
TIMEOUT = 10.0


class Refusal(Exception):
    """pyinit was found and refused: `status`, and the fields of its answer."""

    def __init__(self, status: int, fields: dict[str, Any]) -> None:
        super().__init__(str(fields.get("error", "refused")))
        self.status = status
        self.fields = fields


class Reply:
    """An answer whose head has come; its lines come as they come."""

    def __init__(self, sock: _socket.socket, rest: bytes, fields: dict[str, str]) -> None:
        self._sock = sock
        self._rest = rest
        self.fields = fields

    def lines(self) -> Iterator[bytes]:
        """Each line with its end; the last may have none when pyinit ended meanwhile."""
        rest = self._rest
        while True:
            *whole, rest = rest.split(b"\n")
            for line in whole:
                yield line + b"\n"
            try:
                data = self._sock.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                break
            rest += data
        if rest:
            yield rest

    def fileno(self) -> int:
        """The descriptor for select(2)."""
        return self._sock.fileno()

    def take(self) -> tuple[list[bytes], bool]:
        """The lines received so far, without waiting, and whether the answer is over."""
        ended = False
        try:
            while data := self._sock.recv(1 << 16, _socket.MSG_DONTWAIT):
                self._rest += data
            ended = True
        except BlockingIOError:
            pass
        except ConnectionResetError:
            ended = True
        *whole, self._rest = self._rest.split(b"\n")
        return [line + b"\n" for line in whole], ended

    def read(self) -> bytes:
        """Everything until the end of the connection."""
        return b"".join(self.lines())

    def objects(self) -> Iterator[dict[str, Any]]:
        """Each line as the JSON object that it is."""
        for line in self.lines():
            found = json.loads(line)
            if isinstance(found, dict):
                yield found

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()


def quote(text: str) -> str:
    """Percent-encoded whole, whatever it is."""
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape"))


def ask(method: str, command: str, query: list[tuple[str, str]], socket_path: str = "") -> Reply:
    """Ask the pyinit of this container, or the one at `socket_path`.

    Raises health.Unanswered when there is none, Refusal when it says no.
    """
    question = health.Question()
    question.socket = socket_path
    deadline = time.monotonic() + TIMEOUT
    sock, host = health.reach(question, deadline)
    try:
        target = f"/control/{command}"
        if query:
            target += "?" + "&".join(f"{name}={quote(value)}" for name, value in query)
        head = f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        sock.settimeout(TIMEOUT)
        try:
            sock.sendall(head.encode())
        except BrokenPipeError:
            pass  # it has refused the request; its answer has the reason
        status, fields, rest = _head(sock)
    except TimeoutError:
        sock.close()
        raise health.Unanswered("pyinit does not answer") from None
    except BaseException:
        sock.close()
        raise
    reply = Reply(sock, rest, fields)
    if status != 200:
        with closing(reply):
            raise _refusal(status, b"".join(reply.lines()))
    sock.settimeout(None)
    return reply


def _head(sock: _socket.socket) -> tuple[int, dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data and len(data) < 1 << 16:
        try:
            more = sock.recv(1 << 16)
        except ConnectionResetError:
            more = b""
        if not more:
            break
        data += more
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found or not head.startswith(b"HTTP/1.1 ") or not head[9:12].isdigit():
        raise health.Unanswered("pyinit closed the connection without an answer")
    fields = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    return int(head[9:12]), fields, rest


def _refusal(status: int, body: bytes) -> Refusal:
    try:
        fields = json.loads(body)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        fields = {"error": body.decode("utf-8", "replace").strip()}
    return Refusal(status, fields)
