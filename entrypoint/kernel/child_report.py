"""What a child says of itself before exec, over its close-on-exec channel.

A child that fails sends its stage and errno; one that calls exec says so first. End of file after
that, without a failure, means that exec has succeeded; before it, that the child was killed.
"""

from __future__ import annotations

import errno
import os
import sys

from entrypoint.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from typing import Any
else:
    import _socket


class FilterInstalled(Record):
    """The seccomp filter is on; `fd` is its notifier, now the caller's to close."""

    fd: int


class FilterRefused(Record):
    """The kernel or the runtime refused the filter; the start went on without it."""

    errno: int


class SpawnFailed(Record):
    """Nothing was executed. `detail` says more where errno is not the whole story."""

    stage: str
    errno: int
    detail: str = ""

    @property
    def text(self) -> str:
        """`chdir: No such file or directory (/srv/app)`."""
        if not self.errno:
            return f"{self.stage}: {self.detail}"
        said = f"{self.stage}: {os.strerror(self.errno)}"
        return f"{said} ({self.detail})" if self.detail else said

    @property
    def exit_code(self) -> int:
        """A shell's: 127 when there is no such command, else 126."""
        return 127 if self.stage == "exec" and self.errno == errno.ENOENT else 126


class Executing(Record):
    """All is set up and execve(2) is called now, with no signal blocked any more."""


class Execed(Record):
    """The channel was closed: after Executing by execve(2), else the child was killed."""


def read_channel(fd: int) -> tuple[Record, ...]:
    """What a child has said: FilterInstalled, FilterRefused, Executing, SpawnFailed, Execed.

    Never blocks. Execed is the end of file without a SpawnFailed before it: after either
    nothing more will come. Raises OSError as recvmsg(2).
    """
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)
    messages: list[Record] = []
    try:
        while True:
            try:
                message, ancillary, _flags, _address = channel.recvmsg(
                    4096, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                break
            except ConnectionResetError:
                message, ancillary = b"", []
            if not message:
                messages.append(Execed())
                break
            if message == b"filter":
                for level, kind, data in ancillary:
                    if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                        messages.append(FilterInstalled(int.from_bytes(data[:4], sys.byteorder)))
                continue
            if message == b"exec":
                messages.append(Executing())
                continue
            stage, number, detail = message.split(b"\0", 2)
            if stage == b"refused":
                messages.append(FilterRefused(int(number)))
                continue
            messages.append(
                SpawnFailed(stage.decode(), int(number), detail.decode("utf-8", "replace"))
            )
            break
    finally:
        channel.detach()
    return tuple(messages)


class Reporter:
    """The child's end of the channel, callable as a `Report`."""

    def __init__(self, channel: _socket.socket) -> None:
        self._channel = channel

    def fileno(self) -> int:
        """The descriptor of the channel."""
        return self._channel.fileno()

    def reopen(self, fd: int) -> None:
        """The channel is at another number now."""
        self._channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)

    def __call__(self, stage: str, number: int, detail: str) -> None:
        """A start that failed, or a filter that was refused."""
        text = detail.encode("utf-8", "replace")[:2048]
        self._send([stage.encode() + b"\0" + str(number).encode() + b"\0" + text])

    def filter_installed(self, notifier: int) -> None:
        """Send the notifier."""
        data = notifier.to_bytes(4, sys.byteorder)
        self._send([b"filter"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, data)])

    def executing(self) -> None:
        """Exec is called next."""
        self._send([b"exec"])

    def _send(self, *message: Any) -> None:
        self._channel.sendmsg(*message)
