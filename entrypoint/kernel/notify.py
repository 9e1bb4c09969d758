"""The receiving end of `sd_notify(3)`: readiness and status told by workers.

A datagram holds lines `KEY=VALUE`. Two choices are worth a word.

*A path, not an abstract name.* Abstract sockets need no file system but belong to the
network namespace: with `hostNetwork` every process of the node could reach one, and a
worker in a network namespace of its own could not. Many small sd_notify clients also
connect to the value as it is and do not know what a leading `@` means. So the socket is
a file with a random name in the first folder that can be written: /run, then
/dev/shm (writable under a read-only root too), then /tmp. Only when none can be is it
an abstract name.

*Who sent it* is told by the kernel (SO_PASSCRED, `unix(7)`): the pid as seen from
here, 0 for a process outside our PID namespace, whose messages are dropped. Mode 0666
lets a worker of any user write; the pid decides whose word it is.
"""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Iterable, Iterator
else:
    import _socket

_FOLDERS = ("/run", "/dev/shm", "/tmp")  # noqa: S108  the name is random, O_EXCL by bind(2)

# systemd refuses more than 4096 bytes a message, too (NOTIFY_BUFFER_MAX).
_MESSAGE = 4096
_CREDENTIALS = 12  # struct ucred: pid, uid, gid
_MOST_FDS = 253  # SCM_MAX_FD
_ANCILLARY = _socket.CMSG_SPACE(_CREDENTIALS) + _socket.CMSG_SPACE(4 * _MOST_FDS)

# Messages taken by one call, so that a flood cannot hold up the loop.
BATCH = 128


def parse(message: bytes) -> dict[str, str]:
    """The assignments of one message; a key that comes twice has its last value."""
    fields: dict[str, str] = {}
    for line in message.split(b"\n"):
        key, equals, value = line.partition(b"=")
        if equals and key:
            fields[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    return fields


def send(path: str, message: bytes) -> None:
    """Send a message to the socket of somebody else; never waits.

    Raises BlockingIOError when its queue is full, OSError when it is not there.
    """
    address = "\0" + path[1:] if path.startswith("@") else path
    kind = _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    sock = _socket.socket(_socket.AF_UNIX, kind)
    try:
        sock.sendto(message, _socket.MSG_NOSIGNAL, address)
    finally:
        sock.close()


class NotifySocket:
    """`path` is the value for NOTIFY_SOCKET, `fd` what to wait on for reading.

    Raises OSError when not even an abstract socket can be made.
    """

    def __init__(self, folders: Iterable[str] = _FOLDERS) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        # Before bind: a message that comes in between would have no sender.
        self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        self.fd = self._socket.fileno()
        self.path = self._bind(folders)

    def _bind(self, folders: Iterable[str]) -> str:
        name = f"pyinit-notify-{os.urandom(8).hex()}"
        for folder in folders:
            path = f"{folder}/{name}"
            try:
                self._socket.bind(path)
            except OSError:
                continue
            self._file = path
            os.chmod(path, 0o666)  # noqa: S103  any worker's user; SO_PASSCRED tells who
            return path
        self._file = ""
        self._socket.bind(f"\0{name}")
        return f"@{name}"

    def receive(self) -> Iterator[tuple[int, dict[str, str]]]:
        """`(sender's pid, assignments)` of each waiting message, in order, at most `BATCH`.

        Never blocks. The sender may be a grandchild (`proc.owner`), and may have ended.
        Descriptors that come along are closed, which refuses FDSTORE=1 and is the answer to
        BARRIER=1: whoever waits for it may end then, so what came before has been dealt
        with by that time. Too long a message is dropped, as systemd does.
        """
        for _ in range(BATCH):
            try:
                content, ancillary, flags, _address = self._socket.recvmsg(
                    _MESSAGE, _ANCILLARY, _socket.MSG_CMSG_CLOEXEC | _socket.MSG_DONTWAIT
                )
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EINTR):
                    break
                raise
            pid = 0
            fds: list[int] = []
            for level, kind, data in ancillary:
                if level != _socket.SOL_SOCKET:
                    continue
                if kind == _socket.SCM_RIGHTS:
                    ends = range(4, len(data) + 1, 4)
                    fds += [int.from_bytes(data[at - 4 : at], sys.byteorder) for at in ends]
                elif kind == 2:  # SCM_CREDENTIALS, which _socket does not name everywhere
                    pid = int.from_bytes(data[:4], sys.byteorder, signed=True)
            try:
                if pid > 0 and not flags & _socket.MSG_TRUNC:
                    yield pid, parse(content)
            finally:
                for fd in fds:
                    os.close(fd)

    def close(self) -> None:
        """Remove the socket; what has not been received is lost."""
        if self._file:
            try:
                os.unlink(self._file)
            except OSError:
                pass
            self._file = ""
        self._socket.close()
