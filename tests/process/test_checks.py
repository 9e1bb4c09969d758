"""Checks over real sockets and with real processes, in the loop that PID 1 has."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading

import pytest

from entrypoint.checks.checker import Checker
from entrypoint.core import events as e
from entrypoint.core.spec import AppSpec, HealthSpec, ListenSpec
from entrypoint.kernel import sockets
from entrypoint.loop import Loop
from entrypoint.shell.children import Children, Started
from entrypoint.sockets.pending_calls import Pending
from entrypoint.sockets.ports import Ports
from tests.support.ports import free_port
from tests.support.wait import wait_until

PYTHON = sys.executable
PORT = 1


class Lab:
    """A checker whose answers are kept; `turn` is the loop's."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.loop = Loop(lambda _where, error: self.errors.append(error))
        self.events: list[e.Event] = []
        self.children = Children(
            self.loop, self.events.append, lambda _started, _fd: None, lambda _errno: None
        )
        self.ports: dict[str, Ports] = {}
        self.checker = Checker(self.loop, self.children, self.ports.get, self.answered)
        self.answers: dict[int, str] = {}

    def answered(self, event: e.HealthChecked) -> None:
        assert event.incarnation not in self.answers, "answered twice"
        answer = f"{event.reason}: {event.said}" if event.said else event.reason
        self.answers[event.incarnation] = answer

    def worker(self, number: int = 1, slot: int = 0, **health) -> int:
        """A worker without a process, which is checked in this way."""
        spec = AppSpec(
            "web",
            ("true",),
            "/",
            env=(("PATH", os.environ["PATH"]), ("A", "x{instance}")),
            filled_env=("A",),
            health=HealthSpec(**health),
        )
        self.children._started[number] = Started(number, 4242, spec, slot, slot, slot)
        return number

    def check(self, number: int = 1, slot: int = 0, **health) -> str:
        self.checker.start(self.worker(number, slot, **health), 7)
        self.until(lambda: number in self.answers)
        return self.answers.pop(number)

    def until(self, condition) -> None:
        def turned() -> bool:
            self.loop.turn(0.01)
            self.children.reap()
            return condition()

        wait_until(turned)

    def close(self) -> None:
        self.checker.close()
        for ports in self.ports.values():
            ports.close()
        self.until(lambda: not self.loop.descriptors)
        assert not self.errors
        self.loop.close()


@pytest.fixture
def lab():
    lab = Lab()
    yield lab
    lab.close()


@pytest.fixture
def server():
    """A listener that says `reply` to whoever has asked, a piece at a time, and its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(20)
    asked: list[bytes] = []

    def serve(*pieces: bytes, hold: threading.Event | None = None) -> int:
        def run() -> None:
            client, _ = listener.accept()
            with client:
                client.settimeout(20)
                asked.append(client.recv(65536))
                for piece in pieces:
                    client.sendall(piece)
                if hold is not None:
                    hold.wait(20)

        threading.Thread(target=run, daemon=True).start()
        return listener.getsockname()[1]

    serve.asked = asked
    yield serve
    listener.close()


# -- http and tcp -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b"HTTP/1.1 200 OK\r\n\r\n"], ""),
        ([b"HTTP/1.1 399 Odd\r\n\r\n"], ""),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"], ""),
        ([b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 3_000_000], ""),
        ([b"HTTP/1.1 404 Not Found\r\n\r\n"], "HTTP 404 Not Found"),
        ([b"HTTP/1.1 503 \r\n\r\n"], "HTTP 503"),
        ([b"220 smtp ESMTP\r\n"], "the answer is not HTTP/1"),
        ([b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 100_000], "the head of the answer is too long"),
        ([], "the connection was closed before an answer"),
    ],
)
def test_what_counts_as_an_answer(lab, server, pieces, reason):
    port = server(*pieces)
    assert lab.check(http=f"http://127.0.0.1:{port}/up?a=1") == reason
    [asked] = server.asked
    line, *headers = asked.decode().split("\r\n")
    assert line == "GET /up?a=1 HTTP/1.1"
    assert f"Host: 127.0.0.1:{port}" in headers
    assert "Connection: close" in headers


def test_a_server_that_drips_has_not_answered_when_its_time_is_over(lab, server):
    hold = threading.Event()
    port = server(b"HTTP/1.1 200 OK\r\n", b"A", b":", hold=hold)
    lab.checker.start(lab.worker(http=f"http://127.0.0.1:{port}/"), 1)
    lab.until(lambda: server.asked)
    for _ in range(20):
        lab.loop.turn(0.01)
    assert lab.answers == {}
    lab.checker.stop(1)
    assert not lab.loop.descriptors
    hold.set()


def test_nobody_there_is_a_failure_on_both_families_of_localhost(lab):
    port = free_port()
    assert lab.check(http=f"http://localhost:{port}/") == "connect: Connection refused"
    assert lab.check(tcp=str(port)) == "connect: Connection refused"
    six = socket.create_server(("::1", port), family=socket.AF_INET6)
    assert lab.check(tcp=f"localhost:{port}") == ""
    six.close()


def test_a_unix_socket(lab, tmp_path):
    path = str(tmp_path / "sock")
    assert lab.check(tcp=f"unix:{path}") == "connect: No such file or directory"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        assert lab.check(tcp=f"unix:{path}") == ""
        assert lab.check(tcp=f"unix:{path}") == "connect: the backlog is full"


# -- one worker behind a shared port ------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "host"),
    [("inet", "127.0.0.1"), ("inet", "0.0.0.0"), ("inet6", "::1"), ("inet6", "::")],
)
def test_a_check_reaches_its_slot_wherever_others_are_steered(lab, family, host):
    port = free_port()
    app = AppSpec(
        "web",
        ("true",),
        "/",
        exec_mode="cluster",
        share="slots",
        listen=(ListenSpec(family, host=host, port=port),),
    )
    ports = lab.ports["web"] = Ports(
        lab.loop, app, lambda *_: None, lambda *_: None, Pending(lab.loop, lambda *_: None)
    )
    ports.open(4)
    ports.steer((1,))
    group = ports.accepted_by(0)

    def taken() -> list[int]:
        found = []
        for slot in range(4):
            while True:
                try:
                    sockets.accept(group.socket(slot)).close()
                except BlockingIOError:
                    break
                found.append(slot)
        return found

    for slot in (0, 3, 2, 1, 0, 2):
        # The connection is taken by the kernel: that is all that tcp asks for.
        assert lab.check(slot=slot, tcp=f"localhost:{port}") == ""
        assert taken() == [slot]
    # Many at once, and others meanwhile.
    for number in range(40):
        lab.checker.start(lab.worker(number, number % 4, http="/"), 1)
    others = [socket.create_connection((host, port)) for _ in range(20)]
    counted = taken()
    assert [counted.count(slot) for slot in range(4)] == [10, 30, 10, 10]
    lab.until(lambda: len(lab.answers) == 40)
    assert set(lab.answers.values()) == {"Connection reset by peer"}
    assert not group._directed
    for other in others:
        other.close()


def test_a_full_backlog_keeps_the_direction_until_the_check_is_given_up(lab):
    port = free_port()
    app = AppSpec(
        "web",
        ("true",),
        "/",
        exec_mode="cluster",
        share="slots",
        listen=(ListenSpec("inet", host="127.0.0.1", port=port, backlog=1),),
    )
    ports = lab.ports["web"] = Ports(
        lab.loop, app, lambda *_: None, lambda *_: None, Pending(lab.loop, lambda *_: None)
    )
    ports.open(2)
    ports.steer((0,))
    group = ports.accepted_by(0)
    assert lab.check(slot=1, tcp=f"127.0.0.1:{port}") == ""
    assert lab.check(slot=1, tcp=f"127.0.0.1:{port}") == ""
    lab.checker.start(lab.worker(slot=1, tcp=f"127.0.0.1:{port}"), 1)
    for _ in range(5):
        lab.loop.turn(0.01)
    assert list(group._directed.values()) == [1]
    assert lab.answers == {}
    lab.checker.stop(1)
    assert not group._directed
    with socket.create_connection(("127.0.0.1", port)):
        assert group.queue_length(0) == 1


# -- exec ---------------------------------------------------------------------------------


def sh(line: str) -> dict:
    return {"command": ("/bin/sh", "-c", line)}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("exit 0", ""),
        ("echo fine; exit 0", ""),
        ("echo one; echo two >&2; exit 3", "exit code 3: one; two"),
        ("exit 1", "exit code 1"),
        ("kill -9 $$", "killed by SIGKILL"),
        # What it leaves behind holds its output open and is ended.
        ("sleep 1000 & exit 0", ""),
        ("head -c 1000000 /dev/zero; echo; echo last; exit 1", None),
        ('test "$PYINIT_APP$PYINIT_INSTANCE$PYINIT_PID$A" = web242x2', None),
    ],
)
def test_a_command_says_it_by_its_exit_code(lab, line, reason):
    answer = lab.check(slot=2, **sh(line))
    if reason is not None:
        assert answer == reason
    elif "last" in line:
        assert answer.endswith("last")
        assert len(answer) < 1100


def test_a_command_knows_its_worker(lab):
    line = 'echo "$PYINIT_APP $PYINIT_INSTANCE $PYINIT_PID $A $NODE_APP_INSTANCE"; exit 1'
    assert lab.check(slot=2, **sh(line)) == "exit code 1: web 2 4242 x2 2"


def test_a_command_that_is_missing_is_a_failure(lab):
    assert lab.check(command=("/no/such",)).startswith("exec: No such file or directory")


def test_a_command_that_is_given_up_is_killed_with_its_group(lab, tmp_path):
    pids = tmp_path / "pids"
    lab.checker.start(
        lab.worker(**sh(f"trap '' TERM INT; sleep 1000 & echo $$ $! > {pids}; wait")), 1
    )
    lab.until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    lab.checker.stop(1)
    members = [int(pid) for pid in pids.read_text().split()]

    def gone(pid: int) -> bool:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
                return stat.read().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    lab.until(lambda: all(map(gone, members)))
    assert lab.answers == {}
    # Whoever reaps it must not take it for a worker, nor for an orphan.
    lab.until(lambda: not lab.children.helpers)
    assert lab.children.orphans == 0
    assert not [event for event in lab.events if isinstance(event, e.WorkerExited)]


def test_signals_are_as_a_fresh_process_has_them(lab):
    line = "kill -TERM $$; sleep 1000"
    assert lab.check(**sh(line)) == f"killed by {signal.Signals.SIGTERM.name}"
