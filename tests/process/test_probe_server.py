"""The probe server on a real loop, with real clients: polite, odd and hostile ones.

The tests turn the loop themselves, so nothing here waits for a clock but the clients'
own deadlines, which are shortened where they are the subject.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time

import pytest

from entrypoint.api import probes, socket_path
from entrypoint.client import health
from entrypoint.core.spec import ListenSpec
from entrypoint.core.view import AppView, View
from entrypoint.http import connection
from entrypoint.http.server import CONNECTION_LIMIT, ProbeErrors, ProbeServer
from entrypoint.loop import Loop
from tests.support.wait import wait_until

GOOD = View((AppView("api", "fork", 1, 1, True, False, False, False, ()),), "running", 1)
ANY_PORT = ListenSpec("inet", "127.0.0.1", 0, backlog=4096)
PATIENCE = 20.0


class House:
    """A loop, a server on it, what it raised, and clients to close."""

    def __init__(self, *specs, private=False, view=lambda: GOOD, extra=dict, metrics=None):
        self.raised = []
        self.loop = Loop(lambda where, error: self.raised.append(error))
        self.server = ProbeServer(
            self.loop,
            specs or (ANY_PORT,),
            view,
            "all",
            "0.0-test",
            extra,
            metrics=metrics,
            private=private,
        )
        self.clients = []
        self.server.open()

    def turn_until(self, condition):
        wait_until(condition, timeout=PATIENCE, step=lambda: self.loop.turn(0.01))

    def client(self, *, rcvbuf=0):
        sock = socket.socket()
        if rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        sock.connect(self.server.addresses[0])
        sock.setblocking(False)
        self.clients.append(sock)
        return sock

    def read_all(self, sock):
        """Everything until the server closes."""
        data = bytearray()
        while True:
            try:
                more = sock.recv(1 << 16)
            except BlockingIOError:
                self.turn_until(lambda: readable(sock))
                continue
            if not more:
                return bytes(data)
            data += more

    def read_answers(self, sock, count):
        """The bodies of `count` answers with their status."""
        data = bytearray()
        answers = []
        while len(answers) < count:
            head, found, rest = bytes(data).partition(b"\r\n\r\n")
            if found:
                length = int(fields(head)["content-length"])
                if len(rest) >= length:
                    answers.append((int(head[9:12]), rest[:length]))
                    del data[: len(head) + 4 + length]
                    continue
            self.turn_until(lambda: readable(sock))
            more = sock.recv(1 << 16)
            assert more, f"closed after {len(answers)} answers"
            data += more
        return answers

    def ask(self, request):
        sock = self.client()
        sock.sendall(request)
        return self.read_all(sock)

    def healthy(self):
        return self.ask(get("/livez", close=True)).endswith(b"\r\n\r\nok")

    def close(self):
        self.server.close()
        for sock in self.clients:
            sock.close()
        assert self.server.connections == 0
        assert not self.loop.descriptors
        assert not self.loop.deadlines
        self.loop.close()
        assert self.raised == []


def readable(sock):
    try:
        sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def fields(head):
    rows = head.decode("ascii").split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (row.partition(": ") for row in rows)}


def get(target, *, close=False, method="GET", version="1.1"):
    connection_field = "Connection: close\r\n" if close else ""
    return f"{method} {target} HTTP/{version}\r\nHost: x\r\n{connection_field}\r\n".encode()


@pytest.fixture
def house():
    with contextlib.closing(House()) as made:
        yield made


# -- polite clients -----------------------------------------------------------------


def test_a_probe_is_answered(house):
    head, _, body = house.ask(get("/readyz", close=True)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == b"ok"
    event = fields(head)
    assert event["content-length"] == "2"
    assert event["connection"] == "close"
    assert event["cache-control"] == "no-store"
    assert time.strptime(event["date"], "%a, %d %b %Y %H:%M:%S GMT")


def test_keep_alive_and_pipelining(house):
    sock = house.client()
    sock.sendall(get("/livez"))
    assert house.read_answers(sock, 1) == [(200, b"ok")]
    sock.sendall(get("/livez") * 50 + get("/nowhere", close=True))
    *good, last = house.read_answers(sock, 51)
    assert good == [(200, b"ok")] * 50
    assert last[0] == 404
    assert house.read_all(sock) == b""


def test_head_has_the_fields_and_no_body(house):
    data = house.ask(get("/livez", method="HEAD", close=True))
    head, _, body = data.partition(b"\r\n\r\n")
    assert fields(head)["content-length"] == "2"
    assert body == b""


def test_http_1_0_closes_unless_asked(house):
    assert house.ask(b"GET /livez HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\nok")
    sock = house.client()
    sock.sendall(b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    house.turn_until(lambda: readable(sock))
    assert b"Connection: keep-alive" in sock.recv(4096)
    sock.sendall(get("/livez", close=True))
    assert house.read_all(sock).endswith(b"ok")


def test_other_methods_are_told_what_is_allowed(house):
    data = house.ask(get("/livez", method="POST", close=True))
    assert data.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: GET, HEAD\r\n" in data


def test_status_is_json():
    with contextlib.closing(House(extra=lambda: {"pid": 1})) as house:
        body = house.ask(get("/status", close=True)).partition(b"\r\n\r\n")[2]
        event = json.loads(body)
        assert event["pid"] == 1
        assert event["apps"][0]["name"] == "api"


def test_a_bug_in_the_view_is_a_500_closed_and_reported():
    def broken():
        raise RuntimeError("a bug")

    house = House(view=broken)
    data = house.ask(get("/livez"))
    assert data.startswith(b"HTTP/1.1 500 ")
    assert [str(error) for error in house.raised] == ["a bug"]
    house.raised.clear()
    house.close()


# -- listeners ----------------------------------------------------------------------


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_a_dual_stack_listener_answers_both_families():
    spec = ListenSpec("inet6", "::", 0)
    with contextlib.closing(House(spec)) as house:
        port = house.server.addresses[0][1]
        for address in ("127.0.0.1", "::1"):
            with socket.create_connection((address, port)) as sock:
                sock.setblocking(False)
                sock.sendall(get("/livez", close=True))
                assert house.read_all(sock).endswith(b"ok")


def test_unix_sockets_are_made_and_removed(tmp_path):
    path = str(tmp_path / "probes.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)  # what a killed pyinit leaves
    house = House(ListenSpec("unix", path=path, mode=0o600), ListenSpec("unix", path="@pyinit-t"))
    assert os.stat(path).st_mode & 0o777 == 0o600
    for address in house.server.addresses:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(address)
            sock.setblocking(False)
            sock.sendall(get("/livez", close=True))
            assert house.read_all(sock).endswith(b"ok")
    house.close()
    assert not os.path.lexists(path)


def test_every_address_that_refuses_is_named_and_nothing_stays_open(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = str(tmp_path / "a.sock")
        specs = (
            ListenSpec("unix", path=path),
            ListenSpec("inet", "127.0.0.1", port),
            ListenSpec("inet", "203.0.113.7", 1),
            ListenSpec("unix", path=str(tmp_path / "none" / "b.sock")),
        )
        with pytest.raises(ProbeErrors) as caught:
            House(*specs)
    assert len(caught.value.sentences) == 3
    assert f"127.0.0.1:{port}" in caught.value.sentences[0]
    assert "the port is in use by" in caught.value.sentences[0]
    assert not os.path.lexists(path)


def test_a_live_unix_socket_is_not_stolen(tmp_path):
    path = str(tmp_path / "a.sock")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        with pytest.raises(ProbeErrors):
            House(ListenSpec("unix", path=path))
        assert os.path.lexists(path)


def test_listeners_change_while_clients_stay(house, tmp_path):
    sock = house.client()
    sock.sendall(get("/livez"))
    house.read_answers(sock, 1)
    first = house.server.addresses
    unix = ListenSpec("unix", path=str(tmp_path / "p.sock"))
    house.server.prepare((ANY_PORT, unix))
    assert house.server.addresses == first  # not yet
    house.server.discard()
    assert not os.path.lexists(unix.path)
    house.server.prepare((ANY_PORT, unix))
    house.server.change((ANY_PORT, unix), "any")
    assert house.server.addresses[0] == first[0]
    with pytest.raises(ProbeErrors):
        house.server.prepare((ListenSpec("unix", path=str(tmp_path / "x" / "y")),))
    assert len(house.server.addresses) == 2
    house.server.prepare((unix,))
    house.server.change((unix,), "any")
    assert len(house.server.addresses) == 1
    sock.sendall(get("/livez"))
    assert house.read_answers(sock, 1) == [(200, b"ok")]


def test_descriptors_are_not_inherited(house):
    house.client()
    house.turn_until(lambda: house.server.connections == 1)
    for fd in house.loop.descriptors:
        assert not os.get_inheritable(fd)
        assert not os.get_blocking(fd)


# -- odd clients --------------------------------------------------------------------


def test_half_closed_clients_get_their_answers(house):
    sock = house.client()
    sock.sendall(get("/livez") * 3)
    sock.shutdown(socket.SHUT_WR)
    assert house.read_all(sock).count(b"\r\n\r\nok") == 3


def test_one_byte_at_a_time(house):
    sock = house.client()
    for byte in get("/livez", close=True):
        sock.sendall(bytes([byte]))
        house.loop.turn(0.0)
    assert house.read_all(sock).endswith(b"ok")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x55" * 500, 400),
        (b"\x00" * 100_000, 400),
        (b"A" * 100_000, 414),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X-Big: y\r\n" * 20_000, 431),
        (b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"b" * 60_000, 405),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b"b" * 60_000, 413),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
    ],
    ids=["tls", "zeros", "long line", "many fields", "post", "body", "chunked"],
)
def test_what_is_no_request_is_told_so_and_closed(house, data, status):
    sock = house.client()
    answer = bytearray()
    sent = 0
    closed = False
    give_up = time.monotonic() + PATIENCE
    while not closed:
        assert time.monotonic() < give_up
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            sent += sock.send(data[sent:]) if sent < len(data) else 0
        house.loop.turn(0.001)
        try:
            more = sock.recv(1 << 16)
            answer += more
            closed = not more
        except BlockingIOError:
            continue
        except ConnectionResetError:
            closed = True
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1
    sock.close()
    assert house.healthy()


def test_resets_at_any_moment(house):
    for request in (b"", b"GET", get("/livez"), get("/livez") * 200, b"\x00" * 5000):
        sock = house.client()
        sock.sendall(request)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        house.loop.turn(0.0)
    house.turn_until(lambda: house.server.connections == 0)
    assert house.healthy()


def test_slow_clients_are_told_and_closed(house, monkeypatch):
    monkeypatch.setattr(connection, "REQUEST_TIMEOUT", 0.05)
    silent = house.client()
    slow = house.client()
    slow.sendall(b"GET /livez HT")
    assert house.read_all(slow).startswith(b"HTTP/1.1 408 ")
    assert house.read_all(silent) == b""


def test_a_byte_now_and_then_does_not_extend_the_deadline(house, monkeypatch):
    monkeypatch.setattr(connection, "REQUEST_TIMEOUT", 0.3)
    slow = house.client()

    def trickle():
        with contextlib.suppress(OSError):
            slow.send(b"G")
        return readable(slow)

    house.turn_until(trickle)


def test_idle_connections_are_closed(house, monkeypatch):
    monkeypatch.setattr(connection, "IDLE_TIMEOUT", 0.05)
    sock = house.client()
    sock.sendall(get("/livez"))
    house.read_answers(sock, 1)
    assert house.read_all(sock) == b""


# -- hostile clients ----------------------------------------------------------------


def test_a_probe_gets_through_five_hundred_slow_clients(house):
    for number in range(500):
        sock = house.client()
        sock.sendall((b"", b"G", b"GET /livez HTTP/1.1\r\nX: ")[number % 3])
    assert house.healthy()
    assert house.server.connections <= CONNECTION_LIMIT
    idle = house.client()
    idle.sendall(get("/livez"))
    house.read_answers(idle, 1)
    for _ in range(CONNECTION_LIMIT):
        house.client()
    assert house.healthy()
    # The idle one went first: nobody loses anything by that.
    assert house.read_all(idle) == b""


def test_clients_that_take_no_answers_hold_a_bounded_number_of_bytes():
    workers = {"filling": "x" * 200_000}
    with contextlib.closing(House(extra=lambda: workers)) as house:
        greedy = [house.client(rcvbuf=1024) for _ in range(100)]
        for sock in greedy:
            sock.sendall(get("/status") * 20)
        pending = []

        def measure():
            waiting = [client for client in house.server._limiter.clients if client.pending]
            # Those who were answered in the same turn wait for the same bytes.
            pending.append(sum({id(client.body): len(client.body) for client in waiting}.values()))
            return len(pending) == 50

        house.turn_until(measure)
        assert max(pending) > 0
        assert max(pending) <= (1 << 20) + 200_000 + 4096
        assert house.healthy()


class Slow:
    """A page that is made when the test says so."""

    def __init__(self):
        self.waiting = {}
        self.accepts = []

    def __call__(self, accept):
        self.accepts.append(accept)
        return probes.Later(self.begin)

    def begin(self, done):
        key = object()
        self.waiting[key] = done
        return lambda: self.waiting.pop(key, None)

    def make(self, body=b"page"):
        waiting, self.waiting = self.waiting, {}
        for done in waiting.values():
            done(probes.Answer(200, body))


def test_an_answer_that_comes_later_keeps_its_place_in_the_line():
    slow = Slow()
    with contextlib.closing(House(metrics=slow)) as house:
        sock = house.client()
        sock.sendall(get("/metrics") + get("/livez"))
        house.turn_until(lambda: slow.waiting)
        assert house.healthy()  # others are served meanwhile
        assert not readable(sock)
        slow.make(b"x" * 100_000)
        assert house.read_answers(sock, 2) == [(200, b"x" * 100_000), (200, b"ok")]


def test_the_accept_field_is_passed_on_and_kept_for_nothing_else():
    slow = Slow()
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: a/b\r\nAccept: c/d;q=1\r\n\r\n"
    with contextlib.closing(House(metrics=slow)) as house:
        house.client().sendall(request)
        house.turn_until(lambda: slow.waiting)
    assert slow.accepts == ["a/b,c/d;q=1"]


def test_a_client_that_leaves_before_its_answer_is_forgotten():
    slow = Slow()
    with contextlib.closing(House(metrics=slow)) as house:
        for linger in (struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)):
            sock = house.client()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            sock.sendall(get("/metrics"))
            house.turn_until(lambda: slow.waiting)
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()
            if linger == struct.pack("ii", 1, 0):  # a reset is seen at once
                house.turn_until(lambda: not slow.waiting)
        slow.make()
        assert house.healthy()


def test_who_only_ends_his_half_gets_the_late_answer():
    slow = Slow()
    with contextlib.closing(House(metrics=slow)) as house:
        sock = house.client()
        sock.sendall(get("/metrics"))
        sock.shutdown(socket.SHUT_WR)
        house.turn_until(lambda: slow.waiting)
        slow.make()
        assert house.read_all(sock).endswith(b"\r\n\r\npage")


def test_an_answer_that_never_comes_ends_with_the_deadline(monkeypatch):
    monkeypatch.setattr(connection, "REQUEST_TIMEOUT", 0.05)
    slow = Slow()
    with contextlib.closing(House(metrics=slow)) as house:
        sock = house.client()
        sock.sendall(get("/metrics"))
        assert house.read_all(sock) == b""
        assert not slow.waiting


def test_who_waits_for_a_page_is_not_turned_out_for_those_who_dawdle():
    slow = Slow()
    with contextlib.closing(House(metrics=slow)) as house:
        sock = house.client()
        sock.sendall(get("/metrics", close=True))
        house.turn_until(lambda: slow.waiting)
        for _ in range(3 * CONNECTION_LIMIT):
            house.client().sendall(b"GET /livez HTTP/1.1\r\nX: ")
            house.loop.turn(0.0)
        house.turn_until(lambda: house.server.evicted >= CONNECTION_LIMIT)
        slow.make()
        assert house.read_all(sock).endswith(b"\r\n\r\npage")


def test_a_room_full_of_those_who_wait_for_a_page_takes_a_probe():
    slow = Slow()
    with contextlib.closing(House(metrics=slow)) as house:
        for _ in range(CONNECTION_LIMIT):
            house.client().sendall(get("/metrics"))
        house.turn_until(lambda: len(slow.waiting) == CONNECTION_LIMIT)
        assert house.healthy()
        assert len(slow.waiting) == CONNECTION_LIMIT - 1


def test_a_big_page_is_held_once_however_many_do_not_take_it():
    slow = Slow()
    with contextlib.closing(House(metrics=slow)) as house:
        clients = [house.client(rcvbuf=1024) for _ in range(50)]
        for sock in clients:
            sock.sendall(get("/metrics"))
        house.turn_until(lambda: len(slow.waiting) == 50)
        slow.make(b"y" * 900_000)
        held = [client for client in house.server._limiter.clients if client.pending]
        assert len(held) == 50
        assert len({id(client.body) for client in held}) == 1
        assert house.server.evicted == 0
        # Each page more is one more in memory: the oldest clients go.
        for number in range(5):
            sock = house.client(rcvbuf=1024)
            sock.sendall(get("/metrics"))
            house.turn_until(lambda: slow.waiting)
            slow.make(bytes([number]) * 900_000)
        bodies = {id(client.body) for client in house.server._limiter.clients if client.pending}
        assert len(bodies) == 1
        assert house.server.evicted > 50
        assert house.healthy()


def test_one_client_gets_one_answer_in_a_turn(house):
    sock = house.client()
    sock.sendall(get("/livez") * 60)
    before = house.server.answered
    house.turn_until(lambda: house.server.answered > before)
    counts = []
    for _ in range(10):
        counts.append(house.server.answered)
        house.loop.turn(0.0)
    assert all(b - a <= 1 for a, b in itertools.pairwise(counts))


def test_no_descriptors_left():
    with contextlib.closing(House()) as house:
        slow = [house.client() for _ in range(5)]
        house.turn_until(lambda: house.server.connections == len(slow))
        # More than the kernel lets us accept while these are open.
        late = [house.client() for _ in range(3)]
        for sock in late:
            sock.sendall(get("/livez", close=True))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            for sock in late:
                assert house.read_all(sock).endswith(b"ok")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert house.healthy()


def test_no_descriptors_and_nobody_to_evict():
    with contextlib.closing(House()) as house:
        late = [house.client() for _ in range(3)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            # Turned away by the descriptor kept for that, and not left to wake the loop.
            for sock in late:
                assert house.read_all(sock) == b""
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert house.healthy()


SERVER = """
import os, sys
from entrypoint.core.spec import ListenSpec
from entrypoint.core.view import AppView, View
from entrypoint.loop import READ, Loop
from entrypoint.http.server import ProbeServer

view = View((AppView("api", "fork", 1, 1, True, False, False, False, ()),), "running", 1)
loop = Loop(lambda where, error: os.write(2, f"{where}: {error!r}\\n".encode()))
spec = ListenSpec("inet", "127.0.0.1", 0)
server = ProbeServer(loop, (spec,), lambda: view, "all", "0", dict)
server.open()
ended = []
loop.register(0, READ, ended.append)
os.write(1, b"%d\\n" % server.addresses[0][1])
while not ended:
    loop.turn()
server.close()
heavy = "asyncio dataclasses enum json re signal socket ssl threading typing".split()
leaked = sorted(set(heavy) & set(sys.modules))
os.write(1, repr(leaked).encode())
"""


@pytest.fixture
def process(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": os.getcwd(), "PYINIT_RUN_DIR": str(tmp_path)},
    )
    child.port = int(child.stdout.readline())
    yield child
    child.kill()
    child.wait()


def rss(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(row.split()[1]) for row in status if row.startswith("VmRSS:"))


def asks_well(port):
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        sock.sendall(get("/readyz", close=True))
        data = b""
        while more := sock.recv(4096):
            data += more
        return data.endswith(b"\r\n\r\nok")


def test_ten_thousand_connections_neither_stop_nor_grow_it(process):
    """Waves of clients that each hold as much as they are let."""
    before = rss(process.pid)
    heavy = b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 8000
    opened = 0
    for _ in range(20):
        clients = []
        try:
            for number in range(500):
                sock = socket.socket()
                sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    sock.connect(("127.0.0.1", process.port))
                with contextlib.suppress(OSError):
                    sock.send((b"", heavy, b"\x00" * 3000, get("/status") * 40)[number % 4])
                clients.append(sock)
                opened += 1
            assert asks_well(process.port)
        finally:
            for sock in clients:
                sock.close()
    assert opened == 10_000
    assert rss(process.pid) - before < 6000, "kB"
    process.stdin.close()
    assert process.wait(PATIENCE) == 0
    assert process.stderr.read() == b""


def test_what_pid_1_imports_for_it(process):
    assert asks_well(process.port)
    process.stdin.close()
    assert process.stdout.read() == b"[]"


# -- pyinit health ------------------------------------------------------------------


@pytest.fixture
def run_dir(monkeypatch):
    # Short, for the path of a socket has at most 107 bytes (`unix(7)`).
    with tempfile.TemporaryDirectory(prefix="p") as made:
        monkeypatch.setenv("PYINIT_RUN_DIR", made)
        monkeypatch.setattr(socket_path, "PARENTS", ())
        monkeypatch.setattr(socket_path, "_abstract_names", list)
        yield pathlib.Path(made)


def ask_health(*argv, run_dir, timeout="10s"):
    code = (
        "import sys; from entrypoint.api import socket_path; socket_path.PARENTS = ();"
        "socket_path._abstract_names = list;"
        "from entrypoint.client.health import main; sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.Popen(
        [sys.executable, "-S", "-c", code, "--timeout", timeout, *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PYTHONPATH": os.getcwd(), "PYINIT_RUN_DIR": str(run_dir)},
    )


def outcome(house, asking):
    house.turn_until(lambda: asking.poll() is not None)
    return asking.returncode, asking.stdout.read().strip()


NOT_READY = View(
    (
        AppView("api", "fork", 4, 1, False, False, False, False, ()),
        AppView("web", "fork", 1, 1, True, False, False, False, ()),
    ),
    "draining",
    1,
)


def test_health_of_a_healthy_pyinit(run_dir):
    with contextlib.closing(House(private=True)) as house:
        assert house.server.private_error == ""
        assert house.server.private_path.startswith(str(run_dir))
        assert os.stat(house.server.private_path).st_mode & 0o777 == 0o600
        for words in ((), ("live",), ("ready",), ("startup",), ("ready", "api")):
            assert outcome(house, ask_health(*words, run_dir=run_dir)) == (0, "ok")
        code, text = outcome(house, ask_health("-v", run_dir=run_dir))
        assert code == 0
        assert text.splitlines() == ["[+]api ok", "[+]shutdown ok", "readyz check passed"]
        address = f"http://127.0.0.1:{house.server.addresses[0][1]}"
        assert outcome(house, ask_health("--url", address, run_dir=run_dir)) == (0, "ok")
        path = house.server.private_path
        assert outcome(house, ask_health(f"--socket={path}", run_dir=run_dir)) == (0, "ok")
    assert list((run_dir / f"pyinit-{os.geteuid()}").iterdir()) == []


def test_health_tells_the_reasons_on_one_line(run_dir):
    with contextlib.closing(House(private=True, view=lambda: NOT_READY)) as house:
        assert outcome(house, ask_health(run_dir=run_dir)) == (
            1,
            "readyz failed: api: 1 of 4 workers ready; shutdown: draining",
        )
        assert outcome(house, ask_health("live", run_dir=run_dir)) == (0, "ok")
        assert outcome(house, ask_health("ready", "web", run_dir=run_dir)) == (0, "ok")
        code, text = outcome(house, ask_health("ready", "none", run_dir=run_dir))
        assert code == 1
        assert "no app" in text


def test_health_without_a_pyinit(run_dir, capsys):
    assert health.main([]) == 1
    assert "no pyinit runs" in capsys.readouterr().out


def test_health_of_a_dead_pyinit(run_dir, capsys):
    listener, path = socket_path.bind(os.environ)
    listener.close()
    assert health.main([]) == 1
    assert "no pyinit runs" in capsys.readouterr().out
    # And the next one removes what it left, and is found.
    renamed = path.replace(f"-{os.getpid()}.sock", "-1.sock")
    os.rename(path, renamed)
    with contextlib.closing(House(private=True)) as house:
        assert not os.path.lexists(renamed)
        assert outcome(house, ask_health(run_dir=run_dir)) == (0, "ok")


def test_health_of_a_hung_pyinit(run_dir, capsys):
    listener, path = socket_path.bind(os.environ)
    with contextlib.closing(listener):
        assert health.main(["--timeout", "50ms"]) == 1
        assert "no answer in time" in capsys.readouterr().out
        # Its backlog is full, too.
        waiting = []
        with contextlib.suppress(BlockingIOError):
            while True:
                sock = socket.socket(socket.AF_UNIX)
                waiting.append(sock)
                sock.setblocking(False)
                sock.connect(path)
        assert health.main(["--timeout", "50ms"]) == 1
        assert "no answer in time" in capsys.readouterr().out
        for sock in waiting:
            sock.close()
    socket_path.leave(path)


@pytest.mark.parametrize(
    "argv", [["alive"], ["--timeout", "soon"], ["--timeout"], ["-x"], ["ready", "a", "b"]]
)
def test_a_wrong_command_line_is_not_healthy(argv, capsys):
    assert health.main(argv) == 1
    assert capsys.readouterr().err.startswith("pyinit health: ")


def test_private_clients_are_counted_apart(run_dir):
    with contextlib.closing(House(private=True)) as house:
        for _ in range(CONNECTION_LIMIT + 10):
            house.client()
        assert outcome(house, ask_health("live", run_dir=run_dir)) == (0, "ok")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_others_are_not_answered_on_the_private_socket(run_dir):
    with contextlib.closing(House(private=True)) as house:
        # Even if the permissions of the file did not keep them out.
        os.chmod(house.server.private_path, 0o666)
        os.chmod(os.path.dirname(house.server.private_path), 0o755)
        answer = connects_as(65534, house.server.private_path, house)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert house.server.answered == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_health_of_another_users_pyinit(run_dir, capfd):
    run_dir.chmod(0o755)
    with contextlib.closing(House(private=True)):
        pid = os.fork()
        if pid == 0:
            os.setuid(65534)
            os._exit(health.main([]))
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 1
        assert "only root and its own user" in capfd.readouterr().out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has capabilities to lose")
def test_root_without_capabilities_is_told_as_whom_to_ask(run_dir):
    """`docker exec -u 0` in a container with `--cap-drop ALL` and a user of its own."""
    run_dir.chmod(0o755)
    folder = run_dir / "pyinit-0"
    with contextlib.closing(House(private=True)):
        os.chown(folder, 65534, 65534)
        code = (
            "import sys; from entrypoint.api import socket_path; socket_path.PARENTS = ();"
            "socket_path._abstract_names = list;"
            "from entrypoint.client import health; sys.exit(health.main([]))"
        )
        done = subprocess.run(
            ["capsh", "--drop=all", "--", "-c", f"{sys.executable} -c '{code}'"],
            capture_output=True,
            env={**os.environ, "PYINIT_RUN_DIR": str(run_dir)},
            timeout=60,
        )
        assert done.returncode == 1
        assert b"CAP_DAC_OVERRIDE" in done.stdout
        assert b"ask as its user, 65534" in done.stdout


def connects_as(uid, path, house):
    """What another user reads there; the path is entered before the user is changed."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        os.chdir(os.path.dirname(path))
        os.setuid(uid)
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(os.path.basename(path))
            theirs.sendall(b"<" + sock.recv(4096))
        except OSError as error:
            theirs.sendall(f"!{error}".encode())
        os._exit(0)
    theirs.close()
    ours.setblocking(False)
    with ours:
        data = house.read_all(ours)
    os.waitpid(pid, 0)
    assert data.startswith(b"<")
    return data[1:]
