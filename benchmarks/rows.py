"""The rows of the table: what is measured, against whom, and the bar."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import arena
from .arena import BIN, PYINIT, Figure, Init, answers, free_port, rounds, stamp, until, workspace

HERE = Path(__file__).parent
NODE_SERVER = (
    "require('http').createServer((q,r)=>r.end('ok')).listen(+process.env.PORT,'127.0.0.1')"
)


@dataclass
class Row:
    """One measurement. `ratio` compares pyinit with `unit_of`; `bar` is its upper bound."""

    title: str
    figures: dict[str, Figure]
    ours: str = "pyinit"
    unit_of: str = ""
    bar: float | None = None
    absolute_bar: float | None = None
    note: str = ""
    verdicts: list[str] = field(default_factory=list)


def ecosystem(folder: str, **app: object) -> str:
    """An ecosystem.yaml (JSON is YAML) with one app."""
    path = Path(folder) / "ecosystem.yaml"
    path.write_text(json.dumps({"apps": [{"name": "app", **app}]}))
    return str(path)


# -- from exec to the child's first instruction -------------------------------------------


def _first_instruction(command_for) -> float:
    with workspace() as folder:
        file = f"{folder}/times"
        child = [stamp(), file]
        with Init([stamp(), file, *command_for(folder, child)], folder):
            times = until(
                lambda: (
                    os.path.exists(file) and len(t := Path(file).read_text().split("\n")) > 2 and t
                )
            )
        return (int(times[1]) - int(times[0])) / 1e6


def first_instruction(count: int) -> list[Row]:
    python = str(BIN / "python")
    bare = [python, str(HERE / "bare_loop.py")]

    def with_file(folder: str, child: list[str]) -> list[str]:
        return [PYINIT, "-c", ecosystem(folder, script=" ".join(child), interpreter="none")]

    figures = rounds(
        count,
        {
            "bare Python loop": lambda: _first_instruction(lambda _f, c: [*bare, *c]),
            "tini": lambda: _first_instruction(lambda _f, c: [arena.tool("tini"), "--", *c]),
            "dumb-init": lambda: _first_instruction(lambda _f, c: [arena.tool("dumb-init"), *c]),
            "pyinit --": lambda: _first_instruction(lambda _f, c: [PYINIT, "--", *c]),
            "pyinit -c": lambda: _first_instruction(with_file),
            "supervisor": lambda: _first_instruction(_supervisor),
        },
        "ms",
    )
    return [
        Row("exec → first instruction: pyinit --", figures, "pyinit --", "bare Python loop", 2.0),
        Row("exec → first instruction: pyinit -c", figures, "pyinit -c", "bare Python loop", 4.0),
    ]


def _supervisor(folder: str, child: list[str]) -> list[str]:
    path = Path(folder) / "supervisord.conf"
    path.write_text(
        "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\n"
        f"pidfile={folder}/pid\nuser=root\n[program:app]\ncommand={' '.join(child)}\n"
    )
    return [arena.tool("supervisord"), "-n", "-c", str(path)]


# -- from exec to the first answer ------------------------------------------------------------


def _first_answer(command_for, instances: int = 1) -> float:
    port = free_port()
    with workspace() as folder:
        Path(folder, "server.js").write_text(NODE_SERVER)
        env = {"PORT": str(port), "PM2_HOME": f"{folder}/pm2"}
        command = command_for(folder, instances)
        began = time.monotonic()
        with Init(command, folder, env):
            until(lambda: answers(port), deadline=60)
            return (time.monotonic() - began) * 1e3


def _pyinit_node(folder: str, instances: int) -> list[str]:
    file = ecosystem(folder, script="server.js", exec_mode="cluster", instances=instances)
    return [PYINIT, "-c", file]


def _pm2(folder: str, instances: int) -> list[str]:
    file = Path(folder) / "ecosystem.json"
    app = {"name": "app", "script": "server.js", "exec_mode": "cluster", "instances": instances}
    file.write_text(json.dumps({"apps": [app]}))
    return [arena.tool("pm2-runtime"), "start", str(file)]


def first_answer(count: int) -> list[Row]:
    rows = []
    for instances in (1, 4):
        figures = rounds(
            count,
            {
                "bare node": lambda: _first_answer(lambda _f, _n: ["node", "server.js"]),
                "pyinit": lambda n=instances: _first_answer(_pyinit_node, n),
                "pm2-runtime": lambda n=instances: _first_answer(_pm2, n),
            },
            "ms",
        )
        plural = "worker" if instances == 1 else "workers"
        title = f"exec → first answer of node, {instances} {plural}"
        rows.append(Row(title, figures, "pyinit", "bare node", 1.6))
    return rows


# -- memory and idleness ----------------------------------------------------------------------


def _memory(pid: int) -> tuple[float, float]:
    """RSS and PSS in MB."""
    rollup = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    )
    return tuple(int(rollup[key].split()[0]) / 1024 for key in ("Rss", "Pss"))


def _four_workers(command_for) -> tuple[float, float, float]:
    port, probes = free_port(), free_port()
    with workspace() as folder:
        Path(folder, "server.js").write_text(NODE_SERVER)
        env = {"PORT": str(port), "PM2_HOME": f"{folder}/pm2"}
        with Init(command_for(folder, port, probes), folder, env) as init:
            until(lambda: answers(port), deadline=60)
            until(lambda: _settled(init.pid), deadline=60, pause=0.5)
            pid = init.pid
            before = _switches(pid)
            time.sleep(3)  # what is measured is that nothing happens
            rss, pss = _memory(pid)
            return rss, pss, (_switches(pid) - before) / 3


def _settled(pid: int) -> bool:
    before = _switches(pid)
    time.sleep(0.5)
    return _switches(pid) - before < 20


def _switches(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches"):
            return int(line.split()[1])
    return 0


def _pyinit_full(folder: str, port: int, probes: int) -> list[str]:
    """Every feature on: probes, watch, the port declared, Node's protocol, the filter."""
    path = Path(folder) / "ecosystem.yaml"
    app = {
        "name": "app",
        "script": "server.js",
        "exec_mode": "cluster",
        "instances": 4,
        "listen": f"127.0.0.1:{port}",
        "watch": True,
    }
    file = {"apps": [app], "probes": {"listen": f"127.0.0.1:{probes}"}}
    path.write_text(json.dumps(file))
    return [PYINIT, "-c", str(path)]


def memory(count: int) -> list[Row]:
    contestants = {
        "pyinit": _pyinit_full,
        "pm2-runtime": lambda folder, _port, _probes: _pm2(folder, 4),
        "supervisor": _supervisor_four,
        "gunicorn": _gunicorn_four,
    }
    taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in contestants}

    def measure(name: str):
        def once() -> float:
            taken[name].append(_four_workers(contestants[name]))
            return taken[name][-1][0]

        return once

    rss = rounds(count, {name: measure(name) for name in contestants}, "MB")
    pss = {n: Figure(n, [t[1] for t in taken[n][1:]], "MB") for n in rss}
    idle = {n: Figure(n, [t[2] for t in taken[n][1:]], "/s") for n in rss}
    return [
        Row("RSS of PID 1, 4 workers idle", rss, absolute_bar=20.0),
        Row("PSS of PID 1, 4 workers idle", pss, absolute_bar=12.0),
        Row("wake-ups of PID 1, idle", idle, absolute_bar=0.0),
    ]


def _supervisor_four(folder: str, _port: int, _probes: int) -> list[str]:
    command = _supervisor(folder, ["node", "server.js"])
    path = Path(command[-1])
    text = path.read_text()
    for n in range(3):
        text += f"[program:other{n}]\ncommand=sleep 1000\n"
    path.write_text(text)
    return command


def _gunicorn_four(folder: str, port: int, _probes: int) -> list[str]:
    Path(folder, "app.py").write_text(
        "def app(environ, start):\n    start('200 OK', [])\n    return [b'ok']\n"
    )
    return [arena.tool("gunicorn"), "-w4", "-b", f"127.0.0.1:{port}", "app:app"]


# -- a crash under load -----------------------------------------------------------------------


def _crash(command_for, seconds: float = 6.0) -> float:
    """Connections refused while the only worker is killed three times under load."""
    port = free_port()
    refused = [0]
    stop = threading.Event()
    with workspace() as folder:
        Path(folder, "server.js").write_text(NODE_SERVER)
        env = {"PORT": str(port), "PM2_HOME": f"{folder}/pm2"}
        with Init(command_for(folder, 1), folder, env) as init:
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
                for pid in _listening_children(init.pid):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(seconds / 4)
            stop.set()
            for thread in threads:
                thread.join()
    return refused[0] / 3


def _listening_children(pid: int) -> list[int]:
    """The worker of an init: its child that runs the server."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes()
        if b"server.js" in words or b"ProcessContainer" in words:
            found.append(int(child))
    return found


def crash(count: int) -> list[Row]:
    figures = rounds(
        max(1, count // 3),
        {"pyinit": lambda: _crash(_pyinit_node), "pm2-runtime": lambda: _crash(_pm2)},
        "refused",
    )
    return [
        Row("SIGKILL of the only worker under load, connections refused", figures, absolute_bar=0.0)
    ]


ALL = {
    "first-instruction": first_instruction,
    "first-answer": first_answer,
    "memory": memory,
    "crash": crash,
}
