"""Calls of workers whose arguments lie in memory that has to be read from a file first."""

from __future__ import annotations

import socket
import struct

from tests.process.test_port_faithful import program
from tests.support.portlab import Lab, get, spec
from tests.support.ports import free_port
from tests.support.stuckdisk import stuck_file
from tests.support.wait import wait_until

# Slot 0 binds with an address from the file in argv 2, which it has not looked at.
MAPPED = """
import mmap
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if os.environ["SLOT"] == "0":
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    fd = os.open(sys.argv[2], os.O_RDONLY)
    at = libc.mmap(None, ctypes.c_size_t(4096), 1, mmap.MAP_PRIVATE, fd, ctypes.c_long(0))
    print("binds", flush=True)
    if libc.bind(s.fileno(), ctypes.c_void_p(at), 16):
        sys.exit(os.strerror(ctypes.get_errno()))
else:
    s.bind((host, port))
s.listen()
serve(s)
"""


def page(port):
    host = socket.inet_aton("127.0.0.1")
    return struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), host).ljust(4096, b"\0")


def test_an_address_in_a_page_that_is_not_there_yet(tmp_path):
    port = free_port()
    (tmp_path / "page").write_bytes(page(port))
    command = program(tmp_path, MAPPED, port, tmp_path / "page")
    with Lab(command, listen=(spec(f"127.0.0.1:{port}"),), handoff="intercept") as lab:
        lab.run(2)
        assert {get(port) for _ in range(30)} == {"0", "1"}
        assert not lab.logged


def test_a_worker_with_a_page_of_a_dead_file_system_holds_up_nobody(tmp_path):
    port = free_port()
    with stuck_file(tmp_path, page(port)) as (path, disk):
        command = program(tmp_path, MAPPED, port, path)
        with Lab(command, listen=(spec(f"127.0.0.1:{port}"),), handoff="intercept") as lab:
            stuck = lab.start(0)
            wait_until(lambda: "binds" in lab.text() and lab.helpers, "a child reads")
            good = lab.start(1)
            lab.listening(good)
            lab.steer(1)
            assert get(port) == "1"
            assert not lab.happened("bound", stuck)
            disk.answers_now.set()
            lab.listening(stuck)
            lab.steer(0)
            wait_until(lambda: get(port) == "0", "it serves")


def test_a_worker_that_goes_meanwhile_leaves_nothing(tmp_path):
    port = free_port()
    with stuck_file(tmp_path, page(port)) as (path, disk):
        command = program(tmp_path, MAPPED, port, path)
        with Lab(command, listen=(spec(f"127.0.0.1:{port}"),), handoff="intercept") as lab:
            lab.start(0)
            wait_until(lambda: lab.helpers, "a child reads")
            lab.stop(lab.workers[0])
            disk.answers_now.set()
            wait_until(lambda: not lab.helpers, "the child is reaped")
