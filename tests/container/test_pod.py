"""The rendered manifests, run as a pod by podman: the only other reader of them that a machine has.

podman 4 takes from a Deployment and its ConfigMap: the image, command, environment, user,
read-only root, capabilities, limits and volumes. It runs no startup and readiness probes, turns
a liveness probe into `curl` inside the container, and cannot name its port; those three are
asked over HTTP in test_examples.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.container.engine import wait_until
from tests.k8s import rendered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.container.engine import Engine

NEEDED = ("podman", "catatonit", "runc", "conmon")
NAME = "localhost/pyinit-test/node-http:latest"
CONTAINER = "web-pod-0-web"

# What podman and its network leave in the machine's folders stays in these.
PRIVATE = "/run /var/lib/cni /var/lib/containers"
SCRIPT = f"""
    ip link set lo up
    for folder in {PRIVATE}; do mkdir -p $folder && mount -t tmpfs none $folder; done
    echo ready; exec tini -- sleep infinity
"""


class Podman:
    """podman in mount, network and PID namespaces of its own, as `Engine` does it."""

    def __init__(self, folder: Path) -> None:
        self._cgroups = _cgroups()
        namespaces = ["--mount", "--net", "--pid", "--fork", "--mount-proc"]
        self._holder = subprocess.Popen(
            ["unshare", *namespaces, "--kill-child=SIGKILL", "sh", "-euc", SCRIPT],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=_environment(),
        )
        assert self._holder.stdout.readline() == b"ready\n"
        children = f"/proc/{self._holder.pid}/task/{self._holder.pid}/children"
        with open(children, encoding="ascii") as file:
            self._pid = file.read().split()[0]
        self._command = [
            *("nsenter", f"--target={self._pid}", "--mount", "--net", "--pid"),
            *("podman", f"--root={folder}", "--storage-driver=overlay", "--events-backend=file"),
            # Neither systemd nor, on many machines that run tests, a cgroup tree that crun takes.
            *("--cgroup-manager=cgroupfs", f"--runtime={shutil.which('runc', path=_path())}"),
        ]

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self._command, *words],
            capture_output=True,
            text=True,
            timeout=120,
            env=_environment(),
        )
        assert done.returncode == 0 or not check, f"podman {words}: {done.stdout}{done.stderr}"
        return done

    def inside(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("exec", CONTAINER, *words, check=check)

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        self._holder.stdout.close()
        # The one thing that no namespace takes along.
        for folder in sorted(_cgroups() - self._cgroups, reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _cgroups() -> set[Path]:
    found = Path("/sys/fs/cgroup").glob("**/libpod_parent")
    return {folder for parent in found for folder in (parent, *parent.glob("**/"))}


def _path() -> str:
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


def _environment() -> dict[str, str]:
    return {"PATH": _path(), "HOME": "/root"}


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Podman]:
    missing = [name for name in NEEDED if shutil.which(name, path=_path()) is None]
    if missing:
        pytest.fail(f"missing programs: {', '.join(missing)}: run make setup")
    podman = Podman(tmp_path / "storage")
    yield podman
    podman.close()


def test_podman_runs_the_manifests(
    engine: Engine, node_http_image: str, podman: Podman, tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"
    engine.docker("save", f"--output={archive}", node_http_image)
    podman.run("load", "--quiet", f"--input={archive}")
    objects = [
        each
        for each in rendered.objects("overlays/node")
        if each["kind"] in {"ConfigMap", "Deployment"}
    ]
    [deployment] = [each for each in objects if each["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    container["image"] = NAME
    file = tmp_path / "pod.yaml"
    file.write_text(yaml.safe_dump_all(objects))

    podman.run("play", "kube", str(file))
    try:
        wait_until(
            lambda: podman.inside("pyinit", "health", "startup", check=False).returncode == 0,
            "all workers",
            timeout=60,
            pause=0.3,
        )
        # With a read-only root; two, by the CPU limit.
        [app] = json.loads(podman.inside("pyinit", "ls", "--json").stdout)["apps"]
        assert [worker["ready"] for worker in app["workers"]] == [True, True]
        asked = "fetch('http://127.0.0.1:3000/').then(a => a.json()).then(j => console.log(j.pid))"
        assert int(podman.inside("node", "-e", asked).stdout) > 0

        status = dict(
            line.split(":\t", 1)
            for line in podman.inside("cat", "/proc/1/status").stdout.splitlines()
        )
        assert status["Name"] == "pyinit"
        assert status["Uid"].split() == ["10001"] * 4
        assert {status[key] for key in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        assert podman.inside("sh", "-c", "echo >/app/file", check=False).returncode != 0
        podman.inside("sh", "-c", "echo >/tmp/file")

        podman.run("pod", "stop", "--time=30", "web-pod-0")
        [answer] = json.loads(podman.run("inspect", CONTAINER).stdout)
        assert answer["State"]["ExitCode"] == 0
        events = [json.loads(line) for line in podman.run("logs", CONTAINER).stdout.splitlines()]
        assert not [event for event in events if event["event"] == "internal error"]
    except BaseException:
        print(podman.run("logs", CONTAINER, check=False).stdout)
        raise
    finally:
        podman.run("play", "kube", "--down", str(file), check=False)
