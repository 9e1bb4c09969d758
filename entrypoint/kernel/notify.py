"""The receiving end of `sd_notify(3)`: readiness and status sent by workers.

A datagram holds lines `KEY=VALUE`. Some choices need an explanation.

*A path, not an abstract name.* Abstract sockets need no file system but belong to the
network namespace: with `hostNetwork` every process of the node could reach one, and a
worker in its own network namespace could not. Many small sd_notify clients also
connect to the value as it is and do not support a leading `@`. So the socket is
a file with a random name, in a folder of pyinit's in the first writable folder of
/run, /dev/shm (writable under a read-only root too) and /tmp. If none is writable
it has an abstract name.

*One socket for each worker.* A queue holds ten datagrams (net.unix.max_dgram_qlen): on a
shared socket a worker that sends endlessly would fill it, and a sibling's WATCHDOG=1
would not get in.

*The sender* comes from the kernel (SO_PASSCRED, `unix(7)`): the pid as seen from
here, 0 for a process outside our PID namespace, whose messages are dropped. Mode 0666
lets any user of the worker's process tree write; pid and user decide whether it counts.
"""

from __future__ import annotations

import os
import struct
import time

from entrypoint.core.record import Record

from . import rights, socket_file, unixpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Iterable, Iterator
else:
    import _socket

_FOLDERS = ("/run", "/dev/shm", "/tmp")  # noqa: S108  the name is random, O_EXCL by bind(2)

# systemd refuses more than 4096 bytes a message, too (NOTIFY_BUFFER_MAX).
_MESSAGE = 4096
_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid

# How long one call receives, so that a flood cannot hold up the loop (s).
TIME = 0.002


class Message(Record):
    """A message, and its sending process (the pid as seen from here) and user."""

    pid: int
    uid: int
    fields: dict[str, str]


def parse(message: bytes) -> dict[str, str]:
    """The assignments of one message; a repeated key has its last value."""
    fields: dict[str, str] = {}
    for line in message.split(b"\n"):
        key, equals, value = line.partition(b"=")
        if equals and key:
            fields[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    return fields


def send(path: str, message: bytes) -> None:
    """Send a message to another process's socket; never waits.

    Raises BlockingIOError if its queue is full, OSError if it does not exist.
    """
    address = "\0" + path[1:] if path.startswith("@") else path
    kind = _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    sock = _socket.socket(_socket.AF_UNIX, kind)
    try:
        sock.sendto(message, _socket.MSG_NOSIGNAL, address)
    finally:
        sock.close()


class NotifyFolder:
    """The folder of the workers' sockets: a folder of pyinit's in the first writable one.

    Other users may traverse it, and not list it: a worker of another user cannot find the
    socket of its sibling and fill its queue. `path` is "" if no folder can be made.
    """

    def __init__(self, folders: Iterable[str] = _FOLDERS) -> None:
        name = f"pyinit-notify-{os.urandom(8).hex()}"
        self.path = ""
        self.folder: unixpath.Folder | None = None
        for folder in folders:
            try:
                self.folder = unixpath.private_folder(folder, name, 0o711, make_parent=False)
            except OSError:
                continue
            self.path = f"{folder}/{name}"
            return

    def close(self) -> None:
        """Remove it; its sockets are closed already."""
        if self.path:
            try:
                os.rmdir(self.path)
            except OSError:
                pass
            self.path = ""
        if self.folder is not None:
            self.folder.close()
            self.folder = None


class NotifySocket:
    """The socket of one worker. `path` is the value for NOTIFY_SOCKET, `fd` to wait on.

    Raises OSError if not even an abstract socket can be made.
    """

    def __init__(self, folder: NotifyFolder) -> None:
        kind = _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
        self._socket = _socket.socket(_socket.AF_UNIX, kind)
        try:
            # Before bind: a message that arrives in between would have no sender.
            self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
            self.path = self._bind(folder)
        except BaseException:
            self._socket.close()
            raise
        self.fd = self._socket.fileno()

    def _bind(self, folder: NotifyFolder) -> str:
        name = os.urandom(8).hex()
        self._file = f"{folder.path}/{name}" if folder.path else ""
        if folder.folder is not None:
            try:
                # Any user may write; SO_PASSCRED shows who it is.
                where = folder.folder.by_descriptor(name)
                socket_file.bind_with_mode(self._socket, where, 0o666)
            except OSError:
                self._file = ""  # the disk is full, or the folder was removed
            else:
                return self._file
        self._socket.bind(f"\0pyinit-notify-{name}")
        return f"@pyinit-notify-{name}"

    def receive(self) -> Iterator[Message]:
        """The waiting messages, in order, for `TIME` at most.

        Never blocks. The sender may be a grandchild (`proc.owner`), and may have ended.
        Descriptors sent along are dropped, which refuses FDSTORE=1 and is the answer to
        BARRIER=1. Whoever waits for it may end then, so that happens when the caller asks for
        the next message.
        A message that is too long is dropped, as in systemd.
        """
        until = time.monotonic() + TIME
        while time.monotonic() < until:
            found = rights.peek_message(self._socket, _MESSAGE)
            if found is None:
                return
            content, credentials, flags = found
            try:
                if len(credentials) >= _CREDENTIALS.size and not flags & _socket.MSG_TRUNC:
                    pid, uid, _ = _CREDENTIALS.unpack_from(credentials)
                    if pid > 0:
                        yield Message(pid, uid, parse(content))
            finally:
                rights.take_message(self._socket, flags)

    def close(self) -> None:
        """Remove the socket; unreceived messages are lost."""
        if self._file:
            try:
                os.unlink(self._file)
            except OSError:
                pass
            self._file = ""
        rights.close(self._socket)
