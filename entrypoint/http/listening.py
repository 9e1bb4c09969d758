"""Listening sockets of the probe server."""

from __future__ import annotations

import _socket
import errno
import os

from entrypoint.kernel import socket_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.core.spec import ListenSpec

# What a client may make the kernel keep for a connection that is not read. Inherited by
# each accepted socket (`tcp(7)`), doubled by the kernel; a probe has some 100 bytes.
RECEIVE_BUFFER = 16384
# And for answers that are not taken; a big `/status` goes in several parts.
SEND_BUFFER = 32768

_SENTENCES = {
    errno.EADDRINUSE: "another process listens there",
    errno.EACCES: "not permitted (ports below 1024 need root or CAP_NET_BIND_SERVICE)",
    errno.EADDRNOTAVAIL: "this host does not have the address",
    errno.EAFNOSUPPORT: "this host does not have this kind of address",
    errno.ENOENT: "the folder does not exist",
    errno.EROFS: "the file system is read-only",
}


# By path, of the unix sockets that are listened on.
_files: dict[str, socket_file.SocketFile] = {}


class ListenError(OSError):
    """An address cannot be listened on; `str()` is the sentence for the person."""

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
        number = error.errno or 0
        sentence = _SENTENCES.get(number) or (os.strerror(number) if number else str(error))
        if spec.family == "unix" and number == errno.EACCES:
            sentence = "not permitted to make a socket there"
        raise ListenError(number, f"probes.listen: {spec.text}: {sentence}") from None


def _stream_socket(family: int) -> _socket.socket:
    kind = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    return _socket.socket(family, kind)


def _listen_inet(spec: ListenSpec) -> _socket.socket:
    sock = _stream_socket(_socket.AF_INET6 if spec.family == "inet6" else _socket.AF_INET)
    try:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, SEND_BUFFER)
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        if spec.family == "inet6":
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, int(spec.v6only))
        sock.bind((spec.host, spec.port))
        sock.listen(spec.backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _listen_unix(spec: ListenSpec) -> _socket.socket:
    sock = _stream_socket(_socket.AF_UNIX)
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
    """Remove the file of a unix socket that was listened on; there may be none."""
    file = _files.pop(path, None)
    if file is not None:
        file.remove()
        file.close()
