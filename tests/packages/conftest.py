"""The packages, built once for all tests of a run. `make packages-test` installs each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.packages import inputs
from tests.container.conftest import base_image, engine  # noqa: F401  fixtures

ROOT = inputs.ROOT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/packages/" in item.nodeid:
            # One build, so one xdist worker.
            item.add_marker(pytest.mark.xdist_group("packages"))


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `make packages` leaves it."""
    try:
        inputs.check_system()
    except inputs.InputError as error:
        # Other systems build them in an image: tests/container/test_images.py.
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("packages") / "dist"
    command = [sys.executable, "-m", "scripts.packages", "all", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder
