"""Listeners in a whole run: what the parts show only together."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

from tests.support.ports import free_port, free_ports
from tests.support.run import Run, get

SERVER = """
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{os.environ['NODE_APP_INSTANCE']} {os.environ.get('RELEASE', '')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

port = int(os.environ.get("PORT") or sys.argv[1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def server(folder, port: int = 0, **keys) -> dict:
    path = folder / "server.py"
    path.write_text(SERVER)
    return {
        "name": "web",
        "script": f"{sys.executable} {path} {port or ''}",
        "exec_mode": "cluster",
        "instances": 2,
        "retire_delay": 50,
        **keys,
    }


def instances_seen(port: int, count: int = 40) -> set[str]:
    return {get(port)[1].split()[0] for _ in range(count)}


def test_each_worker_may_have_a_port_of_its_own(tmp_path) -> None:
    base = free_ports(2)
    app = server(tmp_path, increment_var="PORT", env={"PORT": base})
    with Run(tmp_path, [app]) as run:
        run.event("app ready")
        assert instances_seen(base) == {"0"}
        assert instances_seen(base + 1) == {"1"}
        assert run.stop() == 0


def test_all_workers_take_part(tmp_path) -> None:
    port = free_port()
    with Run(tmp_path, [server(tmp_path, port, instances=3)]) as run:
        run.event("app ready")
        run.until(lambda: instances_seen(port) == {"0", "1", "2"}, "all three answer")
        assert run.stop() == 0


def test_a_crash_refuses_nobody(tmp_path) -> None:
    port = free_port()
    with Run(tmp_path, [server(tmp_path, port, instances=1)]) as run:
        for crash in range(1, 6):
            pid = run.event("worker ready", crash)["pid"]
            os.kill(run.outer_pid(pid), signal.SIGKILL)
            assert get(port)[0] == 200
        run.event("worker ready", 6)
        assert run.stop() == 0


def test_a_file_that_changes_is_applied_and_a_broken_one_is_not(tmp_path) -> None:
    port, other = free_port(), free_port()
    app = server(tmp_path, port, listen=[f"127.0.0.1:{port}"], env={"RELEASE": "one"})
    idle = {"name": "idle", "script": "sleep 1000", "interpreter": "none"}
    with Run(tmp_path, [app, idle]) as run:
        run.event("app ready", app="web")
        idle_pid = run.event("worker started", app="idle")["pid"]
        assert get(port)[1].endswith("one")

        run.write("apps: [{name: web, instances: nonsense}]")
        run.signal(signal.SIGHUP)
        rejected = run.event("config rejected")
        assert "ecosystem.yaml:1:" in rejected["reason"]
        assert get(port)[1].endswith("one")

        two = {**app, "env": {"RELEASE": "two"}, "instances": 3}
        more = {"address": f"127.0.0.1:{other}", "optional": True}
        two["listen"] = [f"127.0.0.1:{port}", more]
        run.write(json.dumps({"apps": [two, idle]}))
        run.signal(signal.SIGHUP)
        run.event("reload finished", app="web")
        run.until(lambda: instances_seen(port) == {"0", "1", "2"}, "three instances")
        assert {get(port)[1].split()[1] for _ in range(20)} == {"two"}
        assert run.events("worker started", app="idle")[-1]["pid"] == idle_pid

        run.write(json.dumps({"apps": [idle]}))
        run.signal(signal.SIGHUP)
        run.event("app removed", app="web")
        assert run.events("worker exited", app="idle") == []
        assert run.stop() == 0


def test_sighup_with_an_unchanged_file_reloads_every_worker(tmp_path) -> None:
    port = free_port()
    with Run(tmp_path, [server(tmp_path, port)]) as run:
        run.event("app ready")
        before = {event["pid"] for event in run.events("worker started")}
        run.signal(signal.SIGHUP)
        run.event("reload finished")
        exited = {event["pid"] for event in run.events("worker exited")}
        assert exited == before
        assert get(port)[0] == 200
        assert run.stop() == 0


def test_a_port_in_use_is_said_before_anything_starts(tmp_path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        app = server(tmp_path, port, listen=f"127.0.0.1:{port}")
        with Run(tmp_path, [app]) as run:
            assert run.wait() == 2
            assert f"127.0.0.1:{port}" in run.stderr.decode()
            assert "in use" in run.stderr.decode()
            assert run.lines == []


def test_a_reload_to_a_broken_release_keeps_the_old_workers(tmp_path) -> None:
    port = free_port()
    with Run(tmp_path, [server(tmp_path, port)]) as run:
        run.event("app ready")
        (tmp_path / "server.py").write_text("raise SystemExit('broken release')")
        run.signal(signal.SIGHUP)
        run.event("reload aborted")
        assert get(port)[0] == 200
        assert len(instances_seen(port)) == 2
        assert run.stop() == 0


def test_files_that_change_reload_the_workers(tmp_path) -> None:
    port = free_port()
    watched = tmp_path / "watched"
    watched.mkdir()
    app = server(tmp_path, port, watch=[str(watched)])
    with Run(tmp_path, [app]) as run:
        run.event("app ready")

        # Watching begins after the first workers are started.
        def touched() -> bool:
            (watched / "a.txt").write_text("x")
            return bool(run.events("files changed"))

        run.until(touched, "the change is seen")
        run.event("reload finished")
        assert get(port)[0] == 200
        assert run.stop() == 0


def test_a_declared_address_on_which_no_worker_listens_is_told(tmp_path) -> None:
    """Its clients would wait in the backlog for ever: most likely one of two numbers is wrong."""
    port, other = free_port(), free_port()
    app = server(tmp_path, port, listen=[f"127.0.0.1:{other}"])
    with Run(tmp_path, [app]) as run:
        answer = run.event("no worker listens there")
        assert answer["address"] == f"127.0.0.1:{other}"
        assert answer["but_on"] == [f"127.0.0.1:{port}"]
        assert get(port)[0] == 200
        # Only what is declared counts.
        assert not run.events("worker ready")
        assert run.stop() == 0


TAKES = """
import os, socket

own = socket.create_server(("127.0.0.1", int(os.environ["OWN"])))
asked = socket.socket(fileno=os.dup(3))
os.close(3)
assert asked.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
serves = socket.socket(fileno=4)
serves.setblocking(True)
while True:
    serves.accept()[0].close()
"""


def test_a_socket_that_was_passed_and_is_used_is_not_told_as_unused(tmp_path) -> None:
    """gunicorn asks whether its socket listens, and opens a control socket of its own."""
    (tmp_path / "takes.py").write_text(TAKES)
    own, asked, serves, other = (free_port() for _ in range(4))
    listen = [{"address": f"127.0.0.1:{port}", "optional": True} for port in (asked, serves, other)]
    del listen[1]["optional"]
    app = {"name": "web", "script": f"{sys.executable} {tmp_path}/takes.py", "listen": listen}
    app |= {"exec_mode": "cluster", "instances": 1, "env": {"OWN": str(own)}}
    with Run(tmp_path, [app]) as run:
        run.event("worker ready")
        run.event("no worker listens there")
        told = [each["address"] for each in run.events("no worker listens there")]
        assert told == [f"127.0.0.1:{other}"]
        assert run.stop() == 0
