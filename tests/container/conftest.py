"""One engine and its images for all container tests of a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.container import images
from tests.container.engine import Engine, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_ENGINE = "no Docker engine"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/container/" in item.nodeid:
            item.add_marker(pytest.mark.container)
            # One engine, so one xdist worker.
            item.add_marker(pytest.mark.xdist_group("container"))


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    absent = why_not()
    if absent:
        if os.environ.get("CI"):
            pytest.fail(f"{NO_ENGINE} in CI: {absent}")
        pytest.skip(f"{NO_ENGINE}: {absent}")
    engine = Engine()
    yield engine
    # Layers of earlier states of the code, which nothing names any more.
    engine.docker("image", "prune", "--force", "--filter=until=48h", check=False)
    engine.close()


@pytest.fixture(scope="session")
def base_image(engine: Engine) -> str:
    images.prepare(engine)
    return images.base(engine)


@pytest.fixture(scope="session")
def pyinit_image(engine: Engine, base_image: str) -> str:
    return images.pyinit(engine)


@pytest.fixture(scope="session")
def pyinit_pip_image(engine: Engine, base_image: str) -> str:
    return images.pyinit_with_pip(engine)


@pytest.fixture(scope="session")
def runtime_image(engine: Engine, base_image: str) -> str:
    return images.runtime(engine)


@pytest.fixture(scope="session")
def node_slim_image(engine: Engine, base_image: str) -> str:
    return images.node_slim(engine)


@pytest.fixture(scope="session")
def node_http_image(engine: Engine, pyinit_image: str) -> str:
    folder = images.ROOT / "examples" / "node-http"
    return engine.build(folder, "pyinit-test/node-http", PYINIT_IMAGE=pyinit_image)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # From the reports: with xdist the tests ran in another process than this.
    reports = terminalreporter.stats.get("skipped", [])
    reasons = {report.longrepr[2] for report in reports if NO_ENGINE in str(report.longrepr)}
    if reasons:
        terminalreporter.section("container tests DID NOT RUN", sep="!", red=True, bold=True)
        for reason in sorted(reasons):
            terminalreporter.line(reason)
