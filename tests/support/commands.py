"""The commands of a running pyinit, as `docker exec` would run them."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

from tests.support import run as runs
from tests.support.run import Run

PYINIT = str(runs.PYINIT)


def inside(run: Run, *command: str) -> list[str]:
    """`command` in the namespaces of that run."""
    return ["nsenter", "--target", str(run.pid), "--pid", "--mount", *command]


def pyinit(run: Run, *words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """`pyinit WORDS…` beside it; waits for its end."""
    return subprocess.run(
        inside(run, PYINIT, *words), capture_output=True, text=True, timeout=timeout
    )


def begin(run: Run, *words: str) -> subprocess.Popen[str]:
    """`pyinit WORDS…` beside it, not waited for."""
    return subprocess.Popen(
        inside(run, PYINIT, *words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def answering(run: Run) -> dict:
    """`pyinit ls --json` as soon as it answers."""
    return run.until(lambda: listed(run), "an answer to ls")


def listed(run: Run) -> dict:
    """`pyinit ls --json`, or an empty dict when nobody answers."""
    found = pyinit(run, "ls", "--json")
    return json.loads(found.stdout) if found.returncode == 0 else {}


def workers(run: Run, app: str) -> list[dict]:
    """The rows of one app."""
    return next(a for a in listed(run)["apps"] if a["name"] == app)["workers"]


def private_socket(run: Run) -> str:
    """Where its private socket lies, as the name tells: namespaces and pid 1."""
    numbers = [Path(f"/proc/{run.pid}/ns/{kind}").stat().st_ino for kind in ("mnt", "pid")]
    name = f"{numbers[0]}-{numbers[1]}-1.sock"
    positions = [Path(parent) / "pyinit-0" / name for parent in ("/run", "/dev/shm", "/tmp")]
    return str(run.until(lambda: next((p for p in positions if p.exists()), None), "the socket"))


def connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Blocking: with a full backlog it waits instead of failing (connect(2), EAGAIN).
    sock.connect(path)
    sock.settimeout(30)
    return sock


def asked(path: str, request: bytes) -> bytes:
    """The whole answer to raw bytes."""
    with connect(path) as sock:
        sock.sendall(request)
        answer = b""
        try:
            while data := sock.recv(1 << 16):
                answer += data
        except ConnectionResetError:
            pass
        return answer
