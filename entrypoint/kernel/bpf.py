"""Classic BPF programs: they choose the slot of a new connection, and which calls are reported.

A program is a tuple of `(code, jt, jf, k)`, the `sock_filter` of `linux/filter.h`;
jumps count instructions from the next one. The kernel takes 4,096 of them at most.

*Steering*: the program of a `SO_REUSEPORT` group (`socket(7)`,
`SO_ATTACH_REUSEPORT_CBPF`) runs for each new connection and returns an index into the
group. The index is random: that is even for few connections too, unlike the
kernel's own hash, and needs no state. A connection of pyinit's own that checks
one worker is identified by its source port: the packet data begins behind the TCP header
there, but the network header can still be read (SKF_NET_OFF).

*Interception*: a seccomp program (`seccomp(2)`) reads `struct seccomp_data`, the call's
number at offset 0 and the architecture at 4. Numbers mean different calls in different
architectures, so the architecture is checked first: the kernel's, and that of the 32-bit
programs which it runs too.
"""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    Instruction = tuple[int, int, int, int]
    Program = tuple[Instruction, ...]

MAX_INSTRUCTIONS = 4096

_LD_W_ABS = 0x20
_LD_H_ABS = 0x28
_LD_B_ABS = 0x30
_LD_H_IND = 0x48
_LDX_B_MSH = 0xB1
_JA = 0x05
_JEQ = 0x15
_JGE = 0x35
_JSET = 0x45
_ADD = 0x04
_AND = 0x54
_MOD = 0x94
_RET = 0x06
_RET_A = 0x16

# SKF_AD_OFF + SKF_AD_RANDOM: not packet data but get_random_u32().
_RANDOM = (-0x1000 + 56) & 0xFFFFFFFF

# SKF_AD_OFF + SKF_AD_IFINDEX; the loopback device has 1 in every network namespace.
_IFINDEX = (-0x1000 + 8) & 0xFFFFFFFF
_LOOPBACK = 1
# SKF_NET_OFF: from the beginning of the IP header. Behind it stands the source port.
_NET = -0x100000 & 0xFFFFFFFF
_IPV6_HEADER = 40

_SECCOMP_ALLOW = 0x7FFF0000
_SECCOMP_USER_NOTIF = 0x7FC00000

_EVERYTHING = 0xFFFFFFFF
_TCP_FLAGS = 13
_SYN, _ACK = 0x02, 0x10


class Architecture:
    """An AUDIT_ARCH number, and the numbers of the system calls that we use.

    A call that does not exist in the architecture is missing in `calls`.
    """

    def __init__(
        self,
        audit: int,
        *,
        seccomp: int,
        openat2: int = 437,
        compat: Architecture | None = None,
        **calls: int,
    ) -> None:
        """`compat`: the architecture of the 32-bit programs that the kernel may run as well."""
        self.audit = audit
        self.seccomp = seccomp
        self.openat2 = openat2
        self.compat = compat
        self.calls = calls


# One system call for all socket operations (`socketcall(2)`): its first argument says which, the
# second points to the arguments. C libraries for i386 older than Linux 4.3 use it.
SOCKETCALLS = {2: ("bind", 3), 4: ("listen", 2)}

_I386 = Architecture(
    0x40000003,
    seccomp=354,
    unlink=10,
    rename=38,
    socketcall=102,
    unlinkat=301,
    renameat=302,
    renameat2=353,
    socket=359,
    bind=361,
    connect=362,
    listen=363,
    getsockopt=365,
    setsockopt=366,
    io_uring_setup=425,
)
_ARM = Architecture(
    0x40000028,
    seccomp=383,
    unlink=10,
    rename=38,
    socket=281,
    bind=282,
    connect=283,
    listen=284,
    setsockopt=294,
    getsockopt=295,
    unlinkat=328,
    renameat=329,
    renameat2=382,
    io_uring_setup=425,
)

# By `os.uname().machine`. x86_64 also runs x32 calls, whose numbers have bit 30 set and
# so match none of ours: they go through.
ARCHITECTURES = {
    "x86_64": Architecture(
        0xC000003E,
        seccomp=317,
        compat=_I386,
        socket=41,
        connect=42,
        shutdown=48,
        bind=49,
        listen=50,
        setsockopt=54,
        getsockopt=55,
        rename=82,
        unlink=87,
        unlinkat=263,
        renameat=264,
        renameat2=316,
        io_uring_setup=425,
    ),
    "aarch64": Architecture(
        0xC00000B7,
        seccomp=277,
        compat=_ARM,
        unlinkat=35,
        renameat=38,
        socket=198,
        bind=200,
        listen=201,
        connect=203,
        setsockopt=208,
        getsockopt=209,
        shutdown=210,
        renameat2=276,
        io_uring_setup=425,
    ),
}

# Calls that every filter reports.
PORT_CALLS = ("bind", "listen", "getsockopt")
# Calls that remove the path of a unix socket, or rename it.
REMOVALS = ("unlink", "unlinkat", "rename", "renameat", "renameat2")

# `struct seccomp_data`: the low words of the first three arguments, little-endian.
_FIRST, _SECOND, _THIRD = 16, 24, 32
# sizeof(struct sockaddr_in), sizeof(struct sockaddr_in6)
_INET_SIZE, _INET6_SIZE = 16, 28
_AT_REMOVEDIR = 0x200
_SHUT_WR = 1
_AF_INET, _AF_INET6 = 2, 10
_SOCK_TYPE_MASK, _SOCK_STREAM = 0xF, 1
# The same numbers in both architectures.
_SOL_SOCKET, _SO_ACCEPTCONN = 1, 30
_IP, _TCP, _IPV6 = 0, 6, 41

# Options that a listener has, or passes on to its connections (`socket(7)`, `tcp(7)`, `ip(7)`,
# `ipv6(7)`): level → numbers. Few programs set these on connections, or often:
LISTENER_OPTIONS = {
    # SNDBUF, RCVBUF, PASSCRED, RCVLOWAT, BINDTODEVICE, SNDBUFFORCE, RCVBUFFORCE, PASSSEC, MARK,
    # BUSY_POLL, PASSPIDFD
    _SOL_SOCKET: (7, 8, 16, 18, 25, 32, 33, 34, 36, 46, 76),
    # MAXSEG, DEFER_ACCEPT, WINDOW_CLAMP, CONGESTION, FASTOPEN, SAVE_SYN, FASTOPEN_NO_COOKIE
    _TCP: (2, 9, 10, 13, 23, 27, 34),
    _IP: (1, 15, 19, 21),  # TOS, FREEBIND, TRANSPARENT, MINTTL
    _IPV6: (26, 67, 73, 75, 78),  # V6ONLY, TCLASS, MINHOPCOUNT, TRANSPARENT, FREEBIND
}
# Options that many programs set on each of their connections.
COMMON_OPTIONS = {
    # KEEPALIVE, OOBINLINE, PRIORITY, LINGER, RCVTIMEO, SNDTIMEO, MAX_PACING_RATE, ZEROCOPY
    _SOL_SOCKET: (9, 10, 12, 13, 20, 21, 47, 60),
    # KEEPIDLE, KEEPINTVL, KEEPCNT, SYNCNT, LINGER2, THIN_LINEAR_TIMEOUTS, USER_TIMEOUT,
    # NOTSENT_LOWAT, TX_DELAY
    _TCP: (4, 5, 6, 7, 8, 16, 18, 25, 37),
    _IP: (2, 10),  # TTL, MTU_DISCOVER
    _IPV6: (16, 23, 66),  # UNICAST_HOPS, MTU_DISCOVER, RECVTCLASS
}


def pack(program: Program) -> bytes:
    """The program in the kernel's format: 8 bytes an instruction, in native order."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def steering(indices: tuple[int, ...], directed: Mapping[int, int] | None = None) -> Program:
    """Return one of `indices` into the group, each equally likely.

    `directed`: source port → index, for connections from this host (over loopback).
    Raises ValueError if there are none, and for a set so scattered that the program would not
    fit (1,000 slots always do).
    """
    chosen = sorted(set(indices))
    if not chosen or chosen[0] < 0:
        raise ValueError(f"cannot steer to {indices!r}")
    # Runs of neighbours: (position of the first in `chosen`, what to add to a position).
    runs: list[tuple[int, int]] = []
    for position, index in enumerate(chosen):
        if not runs or runs[-1][1] != index - position:
            runs.append((position, index - position))
    program: list[Instruction] = [
        (_LD_W_ABS, 0, 0, _RANDOM),
        (_MOD, 0, 0, len(chosen)),
    ]
    # From the last run to the first: the first whose beginning is not above A matches.
    for position, shift in reversed(runs):
        answer: list[Instruction] = [(_ADD, 0, 0, shift)] if shift else []
        answer.append((_RET_A, 0, 0, 0))
        if position:
            program.append((_JGE, 0, len(answer), position))
        program += answer
    if directed:
        program[:0] = _directing(directed)
    if len(program) > MAX_INSTRUCTIONS:
        raise ValueError(f"{len(chosen)} slots are too scattered for one program")
    return tuple(program)


def _directing(directed: Mapping[int, int]) -> Program:
    """The part before the steering; it continues after its last instruction."""
    chosen: list[Instruction] = []
    for port, index in directed.items():
        chosen += [(_JEQ, 0, 1, port), (_RET, 0, 0, index)]
    head: list[Instruction] = [
        # Version and length of the IP header: IPv4's has options, IPv6's is fixed.
        (_LD_B_ABS, 0, 0, _NET),
        (_AND, 0, 0, 0xF0),
        (_JEQ, 0, 2, 0x60),
        (_LD_H_ABS, 0, 0, _NET + _IPV6_HEADER),
        (_JA, 0, 0, 2),
        (_LDX_B_MSH, 0, 0, _NET),
        (_LD_H_IND, 0, 0, _NET),
    ]
    return (
        (_LD_W_ABS, 0, 0, _IFINDEX),
        (_JEQ, 1, 0, _LOOPBACK),
        (_JA, 0, 0, len(head) + len(chosen)),
        *head,
        *chosen,
    )


def no_new_connections() -> Program:
    """A socket filter that drops SYN: queued and half-open connections continue.

    The packet begins with the TCP header here (`tcp_filter` in net/ipv4).
    """
    return (
        (_LD_B_ABS, 0, 0, _TCP_FLAGS),
        (_JSET, 2, 0, _ACK),
        (_JSET, 0, 1, _SYN),
        (_RET, 0, 0, 0),
        (_RET, 0, 0, _EVERYTHING),
    )


def looks_like_inet(path: str) -> bool:
    """Whether this unix path's address may be as long as an IP address: `connect` misses it."""
    size = 2 + len(os.fsencode(path))  # with or without the final NUL
    return bool({size, size + 1} & {_INET_SIZE, _INET6_SIZE})


def interception(machine: str, calls: Collection[str] = PORT_CALLS) -> Program:
    """The seccomp program: reports `calls`, allows everything else.

    Names are those of the system calls; unknown ones of the machine are omitted. Of
    some calls only certain uses matter, and only those are reported (`_reported`).
    Beside them there is `connect_any`: every connect(2), where `connect` leaves out those
    with an address of the size of IPv4's or IPv6's; and `setsockopt:N`, COMMON_OPTIONS of
    descriptors up to N, beside LISTENER_OPTIONS of all.
    Raises KeyError for a machine not in ARCHITECTURES.
    """
    known = ARCHITECTURES[machine]
    native, compat = _of_architecture(known, calls), _of_compat(known.compat, calls)
    return (
        (_LD_W_ABS, 0, 0, 4),
        (_JEQ, 0, 1, known.audit),
        (_JA, 0, 0, len(compat)),
        *compat,
        *native,
    )


def _of_compat(known: Architecture | None, calls: Collection[str]) -> Program:
    """The same for 32-bit programs; without `known` all other calls are allowed."""
    allow = (_RET, 0, 0, _SECCOMP_ALLOW)
    if known is None:
        return (allow,)
    if "bind" in calls and "socketcall" in known.calls:
        calls = (*calls, "socketcall")
    return ((_JEQ, 1, 0, known.audit), allow, *_of_architecture(known, calls))


def _of_architecture(known: Architecture, calls: Collection[str]) -> Program:
    program: list[Instruction] = [(_LD_W_ABS, 0, 0, 0)]
    for name in calls:
        number = known.calls.get(name.removesuffix("_any").partition(":")[0])
        if number is not None:
            chosen = _reported(name)
            program += [(_JEQ, 0, len(chosen), number), *chosen]
    program.append((_RET, 0, 0, _SECCOMP_ALLOW))
    return tuple(program)


def _reported(name: str) -> list[Instruction]:
    """The instructions for a call that is `name`; they return in every case."""
    report = (_RET, 0, 0, _SECCOMP_USER_NOTIF)
    allow = (_RET, 0, 0, _SECCOMP_ALLOW)
    if name == "connect":
        # The family is in memory that a filter cannot read; the size is nearly as
        # good: unix addresses are 110 bytes long, or as long as their path.
        return [
            (_LD_W_ABS, 0, 0, _THIRD),
            (_JEQ, 2, 0, _INET_SIZE),
            (_JEQ, 1, 0, _INET6_SIZE),
            report,
            allow,
        ]
    if name == "unlinkat":  # with AT_REMOVEDIR it is rmdir(2)
        return [(_LD_W_ABS, 0, 0, _THIRD), (_JSET, 1, 0, _AT_REMOVEDIR), report, allow]
    if name == "shutdown":  # SHUT_WR, the usual end of a connection, ends no listener
        return [(_LD_W_ABS, 0, 0, _SECOND), (_JEQ, 1, 0, _SHUT_WR), report, allow]
    if name == "getsockopt":  # whether a socket listens
        return [
            (_LD_W_ABS, 0, 0, _SECOND),
            (_JEQ, 0, 2, _SOL_SOCKET),
            (_LD_W_ABS, 0, 0, _THIRD),
            (_JEQ, 1, 0, _SO_ACCEPTCONN),
            allow,
            report,
        ]
    if name == "socketcall":
        first, second = SOCKETCALLS
        return [
            (_LD_W_ABS, 0, 0, _FIRST),
            (_JEQ, 2, 0, first),
            (_JEQ, 1, 0, second),
            allow,
            report,
        ]
    if name.startswith("setsockopt"):
        return _reported_options(int(name.partition(":")[2]))
    if name == "socket":  # TCP's alone
        return [
            (_LD_W_ABS, 0, 0, _FIRST),
            (_JEQ, 1, 0, _AF_INET),
            (_JEQ, 0, 3, _AF_INET6),
            (_LD_W_ABS, 0, 0, _SECOND),
            (_AND, 0, 0, _SOCK_TYPE_MASK),
            (_JEQ, 1, 0, _SOCK_STREAM),
            allow,
            report,
        ]
    return [report]


def _reported_options(descriptor: int) -> list[Instruction]:
    """Report setsockopt(2) of LISTENER_OPTIONS, and of COMMON_OPTIONS up to that descriptor."""
    report = (_RET, 0, 0, _SECCOMP_USER_NOTIF)
    allow = (_RET, 0, 0, _SECCOMP_ALLOW)
    # The descriptor is an int: the kernel ignores what the caller put above its 32 bits.
    low: list[Instruction] = [
        (_LD_W_ABS, 0, 0, _FIRST),
        (_JGE, 0, 1, descriptor + 1),
        allow,
        report,
    ]
    program: list[Instruction] = [(_LD_W_ABS, 0, 0, _SECOND)]
    for level, names in LISTENER_OPTIONS.items():
        common = COMMON_OPTIONS[level]
        block: list[Instruction] = [(_LD_W_ABS, 0, 0, _THIRD)]
        left = len(names) + len(common)
        for number in (*names, *common):
            left -= 1
            # At the end: the return for unreported calls, the report, and the one for descriptors.
            block.append((_JEQ, left + (1 if number in names else 2), 0, number))
        block += [allow, report, *low]
        program += [(_JEQ, 0, len(block), level), *block]
    program.append(allow)
    return program
