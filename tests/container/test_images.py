"""What the project's Dockerfiles make, and what it does in images that bring nothing."""

from __future__ import annotations

import gzip
import importlib.metadata
import io
import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import entrypoint
from tests.container import images
from tests.container.engine import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.container.engine import Container, Engine

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PYINIT = "/opt/pyinit/bin/pyinit"
BILL = "opt/pyinit/share/sbom.cdx.json"
LICENCES = "opt/pyinit/share/licenses"

RESTRICTED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")

# For Python, for the loader, and for both: a worker's business, and must not be pyinit's.
HOSTILE = {
    "PYTHONHOME": "/nowhere",
    "PYTHONPATH": "/app",
    "PYTHONSTARTUP": "/app/worker.py",
    "LD_LIBRARY_PATH": "/app:/usr/lib/x86_64-linux-gnu",
}


@pytest.fixture(scope="module")
def runtime_files(engine: Engine, runtime_image: str) -> dict[str, bytes | None]:
    """Every path of the image, and what each file holds."""
    identifier = engine.docker("create", runtime_image).out.strip()
    try:
        done = subprocess.run(
            [engine.client, "export", identifier],
            env=engine.environ,
            capture_output=True,
            check=True,
        )
    finally:
        engine.docker("rm", identifier)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        return {
            member.name: archive.extractfile(member).read() if member.isfile() else None
            for member in archive
        }


# -- the runtime ----------------------------------------------------------------------------


def test_the_runtime_is_pyinit_and_nothing_else(runtime_files: dict[str, bytes | None]) -> None:
    # The engine itself puts empty files and folders into every container.
    found = {name for name, content in runtime_files.items() if content}
    assert found
    assert {name for name in found if not name.startswith("opt/pyinit/")} == set()
    assert "usr/local/bin/pyinit" in runtime_files
    # What everybody's image grows by: 15 MB when this was written, 6 MB as it is transferred.
    assert sum(map(len, filter(None, runtime_files.values()))) < 22e6
    assert sum(len(gzip.compress(data)) for data in runtime_files.values() if data) < 8e6
    program = runtime_files["opt/pyinit/bin/pyinit"]
    assert program.startswith(b"\x7fELF")
    # No ELF interpreter and no shared library: PT_INTERP and PT_DYNAMIC are not among the headers.
    count = int.from_bytes(program[56:58], "little")
    headers = [program[64 + 56 * n :][:4] for n in range(count)]
    assert not {2, 3} & {int.from_bytes(header, "little") for header in headers}


def test_nothing_of_the_bill_is_missing_and_it_is_valid(
    engine: Engine, runtime_files: dict[str, bytes | None]
) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = runtime_files[BILL].decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.replace('"name"', '"nam"'))

    bill = json.loads(text)
    answer = {part["name"]: part for part in bill["components"]}
    assert bill["metadata"]["component"]["version"] == entrypoint.__version__

    assert answer.keys() == {
        *("cpython", "cronsim", "glibc", "libcap", "libffi", "libgcc", "libyaml"),
        *("python-prctl", "pyyaml", "structlog", "zlib"),
    }
    for name, part in answer.items():
        [licence] = part["licenses"]
        assert licence.get("expression") or licence["license"]["id"], name
        texts = [path for path in runtime_files if path.startswith(f"{LICENCES}/{name}/")]
        assert any(runtime_files[path] for path in texts), name
    assert runtime_files[f"{LICENCES}/pyinit/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    versions = engine.docker(
        *("run", "--rm", images.build_base(engine), "dpkg-query", "--show", "libc6-dev")
    ).out.split()
    assert answer["glibc"]["version"] == versions[1]
    assert answer["cpython"]["cpe"].startswith("cpe:2.3:a:python:python:3.")


def test_a_change_of_the_code_fetches_and_compiles_nothing_again(
    engine: Engine, runtime_image: str, tmp_path: Path
) -> None:
    del runtime_image  # has filled the engine's cache
    context = tmp_path / "context"
    for name in ("entrypoint", "scripts", "Dockerfile", ".dockerignore", "LICENSE"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, context / name)
    with (context / "entrypoint" / "__init__.py").open("a") as file:
        file.write("# changed\n")
    said = engine.docker(
        *("build", "--target=inputs", f"--build-arg=BUILD_IMAGE={images.build_base(engine)}"),
        str(context),
    ).out
    steps = re.findall(r"(?m)^Step \d+/\d+ : (\w+)", said)
    # Neither a build argument nor FROM is a step that the cache has.
    assert said.count("Using cache") == len([s for s in steps if s not in {"ARG", "FROM"}]) > 3


def test_make_image_labels_what_it_builds_and_make_sbom_tells_what_is_in_it(
    engine: Engine, runtime_files: dict[str, bytes | None]
) -> None:

    def make(*words: str) -> bytes:
        return subprocess.run(
            ["make", "--no-print-directory", "-C", str(ROOT), "IMAGE=pyinit-test/made", *words],
            env={
                **engine.environ,
                "PATH": f"{Path(engine.client).parent}:{engine.environ['PATH']}",
            },
            capture_output=True,
            check=True,
        ).stdout

    make("image", "TARGET=runtime", f"BUILD_IMAGE={images.build_base(engine)}")
    assert make("sbom") == runtime_files[BILL]
    answer = json.loads(engine.docker("image", "inspect", "pyinit-test/made").out)[0]["Config"]
    labels = {key.rpartition(".")[2]: value for key, value in answer["Labels"].items()}
    assert labels["title"] == "pyinit"
    assert (
        labels["licenses"] == importlib.metadata.metadata("pyinit-entrypoint")["License-Expression"]
    )
    assert labels["version"] == entrypoint.__version__
    run = engine.docker("run", "--rm", "pyinit-test/made", "--version").out
    assert run.split()[-1] == labels["version"]
    head = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    assert labels["revision"] == head.stdout.strip()


# -- copied into images that bring nothing --------------------------------------------------


def copied(engine: Engine, folder: Path, base: str, name: str, runtime_image: str) -> str:
    """`Dockerfile.copy` on `base`, then the app of `folder` as people would add it."""
    image = engine.build(
        folder,
        f"pyinit-test/copy-{name}",
        f"--file={ROOT / 'Dockerfile.copy'}",
        BASE_IMAGE=base,
        PYINIT_IMAGE=runtime_image,
    )
    (folder / "Dockerfile").write_text(f"FROM {image}\nCOPY . /app\n")
    return engine.build(folder, f"pyinit-test/copied-{name}")


def bare_node(engine: Engine, folder: Path) -> tuple[str, str]:
    shutil.copy(ROOT / "examples" / "node-http" / "server.js", folder)
    return images.bare(engine, "node"), "server.js 8000"


def bare_python(engine: Engine, folder: Path) -> tuple[str, str]:
    shutil.copy(HERE / "worker.py", folder)
    return images.bare(engine, "python"), "/usr/bin/python3.11 worker.py 8000"


def musl(engine: Engine, folder: Path) -> tuple[str, str]:
    del folder
    base = engine.build(HERE / "musl", "pyinit-test/musl", BUILD_IMAGE=images.build_base(engine))
    return base, "/worker"


@pytest.mark.parametrize("prepare", [bare_node, bare_python, musl])
def test_it_runs_where_there_is_no_shell_and_no_python_of_ours(
    engine: Engine,
    runtime_image: str,
    tmp_path: Path,
    prepare: Callable[[Engine, Path], tuple[str, str]],
) -> None:
    base, script = prepare(engine, tmp_path)
    (tmp_path / "ecosystem.yaml").write_text(images.TWO_WORKERS.format(script=script))
    image = copied(engine, tmp_path, base, prepare.__name__, runtime_image)
    options = (*RESTRICTED, "--health-interval=1s", "--env=PORT=8000")

    with engine.container(image, *options) as container:
        container.answers(9400, "/readyz")
        wait_until(lambda: len(instances(container)) == 2, "two workers")
        container.answers(8000)
        wait_until(lambda: container.health() == "healthy", "healthy")
        for shell in ("sh", "/bin/sh", "/bin/bash"):
            assert container.run(shell, "-c", "true", check=False).code in {126, 127}
        assert "web" in container.run(PYINIT, "ls").out
        container.run(PYINIT, "reload", "web")
        assert container.get(8000).status == 200
        assert container.stop() < 10
        assert container.state()["ExitCode"] == 0


def instances(container: Container) -> set[str]:
    answer: Any = container.get(9400, "/status").body
    return {
        str(w["instance"]) for a in json.loads(answer)["apps"] for w in a["workers"] if w["ready"]
    }


def test_variables_for_python_and_the_loader_are_the_workers_alone(
    engine: Engine, pyinit_image: str, tmp_path: Path
) -> None:
    for name in ("yaml.py", "select.py", "sitecustomize.py", "libc.so.6", "libm.so.6"):
        (tmp_path / name).write_text("raise SystemExit('not yours')\n")
    script = "env"
    (tmp_path / "ecosystem.yaml").write_text(
        f"apps: [{{name: a, script: {script}, autorestart: false}}]\n"
    )
    tmp_path.chmod(0o755)
    # Debian's `env` is to start: its own libraries, please.
    given = {**HOSTILE, "LD_LIBRARY_PATH": "/usr/lib/x86_64-linux-gnu:/app"}
    options = [f"--env={key}={value}" for key, value in given.items()]
    with engine.container(pyinit_image, f"--volume={tmp_path}:/app:ro", *options) as container:
        assert container.wait() == 0
        said = {event["event"] for event in container.events() if event.get("stream")}
    assert {f"{key}={value}" for key, value in given.items()} <= said
    # Added by Python itself where there is no locale (PEP 538).
    assert not {line for line in said if line.startswith("LC_CTYPE=")}
