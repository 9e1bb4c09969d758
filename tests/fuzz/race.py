"""A worker that changes the memory of a system call while pyinit reads it.

The addresses of `bind` and `connect` come from the worker's memory (seccomp_unotify(2)).
Another process of the worker writes into the same pages all the time. pyinit must go on,
serve the worker beside it, and never put a socket of the app at an address that is not the
app's.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.support import namespace
from tests.support.ports import free_port
from tests.support.run import Run, get

WORKER = Path(__file__).with_name("racer.py")
SERVER = (
    "import http.server, sys\n"
    "class H(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self):\n"
    "        self.send_response(200); self.end_headers(); self.wfile.write(b'here')\n"
    "    def log_message(self, *a): pass\n"
    "http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), H).serve_forever()\n"
)


def main(seconds: float, seed: int) -> tuple[bool, str]:
    """Whether all was well, and what there is to tell."""
    if not namespace.inside():
        command = [sys.executable, "-m", "tests.fuzz", "seccomp", f"--seconds={seconds}"]
        command = namespace.reexecute([*command, f"--seed={seed}"])
        code = os.spawnvpe(os.P_WAIT, command[0], command, namespace.environment())
        return code == 0, "see above"
    folder = Path(tempfile.mkdtemp(prefix="pyinit-race-"))
    try:
        return race(folder, seconds, seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def race(folder: Path, seconds: float, seed: int) -> tuple[bool, str]:
    (folder / "server.py").write_text(SERVER)
    web, raced = free_port(), free_port()
    rng = random.Random(seed)
    cluster = {"exec_mode": "cluster", "instances": 2, "listen_timeout": 10000}
    apps = [
        {**cluster, "name": "web", "script": f"python3 server.py {web}", "instances": 1},
        {
            **cluster,
            "name": "racer",
            "script": f"{sys.executable} -S {WORKER} {raced} {rng.randrange(1 << 30)}",
            "listen": [f"127.0.0.1:{raced}"],
            "max_restarts": 100_000,
            "min_uptime": 1,
            "restart_delay": 20,
        },
    ]
    asked = failed = 0
    with Run(folder, apps) as run:
        run.event("worker ready", app="web")
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            asked += 1
            try:
                code, body = get(web)
                failed += (code, body) != (200, "here")
            except OSError:
                failed += 1
            time.sleep(0.05)
        wrong = [line for line in run.lines if b"WRONG" in line]
        errors = run.events("internal error")
        rounds = len([line for line in run.lines if b"rounds" in line])
        alive = run.process.poll() is None
        code = run.stop()
    result = f"{rounds} reports of a racing worker, {asked} requests beside it, {failed} failed"
    if wrong or errors or failed or not alive:
        return False, f"{result}; {wrong[:3]} {errors[:3]} exit code {code}"
    return True, result
