"""What a service manager is told, and the sockets that it gives."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.test_control_commands import sleeper
from tests.support.ports import free_port
from tests.support.run import DEADLINE, PYINIT, Run, get

pytestmark = [pytest.mark.process, pytest.mark.pid1]


class Manager:
    """The receiving end of NOTIFY_SOCKET, outside of the namespace."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self.socket.settimeout(DEADLINE)

    def next(self, state: str = "=") -> str:
        """The next message with this state."""
        while True:
            message = self.socket.recv(4096).decode()
            if state in message:
                return message


def test_the_life_of_a_container_as_a_manager_sees_it(tmp_path) -> None:
    path = str(tmp_path / "notify")
    manager = Manager(path)
    gate = tmp_path / "gate"
    script = f"sh -c 'while [ ! -e {gate} ]; do sleep 0.02; done; echo up; sleep 1000'"
    apps = [
        sleeper("early"),
        {"name": "late", "script": script, "health": {"exec": f"test -e {gate}", "interval": 50}},
    ]
    env = {"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "60000000"}
    with Run(tmp_path, apps, env=env) as run:
        assert manager.next() == "WATCHDOG=1"
        run.event("worker ready", app="early")
        manager.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.socket.recv(4096)
        manager.socket.settimeout(DEADLINE)
        gate.touch()
        assert manager.next() == "READY=1\nSTATUS=2 of 2 workers ready"
        # Its workers have a socket of pyinit's own.
        outer = [
            name
            for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC")
            if env[name] in workers_environment(run)
        ]
        assert outer == []
        run.signal(signal.SIGHUP)
        assert "MONOTONIC_USEC=" in manager.next("RELOADING=1")
        manager.next("READY=1")
        run.write("apps: [")
        run.signal(signal.SIGHUP)
        manager.next("RELOADING=1")
        assert "the file is wrong" in manager.next("READY=1")
        assert run.stop() == 0
        assert manager.next("STOPPING=1") == "STOPPING=1\nSTATUS=stopping"


def workers_environment(run: Run) -> str:
    pid = run.outer_pid(run.event("worker started")["pid"])
    return Path(f"/proc/{pid}/environ").read_text()


def test_a_manager_that_is_gone_is_said_once(tmp_path) -> None:
    app = {"name": "web", "script": "sleep 1000"}
    with Run(tmp_path, [app], env={"NOTIFY_SOCKET": "@pyinit-nobody-listens"}) as run:
        assert "NOTIFY_SOCKET" in run.event("cannot notify")["reason"]
        assert run.stop() == 0
        assert len(run.events("cannot notify")) == 1


ACTIVATE = """
import os, socket, sys
count = int(sys.argv[1])
os.environ.update(LISTEN_FDS=str(count), LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="a:b:c")
os.execv(sys.argv[2], sys.argv[2:])
"""
ECHO = """
import os, socket, sys
kind = socket.AF_UNIX if sys.argv[1][0] == "/" else socket.AF_INET
sock = socket.socket(kind)
sock.bind(sys.argv[1] if kind == socket.AF_UNIX else ("127.0.0.1", int(sys.argv[1])))
sock.listen()
while True:
    client = sock.accept()[0]
    client.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi")
    client.close()
"""


def activated(tmp_path: Path, given: list[socket.socket], file: str) -> subprocess.Popen[str]:
    (tmp_path / "ecosystem.yaml").write_text(file)
    (tmp_path / "echo.py").write_text(ECHO)
    for each in given:  # moved to where they belong by the shell
        os.set_inheritable(each.fileno(), True)
    moves = " ".join(f"{n}<&{each.fileno()}" for n, each in enumerate(given, 3))
    start = f'exec {moves}; exec {sys.executable} -c "$0" {len(given)} {PYINIT}'
    return subprocess.Popen(
        [
            "unshare",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "bash",
            "-c",
            start,
            ACTIVATE,
        ],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[each.fileno() for each in given],
    )


def test_activated_sockets_are_used_and_outlive_the_container(tmp_path) -> None:
    first, second = free_port(), free_port()
    path = f"{tmp_path}/app.sock"
    given = []
    for address in (("127.0.0.1", first), path, ("127.0.0.1", second)):
        sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        sock.bind(address)
        sock.listen(16)
        given.append(sock)
    run = f"{sys.executable} echo.py"
    file = (
        "apps:\n"
        f"  - {{name: web, script: {run} {first}, listen: '127.0.0.1:{first}', instances: 2, "
        "exec_mode: cluster}\n"
        f"  - {{name: unix, script: {run} {path}, listen: 'unix:{path}', exec_mode: cluster}}\n"
    )
    process = activated(tmp_path, given, file)
    try:
        lines = []
        while sum('"event":"app ready"' in line for line in lines) < 2:
            lines.append(process.stdout.readline())
            assert lines[-1], lines
        assert get(first) == (200, "hi")
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE)
            client.connect(path)
            assert client.recv(100).startswith(b"HTTP/1.0 200")
        # One that no app declares is said.
        assert any(f"127.0.0.1:{second}" in line and "LISTEN_FDS" in line for line in lines)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        os.kill(int(children.read_text()), signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
    # The manager's sockets still listen: the next container takes what waits there.
    assert all(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for sock in given)
    assert os.path.exists(path)
    with socket.create_connection(("127.0.0.1", first), timeout=DEADLINE):
        pass
