"""Rolling reloads of real workers, under load."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support import commands
from tests.support.load import Load
from tests.support.ports import free_port
from tests.support.run import Run, get

PROGRAMS = Path(__file__).resolve().parents[1] / "programs"


class Served(Run):
    """One app, `web`, on `port`; `lowest` is the least number of ready workers ever seen."""

    def __init__(self, folder, handoff: str = "intercept", manner: str = "polite", **keys) -> None:
        self.port, self.probes = free_port(), free_port()
        (folder / "release").write_text("one")
        for name in ("server.py", "server.js"):
            shutil.copy(PROGRAMS / name, folder)
        where = "fd" if handoff == "fds" else self.port
        script = f"{sys.executable} server.py {where} {manner}"
        if handoff in ("node", "auto"):
            script = f"server.js {self.port} {manner}"
        self.app = {
            "name": "web",
            "script": script,
            "exec_mode": "cluster",
            "instances": 2,
            "listen": f"127.0.0.1:{self.port}",
            "handoff": handoff,
            "retire_delay": 100,
            "min_uptime": 300,
            "listen_timeout": 20_000,
            **keys,
        }
        self.lowest = 99
        self._over = threading.Event()
        super().__init__(folder, [self.app], probes={"listen": f"127.0.0.1:{self.probes}"})

    def __enter__(self) -> Served:
        self.event("app ready")
        # With descriptors alone, ready is one whose exec has succeeded.
        self.said("up", self.app["instances"])
        assert self.answers("one")
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._sampler.join()
        super().__exit__(*exc)

    def answers(self, release: str) -> bool:
        try:
            return get(self.port, "/x") == (200, f"{release} /x")
        except OSError:
            return False

    def ready(self) -> int:
        """Ready workers of the app, as /status says."""
        _, body = get(self.probes, "/status")
        return json.loads(body)["apps"][0]["ready_workers"]

    def _sample(self) -> None:
        while not self._over.wait(0.01):
            try:
                self.lowest = min(self.lowest, self.ready())
            except (OSError, ValueError):
                return  # it is ending

    def release(self, name: str) -> None:
        """What workers that start from now on run."""
        (self.folder / "new").write_text(name)
        (self.folder / "new").rename(self.folder / "release")

    def reload(self, times: int = 1) -> None:
        done = len(self.events("reload finished"))
        for turn in range(1, times + 1):
            self.signal(signal.SIGHUP)
            self.event("reload finished", done + turn)

    def stays_up(self, load: Load) -> None:
        """Nobody was let down."""
        assert not load.failures, "\n".join([*load.failures[:20], self.story()])
        assert self.lowest == self.app["instances"], self.story()
        assert not self.events("internal error")


def need(program: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")


@pytest.mark.parametrize("manner", ["polite", "rude"])
@pytest.mark.parametrize("handoff", ["intercept", "fds", "auto"])
def test_reloads_fail_nobody(tmp_path, handoff, manner) -> None:
    if handoff in ("node", "auto"):
        need("node")
    # What a rude one has not answered by then is lost, also on a machine with no time.
    delay, times = (800, 2) if manner == "rude" else (100, 5)
    with Served(tmp_path, handoff, manner, retire_delay=delay) as run:
        with Load(run.port) as load:
            run.reload(times)
        run.stays_up(load)
        assert load.counts["closed"] >= 2  # kept connections end with their worker
        assert len(run.events("worker exited")) == times * 2
        how = {event["by"] for event in run.events("worker ready")[2:]}
        assert how == {"accept"}
        assert not run.events("worker killed")
        assert run.stop() == 0


@pytest.mark.parametrize("handoff", ["intercept", "node"])
def test_with_one_socket_for_all_polite_servers_fail_nobody(tmp_path, handoff) -> None:
    if handoff == "node":
        need("node")
    with Served(tmp_path, handoff, share="one") as run:
        with Load(run.port) as load:
            run.reload(5)
        run.stays_up(load)
        assert run.stop() == 0


def test_four_workers_two_at_a_time(tmp_path) -> None:
    with Served(tmp_path, instances=4, reload_parallel=2) as run:
        with Load(run.port) as load:
            run.reload(3)
        run.stays_up(load)
        assert run.stop() == 0


def test_a_handshake_that_ends_after_its_worker_is_served_by_another(tmp_path) -> None:
    """A lost ACK, a slow line, or as here TCP_DEFER_ACCEPT, which waits for the first byte.

    The kernel has chosen the worker by the SYN; when the handshake ends the connection is
    queued there, whoever is left.
    """
    with Served(tmp_path, env={"DEFER": "1"}) as run:
        clients = [socket.create_connection(("127.0.0.1", run.port), 20) for _ in range(12)]
        run.reload()
        for number, client in enumerate(clients):
            with client:
                client.sendall(f"GET /{number} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
                answer = b"".join(iter(lambda c=client: c.recv(4096), b""))
            assert answer.endswith(f"one /{number}".encode()), answer
        assert run.stop() == 0


def test_a_rude_worker_that_waits_for_a_cpu_answers_what_it_took(tmp_path) -> None:
    """`retire_delay` is time in which it could have answered, not time of the clock."""
    with Served(tmp_path, manner="rude", instances=1, retire_delay=50) as run:
        with socket.create_connection(("127.0.0.1", run.port), 20) as client:
            client.sendall(b"GET /starved HTTP/1.1\r\nConnection: close\r\n\r\n")
            run.said("starves")
            run.signal(signal.SIGHUP)
            answer = b"".join(iter(lambda: client.recv(4096), b""))
        assert answer.endswith(b"one /starved"), run.story()
        run.event("reload finished")
        assert not run.events("worker busy at its stop signal")


def test_a_second_reload_during_one_ends_with_the_newest(tmp_path) -> None:
    with Served(tmp_path, instances=3) as run:
        with Load(run.port) as load:
            run.release("two")
            run.signal(signal.SIGHUP)
            run.event("worker exited")
            run.release("three")
            run.signal(signal.SIGHUP)
            run.event("reload started", 2)
            run.event("reload finished")
        assert all(run.answers("three") for _ in range(30))
        run.stays_up(load)


def test_a_file_that_changes_during_a_reload_counts_for_all(tmp_path) -> None:
    with Served(tmp_path) as run:
        with Load(run.port) as load:
            run.release("two")
            run.signal(signal.SIGHUP)
            run.event("worker exited")
            run.write(
                json.dumps(
                    {
                        "apps": [{**run.app, "env": {"CHANGED": "1"}, "instances": 3}],
                        "probes": {"listen": f"127.0.0.1:{run.probes}"},
                    }
                )
            )
            run.signal(signal.SIGHUP)
            run.event("config accepted", 2)
            run.event("reload finished")
            run.until(lambda: run.ready() == 3, "three are ready")
        run.stays_up(load)
        assert all(run.answers("two") for _ in range(20))

        def changed() -> bool:
            pids = {record["pid"] for record in run.events("worker started")[-3:]}
            environs = [f"/proc/{run.outer_pid(pid)}/environ" for pid in pids]
            return all(b"CHANGED=1" in open(path, "rb").read() for path in environs)

        run.until(changed, "the newest file counts for all")


@pytest.mark.parametrize("handoff", ["intercept", "fds"])
def test_a_release_that_cannot_start_keeps_the_old_workers(tmp_path, handoff) -> None:
    with Served(tmp_path, handoff, min_uptime=5000) as run:
        with Load(run.port) as load:
            run.release("broken")
            run.signal(signal.SIGHUP)
            run.event("reload aborted")
        run.stays_up(load)
        assert all(run.answers("one") for _ in range(10))
        assert len(run.events("worker exited")) == 1
        assert run.stop() == 0


@pytest.mark.parametrize("rule", ["abort", "auto", "force"])
def test_a_release_that_never_listens(tmp_path, rule) -> None:
    keys = {"on_listen_timeout": rule, "listen_timeout": 2500}
    with Served(tmp_path, instances=1, **keys) as run:
        run.release("silent")
        run.signal(signal.SIGHUP)
        assert run.event("worker not ready in time")["instance"] == 0
        # Time alone ends no worker that serves, whatever the rule.
        why = run.event("reload aborted")["because"]
        assert why == f"accepts no connection on 127.0.0.1:{run.port} after listen_timeout 2.5 s"
        assert run.answers("one")
        assert run.stop() == 0


def test_a_worker_that_ignores_signals_is_killed_and_the_reload_goes_on(tmp_path) -> None:
    with Served(tmp_path, manner="deaf", kill_timeout=400) as run:
        with Load(run.port) as load:
            run.reload()
        run.stays_up(load)
        exits = run.events("worker exited")
        assert [each["signal"] for each in exits] == ["SIGKILL", "SIGKILL"]


@pytest.mark.parametrize("instance", [0, 1])
def test_a_crash_in_the_middle_of_a_reload(tmp_path, instance) -> None:
    """Of the new worker whose old one still leaves, or of one that waits for its turn."""
    with Served(tmp_path, retire_delay=700) as run:
        run.release("two")
        run.signal(signal.SIGHUP)
        new = run.event("worker ready", 3)["pid"]
        old = next(e["pid"] for e in run.events("worker started") if e["instance"] == 1)
        os.kill(run.outer_pid(old if instance else new), signal.SIGKILL)
        run.event("worker exited", expected=False)
        # A new worker that crashes is a reason to replace no further one.
        run.event("reload finished" if instance else "reload aborted")
        run.until(lambda: run.ready() == 2, "both are ready")
        assert len(run.events("reload finished") + run.events("reload aborted")) == 1
        assert run.stop() == 0


def test_sigterm_in_the_middle_of_a_reload(tmp_path) -> None:
    with Served(tmp_path, instances=3, kill_timeout=5000) as run:
        run.signal(signal.SIGHUP)
        run.event("worker ready", 4)
        begun = time.monotonic()
        assert run.stop() == 0
        assert time.monotonic() - begun < 5
        started = {e["pid"] for e in run.events("worker started")}
        assert {e["pid"] for e in run.events("worker exited")} == started


def test_a_stop_while_it_scales_and_a_start_afterwards(tmp_path) -> None:
    with Served(tmp_path) as run:
        scaling = commands.begin(run, "scale", "web", "5")
        run.event("worker started", 3)
        assert commands.pyinit(run, "stop", "web").returncode == 0
        scaling.communicate(timeout=30)
        run.until(lambda: run.ready() == 0, "none is left")
        assert commands.pyinit(run, "start", "web").returncode == 0
        run.until(lambda: run.ready() == 5, "all five are there")
        assert run.answers("one")
        assert run.stop() == 0
