"""What is said when an address cannot be bound."""

from __future__ import annotations

import errno
import os

from ..kernel import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..core.spec import ListenSpec


class PortErrors(Exception):
    """Addresses that cannot be bound; `problems` are sentences."""

    def __init__(self, problems: tuple[str, ...] | list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def sentence(spec: ListenSpec, error: OSError) -> str:
    """Why, and who has it if /proc tells."""
    number = error.errno or 0
    if number == errno.EADDRINUSE:
        holder = sockets.holder_of(spec.port) if spec.port else ""
        what = "the port is in use" if spec.family != "unix" else "somebody listens there"
        return f"{what} by {holder}" if holder else what
    if number == errno.EACCES and spec.family != "unix":
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
    return os.strerror(number) if number else str(error)
