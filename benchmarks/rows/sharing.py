"""Two workers on one port: what each way of handing it over costs a request, how even it is."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
from collections import Counter
from pathlib import Path

from ..arena import (
    PROGRAMS,
    PYINIT,
    PYTHON,
    Init,
    Missing,
    children,
    cpu_seconds,
    ecosystem,
    free_port,
    rounds_of,
    tool,
    until,
    workspace,
)
from ..table import Bar, Row

WORKERS = 2
SECONDS = 3
CONNECTIONS = 32
# So many times connections are opened to see where they go.
TRIES = 12

SERVER = """
const body = String(process.pid);
const server = require('http').createServer((q, r) => r.end(body));
const where = process.env.PORT || process.argv[2];
server.listen(where === 'fd' ? {fd: 3} : {port: +where, host: '127.0.0.1'});
"""


def _tree(pid: int) -> list[int]:
    found = [pid]
    for child in children(pid):
        found += _tree(child)
    return found


def _who(port: int, count: int) -> Counter[bytes]:
    """Whom so many connections reach that are open at the same time."""
    open_now = [http.client.HTTPConnection("127.0.0.1", port, timeout=10) for _ in range(count)]
    try:
        for each in open_now:
            each.connect()
        reached: Counter[bytes] = Counter()
        for each in open_now:
            each.request("GET", "/")
            reached[each.getresponse().read()] += 1
        return reached
    finally:
        for each in open_now:
            each.close()


def _wrk(port: int, *, keep: bool, seconds: int = SECONDS) -> tuple[float, float]:
    """Requests in all, and in a second."""
    more = [] if keep else ["-H", "Connection: close"]
    command = [tool("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", *more]
    said = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True
    ).stdout
    errors = re.search(r"Non-2xx.*|Socket errors.*(?:connect|timeout) [1-9].*", said)
    if errors and keep:
        raise OSError(errors[0])
    total = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec: +([\d.]+)", said)
    return float(total[1]), float(rate[1])


def _measure(command_for) -> dict[str, float]:
    port = free_port()
    with workspace() as folder:
        Path(folder, "server.js").write_text(SERVER)
        with Init(command_for(folder, port), folder, {"PM2_HOME": f"{folder}/pm2"}) as init:
            until(lambda: _both(port), deadline=60, pause=0.05)
            values = {}
            for kind, keep in (("keep", True), ("new", False)):
                _wrk(port, keep=keep, seconds=1)  # until node has compiled what it runs
                before = sum(cpu_seconds(pid) for pid in _tree(init.pid))
                total, rate = _wrk(port, keep=keep)
                spent = sum(cpu_seconds(pid) for pid in _tree(init.pid)) - before
                values[f"{kind}/s"] = rate
                values[f"{kind}-cpu"] = spent / total * 1e6
            for count in (8, 64):
                shares = [_who(port, count).most_common(1)[0][1] / count for _ in range(TRIES)]
                values[f"most-{count}"] = 100 * sum(shares) / len(shares)
            return values


def _both(port: int) -> bool:
    try:
        return len(_who(port, 16)) == WORKERS
    except OSError:
        return False


def _bare(share: str):
    def command(_folder: str, port: int) -> list[str]:
        return [
            PYTHON,
            str(PROGRAMS / "bare_port.py"),
            share,
            str(port),
            str(WORKERS),
            "node",
            "server.js",
            "fd",
        ]

    return command


def _pyinit(share: str, handoff: str):
    def command(folder: str, port: int) -> list[str]:
        app = {
            "script": f"server.js {'fd' if handoff == 'fds' else port}",
            "exec_mode": "cluster",
            "instances": WORKERS,
            "listen": f"127.0.0.1:{port}",
        }
        return [PYINIT, "-c", ecosystem(folder, share=share, handoff=handoff, **app)]

    return command


def _pm2(folder: str, port: int) -> list[str]:
    app = {"name": "app", "script": "server.js", "env": {"PORT": port}, "exec_mode": "cluster"}
    Path(folder, "ecosystem.json").write_text(json.dumps({"apps": [{**app, "instances": WORKERS}]}))
    return [tool("pm2-runtime"), "start", f"{folder}/ecosystem.json"]


def sharing(count: int) -> list[Row]:
    ways = {f"bare, {share}": _bare(share) for share in ("slots", "one")}
    for share in ("slots", "one"):
        for handoff in ("intercept", "fds", "node"):
            ways[f"{handoff}, {share}"] = _pyinit(share, handoff)
    ways["pm2"] = _pm2
    try:
        tool("wrk")
    except Missing as error:
        print(f"   {error}")
        return []
    units = {
        "keep/s": "/s",
        "new/s": "/s",
        "keep-cpu": "µs",
        "new-cpu": "µs",
        "most-8": "%",
        "most-64": "%",
    }
    contestants = {name: lambda way=way: _measure(way) for name, way in ways.items()}
    figures = rounds_of(max(1, count // 2), contestants, units, seconds=420)
    bars = {
        share: [
            Bar(f"{handoff}, {share}", 0.98, f"bare, {share}", at_least=True)
            for handoff in ("intercept", "fds", "node")
        ]
        for share in ("slots", "one")
    }
    how = (
        f"wrk, {CONNECTIONS} connections, against {WORKERS} node servers that share a port. Bare: "
        "the same sockets and steering, made by a script that forks them and waits."
    )
    cpu = "CPU time of PID 1 and all workers: what is left of the difference when nobody disturbs."
    even = f"The share of the busier one of {WORKERS} workers, mean of {TRIES} times; 50 is even."
    return [
        Row(
            "sharing-keep",
            "Requests/s of 2 workers on one port, kept connections",
            figures["keep/s"],
            bars["slots"] + bars["one"],
            how,
        ),
        Row(
            "sharing-new",
            "Requests/s of 2 workers on one port, a connection for each",
            figures["new/s"],
            bars["slots"] + bars["one"],
            how,
        ),
        Row(
            "sharing-keep-cpu",
            "CPU of a request on a kept connection",
            figures["keep-cpu"],
            [],
            cpu,
        ),
        Row("sharing-new-cpu", "CPU of a request with its connection", figures["new-cpu"], [], cpu),
        Row("sharing-8", "8 connections at a time: the busier worker", figures["most-8"], [], even),
        Row("sharing-64", "64 connections: the busier worker", figures["most-64"], [], even),
    ]
