"""Socket options, copied from one TCP socket to another (`socket(7)`, `tcp(7)`, `ip(7)`).

A worker sets options on its socket before bind(2), and then gets another one. Its options
must apply there, and options that an earlier worker set must not.
"""

from __future__ import annotations

from .credentials import act_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Iterable

    from .credentials import Credentials
else:
    import _socket

_S = _socket.SOL_SOCKET
_T = _socket.IPPROTO_TCP
_4 = _socket.IPPROTO_IP
_6 = _socket.IPPROTO_IPV6

# Numbers that Python has no names for are those of include/uapi/asm-generic/socket.h,
# linux/tcp.h, linux/in.h and linux/in6.h; they are the same on all architectures we know.
_NUMBERS = (
    (_S, 9),  # SO_KEEPALIVE
    (_S, 10),  # SO_OOBINLINE
    (_S, 12),  # SO_PRIORITY
    (_S, 18),  # SO_RCVLOWAT
    (_S, 36),  # SO_MARK
    (_S, 46),  # SO_BUSY_POLL
    (_S, 47),  # SO_MAX_PACING_RATE
    (_S, 60),  # SO_ZEROCOPY
    (_T, 1),  # TCP_NODELAY
    (_T, 2),  # TCP_MAXSEG
    (_T, 3),  # TCP_CORK
    (_T, 4),  # TCP_KEEPIDLE
    (_T, 5),  # TCP_KEEPINTVL
    (_T, 6),  # TCP_KEEPCNT
    (_T, 7),  # TCP_SYNCNT
    (_T, 8),  # TCP_LINGER2
    (_T, 9),  # TCP_DEFER_ACCEPT
    (_T, 10),  # TCP_WINDOW_CLAMP
    (_T, 16),  # TCP_THIN_LINEAR_TIMEOUTS
    (_T, 18),  # TCP_USER_TIMEOUT
    (_T, 23),  # TCP_FASTOPEN
    (_T, 25),  # TCP_NOTSENT_LOWAT
    (_T, 27),  # TCP_SAVE_SYN
    (_T, 34),  # TCP_FASTOPEN_NO_COOKIE
    (_T, 37),  # TCP_TX_DELAY
    (_4, 1),  # IP_TOS
    (_4, 2),  # IP_TTL
    (_4, 10),  # IP_MTU_DISCOVER
    (_4, 15),  # IP_FREEBIND
    (_4, 19),  # IP_TRANSPARENT
    (_4, 21),  # IP_MINTTL
)
_NUMBERS6 = (
    (_6, 16),  # IPV6_UNICAST_HOPS
    (_6, 23),  # IPV6_MTU_DISCOVER
    (_6, 66),  # IPV6_RECVTCLASS
    (_6, 67),  # IPV6_TCLASS
    (_6, 73),  # IPV6_MINHOPCOUNT
    (_6, 75),  # IPV6_TRANSPARENT
    (_6, 78),  # IPV6_FREEBIND
)
# Of unix listeners, which connections inherit (`unix(7)`): PASSCRED, PASSSEC, PASSPIDFD.
UNIX = tuple((_S, number) for number in (16, 34, 76))
# SO_LINGER, SO_RCVTIMEO, SO_SNDTIMEO: structs. SO_BINDTODEVICE, TCP_CONGESTION: texts.
_BYTES = ((_S, 13, 8), (_S, 20, 16), (_S, 21, 16), (_S, 25, 16), (_T, 13, 16))
# The kernel reports twice the requested value (`socket(7)`).
_BUFFERS = ((_S, 8), (_S, 7))  # SO_RCVBUF, SO_SNDBUF


def copy(source: _socket.socket, target: _socket.socket) -> bool:
    """Copy the options of `source` to `target`.

    False: one of them cannot be set there; the others are set.
    """
    fine = True
    numbers = _NUMBERS + _NUMBERS6 if source.family == _socket.AF_INET6 else _NUMBERS
    for level, name in numbers:
        fine &= _copy_one(source, target, level, name)
    for level, name, size in _BYTES:
        fine &= _copy_one(source, target, level, name, size)
    for level, name in _BUFFERS:
        wanted = source.getsockopt(level, name)
        if wanted != target.getsockopt(level, name):
            # A value that was never set grows by itself, until it is set.
            target.setsockopt(level, name, wanted // 2)
            fine &= target.getsockopt(level, name) == wanted
    return fine


def _copy_one(
    source: _socket.socket, target: _socket.socket, level: int, name: int, size: int = 0
) -> bool:
    try:
        wanted = source.getsockopt(level, name, size) if size else source.getsockopt(level, name)
        has = target.getsockopt(level, name, size) if size else target.getsockopt(level, name)
    except OSError:
        return True  # this kernel has no such option
    if wanted == has:
        return True
    try:
        target.setsockopt(level, name, wanted)
    except OSError:
        return False
    return True


def switch_on(source: _socket.socket, target: _socket.socket) -> None:
    """Set those of `UNIX` on `target` that are set on `source`.

    No option is cleared: all workers of an app share the listener.
    """
    for level, name in UNIX:
        try:
            if source.getsockopt(level, name):
                target.setsockopt(level, name, 1)
        except OSError:
            continue  # this kernel has no such option


def apply(
    chosen: Iterable[tuple[int, int, bytes]],
    target: _socket.socket,
    credentials: Credentials,
) -> None:
    """Apply (level, number, value) to `target` with the rights of the process that set them.

    An option refused now was refused then.
    """

    def set_all() -> None:
        for level, name, value in chosen:
            try:
                target.setsockopt(level, name, value)
            except OSError:
                continue

    act_as(credentials, set_all)


def reset(target: _socket.socket) -> None:
    """Clear options that were set; TCP_NODELAY is on, as in `sockets.bind_shared`.

    Raises OSError.
    """
    fresh = _socket.socket(target.family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        fresh.setsockopt(_T, _socket.TCP_NODELAY, 1)
        copy(fresh, target)
    finally:
        fresh.close()
