"""The TCP connections of a port from `sock_diag(7)`: bytes received and sent, and when.

No rights to the owning process are needed. The kernel walks a table of the whole host
for each dump (1 to 2 ms) and adds about 3 us for each connection, so a dump comes in parts,
between which the caller may do something else.

`last_data_sent` and `last_data_recv` (tcp(7), `TCP_INFO`) are counted in ticks of the kernel
(1 to 10 ms): two events in one tick have no known order.
"""

from __future__ import annotations

import struct

from entrypoint.core.record import Record

from .sockdiag import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Iterator
else:
    import _socket

ESTABLISHED, SYN_RECV, CLOSE_WAIT = 1, 3, 8
_STATES = (1 << ESTABLISHED) | (1 << SYN_RECV) | (1 << CLOSE_WAIT)

# linux/inet_diag.h: family, protocol, ext, pad, states, then an id that begins with the port.
_REQUEST = "=BBBBIH46x"
_INFO = 2  # INET_DIAG_INFO; as a bit of `ext`: 1 << (2 - 1)
# family, state, timer, retrans, sport, dport, src, dst, if, cookie, expires, rqueue, wqueue,
# uid, inode.
_MESSAGE = struct.Struct("=BBBBHH16s16sIQIIIII")
_ATTRIBUTE = struct.Struct("=HH")
# linux/tcp.h, struct tcp_info: last_data_sent, last_ack_sent, last_data_recv, last_ack_recv.
_AGES, _AGES_AT = struct.Struct("=IIII"), 44
# bytes_acked, bytes_received, segs_out, segs_in, notsent_bytes, min_rtt, data_segs_in,
# data_segs_out (Linux 4.6).
_COUNTS, _COUNTS_AT = struct.Struct("=QQIIIIII"), 120


class Connection(Record):
    """One connection; times are seconds ago.

    `inode` is 0 until accept(2). Until then `opened` identifies it: the address
    and port of its client. `unread`: bytes; in CLOSE_WAIT the end of the stream counts as one
    more. `unsent`: bytes that the client has not acknowledged. `segments`: sent segments with
    data.
    """

    inode: int
    state: int
    opened: bytes
    unread: int = 0
    unsent: int = 0
    sent_ago: float = 0.0
    received_ago: float = 0.0
    acknowledged_ago: float = 0.0
    acknowledged: int = 0
    received: int = 0
    segments: int = 0


def of_port(family: int, port: int) -> Iterator[list[Connection]]:
    """The connections to this local port, in parts of about a hundred. Raises OSError."""
    body = struct.pack(
        _REQUEST, family, _socket.IPPROTO_TCP, 1 << (_INFO - 1), 0, _STATES, _socket.htons(port)
    )
    for part in dump(body):
        yield [_connection(each) for each in part if len(each) >= _MESSAGE.size]


def _connection(answer: bytes) -> Connection:
    fields = _MESSAGE.unpack_from(answer)
    opened = answer[6:8] + answer[24:40]
    inode, state, unread, unsent = fields[14], fields[1], fields[11], fields[12]
    at = _MESSAGE.size
    while at + 4 <= len(answer):
        length, attribute = _ATTRIBUTE.unpack_from(answer, at)
        if length < 4:
            break
        if attribute == _INFO and length >= 4 + _COUNTS_AT + _COUNTS.size:
            sent, _, received, acked = _AGES.unpack_from(answer, at + 4 + _AGES_AT)
            counts = _COUNTS.unpack_from(answer, at + 4 + _COUNTS_AT)
            ages = (sent / 1000, received / 1000, acked / 1000)
            totals = (counts[0], counts[1], counts[7])
            return Connection(inode, state, opened, unread, unsent, *ages, *totals)
        at += (length + 3) & ~3
    return Connection(inode, state, opened, unread, unsent)
