"""The programs, run by a small interpreter of classic BPF."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from entrypoint.kernel import bpf

RANDOM = (-0x1000 + 56) & 0xFFFFFFFF
IFINDEX = (-0x1000 + 8) & 0xFFFFFFFF
NET = -0x100000 & 0xFFFFFFFF


class Packet:
    """An IP packet whose data begins behind its TCP header, on a device of that number."""

    def __init__(self, content, device):
        self.content = content
        self.device = device


def run(program, data=b"", draw=0):
    """What the program returns. Raises AssertionError where the kernel would refuse it."""
    assert 0 < len(program) <= bpf.MAX_INSTRUCTIONS
    a = x = at = 0
    while True:
        code, jt, jf, k = program[at]
        assert 0 <= jt < 256 and 0 <= jf < 256
        at += 1
        if isinstance(data, Packet) and code in (0x20, 0x28, 0x30, 0x48, 0xB1) and k != RANDOM:
            if k == IFINDEX:
                a = data.device
                continue
            start = k - NET + (x if code == 0x48 else 0)
            assert start >= 0, f"not of the network header: {k:#x}"
            if code == 0xB1:
                x = 4 * (data.content[start] & 0xF)
            elif code == 0x30:
                a = data.content[start]
            else:
                a = struct.unpack_from("!H", data.content, start)[0]
        elif code == 0x20:
            a = draw if k == RANDOM else struct.unpack_from("=I", data, k)[0]
        elif code == 0x30:
            a = data[k]
        elif code == 0x05:
            at += k
        elif code == 0x54:
            a &= k
        elif code == 0x94:
            a %= k
        elif code == 0x04:
            a = (a + k) & 0xFFFFFFFF
        elif code in (0x15, 0x35, 0x45):
            true = {0x15: a == k, 0x35: a >= k, 0x45: bool(a & k)}[code]
            at += jt if true else jf
        elif code == 0x06:
            return k
        elif code == 0x16:
            return a
        else:
            raise AssertionError(f"unknown instruction {code:#x}")


@given(st.sets(st.integers(0, 1000), min_size=1))
def test_steering_reaches_each_slot_once_in_a_round(indices):
    program = bpf.steering(tuple(indices))
    assert sorted(run(program, draw=n) for n in range(len(indices))) == sorted(indices)


def test_the_worst_of_a_thousand_slots_fits():
    indices = tuple(range(0, 2000, 2))
    program = bpf.steering(indices)
    assert len(bpf.pack(program)) == 8 * len(program)
    assert {run(program, draw=n) for n in range(1000)} == set(indices)


def test_steering_is_even():
    program = bpf.steering((0, 2, 3, 7))
    draws = random.Random(1)
    counted = {}
    for _ in range(4000):
        slot = run(program, draw=draws.getrandbits(32))
        counted[slot] = counted.get(slot, 0) + 1
    assert set(counted) == {0, 2, 3, 7} and min(counted.values()) > 850


@pytest.mark.parametrize("indices", [(), (-1,)])
def test_steering_to_nowhere_is_refused(indices):
    with pytest.raises(ValueError):
        bpf.steering(indices)


def reports(program, audit, number, *args):
    data = struct.pack("=IIQ6Q", number, audit, 0, *args, *[0] * (6 - len(args)))
    return run(program, data) == 0x7FC00000


@pytest.mark.parametrize("machine", sorted(bpf.ARCHITECTURES))
@given(number=st.one_of(st.integers(0, 600), st.integers(0, 2**32 - 1)), foreign=st.booleans())
def test_interception_reports_bind_and_listen_of_its_architecture_only(machine, number, foreign):
    known = bpf.ARCHITECTURES[machine]
    audit = 0xC0000016 if foreign else known.audit
    # Of getsockopt(2) it is SO_ACCEPTCONN alone.
    reported = reports(bpf.interception(machine), audit, number, 3, 1, 2, 3, 4, 5)
    assert reported == (not foreign and number in (known.calls["bind"], known.calls["listen"]))


# As arch/x86/entry/syscalls/syscall_32.tbl and arch/arm/tools/syscall.tbl have them.
@pytest.mark.parametrize(
    ("machine", "audit", "bind", "listen"),
    [("x86_64", 0x40000003, 361, 363), ("aarch64", 0x40000028, 282, 284)],
)
@given(number=st.integers(0, 500), first=st.integers(0, 20))
def test_calls_of_32_bit_programs_are_reported_by_their_numbers(
    machine, audit, bind, listen, number, first
):
    program = bpf.interception(machine, (*bpf.PORT_CALLS, "setsockopt:5", "unlink", "connect"))
    known = bpf.ARCHITECTURES[machine].compat
    if number == known.calls.get("socketcall"):
        expected = first in (2, 4)  # SYS_BIND, SYS_LISTEN
    elif number in (known.calls["setsockopt"], known.calls["getsockopt"]):
        return
    else:
        expected = number in (bind, listen, known.calls["unlink"], known.calls["connect"])
    assert reports(program, audit, number, first, 0x7000, 110) == expected


@pytest.mark.parametrize("machine", sorted(bpf.ARCHITECTURES))
@given(
    chosen=st.sets(st.sampled_from(("bind", "listen", *bpf.REMOVALS))),
    number=st.integers(0, 600),
)
def test_interception_reports_what_is_chosen(machine, chosen, number):
    known = bpf.ARCHITECTURES[machine]
    program = bpf.interception(machine, tuple(sorted(chosen)))
    expected = number in {known.calls[name] for name in chosen if name in known.calls}
    assert reports(program, known.audit, number) == expected


@pytest.mark.parametrize("path", ["/run/app.sock", "/run/app2.sock", "/" + "x" * 24])
def test_a_unix_address_may_have_the_size_of_an_ip_address(path):
    assert bpf.looks_like_inet(path)
    assert not bpf.looks_like_inet(path + "xx")


UNIX, INET, INET6, STREAM, DATAGRAM = 1, 2, 10, 1, 2


@pytest.mark.parametrize(
    ("reported", "call", "args", "expected"),
    [
        ("connect", "connect", (3, 0x7000, 110), True),
        ("connect", "connect", (3, 0x7000, 16), False),
        ("connect", "connect", (3, 0x7000, 28), False),
        ("connect_any", "connect", (3, 0x7000, 16), True),
        ("connect_any", "bind", (3, 0x7000, 16), False),
        ("unlinkat", "unlinkat", (3, 0x7000, 0), True),
        ("unlinkat", "unlinkat", (3, 0x7000, 0x200), False),
        ("shutdown", "shutdown", (3, 0), True),
        ("shutdown", "shutdown", (3, 2), True),
        ("shutdown", "shutdown", (3, 1), False),
        ("socket", "socket", (INET, STREAM | 0x80800, 0), True),
        ("socket", "socket", (INET6, STREAM, 6), True),
        ("socket", "socket", (INET, DATAGRAM, 0), False),
        ("socket", "socket", (UNIX, STREAM, 0), False),
        ("socket", "bind", (INET, STREAM, 0), False),
        ("getsockopt", "getsockopt", (3, 1, 30), True),
        ("getsockopt", "getsockopt", (3, 1, 4), False),
        ("getsockopt", "getsockopt", (3, 6, 30), False),
    ],
)
@pytest.mark.parametrize("machine", sorted(bpf.ARCHITECTURES))
def test_of_some_calls_only_a_part_is_reported(machine, reported, call, args, expected):
    known = bpf.ARCHITECTURES[machine]
    program = bpf.interception(machine, ("bind", reported) if call != "bind" else (reported,))
    assert reports(program, known.audit, known.calls[call], *args) == expected


@pytest.mark.parametrize("machine", sorted(bpf.ARCHITECTURES))
@given(
    level=st.sampled_from((0, 1, 6, 17, 41)),
    name=st.integers(0, 80),
    fd=st.integers(0, 20) | st.just(0xFFFFFFFF),
    highest=st.integers(0, 18),
)
def test_options_are_reported_of_listeners_and_low_descriptors(machine, level, name, fd, highest):
    known = bpf.ARCHITECTURES[machine]
    program = bpf.interception(machine, (*bpf.PORT_CALLS, f"setsockopt:{highest}"))
    always = name in bpf.LISTENER_OPTIONS.get(level, ())
    low = fd <= highest and name in bpf.COMMON_OPTIONS.get(level, ())
    reported = reports(program, known.audit, known.calls["setsockopt"], fd, level, name)
    assert reported == (always or low)


@pytest.mark.parametrize(("level", "name"), [(6, 1), (6, 3), (6, 12), (1, 2), (1, 15)])
def test_what_servers_set_on_each_connection_is_never_reported(level, name):
    """TCP_NODELAY, TCP_CORK, TCP_QUICKACK; SO_REUSEADDR and SO_REUSEPORT of all listeners."""
    for options in (bpf.LISTENER_OPTIONS, bpf.COMMON_OPTIONS):
        assert name not in options[level]


def test_interception_knows_its_architectures_only():
    with pytest.raises(KeyError):
        bpf.interception("riscv64")


@pytest.mark.parametrize(
    ("flags", "passes"),
    [(0x02, False), (0xC2, False), (0x12, True), (0x10, True), (0x18, True), (0x04, True)],
)
def test_only_new_connections_are_dropped(flags, passes):
    assert bool(run(bpf.no_new_connections(), bytes(13) + bytes([flags]))) == passes


@given(
    st.dictionaries(st.integers(1024, 65535), st.integers(0, 600), min_size=1, max_size=500),
    st.sampled_from((4, 6)),
    st.integers(5, 15),
)
def test_a_connection_of_our_own_goes_where_it_is_directed(directed, version, words):
    program = bpf.steering((7, 9), directed)

    def syn(port, device):
        header = bytes([version << 4 | words]) + bytes(39 if version == 6 else 4 * words - 1)
        return Packet(header + struct.pack("!HH", port, 80), device)

    for port, index in directed.items():
        assert run(program, syn(port, 1)) == index
        assert run(program, syn(port, 2)) in (7, 9)
    stranger = next(port for port in range(1024, 65535) if port not in directed)
    assert run(program, syn(stranger, 1), draw=1) == 9


def test_five_hundred_directions_beside_the_worst_of_a_thousand_slots_fit():
    directed = dict.fromkeys(range(1024, 1524), 1)
    program = bpf.steering(tuple(range(0, 2000, 2)), directed)
    assert run(program, Packet(bytes(40), 2), draw=999) == 1998
