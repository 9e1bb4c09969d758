"""What a program did with its socket before bind holds afterwards; what it closes is free."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys

import pytest

from tests.support.portlab import Lab, get, spec
from tests.support.ports import free_port
from tests.support.wait import wait_until

ANSWER = """
import ctypes, json, os, select, signal, socket, sys, threading, time
port, host = int(sys.argv[1]), "127.0.0.1"

def answer(c):
    c.setblocking(True)
    c.recv(4096)
    body = os.environ["SLOT"].encode()
    c.sendall(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: 1\\r\\n\\r\\n" + body)
    c.close()

def serve(s):
    while True:
        answer(s.accept()[0])
"""

EPOLL = """
family = socket.AF_INET6 if len(sys.argv) > 3 else socket.AF_INET
s = socket.socket(family)
s.setblocking(False)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
e = select.epoll()
early = sys.argv[2] == "in"
e.register(s.fileno(), select.EPOLLIN if early else 0)
s.bind(("::" if family == socket.AF_INET6 else host, port))
s.listen(128)
if not early:
    e.modify(s.fileno(), select.EPOLLIN)
print("listens", flush=True)
while True:
    for _fd, _event in e.poll():
        try:
            answer(s.accept()[0])
        except BlockingIOError:
            pass
"""


def program(tmp_path, text, *words):
    path = tmp_path / "program.py"
    path.write_text(ANSWER + text)
    return [sys.executable, str(path), *map(str, words)]


def refused(port):
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex(("127.0.0.1", port)) != 0


def held(port):
    """Lines of /proc/net/tcp of sockets bound to this port (whatever became of them)."""
    with open("/proc/net/tcp") as table:
        return [line for line in table if f":{port:04X} " in line.split()[1] + " "]


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("words", [("in",), ("later",), ("in", "inet6")])
def test_a_socket_in_an_epoll_set_before_bind_serves(tmp_path, words, declared):
    port = free_port()
    host = "[::]" if "inet6" in words else "127.0.0.1"
    listen = (spec(f"{host}:{port}"),) if declared else ()
    with Lab(program(tmp_path, EPOLL, port, *words), listen=listen, handoff="intercept") as lab:
        lab.run(2)
        assert {get(port) for _ in range(20)} == {"0", "1"}


def test_the_queue_of_a_killed_worker_waits_though_its_successor_has_a_socket_of_its_own(tmp_path):
    port = free_port()
    command = program(tmp_path, EPOLL, port, "in")
    with Lab(command, listen=(spec(f"127.0.0.1:{port}"),), handoff="intercept") as lab:
        (first,) = lab.run(1)
        lab.stop(first, 9)
        waiting = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(8)]
        second = lab.start(0)
        lab.listening(second)
        for client in waiting:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert client.recv(200).startswith(b"HTTP/1.1 200")
            client.close()
        assert get(port) == "0"


OPTIONS = """
options = {
    "keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    "idle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    "timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20000),
    "buffer": (socket.SOL_SOCKET, socket.SO_RCVBUF, 60000),
    "defer": (socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5),
    "fast": (socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16),
    "tos": (socket.IPPROTO_IP, socket.IP_TOS, 16),
}
s = socket.socket()
if len(sys.argv) < 3 or os.path.exists(sys.argv[2]):
    for level, name, value in options.values():
        s.setsockopt(level, name, value)
if len(sys.argv) > 2:
    open(sys.argv[2], "w")
s.bind((host, port))
s.listen(5)
print(json.dumps({k: s.getsockopt(o[0], o[1]) for k, o in options.items()}), flush=True)
serve(s)
"""


def seen_options(lab, number):
    wait_until(lambda: lab.text().count("\n") >= number)
    return json.loads(lab.text().splitlines()[number - 1])


def bare_options():
    """A socket's without us, as the kernel shows what OPTIONS sets, and what it does not."""
    unset, set_ = socket.socket(), socket.socket()
    names = {
        "keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        "idle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
        "timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 20000),
        "buffer": (socket.SOL_SOCKET, socket.SO_RCVBUF, 60000),
        "defer": (socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 5),
        "fast": (socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16),
        "tos": (socket.IPPROTO_IP, socket.IP_TOS, 16),
    }
    for level, name, value in names.values():
        set_.setsockopt(level, name, value)
    with unset, set_:
        return tuple(
            {k: sock.getsockopt(o[0], o[1]) for k, o in names.items()} for sock in (unset, set_)
        )


@pytest.mark.parametrize("declared", [False, True])
def test_options_set_before_bind_hold_and_go_with_their_worker(tmp_path, declared):
    port = free_port()
    listen = (spec(f"127.0.0.1:{port}"),) if declared else ()
    unset, set_ = bare_options()
    # The second life of the program sets them, the third does not.
    flag = tmp_path / "flag"
    with Lab(program(tmp_path, OPTIONS, port, flag), listen=listen, handoff="intercept") as lab:
        first = lab.start(0)
        assert seen_options(lab, 1) == unset
        lab.stop(first)
        second = lab.start(0)
        assert seen_options(lab, 2) == set_
        lab.stop(second)
        flag.unlink()
        lab.start(0)
        assert seen_options(lab, 3) == unset


DUPLICATE = """
a = socket.socket()
s = a.dup()
{fork}
a.bind((host, port))
print("sees", s.getsockname(), flush=True)
s.listen(128)
serve(s)
"""


@pytest.mark.parametrize("declared", [False, True])
def test_a_duplicate_made_before_bind_is_the_same_socket(tmp_path, declared):
    port = free_port()
    listen = (spec(f"127.0.0.1:{port}"),) if declared else ()
    command = program(tmp_path, DUPLICATE.format(fork=""), port)
    with Lab(command, listen=listen, handoff="intercept") as lab:
        lab.run(2)
        assert {get(port) for _ in range(20)} == {"0", "1"}
        assert lab.text().count(f"sees ('127.0.0.1', {port})") == 2


def test_a_socket_shared_with_a_child_before_bind(tmp_path):
    """The parent binds and listens; the child accepts."""
    port = free_port()
    text = """
s = socket.socket()
r, w = os.pipe()
if os.fork() == 0:
    os.read(r, 1)
    serve(s)
s.bind((host, port))
s.listen(128)
os.write(w, b"x")
while True:
    time.sleep(60)
"""
    command = program(tmp_path, text, port)
    with Lab(command, listen=(spec(f"127.0.0.1:{port}"),), handoff="intercept") as lab:
        lab.run(2)
        assert {get(port) for _ in range(20)} == {"0", "1"}


# -- what is none of ours, and what ends -----------------------------------------------


def test_a_client_with_a_port_of_its_own_ends_its_connections(tmp_path):
    text = """
for i in range(3):
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, port + i % 2))
    s.connect((host, int(sys.argv[2])))
    s.sendall(b"hi")
    s.recv(10)
    s.close()
print("over", flush=True)
time.sleep(60)
"""
    with socket.create_server(("127.0.0.1", 0)) as peer:
        peer.settimeout(60)
        port = free_port()
        with Lab(program(tmp_path, text, port, peer.getsockname()[1])) as lab:
            lab.start(0)
            for _ in range(3):
                call, _ = peer.accept()
                call.settimeout(10)
                assert call.recv(10) == b"hi"
                call.sendall(b"yes")
                assert call.recv(10) == b""  # the worker has closed it
                call.close()
            assert lab.ports.addresses == ()


ONCE = """
main = socket.create_server((host, port))
signal.signal(signal.SIGUSR1, lambda *_: None)
threading.Thread(target=serve, args=(main,), daemon=True).start()
once = socket.create_server((host, int(sys.argv[2])))
print("open", flush=True)
signal.pause()
once.close()
print("closed", flush=True)
while True:
    signal.pause()
"""


def test_a_port_that_its_worker_closes_is_free(tmp_path):
    port, once = free_port(), free_port()
    with Lab(program(tmp_path, ONCE, port, once)) as lab:
        worker = lab.start(0)
        wait_until(lambda: "open" in lab.text())
        assert not refused(once)
        os.kill(worker.pid, 10)
        wait_until(lambda: "closed" in lab.text())
        wait_until(lambda: refused(once), "the port refuses")
        closed = {"address": f"127.0.0.1:{once}", "declared": False}
        assert lab.happened("closed", worker) == [closed]
        assert lab.ports.addresses == (f"127.0.0.1:{port}",)
        assert get(port) == "0"
        with socket.create_server(("127.0.0.1", once)):
            pass  # others may have it


CLOSES = """
s = socket.create_server((host, port))
def close(*_):
    s.close()
    print("closed", flush=True)
signal.signal(signal.SIGUSR2, close)
while s.fileno() >= 0:
    try:
        answer(s.accept()[0])
    except OSError:
        break
while True:
    signal.pause()
"""


@pytest.mark.parametrize("declared", [False, True])
def test_nothing_is_sent_to_a_worker_that_has_closed_its_listener(tmp_path, declared):
    port = free_port()
    listen = (spec(f"127.0.0.1:{port}"),) if declared else ()
    with Lab(program(tmp_path, CLOSES, port), listen=listen, handoff="intercept") as lab:
        workers = lab.run(3)
        assert {get(port) for _ in range(30)} == {"0", "1", "2"}
        os.kill(workers[1].pid, 12)
        wait_until(lambda: "closed" in lab.text())
        assert {get(port) for _ in range(40)} == {"0", "2"}
        wait_until(lambda: lab.happened("closed", workers[1]))
        assert [f["declared"] for f in lab.happened("closed")] == [declared]


def test_a_program_that_looks_for_a_free_port_leaves_none_behind(tmp_path):
    text = """
for p in range(port, port + 150):
    for listens in (True, False):
        t = socket.socket()
        t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            t.bind((host, p))
            if listens:
                t.listen()
        except OSError:
            pass
        t.close()
s = socket.create_server((host, port))
print("serves", flush=True)
serve(s)
"""
    port = free_port()
    with Lab(program(tmp_path, text, port)) as lab:
        lab.start(0)
        wait_until(lambda: "serves" in lab.text())
        assert get(port) == "0"
        assert lab.ports.addresses == (f"127.0.0.1:{port}",)


def test_ports_for_one_transfer_belong_to_the_worker_that_opened_them(tmp_path):
    text = """
import random
control = socket.create_server((host, port))
def transfer(k):
    k.recv(10)
    while True:
        d = socket.socket()
        d.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        p = random.randrange(port + 1, port + 4)
        try:
            d.bind((host, p))
            d.listen(1)
        except OSError:
            d.close()
            continue
        break
    k.sendall(b"%d %d" % (os.getpid(), p))
    x, _ = d.accept()
    x.sendall(b"%d" % os.getpid())
    x.close()
    d.close()
    k.recv(10)
    k.close()
while True:
    threading.Thread(target=transfer, args=(control.accept()[0],)).start()
"""
    port = free_port()
    with Lab(program(tmp_path, text, port)) as lab:
        lab.run(3)
        for _ in range(12):
            with contextlib.ExitStack() as stack:
                # Two transfers at a time; after the first round collisions are refused.
                for _ in range(2):
                    k = socket.create_connection(("127.0.0.1", port), timeout=10)
                    stack.enter_context(k)
                    k.sendall(b"x")
                    pid, data = k.recv(100).split()
                    with socket.create_connection(("127.0.0.1", int(data)), timeout=10) as d:
                        d.settimeout(10)
                        assert d.recv(100) == pid


ASKS_FIRST = """
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((host, port))
def listens():
    return s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
first = listens()
if not first:
    s.listen(128)
print(first, listens(), s.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE), flush=True)
serve(s)
"""


@pytest.mark.parametrize("declared", [False, True])
def test_a_program_that_asks_first_whether_its_socket_listens_calls_listen(tmp_path, declared):
    """haproxy does: its socket may be an inherited one."""
    port = free_port()
    listen = (spec(f"127.0.0.1:{port}"),) if declared else ()
    with Lab(program(tmp_path, ASKS_FIRST, port), listen=listen, handoff="intercept") as lab:
        workers = lab.run(2)
        lab.stop(workers[0], 9)
        lab.listening(lab.start(0))  # where a queue may wait
        wait_until(lambda: lab.text().count("\n") == 3)
        assert lab.text() == f"0 1 {int(socket.SOCK_STREAM)}\n" * 3
        assert {get(port) for _ in range(20)} == {"0", "1"}


def test_io_uring_is_refused_where_a_port_could_be_bound_by_it(tmp_path, monkeypatch):
    from entrypoint.kernel import seccomp

    text = """
libc = ctypes.CDLL(None, use_errno=True)
parameters = ctypes.create_string_buffer(120)
got = libc.syscall(ctypes.c_long(425), ctypes.c_uint(4), parameters)
print(got >= 0, ctypes.get_errno(), flush=True)
serve(socket.create_server((host, port)))
"""
    command = program(tmp_path, text, free_port())
    monkeypatch.setattr(seccomp, "kernel_version", lambda: (6, 11))
    with Lab(command) as lab:
        lab.run(2)
        assert lab.text() == "False 1\n" * 2
        answer = [fields for _, event, fields in lab.logged if event == "io_uring refused"]
        assert len(answer) == 1
        assert "handoff: fds" in answer[0]["then"]
    monkeypatch.setattr(seccomp, "kernel_version", lambda: (6, 10))
    with Lab(command) as lab:
        lab.run(1)
        assert not lab.logged
