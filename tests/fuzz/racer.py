"""The worker of race.py: `racer.py PORT SEED`."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import signal
import socket
import struct
import sys

PORT, SEED = int(sys.argv[1]), int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
page = mmap.mmap(-1, mmap.PAGESIZE)  # shared with the child
address = ctypes.addressof(ctypes.c_char.from_buffer(page))
rng = random.Random(SEED + os.getpid())


def inet(port: int, host: str = "127.0.0.1") -> bytes:
    return struct.pack("<H", 2) + struct.pack(">H", port) + socket.inet_aton(host) + bytes(8)


def halves(port: int) -> tuple[int, int]:
    """The two bytes of a port."""
    return port >> 8, port & 255


FORMS = [
    inet(PORT),
    inet(PORT, "0.0.0.0"),
    inet(0),
    inet(1),
    struct.pack("<H", 10) + struct.pack(">H", PORT) + bytes(24),
    struct.pack("<H", 1) + b"\0race" + bytes(100),
    struct.pack("<H", 1) + b"/tmp/" + b"x" * 105,
    bytes(128),
    b"\xff" * 128,
]


def flip() -> None:
    """Write into the page as fast as possible, until the parent is gone."""
    libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    forms = [form.ljust(128, b"\0") for form in FORMS]
    while True:
        for form in forms:
            page[0:128] = form
        page[rng.randrange(128)] = rng.randrange(256)


if os.fork() == 0:
    flip()
for _number in range(400):
    family = rng.choice((socket.AF_INET, socket.AF_INET, socket.AF_INET6, socket.AF_UNIX))
    sock = socket.socket(family)
    sock.settimeout(0.05)
    before = os.fstat(sock.fileno()).st_ino
    length = rng.choice((16, 16, 28, 110, 0, 3, 128, 4096, 2**31))
    where = rng.choice((address, address, address, 0, 0xDEADBEEF, address + mmap.PAGESIZE - 4))
    done = libc.bind(sock.fileno(), ctypes.c_void_p(where), ctypes.c_uint(length))
    if rng.random() < 0.5:
        libc.listen(sock.fileno(), rng.choice((0, 1, 128, -1)))
    if done == 0 and os.fstat(sock.fileno()).st_ino != before and family != socket.AF_UNIX:
        # A socket of pyinit's, perhaps shared with the other instance: it must be bound to
        # a port that the page can have named. Half of a port comes from another form at most.
        port = sock.getsockname()[1]
        if not {port >> 8, port & 255} & {half for asked in (PORT, 1) for half in halves(asked)}:
            print(f"WRONG: a socket of pyinit's at port {port}", flush=True)
    sock.close()
print("rounds 400", flush=True)
sys.exit(1)
