"""How long probes take while PID 1 has everything else to do.

Eight workers flood the log, one makes 10,000 orphans as fast as it can, again and again, 500
slow clients hold connections of the probe port and come again when they are closed, and
somebody scrapes /metrics each second. Meanwhile a prober asks as the kubelet does, a new
connection each time.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import socket
import sys
import time
from pathlib import Path

from ..arena import PYINIT, Init, free_port, program, rounds_of, until, workspace
from ..table import Bar, Row

SECONDS = 8.0
SLOW_CLIENTS = 500
FLOODERS = 8
ORPHANS = 10_000

FLOOD = "import os\nline = b'x' * 79 + b'\\n'\nwhile True: os.write(1, line * 100)\n"

# Flooding workers, slow clients, orphans.
SITUATIONS = {
    "idle": (0, 0, False),
    "500 slow clients": (0, SLOW_CLIENTS, False),
    "10,000 orphans": (0, 0, True),
    "8 flooding workers": (FLOODERS, 0, False),
    "all at once": (FLOODERS, SLOW_CLIENTS, True),
}


def ask(port: int, path: str) -> int:
    """The status of one request on a connection of its own; 0 for none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def hold_on(port: int, count: int) -> None:
    """Clients that send a byte now and then, and come again when they are thrown out."""
    clients: list[socket.socket | None] = [None] * count
    while True:
        for number in range(count):
            client = clients[number] or socket.socket()
            try:
                if clients[number] is None:
                    client.setblocking(False)
                    client.connect_ex(("127.0.0.1", port))
                    clients[number] = client
                    client.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
                client.send(b"X")
            except BlockingIOError:
                pass
            except OSError:
                client.close()
                clients[number] = None
            time.sleep(0.2 / count)


def scrape(port: int) -> None:
    """A Prometheus that is in a hurry."""
    while True:
        ask(port, "/metrics")
        time.sleep(1.0)


def probe(port: int) -> list[float]:
    """How long each probe took, ms; one that was not answered as it should counts 10 s."""
    took = []
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        began = time.monotonic()
        status = ask(port, "/readyz")
        took.append((time.monotonic() - began) * 1e3 if status == 200 else 10_000.0)
        time.sleep(0.01)
    return sorted(took)


def measure(flooders: int, slow: int, *, orphans: bool) -> dict[str, float]:
    port = free_port()
    with workspace() as folder:
        Path(folder, "flood.py").write_text(FLOOD)
        apps: list[dict[str, object]] = [{"name": "idle", "script": "sleep 100000"}]
        if flooders:
            script = f"{sys.executable} flood.py"
            apps.append({"name": "flood", "script": script, "instances": flooders})
        if orphans:
            storm = f"while :; do {program('orphans')} {ORPHANS} 1 /dev/null; done"
            apps.append({"name": "orphans", "script": "sh", "args": ["-c", storm]})
        file = Path(folder, "ecosystem.yaml")
        file.write_text(json.dumps({"apps": apps, "probes": f"127.0.0.1:{port}"}))
        with Init([PYINIT, "-c", str(file)], folder):
            until(lambda: ask(port, "/readyz") == 200)
            jobs = [(scrape, (port,)), *([(hold_on, (port, slow))] if slow else [])]
            helpers = [multiprocessing.Process(target=job, args=args) for job, args in jobs]
            for helper in helpers:
                helper.start()
            try:
                took = probe(port)
            finally:
                for helper in helpers:
                    helper.terminate()
                    helper.join()
    return {"p50": took[len(took) // 2], "p99": took[int(len(took) * 0.99)]}


def probes(count: int) -> list[Row]:
    figures = rounds_of(
        max(1, count // 3),
        {
            name: lambda situation=situation: measure(*situation[:2], orphans=situation[2])
            for name, situation in SITUATIONS.items()
        },
        {"p50": "ms", "p99": "ms"},
        warm_up=False,
        seconds=150.0,
    )
    how = (
        "`/readyz` every 10 ms, a new connection each time, beside a scrape of `/metrics` each "
        "second. One that is not answered with 200 counts as 10 s."
    )
    note = (
        "On two cores the prober and PID 1 wait for a core themselves while nine others never "
        "rest; `pyinit_loop_turn_seconds` tells how long the loop itself let anybody wait."
    )
    return [
        Row(
            "probes",
            "Probes under load, p99",
            figures["p99"],
            [Bar("all at once", 50.0)],
            how,
            [note],
        ),
        Row("probes-p50", "Probes under load, p50", figures["p50"], [], "The same."),
    ]
