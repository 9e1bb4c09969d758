"""A worker that dies: how soon there is another, and who notices meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import threading
import time
from pathlib import Path

from ..arena import (
    Init,
    answers,
    children,
    free_port,
    lines_of,
    program,
    rounds,
    rounds_of,
    until,
    workspace,
)
from ..table import Bar, Row
from . import inits

CRASHES = 25
# A round of one contestant, at most.
SECONDS = 6.0
LIFE_MS = 20

GUNICORN = f"""
import os, signal, threading, time
def note(word):
    with open("times", "a") as file:
        file.write(f"{{word}} {{time.monotonic_ns()}}\\n")
def die():
    time.sleep({LIFE_MS / 1000})
    note("end")
    os.kill(os.getpid(), signal.SIGKILL)
def post_fork(server, worker):
    note("start")
    threading.Thread(target=die).start()
"""


def _replacement(command_for) -> dict[str, float]:
    """Milliseconds from a worker's last instruction to the first of its replacement."""
    with workspace() as folder:
        file = f"{folder}/times"
        command = command_for(folder, [program("crash"), file, str(LIFE_MS)])
        with Init(command, folder, {"PM2_HOME": f"{folder}/pm2"}):
            until(lambda: lines_of(file), deadline=20)
            end = time.monotonic() + SECONDS
            while time.monotonic() < end and len(lines_of(file)) < 2 * CRASHES + 1:
                time.sleep(0.05)
            events = [line.split() for line in lines_of(file)]
    taken = [
        (int(start[1]) - int(ended[1])) / 1e6
        for ended, start in zip(events[1::2], events[2::2], strict=False)
    ]
    if not taken:
        raise TimeoutError("no replacement was started")
    return {"p50": statistics.median(taken), "worst": max(taken)}


def replacement(count: int) -> list[Row]:
    contestants = {
        "pyinit": lambda f, c: inits.pyinit(f, c, max_restarts=1_000_000),
        "gunicorn": lambda f, _c: inits.gunicorn(f, f"unix:{f}/sock", 1, GUNICORN),
        "pm2-runtime": lambda f, c: inits.pm2(f, c, max_restarts=1_000_000),
        "circus": lambda f, c: inits.circus(f, c, 1, "max_retry = -1\n"),
        "supervisor": lambda f, c: inits.supervisor(f, c, 1, "startretries=1000000\n"),
    }
    figures = rounds_of(
        max(1, count // 3),
        {name: lambda each=each: _replacement(each) for name, each in contestants.items()},
        {"p50": "ms", "worst": "ms"},
    )
    how = (
        f"A worker notes the time and dies by SIGKILL {LIFE_MS} ms after its start, {CRASHES} "
        f"times or for {SECONDS:g} s; until the first instruction of its replacement. gunicorn "
        "forks a loaded interpreter, the others exec a new program."
    )
    return [
        Row("crash-p50", "Crash → the replacement's first instruction, p50", figures["p50"],
            [Bar("pyinit", 8.0)], how),
        Row("crash-worst", "Crash → the replacement's first instruction, the worst",
            figures["worst"]),
    ]  # fmt: skip


# -- under load -----------------------------------------------------------------------------


def _connections(command_for, seconds: float = 6.0) -> float:
    """Connections refused while the only worker is killed three times under load."""
    port = free_port()
    refused = [0]
    stop = threading.Event()
    with workspace() as folder:
        inits.node_server(folder)
        env = {"PORT": str(port), "PM2_HOME": f"{folder}/pm2"}
        with Init(command_for(folder), folder, env) as init:
            until(lambda: answers(port), deadline=60)

            def load() -> None:
                while not stop.is_set():
                    try:
                        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
                            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                            sock.recv(4096)
                    except ConnectionRefusedError:
                        refused[0] += 1
                        time.sleep(0.001)
                    except OSError:
                        pass  # in the worker's hands when it was killed

            threads = [threading.Thread(target=load) for _ in range(4)]
            for thread in threads:
                thread.start()
            for _ in range(3):
                time.sleep(seconds / 4)
                for pid in _servers(init.pid):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(seconds / 4)
            stop.set()
            for thread in threads:
                thread.join()
    return refused[0] / 3


def _servers(init: int) -> list[int]:
    """The worker of an init: its child that runs the server."""
    found = []
    for child in children(init):
        words = Path(f"/proc/{child}/cmdline").read_bytes()
        if b"server.js" in words or b"ProcessContainer" in words:
            found.append(child)
    return found


def connections(count: int) -> list[Row]:
    figures = rounds(
        max(1, count // 4),
        {
            "pyinit": lambda: _connections(inits.pyinit_node),
            "pm2-runtime": lambda: _connections(inits.pm2_node),
        },
        "refused",
    )
    return [
        Row(
            "crash-connections",
            "SIGKILL of the only worker under load: connections refused for each",
            figures,
            [Bar("pyinit", 0.0)],
            "Four clients with a new connection for each request; a node server in cluster mode.",
        )
    ]
