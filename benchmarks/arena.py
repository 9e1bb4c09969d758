"""Where things are measured: peers, PID namespaces, rounds.

Every init runs as PID 1 of a PID namespace of its own. Rounds are interleaved (A B C,
A B C, …), so that a machine that gets slower does so for all; medians are compared.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PYINIT = str(BIN / "pyinit")
PEERS = ROOT / ".cache" / "peers"
DEADLINE = 30.0


class Missing(Exception):
    """A peer is not on this machine; the text says why."""


def tool(name: str) -> str:
    """The path of a program: of the venv, of the peers, or of the system."""
    for path in (BIN / name, PEERS / "node_modules" / ".bin" / name, PEERS / "venv" / "bin" / name):
        if path.exists():
            return str(path)
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def stamp() -> str:
    """The compiled `stamp.c`."""
    built = ROOT / ".cache" / "stamp"
    source = Path(__file__).with_name("stamp.c")
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        built.parent.mkdir(exist_ok=True)
        subprocess.run(["gcc", "-O2", "-static", "-o", built, source], check=True)
    return str(built)


@dataclass
class Init:
    """A command that runs as PID 1 of its own namespace until `close`."""

    command: list[str]
    cwd: str
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Init:
        self.process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *self.command],
            cwd=self.cwd,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return self

    @property
    def pid(self) -> int:
        """The init, as seen from here."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(until(lambda: children.read_text().split())[0])

    def __exit__(self, *_: object) -> None:
        # unshare --kill-child: the namespace ends with it.
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def until(condition, deadline: float = DEADLINE, pause: float = 0.0005):
    """What `condition` returns once it is true."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError("the condition was not met")
        time.sleep(pause)


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def answers(port: int) -> bool:
    """Somebody answers a GET there with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def workspace() -> tempfile.TemporaryDirectory[str]:
    """A folder for one measurement."""
    return tempfile.TemporaryDirectory(prefix="pyinit-bench-")


@dataclass
class Figure:
    """One row's cell: the samples of one contestant."""

    name: str
    samples: list[float]
    unit: str

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


def rounds(count: int, contestants: dict[str, object], unit: str) -> dict[str, Figure]:
    """Call each contestant `count` times in turn; what cannot run is left out, loudly."""
    figures = {name: Figure(name, [], unit) for name in contestants}
    for turn in range(count + 1):
        for name, measure in contestants.items():
            if name not in figures:
                continue
            try:
                value = measure()
            except (Missing, TimeoutError, OSError, subprocess.SubprocessError) as error:
                print(f"   {name}: could not run: {error}", flush=True)
                del figures[name]
                continue
            if turn:  # the first is a warm-up
                figures[name].samples.append(value)
    return figures
