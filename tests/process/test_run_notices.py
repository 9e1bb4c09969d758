"""sd_notify(3) and the watchdog between a running pyinit and real workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess

from tests.pid1.test_run_workers import python
from tests.support.ports import free_port
from tests.support.run import PYINIT, Run, get

# What a program needs of sd_notify(3) and sd_notify_barrier(3).
NOTIFY = """
import array, os, select, signal, socket, sys, time
path = os.environ["NOTIFY_SOCKET"]
def notify(message, fds=()):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect("\\0" + path[1:] if path.startswith("@") else path)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        s.sendmsg([message.encode() if isinstance(message, str) else message], rights)
def barrier():
    reading, writing = os.pipe()
    notify("BARRIER=1", [writing])
    os.close(writing)
    return bool(select.select([reading], [], [], 20)[0]) and os.read(reading, 1) == b""
"""


def test_a_worker_that_hangs_is_aborted_and_started_again(tmp_path) -> None:
    code = (
        NOTIFY
        + """
usec = int(os.environ["WATCHDOG_USEC"])
print("asked", usec, os.environ["WATCHDOG_PID"] == str(os.getpid()), flush=True)
notify("READY=1")
for _ in range(10):
    time.sleep(usec / 5e6)
    notify("WATCHDOG=1")
print("hangs", flush=True)
while True: pass
"""
    )
    app = python(tmp_path, "app", code, wait_ready=True, watchdog="700ms", listen_timeout=20000)
    with Run(tmp_path, [app], env={"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}) as run:
        run.said("asked 700000 True")
        first = run.event("worker ready")["pid"]
        run.said("hangs")
        run.event("watchdog missed", pid=first)
        assert run.event("worker exited", pid=first)["signal"] == "SIGABRT"
        assert run.event("worker ready", 2)["pid"] != first
        assert run.stop() == 0


def test_a_stopped_worker_is_killed(tmp_path) -> None:
    code = (
        NOTIFY
        + """
notify("READY=1")
while True:
    notify("WATCHDOG=1")
    time.sleep(0.2)
"""
    )
    app = python(tmp_path, "app", code, wait_ready=True, watchdog="2s", kill_timeout=300)
    with Run(tmp_path, [app]) as run:
        pid = run.event("worker ready")["pid"]
        os.kill(run.outer_pid(pid), signal.SIGSTOP)
        # A stopped process takes no signal but SIGKILL; pyinit lets it run for the other.
        assert run.event("worker exited", pid=pid)["signal"] in ("SIGABRT", "SIGKILL")
        run.event("worker ready", 2)
        assert run.stop() == 0


def test_what_it_says_is_shown_and_its_errors_are_told(tmp_path) -> None:
    probes = free_port()
    code = (
        NOTIFY
        + """
child = os.fork()
if child == 0:
    # Waited for by the barrier: pyinit knows then whose word it was.
    notify("READY=1\\nSTATUS=4 clients\\nMAINPID=1")
    notify("RELOADING=1\\nMONOTONIC_USEC=5")
    print("barrier", barrier(), flush=True)
    os._exit(0)
os.wait()
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.pause()
notify("ERRNO=5\\nBUSERROR=org.example.Broken\\nEXIT_STATUS=9")
barrier()
sys.exit(3)
"""
    )
    app = python(tmp_path, "app", code, wait_ready=True, autorestart=False, listen_timeout=20000)
    with Run(tmp_path, [app], probes={"listen": f"127.0.0.1:{probes}"}) as run:
        run.said("barrier True")
        pid = run.event("worker ready", by="notify")["pid"]
        [worker] = json.loads(get(probes, "/status")[1])["apps"][0]["workers"]
        assert (worker["status"], worker["reloading"]) == ("4 clients", True)
        inside = ["nsenter", "-t", str(run.pid), "-p", "-m", str(PYINIT)]
        for command in (["ls"], ["describe", "app"]):
            shown = subprocess.run([*inside, *command], capture_output=True, text=True, check=False)
            assert "says: 4 clients" in shown.stdout, shown
        os.kill(run.outer_pid(pid), signal.SIGUSR1)
        assert run.wait() == 3
        answer = run.event("worker exited")
        assert (answer["errno"], answer["bus_error"], answer["exit_status"]) == (
            "EIO: Input/output error",
            "org.example.Broken",
            9,
        )


def test_a_worker_that_leaves_by_itself_is_followed_without_a_lost_request(tmp_path) -> None:
    port = free_port()
    code = (
        NOTIFY
        + f"""
import http.server, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())
        if self.path == "/leave":
            notify("STOPPING=1")
            threading.Timer(1.0, server.shutdown).start()
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", {port}), Handler)
server.serve_forever(0.05)
"""
    )
    app = python(
        tmp_path,
        "app",
        code,
        exec_mode="cluster",
        instances=2,
        listen=f"127.0.0.1:{port}",
        listen_timeout=20000,
    )
    with Run(tmp_path, [app]) as run:
        run.event("app ready")
        leaving = int(get(port, "/leave")[1])
        run.event("worker leaves", pid=leaving)
        while not run.events("worker exited", pid=leaving):
            assert get(port)[1] != str(leaving)
        assert run.event("worker exited", pid=leaving)["exit_code"] == 0
        run.event("worker ready", 3)
        assert run.stop() == 0


def test_no_message_however_hostile_disturbs(tmp_path) -> None:
    code = (
        NOTIFY
        + """
import random
notify("READY=1")
own = random.Random(1)
for n in range(3000):
    notify(own.choice((
        b"", b"\\0" * 4000, own.randbytes(own.randrange(4096)), b"=" * 4096,
        b"STATUS=" + own.randbytes(300), b"WATCHDOG_USEC=" + b"9" * 400, b"READY=1\\n" * 400,
        b"EXTEND_TIMEOUT_USEC=-5", b"ERRNO=99999999999999999999", b"MAINPID=1\\nMAINPID=0",
        b"STOPPING=0", b"WATCHDOG=2", b"FDSTOREREMOVE=1\\nFDNAME=x",
    )))
    if n % 100 == 0:
        notify("FDSTORE=1\\nFDNAME=a", list(os.pipe()))
try:
    notify(b"STATUS=" + b"x" * 100_000)
except OSError:
    pass
print("barrier", barrier(), flush=True)
signal.pause()
"""
    )
    stranger = (
        NOTIFY
        + """
os.setpgid(0, 0)
if os.fork() == 0:
    os.setsid()
    while os.getppid() != 1: time.sleep(0.01)
    notify("STATUS=stranger\\nSTOPPING=1")
    print("said", barrier(), flush=True)
    os._exit(0)
print("up", flush=True)
"""
    )
    apps = [
        python(tmp_path, "app", code, wait_ready=True, listen_timeout=60000),
        python(tmp_path, "stranger", stranger, autorestart=False),
    ]
    with Run(tmp_path, apps) as run:
        run.said("barrier True", app="app")
        inside = ["nsenter", "-t", str(run.pid), "-p", "-m", str(PYINIT), "ls", "--json"]
        answer = json.loads(subprocess.run(inside, capture_output=True, check=True).stdout)
        workers = {app["name"]: app["workers"][0] for app in answer["apps"]}
        assert workers["app"]["status"] == "online"
        assert workers["stranger"]["said"] == ""
        assert not run.events("internal error")
        assert not run.events("worker leaves")
        assert len(os.listdir(f"/proc/{run.pid}/fd")) < 40
        assert run.stop() == 0


def test_time_asked_for_is_given(tmp_path) -> None:
    code = (
        NOTIFY
        + """
signal.signal(signal.SIGTERM, lambda *_: None)
for _ in range(20):
    notify("EXTEND_TIMEOUT_USEC=20000000")
    time.sleep(0.1)
notify("READY=1")
signal.pause()
notify("EXTEND_TIMEOUT_USEC=20000000")
time.sleep(2)
print("done", flush=True)
"""
    )
    app = python(
        tmp_path, "app", code, wait_ready=True, kill_timeout=1500, listen_timeout=1500,
        on_listen_timeout="abort", kill_signal="SIGTERM",
    )  # fmt: skip
    with Run(tmp_path, [app]) as run:
        # A first start may be so slow here that it is over before the first message.
        run.event("worker ready", by="notify")
        assert run.stop() == 0
        run.said("done")
