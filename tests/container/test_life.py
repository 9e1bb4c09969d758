"""An app in a container, from its first answer to `docker stop`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.container.engine import Container, Engine, wait_until
from tests.container.load import Load

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    Run = Callable[..., AbstractContextManager[Container]]

HERE = Path(__file__).resolve().parent

APPS = """
apps:
  - name: web
    script: python3 worker.py 8000
    exec_mode: cluster
    instances: {instances}
    kill_timeout: {kill_timeout}
probes:
  listen: 0.0.0.0:9400
shutdown:
  drain_delay: {drain_delay}
"""

HARD = (
    "--read-only",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)


@pytest.fixture
def run(engine: Engine, pyinit_image: str, tmp_path: Path) -> Run:
    """Start pyinit with a file, in the image of the project's own Dockerfile."""

    def start(file: str, *options: str) -> AbstractContextManager[Container]:
        (tmp_path / "ecosystem.yaml").write_text(file)
        for name in ("worker.py", "early.py"):
            shutil.copy(HERE / name, tmp_path)
        tmp_path.chmod(0o755)  # the container's user is nobody here
        return engine.container(
            pyinit_image, f"--volume={tmp_path}:/app:ro", "--health-interval=1s", *options
        )

    return start


def apps(instances: int = 2, kill_timeout: str = "8s", drain_delay: str = "0s") -> str:
    return APPS.format(instances=instances, kill_timeout=kill_timeout, drain_delay=drain_delay)


def who(container: Container, port: int = 8000) -> tuple[str, int]:
    answer = json.loads(container.get(port).body)
    return answer["instance"], answer["pid"]


def everyone(container: Container, instances: int, port: int = 8000) -> dict[str, int]:
    """Instance to pid, once each of them has answered."""
    seen: dict[str, int] = {}

    def all_seen() -> bool:
        instance, pid = who(container, port)
        seen[instance] = pid
        return len(seen) == instances

    wait_until(all_seen, f"an answer of each of {instances} workers, saw {seen}")
    return seen


def test_it_serves_and_docker_calls_it_healthy(run: Run) -> None:
    with run(apps(instances=3), "--publish=127.0.0.1:0:8000") as container:
        container.answers(9400, "/readyz")
        assert len(set(everyone(container, 3).values())) == 3
        assert container.engine.get(*container.published(8000)).status == 200
        for path in ("/livez", "/readyz", "/startupz", "/healthz"):
            assert container.get(9400, path).status == 200, path
        wait_until(lambda: container.health() == "healthy", "healthy")
        assert container.run("pyinit", "health").code == 0
        assert container.run("pyinit", "health", "ready").code == 0


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="the image's user"),
        pytest.param(("--user=0",), id="root"),
        pytest.param(HARD, id="restricted"),
        pytest.param(("--user=4242:4242", *HARD), id="restricted, a user that has no name"),
    ],
)
def test_unmodified_workers_share_a_port_under_the_default_seccomp_profile(
    run: Run, options: tuple[str, ...]
) -> None:
    with run(apps(instances=3), *options) as container:
        container.answers(9400, "/readyz")
        everyone(container, 3)
        assert container.stop() < 10
        assert container.state()["ExitCode"] == 0


@pytest.mark.parametrize("options", [(), HARD, ("--cap-add=SYS_PTRACE",)])
@pytest.mark.parametrize("how", ["options", "epoll"])
def test_what_a_worker_does_with_its_socket_before_bind_holds(
    run: Run, how: str, options: tuple[str, ...]
) -> None:
    """The default profile refuses pidfd_getfd(2) without CAP_SYS_PTRACE."""
    file = apps(instances=2).replace("worker.py 8000", f"early.py 8000 {how}")
    with run(file, *options) as container:
        container.answers(9400, "/readyz")
        everyone(container, 2)
        for _ in range(10):
            answer = json.loads(container.get(8000).body)
            assert answer["same"], answer["seen"]


def test_a_killed_worker_is_replaced_and_no_connection_is_refused(run: Run) -> None:
    with run(apps(instances=1)) as container:
        container.answers(9400, "/readyz")
        _, first = who(container)
        with Load(container, 8000, clients=4) as load:
            wait_until(lambda: load.answered > 20, "load")
            container.run("sh", "-c", f"kill -9 {first}")
            wait_until(lambda: who_or_none(container) not in (None, first), "a new worker")
            answered = load.answered
            wait_until(lambda: load.answered > answered + 20, "load on the new worker")
        assert load.refused == []
        # Only what the dead worker had in its hands.
        assert len(load.lost) <= 5, load.lost


def who_or_none(container: Container) -> int | None:
    try:
        return who(container)[1]
    except (OSError, ValueError):
        return None


def test_docker_stop_under_load_loses_no_request(run: Run) -> None:
    """As behind a load balancer, which sends nothing new once the container is unready."""
    with run(apps(instances=2, drain_delay="2s")) as container:
        container.answers(9400, "/readyz")
        with Load(container, 8000, path="/slow", clients=8) as load:
            wait_until(lambda: load.answered > 16, "load")
            container.signal("SIGTERM")
            wait_until(lambda: container.get(9400, "/readyz").status == 503, "unready at once", 5.0)
        assert container.wait(10) == 0
        assert load.refused == []
        assert load.lost == []


def test_docker_stop_lets_the_requests_in_hand_finish(run: Run) -> None:
    """Without a drain: what was accepted is answered, what comes later is refused."""
    with run(apps(instances=2)) as container:
        container.answers(9400, "/readyz")
        with Load(container, 8000, path="/slow", clients=2) as load:
            wait_until(lambda: load.answered > 4, "load")
            assert container.stop(grace=10) < 9
        assert container.state()["ExitCode"] == 0
        assert load.answered > 4


def test_a_deaf_worker_is_killed_within_the_grace(run: Run) -> None:
    file = apps(instances=1, kill_timeout="1s").replace("worker.py 8000", "worker.py 8000 --deaf")
    with run(file) as container:
        container.answers(9400, "/readyz")
        assert container.stop(grace=20) < 15
        # pyinit ended it by itself: Docker's own SIGKILL would leave OOM-like 137 and no word.
        assert any("kill" in str(event).lower() for event in container.events())


@pytest.mark.parametrize("attempt", range(5))
def test_docker_stop_during_boot_ends_it_at_once(run: Run, attempt: int) -> None:
    with run(apps(instances=2)) as container:
        if attempt:
            # Further and further into the boot, by what the container has done.
            wait_until(lambda: container.state()["Pid"], "a process")
        container.signal("SIGTERM")
        assert container.wait(8) == 0


def test_orphans_are_reaped(run: Run) -> None:
    with run(apps(instances=1)) as container:
        container.answers(9400, "/readyz")
        for _ in range(4):
            assert container.get(8000, "/orphans/50").status == 200

        def no_zombies() -> bool:
            return not [p for p in container.processes() if p[2] == "Z"]

        wait_until(no_zombies, "an end of all zombies")


def test_worker_lines_and_pyinits_own_are_json(run: Run) -> None:
    with run(apps(instances=1)) as container:
        container.answers(9400, "/readyz")
        container.stop()
        lines = [line for line in container.logs().splitlines() if line.strip()]
        events = container.events()
        assert len(events) == len(lines), "a line that is no JSON object"
        for event in events:
            assert {"timestamp", "level", "event"} <= event.keys()
        [said] = [e for e in events if "serves" in e["event"]]
        assert said["app"] == "web"
        assert said["stream"] == "stdout"


def test_a_reload_under_load_loses_nothing(run: Run) -> None:
    with run(apps(instances=2)) as container:
        container.answers(9400, "/readyz")
        before = set(everyone(container, 2).values())
        with Load(container, 8000, clients=4) as load:
            wait_until(lambda: load.answered > 20, "load")
            container.signal("SIGHUP")

            def replaced() -> bool:
                found = status(container)["apps"][0]
                pids = {worker["pid"] for worker in found["workers"] if worker["ready"]}
                return len(pids) == 2 and not pids & before and not found["reloading"]

            wait_until(replaced, "two new workers")
            answered = load.answered
            wait_until(lambda: load.answered > answered + 20, "load on the new workers")
        assert load.refused == []
        assert load.lost == []


def status(container: Container) -> dict[str, Any]:
    return json.loads(container.get(9400, "/status").body)


def test_a_line_longer_than_dockers_buffer_comes_out_whole(run: Run) -> None:
    """Docker's log driver cuts at 16 KiB and joins again when it is read."""
    script = 'python3 -c \'print("x" * 100000); print("last words", end=str())\''
    with run(f"apps:\n  - name: a\n    autorestart: false\n    script: {script}\n") as container:
        assert container.wait() == 0
        said = [event["event"] for event in container.events() if "stream" in event]
        assert said == ["x" * 100000, "last words"]


def test_without_the_seccomp_syscall_one_line_says_so_and_node_still_shares(
    run: Run, tmp_path: Path
) -> None:
    """A runtime that refuses the filter, such as gVisor: Node's own protocol is left.

    A program that binds its port itself has it alone, and a line says so.
    """
    profile = tmp_path / "seccomp.json"
    refuse = {"names": ["seccomp"], "action": "SCMP_ACT_ERRNO"}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [refuse]}))
    shutil.copy(HERE.parents[1] / "examples" / "node-http" / "server.js", tmp_path)
    file = apps(instances=1)
    node = "  - {name: node, script: server.js, exec_mode: cluster, instances: 4, listen: 3000}\n"
    with run(
        file.replace("apps:\n", "apps:\n" + node), f"--security-opt=seccomp={profile}"
    ) as container:
        container.answers(9400, "/readyz")
        assert len(set(everyone(container, 4, port=3000).values())) == 4
        assert set(everyone(container, 1)) == {"0"}
        said = [e for e in container.events() if "seccomp" in str(e) and "stream" not in e]
        assert len(said) == 1, said
        assert said[0]["event"] == "interception refused"
        assert container.stop() < 10
        assert container.state()["ExitCode"] == 0
