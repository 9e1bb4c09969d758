"""`struct sockaddr` as a worker wrote it into its memory. Pure.

`sa_family` is in native order, port and address in network order (`ip(7)`, `ipv6(7)`,
`unix(7)`).
"""

from __future__ import annotations

import os
import struct

from entrypoint.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
else:
    import _socket

# No understood address is longer: sizeof(struct sockaddr_un).
MAX_SIZE = 110

_INET_SIZE = 16
_INET6_SIZE_OLD = 24  # RFC 2133, without sin6_scope_id: the kernel still accepts it
_INET6_SIZE = 28

MAPPED = "::ffff:"

# The kernel's names of stream sockets (`calling_process.protocol_of`), by family.
PROTOCOLS = {
    "inet": ("TCP", "MPTCP"),  # Go asks for MPTCP; plain TCP is its own fallback
    "inet6": ("TCPv6", "MPTCPv6"),
    "unix": ("UNIX-STREAM",),
}


class Asked(Record):
    """The address of a bind(2).

    `family`: `inet`, `inet6`, `unix`. `host` is numeric; `path` is as the worker gave
    it, perhaps relative, or an abstract name written with `@` for its first byte.
    """

    family: str
    host: str = ""
    port: int = 0
    scope: int = 0
    path: str = ""


def parse(data: bytes) -> Asked | None:
    """The address; None if the kernel would refuse it or its kind is unknown."""
    if len(data) < 2:
        return None
    (family,) = struct.unpack_from("=H", data)
    if family == _socket.AF_INET and len(data) >= _INET_SIZE:
        (port,) = struct.unpack_from("!H", data, 2)
        return Asked("inet", host=_socket.inet_ntop(_socket.AF_INET, data[4:8]), port=port)
    if family == _socket.AF_INET6 and len(data) >= _INET6_SIZE_OLD:
        (port,) = struct.unpack_from("!H", data, 2)
        scope = struct.unpack_from("=I", data, 24)[0] if len(data) >= _INET6_SIZE else 0
        host = _socket.inet_ntop(_socket.AF_INET6, data[8:24])
        if data[8:20] == b"\0" * 10 + b"\xff\xff":
            host = MAPPED + _socket.inet_ntop(_socket.AF_INET, data[20:24])
        return Asked("inet6", host=host, port=port, scope=scope)
    if family == _socket.AF_UNIX:
        return _parse_unix(data[2:])
    return None


def _parse_unix(name: bytes) -> Asked | None:
    if not name:
        return None  # autobind: the kernel chooses a name, which no other process can mean
    if name[:1] == b"\0":
        # Every byte of an abstract name counts, zeros too; such a name is no path.
        if len(name) == 1 or b"\0" in name[1:]:
            return None
        return Asked("unix", path="@" + os.fsdecode(name[1:]))
    path = name.partition(b"\0")[0]
    if path[:1] == b"@":
        return Asked("unix", path="./" + os.fsdecode(path))  # a file of that name
    return Asked("unix", path=os.fsdecode(path))
