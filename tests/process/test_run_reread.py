"""The file read again under load: what stays keeps its sockets and what waits in them."""

from __future__ import annotations

import json
import os
import signal
import socket

import pytest

from tests.process.test_control_commands import sleeper
from tests.process.test_run_port import server
from tests.support.commands import answering, begin, listed, pyinit, workers
from tests.support.ports import answers, free_port
from tests.support.run import Run, get

pytestmark = [pytest.mark.process, pytest.mark.pid1]


# From SIGUSR1 on it accepts nothing and does not end when it is told to.
HANGS = """
import signal, time
def hang(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("hangs", flush=True)
    time.sleep(1000)
signal.signal(signal.SIGUSR1, hang)
"""


def patient(folder, port: int, **keys) -> dict:
    """The server, with time to come up on a busy machine."""
    return server(folder, port, listen_timeout=20000, **keys)


def asked(port: int) -> socket.socket:
    """A connection with a request on it, which nobody has accepted yet."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
    return sock


def test_what_waits_on_a_listener_that_stays_is_answered_across_a_change_of_listen(
    tmp_path,
) -> None:
    port, new = free_port(), free_port()
    app = server(tmp_path, port, listen=[f"127.0.0.1:{port}"], kill_timeout=20000)
    with Run(tmp_path, [app]) as run:
        run.event("app ready")
        pids = [event["pid"] for event in run.events("worker started")]
        for pid in pids:
            os.kill(run.outer_pid(pid), signal.SIGSTOP)
        waiting = [asked(port) for _ in range(20)]
        more = {"address": f"127.0.0.1:{new}", "optional": True}
        changed = {**app, "listen": [f"127.0.0.1:{port}", more]}
        run.write(json.dumps({"apps": [changed]}))
        run.signal(signal.SIGHUP)
        run.event("reload started")
        run.event("worker ready", 3)
        for pid in pids:
            os.kill(run.outer_pid(pid), signal.SIGCONT)
        for sock in waiting:
            with sock:
                assert b"200 OK" in sock.recv(4096)
        run.event("reload finished")
        # Not by a connection: nobody takes it, and the next reload would wait for that.
        assert f"127.0.0.1:{new}" in listed(run)["apps"][0]["listening"]
        # And back: the address that is no longer declared is closed, the other one stays.
        run.write(json.dumps({"apps": [app]}))
        run.signal(signal.SIGHUP)
        run.event("reload finished", 2)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", new), timeout=10)
        assert get(port)[0] == 200
        assert run.stop() == 0


def test_a_new_address_that_is_taken_changes_nothing(tmp_path) -> None:
    port = free_port()
    app = server(tmp_path, port, listen=[f"127.0.0.1:{port}"])
    with Run(tmp_path, [app]) as run, socket.socket() as taken:
        run.event("app ready")
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        text = f"127.0.0.1:{taken.getsockname()[1]}"
        run.write(json.dumps({"apps": [{**app, "listen": [f"127.0.0.1:{port}", text]}]}))
        run.signal(signal.SIGHUP)
        reason = run.event("config rejected")["reason"]
        assert text in reason
        assert get(port)[0] == 200
        assert not run.events("reload started")
        assert run.stop() == 0


def test_an_app_that_comes_back_while_it_is_being_removed_has_its_port(tmp_path) -> None:
    port = free_port()
    app = server(tmp_path, port, listen=[f"127.0.0.1:{port}"], instances=1, kill_timeout=30000)
    script = tmp_path / "server.py"
    script.write_text(HANGS + script.read_text())
    with Run(tmp_path, [app, sleeper()]) as run:
        run.event("app ready", app="web")
        pid = run.outer_pid(run.event("worker started", app="web")["pid"])
        os.kill(pid, signal.SIGUSR1)
        run.said("hangs")
        run.write(json.dumps({"apps": [sleeper()]}))
        run.signal(signal.SIGHUP)
        run.event("config accepted", 1)
        with asked(port) as waiting:
            run.write(json.dumps({"apps": [app, sleeper()]}))
            run.signal(signal.SIGHUP)
            run.event("config accepted", 2)
            os.kill(pid, signal.SIGKILL)
            run.event("worker ready", 2, app="web")
            assert get(port)[0] == 200
            # It waited on the socket that both had.
            assert b"200 OK" in waiting.recv(4096)
        assert not run.events("internal error")
        assert run.stop() == 0


def test_only_top_level_keys_change_and_no_worker_is_touched(tmp_path) -> None:
    with Run(tmp_path, [sleeper()], log={"level": "info"}) as run:
        answering(run)
        before = workers(run, "idle")
        top = {
            "log": {"level": "debug"},
            "shutdown": {"drain_delay": 1},
            "probes": {"listen": f"unix:{tmp_path}/probes.sock"},
            "control": {"path": f"{tmp_path}/control.sock"},
        }
        run.write(json.dumps({"apps": [{**sleeper(), "time": True}], **top}))
        dry = pyinit(run, "reload", "--config", "--dry-run")
        done = pyinit(run, "reload", "--config")
        for answer in (dry, done):
            assert answer.returncode == 0, answer
            assert "log: changed, at once" in answer.stdout
            assert "shutdown: changed, at once" in answer.stdout
            assert "probes: changed, at once" in answer.stdout
            assert "control: a change of it needs a new container" in answer.stdout
            assert "idle: time, at once" in answer.stdout
            assert "reloaded" not in answer.stdout
        run.event("config change needs a new container", key="control")
        assert [row["pid"] for row in workers(run, "idle")] == [row["pid"] for row in before]
        assert listed(run)["revision"] == 2
        assert not run.events("internal error")


@pytest.mark.parametrize("before", [{"exec_mode": "fork", "listen": True}, {"listen": False}])
def test_an_app_whose_port_is_no_longer_shared_binds_it_itself(tmp_path, before) -> None:
    port = free_port()
    listen = {"listen": [f"127.0.0.1:{port}"]} if before.pop("listen") else {}
    app = patient(tmp_path, port, instances=1, **listen, **before)
    with Run(tmp_path, [app]) as run:
        run.event("app ready")
        assert get(port)[0] == 200
        run.write(json.dumps({"apps": [patient(tmp_path, port, instances=1, exec_mode="fork")]}))
        run.signal(signal.SIGHUP)
        run.event("reload finished")
        run.until(lambda: answers(port), "it listens")
        assert get(port)[0] == 200
        assert listed(run)["apps"][0]["listening"] == []
        assert [row["restarts"] for row in workers(run, "web")] == [1]  # the reload
        assert run.stop() == 0


def test_an_address_that_the_file_no_longer_says_stays_with_workers_that_bind_it(
    tmp_path,
) -> None:
    port = free_port()
    app = patient(tmp_path, port, listen=[f"127.0.0.1:{port}"], kill_timeout=20000)
    with Run(tmp_path, [app]) as run:
        run.event("app ready")
        for turn, listen in enumerate(({}, {"listen": [f"127.0.0.1:{port}"]}, {}), 1):
            pids = [row["pid"] for row in workers(run, "web")]
            for pid in pids:
                os.kill(run.outer_pid(pid), signal.SIGSTOP)
            waiting = [asked(port) for _ in range(10)]
            run.write(json.dumps({"apps": [patient(tmp_path, port, **listen)]}))
            run.signal(signal.SIGHUP)
            run.event("reload started", turn)
            for pid in pids:
                os.kill(run.outer_pid(pid), signal.SIGCONT)
            for sock in waiting:
                with sock:
                    assert b"200 OK" in sock.recv(4096)
            run.event("reload finished", turn)
            assert listed(run)["apps"][0]["listening"] == [f"127.0.0.1:{port}"]
            assert get(port)[0] == 200
        assert run.stop() == 0


def test_a_port_that_no_worker_binds_any_more_is_closed_by_the_reload_that_moved_it(
    tmp_path,
) -> None:
    port, new = free_port(), free_port()
    with Run(tmp_path, [patient(tmp_path, port)]) as run:
        run.event("app ready")
        assert get(port)[0] == 200
        run.write(json.dumps({"apps": [patient(tmp_path, new)]}))
        run.signal(signal.SIGHUP)
        run.event("reload finished")
        assert get(new)[0] == 200
        assert listed(run)["apps"][0]["listening"] == [f"127.0.0.1:{new}"]
        assert not answers(port)
        assert run.stop() == 0


@pytest.mark.parametrize("declared", [True, False])
def test_an_app_with_another_name_has_the_port_and_what_waits_on_it(tmp_path, declared) -> None:
    port = free_port()
    listen = {"listen": [f"127.0.0.1:{port}"]} if declared else {}
    app = patient(tmp_path, port, kill_timeout=60000, **listen)
    script = tmp_path / "server.py"
    script.write_text(HANGS + script.read_text())
    with Run(tmp_path, [app, sleeper()]) as run:
        run.event("app ready", app="web")
        pids = [run.outer_pid(row["pid"]) for row in workers(run, "web")]
        for pid in pids:
            os.kill(pid, signal.SIGUSR1)
        run.said("hangs", 2)
        waiting = [asked(port) for _ in range(20)]
        run.write(json.dumps({"apps": [{**app, "name": "www"}, sleeper()]}))
        answer = begin(run, "reload", "--config")
        run.event("worker ready", 2, app="www")
        for sock in waiting:
            with sock:
                assert b"200 OK" in sock.recv(4096)
        # Undeclared it can only go from one to the other while both are there.
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        said, _ = answer.communicate(timeout=60)
        assert answer.returncode == 0, said
        assert "www: started, 2 of 2 workers" in said
        assert [a["listening"] for a in listed(run)["apps"]] == [[], [f"127.0.0.1:{port}"]]
        assert get(port)[0] == 200
        assert not run.events("internal error")
        assert run.stop() == 0


def test_two_apps_change_their_ports(tmp_path) -> None:
    def both(first: int, second: int) -> list[dict]:
        apps = {"one": first, "two": second}
        return [
            {**patient(tmp_path, port, listen=[f"127.0.0.1:{port}"], env={"RELEASE": name})}
            | {"name": name}
            for name, port in apps.items()
        ]

    ports = free_port(), free_port()
    with Run(tmp_path, both(*ports)) as run:
        for name in ("one", "two"):
            run.event("app ready", app=name)
        run.write(json.dumps({"apps": both(*reversed(ports))}))
        answer = pyinit(run, "reload", "--config")
        assert answer.returncode == 0, answer
        for port, name in zip(ports, ("two", "one"), strict=True):
            assert {get(port)[1].split()[1] for _ in range(20)} == {name}
        assert not run.events("internal error")
        assert run.stop() == 0


def test_a_file_that_was_being_read_when_the_end_came_is_not_taken(tmp_path) -> None:
    port = free_port()
    with Run(tmp_path, [sleeper()], shutdown={"drain_delay": 60000}) as run:
        answering(run)
        new = patient(tmp_path, port, listen=[f"127.0.0.1:{port}"])
        top = {"shutdown": {"drain_delay": 60000}}
        run.write(json.dumps({"apps": [sleeper(), new], **top}))
        run.signal(signal.SIGHUP)
        run.event("signal received", signal="SIGHUP")
        run.signal(signal.SIGTERM)
        run.event("shutdown started")
        assert "pyinit is draining" in run.event("config rejected")["reason"]
        assert not answers(port)
        assert run.stop(signal.SIGINT) == 0


def test_a_change_of_a_stopped_app_is_told_for_its_next_start(tmp_path) -> None:
    idle = sleeper("idle")
    with Run(tmp_path, [idle, sleeper("other")]) as run:
        run.event("app ready", 2)
        assert pyinit(run, "stop", "idle").returncode == 0
        run.write(json.dumps({"apps": [{**idle, "env": {"A": "1"}}, sleeper("other")]}))
        done = pyinit(run, "reload", "--config")
        assert done.returncode == 0
        assert "idle: changed (env.A), for its next start" in done.stdout
        assert pyinit(run, "start", "idle").returncode == 0
        pid = workers(run, "idle")[0]["pid"]
        with open(f"/proc/{run.outer_pid(pid)}/environ", "rb") as environ:
            assert b"A=1" in environ.read().split(b"\0")
        assert run.stop() == 0
