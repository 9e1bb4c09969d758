"""What is said when an address cannot be bound."""

from __future__ import annotations

import errno
import os

from entrypoint.kernel import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.core.spec import ListenSpec


class PortErrors(Exception):
    """Addresses that cannot be bound; `problems` are sentences."""

    def __init__(self, problems: tuple[str, ...] | list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class ListenerDownError(OSError):
    """A listener that its workers have ended could not be made again yet."""

    def __init__(self, number: int, address: str, reason: str) -> None:
        super().__init__(number, reason, address)
        self.text = f"listener {address}: {reason}"

    def __str__(self) -> str:
        """For people."""
        return self.text


def sentence(spec: ListenSpec, error: OSError) -> str:
    """Why, and who has it if /proc tells."""
    why = reason_of(spec.family, error)
    if error.errno == errno.EADDRINUSE and spec.port:
        holder = sockets.holder_of(spec.port)
        return f"{why} by {holder}" if holder else why
    return why


def reason_of(family: str, error: OSError) -> str:
    """Why an address of that family cannot be bound."""
    number = error.errno or 0
    if number == errno.EADDRINUSE:
        return "the port is in use" if family != "unix" else "somebody listens there"
    if number == errno.EACCES and family != "unix":
        return "ports below 1024 need root or CAP_NET_BIND_SERVICE"
    if number == errno.EACCES:
        return "not permitted to make a socket there"
    if number == errno.EADDRNOTAVAIL:
        return "this host does not have the address"
    if number == errno.EAFNOSUPPORT:
        return "this host does not have this kind of address"
    if number == errno.ENOENT:
        return "the folder does not exist"
    if number == errno.EROFS:
        return "the file system is read-only"
    if number == errno.ESTALE:
        return "another process replaces the file"
    if number == errno.EPERM and error.strerror:
        return error.strerror
    return os.strerror(number) if number else str(error)
