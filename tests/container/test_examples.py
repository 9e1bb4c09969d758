"""The examples and the manifests, built and run as their readers would."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.container.engine import Container, wait_until
from tests.k8s import rendered

if TYPE_CHECKING:
    from tests.container.engine import Engine

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"

RESTRICTED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def listening(container: Container) -> set[int]:
    """The TCP ports on which anything in it listens."""
    table = container.run("cat", "/proc/1/net/tcp", "/proc/1/net/tcp6").out
    rows = (line.split() for line in table.splitlines() if ":" in line and "sl" not in line)
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}


def _packages(package: Path) -> list[Path]:
    below = package / "node_modules"
    inner = [*below.glob("[!@.]*"), *below.glob("@*/*")]
    return [package, *(found for each in inner for found in _packages(each))]


def closure(modules: Path, name: str) -> set[str]:
    """The packages that `name` needs, itself included; npm has laid them side by side."""
    found: set[str] = set()
    ahead = [name]
    while ahead:
        each = ahead.pop()
        if each not in found and (modules / each).is_dir():
            found.add(each)
            # Its own, and those of what lies below it in folders of its own.
            for package in _packages(modules / each):
                about = json.loads((package / "package.json").read_text())
                ahead += about.get("dependencies", {})
    return found


def test_react_serve(engine: Engine, pyinit_image: str, tmp_path: Path) -> None:
    modules = ROOT / "tests" / "node" / "node_modules"
    if not (modules / "serve").is_dir():
        pytest.fail("tests/node has no `serve`: run make setup")
    context = tmp_path / "context"
    shutil.copytree(EXAMPLES / "react-serve", context)
    for name in closure(modules, "serve"):
        shutil.copytree(modules / name, context / "node_modules" / name)
    (context / "node_modules" / ".bin").mkdir()
    (context / "node_modules" / ".bin" / "serve").symlink_to("../serve/build/main.js")
    image = engine.build(context, "pyinit-test/react-serve", PYINIT_IMAGE=pyinit_image)

    with engine.container(image) as container:
        page = container.answers(5000).body
        assert "is no file gets this page" in page
        assert container.get(5000, "/some/deep/link").body == page
        assert "getElementById" in container.get(5000, "/static/app.js").body

        def four() -> bool:
            names = [name for _, _, state, name in container.processes() if state != "Z"]
            return sum("node" in name or "serve" in name for name in names) >= 4

        wait_until(four, "four processes")
        # `serve` never says that it is ready: after listen_timeout pyinit carries on.
        wait_until(lambda: any(e["level"] == "warning" for e in container.events()), "the warning")
        assert listening(container) == {5000}
        assert container.stop() < 10
        assert container.state()["ExitCode"] == 0


@pytest.fixture(scope="session")
def asgi_image(engine: Engine, pyinit_pip_image: str) -> str:
    return engine.build(EXAMPLES / "asgi", "pyinit-test/asgi", PYINIT_IMAGE=pyinit_pip_image)


def test_asgi(engine: Engine, asgi_image: str) -> None:
    with engine.container(asgi_image, "--cpus=2") as container:
        container.answers(9400, "/readyz")
        seen: set[int] = set()

        def both() -> bool:
            seen.add(json.loads(container.get(8000).body)["pid"])
            return len(seen) >= 2

        wait_until(both, "answers of two workers")
        assert container.stop() < 10
        assert container.state()["ExitCode"] == 0


def test_node_http(engine: Engine, node_http_image: str) -> None:
    with engine.container(node_http_image) as container:
        container.answers(9400, "/readyz")
        seen: set[str] = set()

        def all_four() -> bool:
            seen.add(json.loads(container.get(3000).body)["instance"])
            return len(seen) == 4

        wait_until(all_four, "answers of four workers")
        assert listening(container) == {3000, 9400}


def test_the_dockerfile_of_the_readme(
    engine: Engine, runtime_image: str, node_slim_image: str, tmp_path: Path
) -> None:
    [block] = re.findall(
        r"^```dockerfile\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "Dockerfile").write_text(block)
    shutil.copy(EXAMPLES / "node-http" / "server.js", tmp_path)
    shutil.copy(EXAMPLES / "node-http" / "ecosystem.yaml", tmp_path)
    about = {"name": "app", "version": "1.0.0"}
    lock = {**about, "lockfileVersion": 3, "requires": True, "packages": {"": about}}
    (tmp_path / "package.json").write_text(json.dumps(about))
    (tmp_path / "package-lock.json").write_text(json.dumps(lock))
    assert node_slim_image in block
    engine.docker("tag", runtime_image, "pyinit:runtime")
    image = engine.build(tmp_path, "pyinit-test/readme")

    with engine.container(image, "--health-interval=1s", *RESTRICTED) as container:
        container.answers(3000)
        wait_until(lambda: container.health() == "healthy", "healthy")
        assert "web" in container.run("pyinit", "ls").out
        assert container.stop() < 10
        assert container.state()["ExitCode"] == 0


def test_compose(engine: Engine, runtime_image: str, node_slim_image: str) -> None:
    engine.docker("tag", runtime_image, "pyinit:runtime")

    def compose(*words: str) -> str:
        done = subprocess.run(
            ["docker-compose", "--project-name=pyinit-test", *words],
            cwd=EXAMPLES / "compose",
            env={**engine.environ, "BASE_IMAGE": node_slim_image},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    try:
        compose("up", "--detach", "--build", "web", "smoke")
        web, smoke = (
            Container(engine, compose("ps", "--quiet", n).strip()) for n in ("web", "smoke")
        )
        # It came after `service_healthy`, else it could not have connected.
        assert smoke.wait() == 0, smoke.logs()
        assert "instance" in smoke.logs()
        assert engine.get(*web.published(3000)).status == 200
        assert "kill_timeout" not in web.logs(), "times that do not fit into the grace"
        compose("stop", "web")
        assert web.state()["ExitCode"] == 0
    finally:
        compose("down", "--volumes")


@pytest.mark.parametrize("overlay", ["node", "python"])
def test_the_manifests_as_the_kubelet_would_run_them(
    engine: Engine, request: pytest.FixtureRequest, tmp_path: Path, overlay: str
) -> None:
    name = f"overlays/{overlay}"
    image = request.getfixturevalue({"node": "node_http_image", "python": "asgi_image"}[overlay])
    (tmp_path / "ecosystem.yaml").write_text(rendered.ecosystem(name))
    tmp_path.chmod(0o755)
    pod, spec = rendered.pod(name)["spec"], rendered.container(name)
    limits = spec["resources"]["limits"]
    # tests/k8s holds the manifests against the whole "restricted" list.
    options = [
        f"--user={pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}",
        *RESTRICTED,
        "--tmpfs=/tmp:size=16m",
        f"--cpus={limits['cpu']}",
        f"--memory={limits['memory'].removesuffix('Mi')}m",
        *(f"--env={each['name']}={each['value']}" for each in spec["env"]),
        f"--volume={tmp_path}:/etc/pyinit:ro",
        f"--entrypoint={spec['command'][0]}",
    ]
    ports = {port["name"]: port["containerPort"] for port in spec["ports"]}
    with engine.container(image, *options, command=tuple(spec["command"][1:])) as container:
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = spec[kind]["httpGet"]
            container.answers(ports[probe["port"]], probe["path"])
        container.answers(ports["http"])
        # `instances: max`, by the CPU limit.
        [app] = json.loads(container.run("pyinit", "ls", "--json").out)["apps"]
        assert len(app["workers"]) == int(limits["cpu"])
        container.signal("SIGTERM")
        ready = spec["readinessProbe"]["httpGet"]
        container.answers(ports[ready["port"]], ready["path"], status=503, timeout=5)
        # Unready, and still answering: endpoints take a moment to forget a pod.
        assert container.get(ports["http"]).status == 200
        assert container.wait(pod["terminationGracePeriodSeconds"]) == 0
