"""Each package, installed as a person would, in a system without a compiler and a network.

`make packages-test`. The systems are Debian roots made by mmdebstrap, the engine has no network:
what an installation wants beside the file itself is not to be had, so it fails. What is installed
then runs as PID 1 of a container: two workers on one port, probes, a reload, a stop.
"""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.container import images
from tests.container.engine import Engine, wait_until
from tests.packages.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

PORT = 8000
NODE = "server.js"
PYTHON = "/usr/bin/python3.11 worker.py 8000"


def archive(dist: Path, engine: Engine, context: Path) -> tuple[str, str]:
    """`tar xzf`, anywhere."""
    take(dist, context, "pyinit-*-linux-*.tar.gz")
    steps = "ADD *.tar.gz /srv/some/where/\nRUN mv /srv/some/where/*/bin/pyinit /usr/local/bin/"
    return f"FROM {images.base(engine)}\n{steps}\n", PYTHON


def deb(dist: Path, engine: Engine, context: Path) -> tuple[str, str]:
    """`dpkg --install`, and what it leaves when it is removed."""
    take(dist, context, "*.deb")
    steps = (
        "COPY *.deb /tmp/\nRUN dpkg --install /tmp/*.deb && dpkg --verify pyinit"
        " && dpkg --remove pyinit && test ! -e /usr/bin/pyinit && dpkg --install /tmp/*.deb"
    )
    return f"FROM {images.base(engine)}\n{steps}\n", PYTHON


def npm(dist: Path, engine: Engine, context: Path) -> tuple[str, str]:
    """`npm install --global` of both packages."""
    take(dist, context, "*.tgz")
    steps = "COPY *.tgz /tmp/\nRUN npm install --global --offline --no-audit /tmp/*.tgz"
    return f"FROM {images.node_slim(engine)}\n{steps}\n", NODE


def npm_without_scripts(dist: Path, engine: Engine, context: Path) -> tuple[str, str]:
    """In a project, without install scripts: the shell script becomes the program."""
    take(dist, context, "*.tgz")
    steps = (
        "COPY *.tgz /tmp/\nWORKDIR /app\n"
        "RUN npm install --ignore-scripts --offline --no-audit /tmp/*.tgz"
        " && ln -s /app/node_modules/.bin/pyinit /usr/local/bin/pyinit"
    )
    return f"FROM {images.node_slim(engine)}\n{steps}\n", NODE


def wheel_with_the_program(dist: Path, engine: Engine, context: Path) -> tuple[str, str]:
    """`pip install` for any Python."""
    take(dist, context, "*-py3-none-*.whl")
    return f"FROM {images.with_pip(engine)}\n{PIP}\n", PYTHON


def wheel(dist: Path, engine: Engine, context: Path) -> tuple[str, str]:
    """`pip install` for Python 3.11 to 3.13, with what it depends on, and no compiler."""
    take(dist, context, "*-cp311-abi3-*.whl")
    for path in images.wheels(engine).glob("*.whl"):
        if path.name.lower().startswith(("pyyaml", "cronsim", "structlog")):
            shutil.copy(path, context)
    return f"FROM {images.with_pip(engine)}\n{PIP}\n", PYTHON


PIP = (
    "COPY *.whl /tmp/\nRUN python3 -m venv /venv"
    " && /venv/bin/pip install --no-index --find-links=/tmp /tmp/pyinit_entrypoint*.whl"
    " && ln -s /venv/bin/pyinit /usr/local/bin/pyinit"
)


def oci(dist: Path, engine: Engine, context: Path) -> tuple[str, str]:
    """`docker load`, then COPY --from into an image without a shell."""
    del context
    [path] = dist.glob("pyinit-*-oci-*.tar")
    with path.open("rb") as file:
        said = engine.docker("load", stdin=file).out
    assert "pyinit:runtime" in said
    assert engine.docker("run", "--rm", "pyinit:runtime", "--version").out.startswith("pyinit ")
    return f"FROM {images.bare(engine, 'node')}\nCOPY --from=pyinit:runtime / /\n", NODE


def take(dist: Path, context: Path, pattern: str) -> None:
    found = list(dist.glob(pattern))
    assert found, pattern
    for path in found:
        shutil.copy(path, context)


KINDS = (archive, deb, npm, npm_without_scripts, wheel_with_the_program, wheel, oci)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.usefixtures("base_image")
def test_it_runs_where_it_was_installed(
    dist: Path,
    engine: Engine,
    tmp_path: Path,
    kind: Callable[[Path, Engine, Path], tuple[str, str]],
) -> None:
    dockerfile, script = kind(dist, engine, tmp_path)
    shutil.copy(ROOT / "examples" / "node-http" / "server.js", tmp_path)
    shutil.copy(ROOT / "tests" / "container" / "worker.py", tmp_path)
    (tmp_path / "ecosystem.yaml").write_text(images.TWO_WORKERS.format(script=script))
    (tmp_path / "Dockerfile").write_text(
        dockerfile + "WORKDIR /app\nCOPY server.js worker.py ecosystem.yaml /app/\n"
        "USER 10001:10001\nENV PATH=/opt/pyinit/bin:/usr/local/bin:/usr/bin:/bin\n"
        'HEALTHCHECK --interval=1s CMD ["pyinit", "health"]\n'
        'ENTRYPOINT ["pyinit", "-c", "ecosystem.yaml"]\n'
    )
    image = engine.build(tmp_path, f"pyinit-test/installed-{kind.__name__.replace('_', '-')}")
    options = ("--read-only", "--cap-drop=ALL", f"--env=PORT={PORT}")
    with engine.container(image, *options) as container:
        container.answers(9400, "/readyz")
        container.answers(PORT)
        wait_until(lambda: container.health() == "healthy", "healthy")
        # PID 1 is the program: no shell and no node stays before it.
        names = engine.docker("top", container.id, "-o", "pid,comm").out.split()
        assert "pyinit" in names
        assert not {"sh", "dash", "npm"} & set(names)
        said = container.run("pyinit", "--version", "--verbose").out
        assert said.startswith("pyinit ")
        container.run("pyinit", "reload", "web")
        assert container.get(PORT).status == 200
        assert container.stop() < 10
        assert container.state()["ExitCode"] == 0


def test_the_extension_asks_for_nothing_that_musl_lacks(dist: Path, tmp_path: Path) -> None:
    """One file for glibc and musl: each function that it calls is in both."""
    libc = Path("/usr/lib/x86_64-linux-musl/libc.so")
    if not libc.exists():
        subprocess.run(["apt-get", "install", "--yes", "musl"], check=True, capture_output=True)
    [path] = dist.glob("*-cp311-abi3-*.whl")
    with zipfile.ZipFile(path) as archive:
        extension = archive.extract("entrypoint/kernel/_prctl.abi3.so", tmp_path)

    def symbols(file: object, *options: str) -> set[str]:
        done = subprocess.run(
            ["nm", "--dynamic", *options, str(file)], capture_output=True, text=True, check=True
        )
        return {line.split()[-1].partition("@")[0] for line in done.stdout.splitlines()}

    wanted = {
        name for name in symbols(extension, "--undefined-only") if name.strip("_")[:2] != "Py"
    }
    assert {"prctl", "capget"} <= wanted
    assert wanted - symbols(libc, "--defined-only") == set()
    headers = subprocess.run(
        ["readelf", "-d", extension], capture_output=True, text=True, check=True
    )
    assert "NEEDED" not in headers.stdout
