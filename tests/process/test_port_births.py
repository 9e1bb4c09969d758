"""Sockets that pyinit makes for workers, where their own cannot be had or looked at."""

from __future__ import annotations

import os
import socket
import sys
import threading

import pytest

from entrypoint.kernel import borrow
from tests.process.test_port_faithful import (
    ANSWER,
    DUPLICATE,
    EPOLL,
    OPTIONS,
    bare_options,
    seen_options,
)
from tests.support.portlab import Lab, get, spec
from tests.support.ports import free_port
from tests.support.wait import wait_until


@pytest.fixture(autouse=True)
def no_duplicates(monkeypatch):
    """As in Docker's default seccomp profile, where pidfd_getfd(2) is refused."""
    monkeypatch.setattr(borrow, "socket_of", lambda _pid, _fd: None)


def program(tmp_path, text, *words):
    path = tmp_path / "program.py"
    path.write_text(ANSWER + text)
    return [sys.executable, str(path), *map(str, words)]


def created(lab, count, **env):
    """Workers that get sockets of ours: the first is found unfit, and started again."""
    first = lab.start(0, **env)
    wait_until(lambda: lab.happened("unfit", first), "it is found out")
    lab.stop(first, 9)
    return lab.run(count, **env)


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("text", [EPOLL, DUPLICATE.format(fork="")], ids=["epoll", "dup"])
def test_what_is_tied_to_a_socket_before_bind_serves(tmp_path, text, declared):
    port = free_port()
    listen = (spec(f"127.0.0.1:{port}"),) if declared else ()
    with Lab(program(tmp_path, text, port, "in"), listen=listen, handoff="intercept") as lab:
        workers = created(lab, 2)
        assert {get(port) for _ in range(20)} == {"0", "1"}
        # What is killed leaves its queue to its successor.
        lab.steer(0)
        lab.stop(workers[0], 9)
        waiting = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(5)]
        lab.listening(lab.start(0))
        for client in waiting:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(200).startswith(b"HTTP/1.1 200")
            client.close()


def test_options_set_before_bind_hold_on_sockets_of_ours(tmp_path):
    port = free_port()
    _, set_ = bare_options()
    tied = "e = select.epoll(); e.register(s)\ns.bind((host, port))"
    text = OPTIONS.replace("s.bind((host, port))", tied)
    with Lab(program(tmp_path, text, port)) as lab:
        created(lab, 1)
        assert seen_options(lab, 1) == set_


CLIENT = """
peer = int(sys.argv[2])
def call():
    c = socket.create_connection((host, peer))
    c.sendall(b"hi")
    c.recv(10)
    c.close()
s = socket.socket()
e = select.epoll()
e.register(s)
if os.environ.get("EARLY"):
    for _ in range(int(os.environ["EARLY"])):
        call()
    unused = [socket.socket() for _ in range(30)]
    del unused
s.bind((host, port))
s.listen()
print("listens", flush=True)
serve(s)
"""


def test_connections_to_others_end_when_the_worker_closes_them(tmp_path):
    port = free_port()
    ends = []

    def answer(peer):
        while True:
            try:
                call, _ = peer.accept()
            except OSError:
                return
            call.settimeout(10)
            call.recv(10)
            call.sendall(b"yes")
            ends.append(call.recv(10))  # b"" once the worker has closed it
            call.close()

    with socket.create_server(("127.0.0.1", 0)) as peer:
        thread = threading.Thread(target=answer, args=(peer,), daemon=True)
        thread.start()
        with Lab(program(tmp_path, CLIENT, port, peer.getsockname()[1])) as lab:
            created(lab, 1, EARLY="40")
            assert get(port) == "0"
            wait_until(lambda: ends.count(b"") >= 40, "each call has ended")
            assert set(ends) == {b""}
        peer.shutdown(socket.SHUT_RDWR)


DROPS = """
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
ctypes.CDLL(None).prctl(4, 0)
family = socket.AF_INET6 if len(sys.argv) > 2 else socket.AF_INET
s = socket.socket(family)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("::1" if len(sys.argv) > 2 else host, port))
s.listen(64)
serve(s)
"""


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_workers_that_give_root_up_share_their_port(tmp_path, monkeypatch, host, declared):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give root up")
    from entrypoint.kernel import calling_process, memory

    def closed(pid, address, size):
        raise PermissionError(13, "as without CAP_SYS_PTRACE")

    monkeypatch.setattr(memory, "read", closed)
    monkeypatch.setattr(calling_process, "socket_inode", lambda _pid, _fd: 0)
    tmp_path.chmod(0o755)
    port = free_port()
    listen = (spec(f"{host}:{port}"),) if declared else ()
    words = () if host == "127.0.0.1" else ("six",)
    with Lab(program(tmp_path, DROPS, port, *words), listen=listen, handoff="intercept") as lab:
        created(lab, 3)
        assert {get(port, host.strip("[]")) for _ in range(30)} == {"0", "1", "2"}


def test_a_worker_gets_its_own_limit_of_descriptors(tmp_path):
    text = """
import resource
s = socket.socket()
e = select.epoll()
e.register(s)
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
held = []
try:
    while True:
        held.append(socket.socket())
except OSError as error:
    print("limit", error.errno, flush=True)
held.clear()
s.bind((host, port))
s.listen()
serve(s)
"""
    port = free_port()
    with Lab(program(tmp_path, text, port)) as lab:
        created(lab, 1)
        assert lab.text().splitlines()[-1] == "limit 24"
        assert get(port) == "0"
