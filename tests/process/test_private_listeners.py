"""Listeners of a program that are for itself: pyinit connects to none of them."""

from __future__ import annotations

import pytest

from tests.support.ports import free_port, free_ports
from tests.support.run import Run

# What a program opens beside its own port, and says when anybody connects there.
PRIVATE = {
    "a test server": """
own = socket.create_server(("127.0.0.1", 0))
def watch():
    while True:
        print("somebody came", own.accept()[1], flush=True)
""",
    # It ends its accepting thread at a client that does not know the key.
    "multiprocessing": """
from multiprocessing.connection import Listener
own = Listener(("127.0.0.1", 0), authkey=b"secret")
def watch():
    while True:
        try:
            own.accept()
        except Exception as error:
            print("somebody came", error, flush=True)
""",
    "of both families": """
own = socket.create_server(("::1", 0), family=socket.AF_INET6)
def watch():
    while True:
        print("somebody came", own.accept()[1], flush=True)
""",
}
PROGRAM = """
import socket, sys, threading, time
%s
threading.Thread(target=watch, daemon=True).start()
print("private", flush=True)
time.sleep(0.5)
if len(sys.argv) > 1:
    server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
    while True:
        server.accept()[0].close()
time.sleep(1000)
"""


@pytest.mark.parametrize("mode", ["cluster", "fork"])
@pytest.mark.parametrize("kind", PRIVATE)
def test_nobody_connects_to_a_port_that_the_kernel_chose(tmp_path, kind, mode):
    (tmp_path / "app.py").write_text(PROGRAM % PRIVATE[kind])
    port = free_ports(1)
    app = {"name": "web", "script": f"python3 app.py {port}", "exec_mode": mode}
    with Run(tmp_path, [app]) as run:
        ready = run.event("worker ready")
        assert (ready["by"], ready["address"]) == ("accept", f":{port}")
        assert not [each for each in run.records if "somebody came" in str(each.get("event"))]


@pytest.mark.parametrize("mode", ["cluster", "fork"])
def test_one_that_has_only_such_a_port_is_ready_at_rest_and_the_port_is_named(tmp_path, mode):
    (tmp_path / "app.py").write_text(PROGRAM % PRIVATE["a test server"])
    app = {"name": "web", "script": "python3 app.py", "exec_mode": mode, "listen_timeout": 600}
    with Run(tmp_path, [app]) as run:
        ready = run.event("worker ready")
        assert ready["by"] == "rest"
        assert run.event("worker has no port")["not_counted"].startswith(":")
        assert not [each for each in run.records if "somebody came" in str(each.get("event"))]


def test_a_port_of_the_kernels_range_that_a_cluster_worker_asked_for_counts(tmp_path):
    """gRPC's 50051: the bind was seen, so it is known that it was written."""
    port = free_port()
    (tmp_path / "app.py").write_text(
        "import socket\n"
        f"server = socket.create_server(('127.0.0.1', {port}))\n"
        "while True:\n"
        "    server.accept()[0].close()\n"
    )
    app = {"name": "web", "script": "python3 app.py", "exec_mode": "cluster"}
    with Run(tmp_path, [app]) as run:
        ready = run.event("worker ready")
        assert (ready["by"], ready["address"]) == ("accept", f":{port}")


@pytest.mark.parametrize("handoff", ["auto", "intercept"])
def test_nodes_debugger_and_a_random_port_make_nothing_ready(tmp_path, handoff):
    port = free_ports(2)
    debugger = port + 1
    (tmp_path / "app.js").write_text(
        "const http = require('http'), net = require('net')\n"
        "const own = net.createServer(c => console.log('somebody came'))\n"
        "own.listen(0, '127.0.0.1')\n"
        f"setTimeout(() => http.createServer((q, a) => a.end()).listen({port}), 700)\n"
    )
    app = {
        "name": "web",
        "script": "app.js",
        "exec_mode": "cluster",
        "node_args": f"--inspect=127.0.0.1:{debugger}",
        "handoff": handoff,
    }
    with Run(tmp_path, [app]) as run:
        ready = run.event("worker ready")
        assert (ready["by"], ready["address"]) == ("accept", f":{port}")
        assert ready["after"] >= 0.7
        assert not [each for each in run.records if "somebody came" in str(each.get("event"))]
