"""No number, shortage or worker makes PID 1 spin, wait, or stop listening to signals."""

from __future__ import annotations

import re
import resource
import socket
import sys
from pathlib import Path

from tests.support.ports import free_port
from tests.support.run import Run, get

MONTH_USEC = 30 * 86400 * 10**6
SENDS = f"""
import os, socket, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.sendto(b"WATCHDOG=1\\nWATCHDOG_USEC={MONTH_USEC}", os.environ["NOTIFY_SOCKET"])
    s.sendto(b"EXTEND_TIMEOUT_USEC=99999999999999999999", os.environ["NOTIFY_SOCKET"])
print("sent", flush=True)
time.sleep(1000)
"""


def test_times_beyond_what_a_system_call_takes(tmp_path):
    probe = free_port()
    (tmp_path / "sends.py").write_text(SENDS)
    apps = [
        {"name": "late", "script": "sleep 1000", "wait_ready": True, "listen_timeout": "30d"},
        {"name": "slow", "script": "sh -c 'exit 1'", "restart_delay": "3650d"},
        {"name": "sends", "script": f"{sys.executable} sends.py", "kill_timeout": "100d"},
    ]
    with Run(tmp_path, apps, probes={"listen": f"127.0.0.1:{probe}"}) as run:
        run.said("sent", app="sends")
        run.event("restart waits", app="slow")
        turns = status(probe)["loop_turns"]
        assert status(probe)["loop_turns"] < turns + 200
        assert run.stop() == 0
        assert not run.events("internal error")
        assert not run.stderr


def status(port: int) -> dict:
    import json

    return json.loads(get(port, "/status")[1])


NUMBERS = """
import sys
for number in range(4000):
    print(number, "x" * 1000 if number % 50 else "y" * 60_000, flush=True)
print("end", flush=True)
"""
CRASHES = "sh -c 'head -c 2000000 /dev/zero | tr \\\\000 z; sleep 0.2; exit 1'"


def test_without_memory_it_goes_on_and_loses_no_line(tmp_path):
    probe = free_port()
    (tmp_path / "numbers.py").write_text(NUMBERS)
    apps = [
        {"name": "numbers", "script": f"{sys.executable} numbers.py", "autorestart": False},
        {
            "name": "crashes",
            "script": CRASHES,
            "instances": 3,
            "restart_delay": 50,
            "max_restarts": 100000,
            "on_errored": "keep",
        },
    ]
    with Run(tmp_path, apps, probes={"listen": f"127.0.0.1:{probe}"}) as run:
        run.event("worker ready", app="crashes")
        run.until(lambda: get(probe, "/livez")[0] == 200)
        limit(run.pid, 150_000)
        run.event("memory exhausted")
        run.until(lambda: status(probe)["memory_shortages"] >= 3)
        limit(run.pid, None)
        run.until(lambda: get(probe, "/livez")[0] == 200)
        run.said("end", app="numbers")
        assert run.stop() == 0
        numbers = [
            int(record["event"].split()[0])
            for record in run.records
            if record.get("app") == "numbers" and re.match(r"\d+ [xy]", record.get("event", ""))
        ]
        assert numbers == list(range(4000))
        assert len(run.events("internal error")) <= 10
        assert len(run.events("memory exhausted")) < 30
        assert len(run.stderr) < 10_000


def limit(pid: int, more: int | None) -> None:
    """Let the process have so many bytes of address space more than it has; None: any."""
    size = re.search(r"VmSize:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    most = resource.RLIM_INFINITY if more is None else int(size[1]) * 1024 + more
    resource.prlimit(pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def test_many_starts_leave_time_for_probes(tmp_path):
    probe = free_port()
    apps = [{"name": "many", "script": "sleep 1000", "instances": 60}]
    with Run(tmp_path, apps, probes={"listen": f"127.0.0.1:{probe}"}) as run:
        run.event("worker started", app="many")
        with socket.create_connection(("127.0.0.1", probe), timeout=20) as asked:
            asked.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert asked.recv(100).startswith(b"HTTP/1.1 200")
        run.event("worker started", 60, app="many")
        assert run.stop() == 0
