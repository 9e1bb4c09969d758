"""What `docker run` and an orchestrator see when a container ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.container.engine import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.container.engine import Engine


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "kill -KILL $$"), 137),
        (("sh", "-c", "kill -TERM $$"), 143),
        (("no-such-program",), 127),
        (("/etc/passwd",), 126),
    ],
)
def test_of_one_command(
    engine: Engine, pyinit_image: str, command: tuple[str, ...], code: int
) -> None:
    with engine.container(
        pyinit_image, "--entrypoint=pyinit", command=("--", *command)
    ) as container:
        assert container.wait() == code


def test_a_stopped_command_ends_as_its_signal_says(engine: Engine, pyinit_image: str) -> None:
    with engine.container(
        pyinit_image, "--entrypoint=pyinit", command=("--", "sleep", "1000")
    ) as container:
        wait_until(lambda: len(container.processes()) > 1, "the command")
        assert container.stop() < 10
        assert container.state()["ExitCode"] == 143


@pytest.mark.parametrize(
    ("file", "code", "words"),
    [
        ("apps:\n  - name: a\n    script: sh -c 'exit 3'\n    autorestart: false\n", 3, ""),
        ("apps:\n  - name: a\n    script: 'true'\n    autorestart: false\n", 0, ""),
        (
            "apps:\n  - name: a\n    script: sh -c 'exit 3'\n    max_restarts: 2\n",
            1,
            "errored",
        ),
        ("apps:\n  - name: a\n    scirpt: server.js\n", 2, "ecosystem.yaml:3:5"),
        ("apps: [\n", 2, "ecosystem.yaml:2:1"),
        ("", 2, "ecosystem.yaml"),
        (None, 2, "ecosystem.yaml"),
    ],
)
def test_of_a_file(
    engine: Engine, pyinit_image: str, tmp_path: Path, file: str | None, code: int, words: str
) -> None:
    if file is not None:
        (tmp_path / "ecosystem.yaml").write_text(file)
    tmp_path.chmod(0o755)
    with engine.container(pyinit_image, f"--volume={tmp_path}:/app:ro") as container:
        assert container.wait() == code
        assert words in container.logs()


def test_sigint_again_hurries(engine: Engine, pyinit_image: str, tmp_path: Path) -> None:
    (tmp_path / "ecosystem.yaml").write_text(
        "apps:\n"
        "  - name: deaf\n"
        "    script: sh -c 'trap \"\" TERM INT; echo deaf; while :; do sleep 1; done'\n"
        "    kill_timeout: 10m\n"
    )
    tmp_path.chmod(0o755)
    with engine.container(pyinit_image, f"--volume={tmp_path}:/app:ro") as container:
        wait_until(lambda: "deaf" in container.logs(), "the worker")
        container.signal("SIGTERM")
        container.signal("SIGINT")
        time.sleep(0.6)
        container.signal("SIGINT")
        assert container.wait() == 137
