"""Odd homes that only an engine can make: limits of cgroups, shared PID namespaces, pauses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.container.engine import Container, Engine, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Run = Callable[..., AbstractContextManager[Container]]

HERE = Path(__file__).resolve().parent

WEB = """
probes:
  listen: 0.0.0.0:9400
apps:
  - name: web
    script: python3 worker.py 8000
    exec_mode: cluster
    instances: 2
"""
SLEEPERS = """
apps:
  - name: idle
    script: sleep 1000
    instances: {instances}
    exec_mode: fork
    max_restarts: 1000
"""
# Takes memory until the kernel ends it.
GREEDY = """
  - name: greedy
    script: greedy.py
    interpreter: python3
    restart_delay: 1h
"""
TAKE = """
import time
held = []
print("begins", flush=True)
while True:
    held.append(bytearray(b"x" * (1 << 20)))
    time.sleep(0.005)
"""


@pytest.fixture
def run(engine: Engine, pyinit_image: str, tmp_path: Path) -> Run:
    def start(
        file: str, *options: str, command: tuple[str, ...] = ()
    ) -> AbstractContextManager[Container]:
        (tmp_path / "ecosystem.yaml").write_text(file)
        (tmp_path / "greedy.py").write_text(TAKE)
        shutil.copy(HERE / "worker.py", tmp_path)
        tmp_path.chmod(0o755)  # the container's user is nobody here
        volume = f"--volume={tmp_path}:/app:ro"
        return engine.container(pyinit_image, volume, *options, command=command)

    return start


def said(container: Container, name: str, count: int = 1) -> list[dict]:
    """pyinit's own events of that name, once there are so many."""

    def found() -> list[dict]:
        events = [e for e in container.events() if e.get("event") == name and "stream" not in e]
        return events if len(events) >= count else []

    return wait_until(found, f"{count} × {name!r}", 60.0)


def test_64_mb_and_a_worker_that_takes_all(run: Run) -> None:
    """The kernel ends the greedy one; it is known why, and everything else goes on."""
    with run(WEB + GREEDY, "--memory=64m", "--memory-swap=64m") as c:
        c.answers(9400, "/livez")
        killed = next(e for e in said(c, "worker exited") if e["app"] == "greedy")
        assert killed["signal"] == "SIGKILL"
        assert killed["oom_killed"] is True
        c.answers(8000)
        assert c.state()["Running"]
        assert {e["app"] for e in said(c, "worker exited")} == {"greedy"}
        assert c.stop() < 10
        assert c.state()["ExitCode"] == 137


def test_a_pids_limit_is_named_and_the_rest_goes_on(run: Run) -> None:
    with run(SLEEPERS.format(instances=8), "--pids-limit=5", "--no-healthcheck") as container:
        said(container, "worker ready", 4)
        reasons = [event["reason"] for event in said(container, "worker failed to start", 4)]
        assert all("the container's pids limit is 5" in reason for reason in reasons)
        # SIGHUP needs a process to read the file: nothing changes.
        container.signal("HUP")
        assert "pids limit is 5" in said(container, "config rejected")[0]["reason"]
        assert container.stop() < 10
        assert container.state()["ExitCode"] == 127


def test_on_a_terminal(run: Run) -> None:
    with run(WEB, "--tty", "--interactive") as container:
        container.answers(9400, "/readyz")
        assert container.run("pyinit", "ls").out.count("online") == 2
        container.signal("INT")
        assert container.wait() == 0


def test_an_init_in_front_of_it(run: Run) -> None:
    with run(WEB, "--init") as container:
        container.answers(9400, "/readyz")
        assert container.run("pyinit", "health").code == 0
        assert container.stop() < 10
        assert container.state()["ExitCode"] == 0


def test_a_user_without_a_name_and_nothing_writable(run: Run) -> None:
    hard = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--ipc=none")
    with run(WEB, "--user=54321:54321", *hard) as container:
        container.answers(9400, "/readyz")
        assert container.run("pyinit", "ls").out.count("online") == 2
        assert container.stop() < 10
        assert container.state()["ExitCode"] == 0


@pytest.mark.parametrize("shared", ["with another container", "with the host"])
def test_a_pid_namespace_that_is_shared(
    engine: Engine, run: Run, pyinit_image: str, shared: str
) -> None:
    """As `shareProcessNamespace: true`: it ends its own workers and nobody else."""
    other = ("--entrypoint=sleep", "--no-healthcheck")
    with engine.container(pyinit_image, *other, command=("1000",)) as neighbour:
        pid = f"container:{neighbour.id}" if "container" in shared else "host"
        with run(WEB, f"--pid={pid}") as container:
            container.answers(9400, "/readyz")
            assert container.stop() < 10
            assert container.state()["ExitCode"] == 0
            assert neighbour.state()["Running"]
        if pid != "host":
            names = [name for _, _, _, name in neighbour.processes()]
            assert names == ["sleep"]
    # Nor the engine, whose namespace "host" is here.
    assert engine.docker("ps").code == 0


def test_docker_restart_and_a_kill_before_it(run: Run) -> None:
    """The writable layer stays: sockets of the former life are in nobody's way."""
    sock = "  - {name: sock, script: sleep 1000, listen: 'unix:/tmp/app.sock'}\n"
    with run(WEB + sock) as container:
        for signal in ("", "KILL"):
            container.answers(9400, "/livez")
            container.answers(8000)
            assert container.run("pyinit", "ls").code == 0
            if signal:
                container.signal(signal)
                container.wait()
            container.engine.docker("restart", "--time=10", container.id)
        container.answers(8000)
        assert container.run("pyinit", "ls").code == 0


def test_a_pause_is_no_failure(run: Run) -> None:
    with run(WEB) as container:
        container.answers(9400, "/readyz")
        container.engine.docker("pause", container.id)
        container.engine.docker("unpause", container.id)
        container.answers(8000)
        container.answers(9400, "/readyz")
        assert not [e for e in container.events() if e.get("event") == "worker exited"]
        assert container.stop() < 10
        assert container.state()["ExitCode"] == 0
