"""No number, shortage or worker makes PID 1 spin, wait, or stop listening to signals."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import sys
from pathlib import Path

import pytest

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
        assert run.stop() == 1  # `slow` has failed, and does not serve
        assert not run.events("internal error")
        assert not run.stderr


def status(port: int) -> dict:
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
        run.event("worker started", app="crashes")
        run.until(lambda: get(probe, "/livez")[0] == 200)
        limit(run.pid, 150_000)
        run.event("memory exhausted")
        # How many follow depends on what the worker writes meanwhile.
        run.until(lambda: status(probe)["memory_shortages"] >= 1)
        limit(run.pid, None)
        run.until(lambda: get(probe, "/livez")[0] == 200)
        run.said("end", app="numbers")
        # 1 where `crashes` fails just then: it may wait to write instead.
        assert run.stop() in (0, 1)
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


# -- a worker that floods slows down only itself ---------------------------------------

# Non-blocking: what finds the queue full is lost, as with many clients of sd_notify.
QUIET = """
import os, socket, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.setblocking(False)
    s.connect(os.environ["NOTIFY_SOCKET"])
    s.send(b"READY=1")
    for number in range(1000000):
        s.send(b"WATCHDOG=1")
        if number == 40:
            print("forty signs", flush=True)
        time.sleep(0.05)
"""
FLOOD = """
import os, socket
for _ in range(3):
    os.fork()
message = b"STATUS=" + b"x" * 200 + b"\\nWATCHDOG=1"
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.connect(os.environ["NOTIFY_SOCKET"])
    s.send(b"READY=1")
    while True:
        s.send(message)
"""
BINDS = """
import os, socket, sys, threading
os.write(1, b"binds\\n")
def storm():
    while True:
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", int(sys.argv[1])))
            s.listen()
for _ in range(4):
    threading.Thread(target=storm).start()
"""
FLOODS = {
    "notify": ("flood.py", FLOOD, {}),
    "bind": ("binds.py", BINDS, {"exec_mode": "cluster"}),
    "lines": ("lines.py", "while True: print('x' * 20)", {}),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_holds_up_no_sibling(tmp_path, kind):
    probe, port = free_port(), free_port()
    name, text, more = FLOODS[kind]
    (tmp_path / name).write_text(text)
    (tmp_path / "quiet.py").write_text(QUIET)
    python = sys.executable
    argument = f" {port}" if kind == "bind" else ""
    listen = {"listen": f"127.0.0.1:{port}"} if kind == "bind" else {}
    apps = [
        {"name": "flood", "script": f"{python} {name}{argument}", **more, **listen},
        {"name": "quiet", "script": f"{python} quiet.py", "wait_ready": True, "watchdog": "20s"},
    ]
    with (
        open(os.devnull, "wb") as nowhere,
        Run(
            tmp_path,
            apps,
            stdout=nowhere.fileno() if kind == "lines" else None,
            probes={"listen": f"127.0.0.1:{probe}"},
        ) as run,
    ):
        run.until(lambda: is_ready(probe), "quiet is ready")
        for _ in range(20):
            assert get(probe, "/livez")[0] == 200
        if kind != "lines":
            run.said("forty signs", app="quiet")
        now = workers(probe)
        assert now["quiet"]["restarts"] == 0, now
        assert run.stop() in (0, 137)
        assert not run.stderr


def is_ready(port: int) -> bool:
    try:
        return bool(workers(port)["quiet"]["ready"])
    except OSError:
        return False  # it does not listen yet


def workers(port: int) -> dict[str, dict]:
    """The first worker of each app, by `/status`."""
    return {
        app["name"]: {**app, **(app["workers"][0] if app["workers"] else {})}
        for app in status(port)["apps"]
    }


LINGERS = """
import array, os, socket, struct, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
path = os.environ["NOTIFY_SOCKET"]
for number in range(20):
    sender = socket.create_connection(listener.getsockname())
    peer = listener.accept()[0]
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    sender.setblocking(False)
    try:
        while True:
            sender.send(b"x" * 65536)
    except BlockingIOError:
        pass
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect(path)
        rights = array.array("i", [sender.fileno()])
        s.sendmsg([b"FDSTORE=1"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    # Whoever closes it last waits: this thread, where PID 1 was quicker.
    threading.Thread(target=sender.close, daemon=True).start()
    globals()[f"peer{number}"] = peer
print("sent all", flush=True)
import time; time.sleep(1000)
"""


def test_descriptors_whose_close_waits_do_not_stop_it(tmp_path):
    probe = free_port()
    (tmp_path / "lingers.py").write_text(LINGERS)
    apps = [{"name": "lingers", "script": f"{sys.executable} lingers.py"}]
    with Run(tmp_path, apps, probes={"listen": f"127.0.0.1:{probe}"}) as run:
        run.said("sent all")
        assert get(probe, "/livez")[0] == 200
        assert run.stop() == 0
