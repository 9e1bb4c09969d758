"""Who accepted: a connection that another process took from the worker's socket proves nothing."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.ports import free_port, free_ports
from tests.support.run import Run, cluster

# The first worker leaves a child of its own session that goes on accepting, `how`: it closes
# what it accepts at once, or keeps it. The next worker boots for a second and then serves.
LEAVES_A_CHILD = """
import os, socket, sys, time
where, how, order = sys.argv[1:]

def listen():
    if where.startswith("/"):
        listener = socket.socket(socket.AF_UNIX)
        try:
            os.unlink(where)
        except FileNotFoundError:
            pass
        listener.bind(where)
    else:
        listener = socket.create_server(("127.0.0.1", int(where)))
    listener.listen()
    return listener

def serve(listener, how):
    kept = []
    while True:
        conn, _ = listener.accept()
        if how == "keeps":
            kept.append(conn)
        else:
            conn.close()

if not os.path.exists("left"):
    listener = listen()
    if os.fork() == 0:
        os.setsid()
        open("left", "w").close()
        serve(listener, how)
    while not os.path.exists("left"):
        time.sleep(0.01)
    while not os.path.exists("end"):
        time.sleep(0.01)
    sys.exit(1)
listener = listen() if order == "first" else None
time.sleep(1)
print("serves", flush=True)
serve(listener or listen(), "closes")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "leaves.py").write_text(LEAVES_A_CHILD)
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("how", ["closes", "keeps"])
@pytest.mark.parametrize("order", ["first", "later"])
@pytest.mark.parametrize("where", ["slots", "one", "unix"])
def test_what_a_process_of_a_former_worker_accepts_makes_no_worker_ready(folder, where, how, order):
    port = folder / "s" if where == "unix" else free_port()
    address = f"unix:{port}" if where == "unix" else f"127.0.0.1:{port}"
    share = {"share": "one"} if where == "one" else {}
    app = cluster(
        f"python3 leaves.py {port} {how} {order}", listen=address, treekill=False, **share
    )
    with Run(folder, [app]) as run:
        run.event("worker started")
        run.until((folder / "left").exists, "a child that accepts")
        (folder / "end").touch()
        run.event("worker exited", exit_code=1)
        second = run.event("worker started", 2)["pid"]
        ready = run.event("worker ready", pid=second)
        assert ready["after"] >= 1.0, run.story()
        run.said("serves", pid=second)


# As Unicorn: it takes the inherited `[::]` socket and binds 0.0.0.0 besides.
BOTH_FAMILIES = """
import os, select, socket, sys, time
if os.path.exists("slow"):
    time.sleep(1)
own = socket.create_server(("0.0.0.0", int(sys.argv[1])))
given = socket.socket(fileno=int(sys.argv[2]))
given.listen()
given.setblocking(False)
print("serves", flush=True)
while True:
    for listener in select.select([own, given], [], [])[0]:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            pass
"""


def test_one_that_listens_by_both_families_is_probed_at_its_own_sockets(folder):
    """Connections by IPv4 go to the sockets of IPv4, which its sibling has too."""
    (folder / "both.py").write_text(BOTH_FAMILIES)
    port = free_ports(1)
    app = cluster(f"python3 both.py {port} {{fd}}", listen=port, instances=2)
    with Run(folder, [app]) as run:
        run.event("app ready")
        (folder / "slow").touch()
        os.kill(run.outer_pid(run.event("worker started")["pid"]), signal.SIGKILL)
        third = run.event("worker started", 3)["pid"]
        ready = run.event("worker ready", pid=third)
        assert ready["after"] >= 1.0, run.story()
        run.said("serves", pid=third)
