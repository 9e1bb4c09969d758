"""Listening sockets of the probe server, and how many clients it has at a time."""

from __future__ import annotations

import errno

from entrypoint.kernel import bind_errors, socket_file, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from typing import Protocol

    from entrypoint.core.spec import ListenSpec

    class Client(Protocol):
        """What the limiter needs to know of a client."""

        idle: bool
        # Its answer is being made: it is not responsible for the delay.
        awaiting: bool

        @property
        def pending(self) -> int:
            """Bytes of an answer that wait to be read."""

        @property
        def body(self) -> bytes:
            """The part of them that other clients may share; empty: none."""

        def close(self) -> None:
            """Close the connection and call `forget`."""


# The kernel's buffer for input of a connection that is not read. Inherited by
# each accepted socket (`tcp(7)`), doubled by the kernel; a probe has some 100 bytes.
RECEIVE_BUFFER = 16384
# And for answers that are not read; a big `/status` is sent in several parts.
SEND_BUFFER = 32768

# By path, of the unix sockets that are listened on.
_files: dict[str, socket_file.SocketFile] = {}


class ListenError(OSError):
    """An address cannot be listened on; `str()` is a sentence for people."""

    def __str__(self) -> str:
        """The sentence alone."""
        return str(self.strerror)


def listen(spec: ListenSpec) -> _socket.socket:
    """A listening, non-blocking, close-on-exec socket. Raises ListenError."""
    try:
        if spec.family == "unix":
            return _listen_unix(spec)
        try:
            return _listen_inet(spec)
        except OSError as error:
            # A bare port means both families; a host without IPv6 has the other one.
            missing = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
            if spec.host != "::" or spec.v6only or error.errno not in missing:
                raise
            return _listen_inet(spec.replace(family="inet", host="0.0.0.0"))  # noqa: S104
    except OSError as error:
        why = bind_errors.sentence(spec.family, spec.port, error)
        raise ListenError(error.errno or 0, f"probes.listen: {spec.text}: {why}") from None


def _listen_inet(spec: ListenSpec) -> _socket.socket:
    return sockets.listen_alone(
        spec.family,
        spec.host,
        spec.port,
        v6only=spec.v6only,
        backlog=spec.backlog,
        buffers=(RECEIVE_BUFFER, SEND_BUFFER),
    )


def _listen_unix(spec: ListenSpec) -> _socket.socket:
    sock = sockets.unix_stream()
    try:
        mode = 0o666 if spec.mode is None else spec.mode
        file = socket_file.bind(sock, spec.path, mode=mode, replace_stale=True, hidden=False)
        if file is not None:
            _files[spec.path] = file
        sock.listen(spec.backlog)
    except BaseException:
        sock.close()
        leave(spec.path)
        raise
    return sock


def leave(path: str) -> None:
    """Remove the file of a unix socket that was listened on; a no-op if there is none."""
    file = _files.pop(path, None)
    if file is not None:
        file.remove()
        file.close()


# -- how many clients there may be -------------------------------------------------------
# Bytes of answers, of all clients of a limiter together, that wait to be read.
PENDING_LIMIT = 1 << 20


class ConnectionLimiter:
    """Clients of one or more listeners, oldest first, at most `limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.clients: dict[Client, None] = {}
        self.evicted = 0

    def admit(self, client: Client) -> None:
        """Admit a new client; another one is closed if there are too many."""
        self.clients[client] = None
        if len(self.clients) > self.limit:
            self.evict(but=client)

    def forget(self, client: Client) -> None:
        """A client is gone."""
        self.clients.pop(client, None)

    def evict(self, but: Client | None = None) -> bool:
        """Close the oldest idle client, else the oldest that pyinit waits for, else the oldest.

        Never `but`, the new one. False if there is no other.
        """
        slow = oldest = None
        for client in self.clients:
            if client is but:
                continue
            if client.idle:
                break
            oldest = oldest or client
            if not client.awaiting:
                slow = slow or client
        else:
            found = slow or oldest
            if found is None:
                return False
            client = found
        self.evicted += 1
        client.close()
        return True

    def relieve(self) -> None:
        """Close the oldest clients that do not read their answers, if they hold many bytes.

        One is always kept, however big its answer is.
        """
        waiting = [client for client in self.clients if client.pending]
        while len(waiting) > 1 and _pending_bytes(waiting) > PENDING_LIMIT:
            self.evicted += 1
            waiting.pop(0).close()

    def close(self) -> None:
        """Close every client."""
        for client in tuple(self.clients):
            client.close()


def _pending_bytes(clients: list[Client]) -> int:
    """Bytes in memory that they have to read; a body that they share counts once."""
    shared = {id(client.body): len(client.body) for client in clients if client.body}
    return sum(client.pending for client in clients if not client.body) + sum(shared.values())
