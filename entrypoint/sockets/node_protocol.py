r"""Node's IPC and cluster protocols, as bytes and values. Pure.

`NODE_CHANNEL_FD` names a unix stream socket; each message is one line of JSON
(`lib/internal/child_process.js`, serialization `json`). A message with a handle is
wrapped, `{"cmd": "NODE_HANDLE", "type": "net.Native", "msg": …}`, the descriptor comes by
SCM_RIGHTS with the line's first byte, and the receiver answers `NODE_HANDLE_ACK` before the
next handle may be sent.

In a cluster (`lib/internal/cluster/child.js`) messages are `{"cmd": "NODE_CLUSTER", "act":
…, "seq": n}`, answers carry `ack: n`. A worker asks for an address with `queryServer`
before it listens. The answer with a handle is what Node calls a shared handle
(SCHED_NONE): the worker accepts for itself, no connection passes through the primary.

Everything here comes from a worker, which may send anything.
"""

from __future__ import annotations

from entrypoint.core.record import Record

from .sockaddr import Asked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The longest message. Node's own are some hundred bytes; TLS ticket keys add a hundred more.
LINE_AT_MOST = 256 * 1024
# App messages sent by process.send are only read up to this length.
OWN_AT_MOST = 4096

UV_TCP_IPV6ONLY = 1


class Decoder:
    """Splits bytes into lines. Drops a line that is too long as a whole, and only that."""

    def __init__(self, at_most: int = LINE_AT_MOST) -> None:
        self._at_most = at_most
        self._rest = bytearray()
        self._skipping = False
        self.dropped = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their newline."""
        lines: list[bytes] = []
        pieces = data.split(b"\n")
        for piece in pieces[:-1]:
            if self._take(piece):
                lines.append(bytes(self._rest))
            self._rest.clear()
            self._skipping = False
        self._take(pieces[-1])
        return lines

    def _take(self, piece: bytes) -> bool:
        if self._skipping:
            return False
        if len(self._rest) + len(piece) > self._at_most:
            self._rest.clear()
            self._skipping = True
            self.dropped += 1
            return False
        self._rest += piece
        return True


def decode(line: bytes) -> Any:
    """The value of a line; None for invalid JSON (and for null, which means nothing)."""
    import json

    if len(line) > OWN_AT_MOST and not line.startswith(b'{"cmd":"NODE_'):
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def encode(message: Any) -> bytes:
    """One line, with its newline."""
    import json

    # ASCII: JSON can contain lone surrogates, which no other encoding can represent.
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


class Query(Record):
    """`queryServer`: a worker wants to listen.

    `kind`: `stream`, `datagram`, `fd` (a descriptor number of the worker's) or `unknown`.
    `asked` is None for the last two. `data` is TLS's ticket keys or None.
    """

    seq: int
    key: str
    kind: str
    asked: Asked | None = None
    any_family: bool = False  # no address was given: IPv6 and IPv4, else IPv4
    v6only: bool = False
    fd: int = -1
    data: Any = None


def _integer(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def parse_query(message: dict[str, Any]) -> Query:
    """Parse a `queryServer` message; anything not understood is of kind `unknown`."""
    address = message.get("address")
    port = _integer(message.get("port"), -1)
    of_type = message.get("addressType")
    fd = _integer(message.get("fd"), -1)
    seq = _integer(message.get("seq"), 0)
    flags = _integer(message.get("flags"), 0)
    key = ":".join(
        "" if part is None else str(part)[:256]
        for part in (address, message.get("port"), of_type, message.get("fd"), message.get("index"))
    )
    query = Query(seq, key, "unknown", fd=fd, data=message.get("data"))
    if fd >= 0:
        return query.replace(kind="fd")
    if of_type == -1 and isinstance(address, str) and port < 0:
        # An abstract name comes with the working directory before it: a worker of a cluster
        # resolves every path (lib/internal/cluster/child.js).
        _, abstract, name = f"/{address}".rpartition("/\0")
        path = f"@{name}" if abstract else address
        if not path or "\0" in path:
            return query
        return query.replace(kind="stream", asked=Asked("unix", path=path))
    if not 0 <= port <= 65535:
        return query
    v6only = bool(flags & UV_TCP_IPV6ONLY)
    datagram = of_type in ("udp4", "udp6")
    if address is None or address == "":
        only4 = of_type == "udp4"
        asked = Asked("inet", host="0.0.0.0", port=port) if only4 else Asked("inet6", "::", port)  # noqa: S104
        return query.replace(
            kind="datagram" if datagram else "stream",
            asked=asked,
            any_family=not only4,
            v6only=v6only,
        )
    if not isinstance(address, str):
        return query
    asked_at = _numeric(address, port)
    if asked_at is None:
        return query
    return query.replace(kind="datagram" if datagram else "stream", asked=asked_at, v6only=v6only)


def _numeric(address: str, port: int) -> Asked | None:
    import _socket
    import struct

    from . import sockaddr

    host, _, zone = address.partition("%")
    try:
        if ":" in host:
            packed = _socket.inet_pton(_socket.AF_INET6, host)
            scope = int(zone) if zone.isdigit() else 0
            family = struct.pack("=H", _socket.AF_INET6)
            return sockaddr.parse(
                family
                + struct.pack("!HI", port, 0)
                + packed
                + struct.pack("=I", scope & 0xFFFFFFFF)
            )
        packed = _socket.inet_pton(_socket.AF_INET, host)
    except (OSError, ValueError):
        return None
    family = struct.pack("=H", _socket.AF_INET)
    return sockaddr.parse(family + struct.pack("!H", port) + packed + bytes(8))


def answer(query: Query, *, errno: int = 0, data: Any = None) -> dict[str, Any]:
    """The answer to a query. `errno` as in libuv: negative, 0 for none."""
    return {
        "cmd": "NODE_CLUSTER",
        "errno": errno,
        "key": query.key,
        "ack": query.seq,
        "data": data,
    }


def with_handle(message: dict[str, Any], kind: str) -> dict[str, Any]:
    """The wrapper of a message whose descriptor is sent along."""
    of_type = "dgram.Native" if kind == "datagram" else "net.Native"
    return {"cmd": "NODE_HANDLE", "type": of_type, "msg": message}


HANDLE_ACK: dict[str, Any] = {"cmd": "NODE_HANDLE_ACK"}
DISCONNECT: dict[str, Any] = {"cmd": "NODE_CLUSTER", "act": "disconnect"}


def acknowledge(seq: int) -> dict[str, Any]:
    """The plain answer to a message that requires one."""
    return {"cmd": "NODE_CLUSTER", "ack": seq}


def is_launcher(command: tuple[str, ...]) -> bool:
    """Whether the command is a Node program that only starts another, without the channel.

    npm and similar programs give their children three descriptors. As cluster workers they would
    only hold an unused channel.
    """
    names = {"npm", "npx", "yarn", "yarnpkg", "pnpm", "pnpx", "corepack"}
    scripts = ("npm-cli.js", "npx-cli.js", "yarn.js", "pnpm.cjs", "corepack.js")
    words = [word for word in command[:4] if not word.startswith("-")]
    if words and words[0].rpartition("/")[2] in names:
        return True
    return len(words) > 1 and words[1].endswith(scripts)
