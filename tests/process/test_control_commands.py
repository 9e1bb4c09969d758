"""Commands to a real pyinit, PID 1 of its namespace, with real workers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading

import pytest

from tests.support.commands import PYINIT, answering, begin, inside, listed, pyinit, workers
from tests.support.namespace import own_namespace
from tests.support.ports import free_port
from tests.support.run import Run

pytestmark = [pytest.mark.process, pytest.mark.pid1]

SERVER = """
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"%d" % os.getpid()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
if os.path.exists("broken"):
    sys.exit(3)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
signal.signal(signal.SIGUSR2, lambda *_: print("got usr2", flush=True))
print("hello", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server(folder, name: str = "web", **keys) -> dict:
    (folder / "server.py").write_text(SERVER)
    port = keys.pop("port", 0) or free_port()
    defaults = {
        "name": name,
        "script": "server.py",
        "interpreter": sys.executable,
        "args": [str(port)],
        "exec_mode": "cluster",
        "instances": 2,
        "listen_timeout": 20000,
        "retire_delay": 50,
        "on_errored": "keep",
    }
    return {**defaults, **keys}


def sleeper(name: str = "idle", **keys) -> dict:
    return {"name": name, "script": "sleep 1000", "interpreter": "none", **keys}


def ready(run: Run, count: int, app: str = "web") -> None:
    run.event("worker ready", count, app=app)
    answering(run)


def test_ls_shows_every_worker(tmp_path) -> None:
    with Run(tmp_path, [server(tmp_path, env={"TOKEN": "secret"}), sleeper()]) as run:
        ready(run, 2)
        found = listed(run)
        web, idle = found["apps"]
        assert found["phase"] == "running"
        assert [worker["status"] for worker in web["workers"]] == ["online", "online"]
        assert all(worker["memory"] > 1 << 20 for worker in web["workers"])
        assert idle["mode"] == "fork"
        table = pyinit(run, "ls").stdout
        for title in ("name", "id", "mode", "pid", "uptime", "status", "cpu", "mem", "listening"):
            assert title in table
        assert str(web["workers"][0]["pid"]) in table
        assert "\x1b[" not in table
        seen = pyinit(run, "describe", "web")
        assert "server.py" in seen.stdout
        assert (
            "secret"
            not in seen.stdout + json.dumps(found) + pyinit(run, "describe", "web", "--json").stdout
        )


def test_a_reload_replaces_each_worker_and_tells_how_far_it_is(tmp_path) -> None:
    with Run(tmp_path, [server(tmp_path)]) as run:
        ready(run, 2)
        before = {worker["pid"] for worker in workers(run, "web")}
        done = pyinit(run, "reload", "web")
        assert done.returncode == 0, done
        assert "worker 1 of 2" in done.stdout
        assert "worker 2 of 2" in done.stdout
        # In the order in which it happens: the new one is ready, then the old one stops.
        states = [line.rpartition(" ")[2] for line in done.stdout.splitlines()[:8]]
        assert states == ["launching", "online", "stopping", "gone"] * 2
        assert done.stdout.splitlines()[-1].startswith("web: reloaded, 2 of 2 workers")
        after = {worker["pid"] for worker in workers(run, "web")}
        assert len(after) == 2
        assert not before & after


def test_a_reload_to_a_broken_version_fails_and_keeps_the_old_workers(tmp_path) -> None:
    with Run(tmp_path, [server(tmp_path)]) as run:
        ready(run, 2)
        before = [worker["pid"] for worker in workers(run, "web")]
        (tmp_path / "broken").touch()
        done = pyinit(run, "reload", "web")
        assert done.returncode == 1
        assert "the old workers stay" in done.stdout
        assert [worker["pid"] for worker in workers(run, "web")] == before


def test_stop_start_restart_and_scale(tmp_path) -> None:
    with Run(tmp_path, [server(tmp_path), sleeper()]) as run:
        ready(run, 2)
        assert pyinit(run, "stop", "web").returncode == 0
        assert {worker["status"] for worker in workers(run, "web")} == {"stopped"}
        assert pyinit(run, "reload", "web").returncode == 1
        assert pyinit(run, "start", "web").returncode == 0
        first = {worker["pid"] for worker in workers(run, "web")}
        assert pyinit(run, "restart", "all").returncode == 0
        second = {worker["pid"] for worker in workers(run, "web")}
        assert not first & second
        assert pyinit(run, "scale", "web", "+1").returncode == 0
        assert len(workers(run, "web")) == 3
        assert pyinit(run, "scale", "web", "-2").returncode == 0
        assert len(workers(run, "web")) == 1
        below = pyinit(run, "scale", "web", "-5")
        assert (below.returncode, below.stdout) == (1, "")
        assert "below 0" in below.stderr
        assert len(workers(run, "web")) == 1


def test_a_worker_is_named_by_its_id(tmp_path) -> None:
    with Run(tmp_path, [server(tmp_path), sleeper()]) as run:
        ready(run, 2)

        def pids() -> dict[int, int]:
            rows = [row for app in listed(run)["apps"] for row in app["workers"]]
            return {row["id"]: row["pid"] for row in rows}

        before = pids()
        assert sorted(before) == [0, 1, 2]
        for words, changed in ((["restart", "1"], {1}), (["reload", "0", "2"], {0, 2})):
            done = pyinit(run, *words)
            assert done.returncode == 0, done
            after = pids()
            assert {number for number in before if before[number] != after[number]} == changed
            before = after
        assert pyinit(run, "signal", "usr2", "1").stdout.count("SIGUSR2 sent") == 1
        run.said("got usr2", 1, instance=1)
        [seen] = json.loads(pyinit(run, "describe", "1", "--json").stdout)
        assert [worker["id"] for worker in seen["workers"]] == [1]
        lines = pyinit(run, "logs", "1", "--json", "-n", "100").stdout.splitlines()
        origins = {(r["app"], r["instance"]) for r in map(json.loads, lines) if "stream" in r}
        assert origins == {("web", 1)}
        for words, reason in (
            (["stop", "1"], "`pyinit scale web -1` runs one fewer"),
            (["scale", "1", "3"], "scale takes an app"),
            (["restart", "9"], "no worker has the id 9; there is 0, 1, 2"),
        ):
            done = pyinit(run, *words)
            assert done.returncode == 1
            assert reason in done.stderr
        assert pids() == before


def test_signals_reach_the_workers(tmp_path) -> None:
    with Run(tmp_path, [server(tmp_path), sleeper()]) as run:
        ready(run, 2)
        sent = pyinit(run, "signal", "usr2", "web")
        assert sent.returncode == 0
        assert sent.stdout.count("SIGUSR2 sent") == 2
        run.said("got usr2", 2)


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["reload", "wbe"], "did you mean 'web'"),
        (["describe", "nothing-like-it"], "there is web, idle"),
        (["stop", "web", "wbe"], "did you mean 'web'"),
        (["signal", "SIGURS1", "web"], "did you mean 'SIGUSR1'"),
        (["signal", "99", "web"], "there is no signal 99"),
        (["scale", "web", "many"], "not a number of workers"),
        (["scale", "web", "999999999999"], "not a number of workers"),
        (["scale", "web", "5000"], "at most 1000"),
        (["logs", "wbe"], "did you mean 'web'"),
    ],
)
def test_what_is_wrong_is_told_and_changes_nothing(shared, words, seen) -> None:
    done = pyinit(shared, *words)
    assert done.returncode == 1
    assert seen in done.stderr
    assert done.stdout == ""
    assert not shared.events("command received")


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    with Run(folder, [sleeper("web"), sleeper("idle")]) as run:
        answering(run)
        yield run


@pytest.mark.parametrize(
    "words", [["reload"], ["stop"], ["scale", "web"], ["reload", "--nope"], ["logs", "-n", "x"]]
)
def test_a_wrong_command_line_ends_with_2(words) -> None:
    done = subprocess.run([PYINIT, *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("pyinit ")


def test_without_a_pyinit_each_command_says_so() -> None:
    for words in (["ls"], ["reload", "web"], ["logs", "-f"], ["signal", "HUP", "web"]):
        done = subprocess.run(
            own_namespace(PYINIT, *words),
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert "no pyinit runs in this container" in done.stderr


def test_ctrl_c_of_the_client_leaves_the_operation_running(tmp_path) -> None:
    stubborn = "trap '' INT TERM; while :; do sleep 0.1; done"
    app = {"name": "web", "script": "sh", "args": ["-c", stubborn], "kill_timeout": 3000}
    with Run(tmp_path, [app]) as run:
        ready(run, 1)
        [before] = workers(run, "web")
        client = begin(run, "restart", "web")
        assert "stopping" in client.stdout.readline()
        # Not to nsenter, which has forked.
        os.kill(run.outer_pid(_pid_of(run, "restart")), signal.SIGINT)
        _, said = client.communicate(timeout=30)
        assert "goes on all the same" in said
        run.event("worker ready", 2, app="web")
        [after] = workers(run, "web")
        assert after["pid"] != before["pid"]


def test_while_it_ends_commands_are_refused_and_ls_says_so(tmp_path) -> None:
    stubborn = "trap '' TERM INT; echo up; while :; do sleep 0.1; done"
    app = {"name": "web", "script": "sh", "args": ["-c", stubborn], "kill_timeout": 20000}
    with Run(tmp_path, [app]) as run:
        run.said("up")
        answering(run)
        client = begin(run, "restart", "web")
        assert "stopping" in client.stdout.readline()
        run.signal(signal.SIGTERM)
        # Who waits for an operation is told that it will not come about.
        said, _ = client.communicate(timeout=30)
        assert "pyinit is stopping" in said
        assert client.returncode == 1
        for words in (["restart", "web"], ["scale", "web", "2"], ["reload", "--config"]):
            done = pyinit(run, *words)
            assert done.returncode == 1
            assert "pyinit is stopping" in done.stderr
        assert "pyinit is stopping" in pyinit(run, "ls").stdout


def test_two_commands_on_one_app_both_end(tmp_path) -> None:
    with Run(tmp_path, [server(tmp_path)]) as run:
        ready(run, 2)
        clients = [begin(run, *words) for words in (["reload", "web"], ["scale", "web", "3"])]
        clients += [begin(run, "reload", "web")]
        for client in clients:
            said, _ = client.communicate(timeout=60)
            assert client.returncode == 0, said
        assert [worker["status"] for worker in workers(run, "web")] == ["online"] * 3


def answering_otherwise(folder, answer: bytes) -> str:
    path = str(folder / "other.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as client:
            client.recv(65536)
            client.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return path


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (b'HTTP/1.1 404 Not Found\r\n\r\n{"error":"no such command","version":"9.9"}', "9.9"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n404 page not found\n", "of version unknown"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"workers":[]}\n', "another version"),
        (b"HTTP/1.1 200 OK\r\n\r\nnot json\n", "another version"),
        (b"SSH-2.0-OpenSSH_9\r\n", "without an answer"),
        (b"", "without an answer"),
    ],
)
def test_what_answers_otherwise_is_told_and_is_no_traceback(tmp_path, answer, seen) -> None:
    path = answering_otherwise(tmp_path, answer)
    words = [PYINIT, "ls", "--socket", path]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    assert seen in done.stderr
    assert done.stderr.count("\n") == 1


def _pid_of(run: Run, word: str) -> int:
    """The pid, inside, of the command that has `word` in its command line."""
    found = subprocess.run(
        inside(run, "pgrep", "-f", f"pyinit {word}"), capture_output=True, text=True
    )
    return int(found.stdout.split()[0])


def test_reload_config_tells_what_changes_before_it_does(tmp_path) -> None:
    web = server(tmp_path, env={"TOKEN": "first"})
    with Run(tmp_path, [web, sleeper()]) as run:
        ready(run, 2)
        idle = workers(run, "idle")[0]["pid"]
        web = {**web, "env": {"TOKEN": "second"}, "instances": 3}
        run.write(json.dumps({"apps": [web, sleeper(), sleeper("new")]}))
        dry = pyinit(run, "reload", "--config", "--dry-run")
        assert dry.returncode == 0
        assert "web: changed (env.TOKEN, instances)" in dry.stdout
        assert "new: added, 1 instance" in dry.stdout
        assert "second" not in dry.stdout
        assert [app["name"] for app in listed(run)["apps"]] == ["web", "idle"]
        done = pyinit(run, "reload", "--config")
        assert done.returncode == 0, done
        assert done.stdout.startswith("web: changed (env.TOKEN, instances)")
        assert len(workers(run, "web")) == 3
        assert workers(run, "idle")[0]["pid"] == idle
        run.write(json.dumps({"apps": [web, sleeper()]}))
        done = pyinit(run, "reload", "--config")
        assert "new: removed, 1 instance to stop" in done.stdout
        assert done.returncode == 0


def test_a_broken_file_changes_nothing_and_ls_shows_it(tmp_path) -> None:
    with Run(tmp_path, [sleeper()]) as run:
        answering(run)
        pid = workers(run, "idle")[0]["pid"]
        run.write("apps:\n  - name: idle\n    script: sleep 1\n    instances: [\n")
        dry = pyinit(run, "reload", "--config", "--dry-run")
        assert dry.returncode == 1
        assert "ecosystem.yaml:" in dry.stdout
        assert not listed(run)["config_error"]
        assert pyinit(run, "reload", "--config").returncode == 1
        assert "ecosystem.yaml:" in pyinit(run, "ls").stdout
        assert workers(run, "idle")[0]["pid"] == pid


def test_start_all_leaves_an_app_that_waits_for_another(tmp_path) -> None:
    waits = {
        "name": "late",
        "script": "sleep 1000",
        "interpreter": "none",
        "depends_on": {"idle": {"condition": "service_completed_successfully"}},
    }
    with Run(tmp_path, [sleeper(autorestart=False), waits]) as run:
        answering(run)
        done = pyinit(run, "start", "all")
        assert done.returncode == 0, done
        assert "late" not in done.stdout
        assert workers(run, "late") == []
        done = pyinit(run, "start", "late")
        assert "late: started, 1 of 1 worker" in done.stdout
        assert run.stop() == 0
