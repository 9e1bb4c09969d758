"""When real workers are ready, and what a reload waits for: by what was seen of them."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time

import pytest

from tests.support import commands
from tests.support.ports import answers, free_port, free_ports
from tests.support.run import Run, cluster, get

# It listens at once, loads for a while, and then accepts; a broken release ends in between.
LISTENS_FIRST = """
import os, socket, sys, time
where, load = sys.argv[1], float(sys.argv[2])
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
time.sleep(load)
if os.path.exists("broken"):
    sys.exit(3)
print("loaded", flush=True)
while True:
    conn, _ = listener.accept()
    with conn:
        if conn.recv(4096):
            conn.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + conn.getpeername()[0].encode()
                         if not where.startswith("/") else b"HTTP/1.0 200 OK\\r\\n\\r\\n")
"""
# It opens another port at once, and the app's own one later.
OTHER_FIRST = """
import socket, sys, threading, time
other = socket.create_server(("127.0.0.1", int(sys.argv[2])))
def serve(listener):
    while True:
        listener.accept()[0].close()
threading.Thread(target=serve, args=(other,), daemon=True).start()
time.sleep(1.5)
own = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("serves", flush=True)
serve(own)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "first.py").write_text(LISTENS_FIRST)
    (tmp_path / "other.py").write_text(OTHER_FIRST)
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("how", ["declared", "learned"])
def test_another_port_that_opens_first_does_not_make_it_ready(folder, how):
    port = free_ports(2)
    other = port + 1
    listen = {"listen": f"127.0.0.1:{port}"} if how == "declared" else {}
    with Run(folder, [cluster(f"python3 other.py {port} {other}", **listen)]) as run:
        ready = run.event("worker ready")
        if how == "declared":
            assert ready["after"] >= 1.5
            return
        # At a first start without `listen` the first port counts; a reload knows better.
        assert run.event("readiness port assumed")["address"] == f":{other}"
        run.said("serves")
        run.until(lambda: answers(port), "the app's own port")
        assert commands.pyinit(run, "reload", "web").returncode == 0
        assert run.event("worker ready", 2)["after"] >= 1.5
        assert run.event("worker exited")


@pytest.mark.parametrize("where", ["slots", "one", "unix"])
def test_a_program_that_listens_first_is_ready_when_it_has_loaded(folder, where):
    """And a release that cannot be loaded replaces no worker."""
    port = folder / "s" if where == "unix" else free_port()
    address = f"unix:{port}" if where == "unix" else f"127.0.0.1:{port}"
    share = {"share": "one"} if where == "one" else {}
    app = cluster(f"python3 first.py {port} 0.7", listen=address, **share)
    with Run(folder, [app]) as run:
        assert run.event("worker ready")["after"] >= 0.7
        (folder / "broken").touch()
        ended = commands.pyinit(run, "reload", "web")
        assert ended.returncode == 1
        assert "exit code 3" in ended.stdout + ended.stderr
        assert run.event("reload aborted")["because"].startswith("exit code 3")
        assert not run.events("reload finished")
        assert len(run.events("worker exited", exit_code=3)) == 1
        assert [each["ready"] for each in commands.workers(run, "web")] == [True]


def test_a_new_worker_that_ends_after_it_was_ready_aborts_the_reload(folder):
    port = free_port()
    (folder / "dies.py").write_text(
        "import os, socket, sys, threading, time\n"
        f"listener = socket.create_server(('127.0.0.1', {port}))\n"
        "if os.path.exists('broken'):\n"
        "    threading.Timer(0.3, os._exit, (7,)).start()\n"
        "while True:\n"
        "    listener.accept()[0].close()\n"
    )
    app = cluster("python3 dies.py", listen=f"127.0.0.1:{port}", instances=2, min_ready="2s")
    with Run(folder, [app]) as run:
        run.event("app ready")
        old = {each["pid"] for each in commands.workers(run, "web")}
        (folder / "broken").touch()
        ended = commands.pyinit(run, "reload", "web")
        assert ended.returncode == 1
        assert "exit code 7" in ended.stdout + ended.stderr
        assert {each["pid"] for each in commands.workers(run, "web")} == old


def test_time_alone_makes_nothing_ready_and_the_reason_names_listen_timeout(folder):
    port = free_ports(2)
    probe = port + 1
    app = cluster(f"python3 first.py {port} 0", listen=f"127.0.0.1:{port}", listen_timeout=300)
    (folder / "first.py").write_text("import time\ntime.sleep(1000)\n")
    with Run(folder, [app], probes={"listen": f"127.0.0.1:{probe}"}) as run:
        late = run.event("worker not ready in time")
        assert late["reason"] == f"not listening on 127.0.0.1:{port} after listen_timeout 0.3 s"
        assert late["then"] == "wait for it"
        assert get(probe, "/readyz")[0] == 503
        assert not run.events("worker ready")
        assert not run.events("worker exited")


def test_an_app_without_a_port_is_ready_when_it_rests(folder):
    app = {"name": "job", "script": "sleep 1000", "listen_timeout": 100}
    with Run(folder, [app]) as run:
        assert run.event("worker ready")["by"] == "rest"
        assert run.event("worker has no port")


def test_a_fork_app_is_ready_by_the_port_that_it_is_seen_to_open(folder):
    port = free_port()
    app = {"name": "web", "script": f"python3 first.py {port} 0.5", "listen_timeout": "20s"}
    with Run(folder, [app]) as run:
        ready = run.event("worker ready")
        assert (ready["by"], ready["address"]) == ("accept", f":{port}")
        assert ready["after"] >= 0.5


def test_a_stop_by_hand_refuses_clients_until_a_start(folder):
    port = free_ports(2)
    probe = port + 1
    app = cluster(f"python3 first.py {port} 0", listen=f"127.0.0.1:{port}", instances=2)
    with Run(folder, [app], probes={"listen": f"127.0.0.1:{probe}"}) as run:
        run.event("app ready")
        both = ((("stop", "web"), ("start", "web")), (("scale", "web", "0"), ("scale", "web", "2")))
        for stop, start in both:
            assert commands.pyinit(run, *stop).returncode == 0
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
            status, body = get(probe, "/readyz")[:2]
            assert status == 503
            assert "stopped" in body or "scaled to 0" in body
            assert commands.pyinit(run, *start).returncode == 0
            run.until(lambda: get(probe, "/readyz")[0] == 200, "ready again")
            assert get(port)[0] == 200


def test_what_waits_for_a_crashed_worker_goes_to_its_siblings_while_another_boots(folder):
    port = free_port()
    (folder / "slow.py").write_text(
        "import os, signal, socket, sys, time\n"
        "boots = 6 if os.path.exists('slow') else 0.6\n"
        "time.sleep(boots)\n"
        f"listener = socket.create_server(('127.0.0.1', {port}))\n"
        "while True:\n"
        "    conn, peer = listener.accept()\n"
        "    with conn:\n"
        "        if conn.recv(4096):\n"
        "            time.sleep(0.1)\n"
        "            conn.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n' + peer[0].encode())\n"
    )
    with Run(folder, [cluster("python3 slow.py", listen=f"127.0.0.1:{port}", instances=2)]) as run:
        run.event("app ready")
        (folder / "slow").touch()
        got: list[tuple[float, str]] = []

        def ask() -> None:
            begun = time.monotonic()
            try:
                body = get(port)[1]
            except OSError:
                return  # the one that the dead worker had in its hands
            got.append((time.monotonic() - begun, body))

        clients = [threading.Thread(target=ask) for _ in range(20)]
        for client in clients:
            client.start()
        victim = commands.workers(run, "web")[0]["pid"]
        os.kill(run.outer_pid(victim), signal.SIGKILL)
        run.event("worker exited")
        for client in clients:
            client.join()
        assert len(got) >= 18
        assert {body for _, body in got} == {"127.0.0.1"}
        # All of them before the next worker of that slot is there.
        assert len(run.events("worker ready")) == 2, run.story()


def test_a_container_that_serves_stays_ready_while_a_crashed_worker_boots(folder):
    """By default readiness asks for all workers once, and for one of them afterwards."""
    port = free_ports(2)
    probe = port + 1
    (folder / "gated.py").write_text(
        "import os, socket, time\n"
        f"listener = socket.create_server(('127.0.0.1', {port}))\n"
        "while os.path.exists('slow'):\n"
        "    time.sleep(0.05)\n"
        "while True:\n"
        "    listener.accept()[0].close()\n"
    )
    app = cluster("python3 gated.py", listen=f"127.0.0.1:{port}", instances=2)
    with Run(folder, [app], probes={"listen": f"127.0.0.1:{probe}"}) as run:
        run.event("app ready")
        (folder / "slow").touch()
        for ended, (code, answer) in enumerate(
            ((200, "[+]web 1 of 2"), (503, "[-]web failed: 0 of 2"))
        ):
            victim = next(each["pid"] for each in commands.workers(run, "web") if each["ready"])
            os.kill(run.outer_pid(victim), signal.SIGKILL)
            run.event("worker started", 3 + ended)
            found, page = get(probe, "/readyz?verbose")
            assert (found, answer in page) == (code, True), page
        (folder / "slow").unlink()
        run.until(lambda: get(probe, "/readyz")[0] == 200, "readiness")
