"""The images of the container tests, made from Debian packages and local wheels.

Nothing is pulled: two root filesystems come from `mmdebstrap` (with the machine's own apt
sources), the Python packages from `pip download` (with the machine's own pip settings).
The names of images carry a fingerprint of what they are made of, so a change makes a new
one and an unchanged one is found in the cache.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.packages import inputs as packages
from tests.container.engine import EngineError, fingerprint

if TYPE_CHECKING:
    from tests.container.engine import Engine

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
# A file for the programs in `bare` and `musl`: two workers on one port, and probes.
TWO_WORKERS = """
apps:
  - name: web
    script: {script}
    exec_mode: cluster
    instances: 2
    listen_timeout: 60s
probes:
  listen: 0.0.0.0:9400
"""
SUITE = "bookworm"
SUITE_PYTHON = "3.11"

# Runs programs: Python for pyinit, node for `serve`.
BASE_PACKAGES = ("python3", "nodejs")
# Builds them: what the Dockerfile's first stage would install from a registry; and a compiler
# for the other C library, musl, which is Alpine's.
BUILD_PACKAGES = (
    *("python3", "python3-venv", "python3-dev", "python3.11-venv"),
    *(*packages.LINKED, *packages.TOOLS),
    "musl-tools",
)
# CPython's source archive, by the new root's own apt (`inputs.py` finds it there).
_FETCH = "from scripts.packages import inputs as i; i.source_archive(i.SOURCES_HERE)"
FETCH_SOURCE = (
    f'--customize-hook=mkdir -p "$1{packages.SOURCES_HERE}/scripts"'
    f' && cp -r "{ROOT}/scripts/packages" "$1{packages.SOURCES_HERE}/scripts/"'
    f""" && chroot "$1" sh -c 'cd {packages.SOURCES_HERE} && python3.11 -B -c "{_FETCH}"'"""
    f' && rm -r "$1{packages.SOURCES_HERE}/scripts"'
)
# Images of one program each: (program, the folder that it reads).
BARE = {
    "node": ("/usr/bin/node", "/usr/share/nodejs"),
    "python": ("/usr/bin/python3.11", "/usr/lib/python3.11"),
}

# As of node:22-bookworm-slim, which the README and the examples name.
NPM = "npm@10.9.2"

# One of them is a source distribution only, and is compiled in the image.
SOURCES = ("python-prctl",)
# What the servers of examples/asgi/requirements.txt need, and what builds wheels.
BUILD_TOOLS = ("setuptools>=77", "wheel")


def prepare(engine: Engine) -> None:
    """Make the two Debians at once when they are missing: most of the time of a first run."""
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(build_base, engine), pool.submit(base, engine)]:
            done.result()


def base(engine: Engine) -> str:
    """A small Debian with Python and node."""
    return _debian(engine, "base", "essential", BASE_PACKAGES)


def build_base(engine: Engine) -> str:
    """A Debian with a compiler, and pip set up to use wheels in /wheels and nothing else."""
    folder_of_wheels = wheels(engine)
    names = sorted(path.name for path in folder_of_wheels.iterdir())
    debian = _debian(engine, "build-debian", "apt", BUILD_PACKAGES, FETCH_SOURCE)
    tag = f"pyinit-test/build:{fingerprint(debian, *names)}"
    if not engine.has_image(tag):
        with tempfile.TemporaryDirectory() as folder:
            context = Path(folder)
            shutil.copytree(folder_of_wheels, context / "wheels")
            (context / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
            (context / "Dockerfile").write_text(
                f"FROM {debian}\nCOPY wheels /wheels\nCOPY pip.conf /etc/pip.conf\n"
            )
            engine.build(context, tag)
    return tag


def with_pip(engine: Engine) -> str:
    """A Debian with Python and pip, and no compiler."""
    return _debian(engine, "pip", "essential", ("python3-venv",))


def pyinit(engine: Engine) -> str:
    """The project's own Dockerfile, built on the small Debian."""
    return _pyinit(engine, "pyinit-test/pyinit", base(engine))


def pyinit_with_pip(engine: Engine) -> str:
    """The same on the Debian with pip: what python:3-slim is to people."""
    return _pyinit(engine, "pyinit-test/pyinit-pip", build_base(engine))


def _pyinit(engine: Engine, tag: str, base_image: str) -> str:
    return engine.build(ROOT, tag, BASE_IMAGE=base_image, BUILD_IMAGE=build_base(engine))


def runtime(engine: Engine) -> str:
    """What other images copy: the target `runtime` of the project's Dockerfile."""
    return engine.build(
        ROOT, "pyinit-test/runtime", "--target=runtime", BUILD_IMAGE=build_base(engine)
    )


def node_slim(engine: Engine) -> str:
    """A stand-in for node:22-bookworm-slim, under that name: node, npm, and a user `node`."""
    folder = engine.cache / f"npm-{fingerprint(NPM)}"
    if not folder.is_dir():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _run("npm", "pack", "--silent", "--pack-destination", str(partial), NPM)
        [archive] = partial.glob("*.tgz")
        _run("tar", "--extract", f"--file={archive}", f"--directory={partial}")
        archive.unlink()
        partial.rename(folder)
    with tempfile.TemporaryDirectory() as name:
        context = Path(name)
        shutil.copytree(folder / "package", context / "npm")
        (context / "Dockerfile").write_text(
            f"FROM {base(engine)}\n"
            "COPY npm /usr/local/lib/node_modules/npm\n"
            "RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm"
            " && chmod +x /usr/local/lib/node_modules/npm/bin/npm-cli.js"
            " && echo 'node:x:1000:1000::/home/node:/bin/sh' >>/etc/passwd\n"
        )
        return engine.build(context, "node:22-bookworm-slim")


def bare(engine: Engine, name: str) -> str:
    """An image of one language, without a shell; see `BARE`."""
    program, folder = BARE[name]
    return engine.build(
        HERE / "bare",
        f"pyinit-test/bare-{name}",
        BASE_IMAGE=base(engine),
        PROGRAM=program,
        FOLDER=folder,
    )


def _debian(engine: Engine, name: str, variant: str, include: tuple[str, ...], *more: str) -> str:
    options = [
        f"--variant={variant}",
        f"--include={','.join(include)}",
        *more,
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        '--aptopt=Acquire::Languages "none"',
    ]
    # The same in every checkout.
    made_of = (option.replace(str(ROOT), "") for option in options)
    tag = f"pyinit-test/{name}:{fingerprint(SUITE, *made_of)}"
    if engine.has_image(tag):
        return tag
    if shutil.which("mmdebstrap") is None:
        raise EngineError("missing program: mmdebstrap (make setup installs it on Debian)")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "root.tar"
        done = subprocess.run(
            ["mmdebstrap", *options, SUITE, str(archive), *_apt_sources()],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise EngineError(f"mmdebstrap: exit {done.returncode}\n{done.stderr[-3000:]}")
        engine.docker("import", str(archive), tag)
    return tag


def _apt_sources() -> list[str]:
    """The machine's own apt sources when they have the suite; else mmdebstrap's default."""
    found = []
    for path in (
        Path("/etc/apt/sources.list"),
        *sorted(Path("/etc/apt/sources.list.d").glob("*.sources")),
        *sorted(Path("/etc/apt/sources.list.d").glob("*.list")),
    ):
        try:
            text = path.read_text()
        except OSError:
            continue
        if SUITE in text and "debian" in text:
            found.append(str(path))
    return found


def wheels(engine: Engine) -> Path:
    """A folder with every Python package that the builds need, for the image's Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *BUILD_TOOLS]
    requirements = ROOT / "examples" / "asgi" / "requirements.txt"
    needed += [
        line.strip()
        for line in requirements.read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    needed.append("gunicorn>=23")  # of the tutorial from tini
    text = packages.REQUIREMENTS.read_text()
    folder = engine.cache / f"wheels-{fingerprint(SUITE_PYTHON, text, *needed)}"
    if folder.is_dir():
        return folder
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    sources = [line for line in needed if line.startswith(SOURCES)]
    binary = [line for line in needed if not line.startswith(SOURCES)]
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(partial)]
    _run(*download, "--only-binary=:all:", f"--python-version={SUITE_PYTHON}", *binary)
    _run(*download, "--no-deps", "--no-binary=:all:", *sources)
    # Those of the program, by their hashes; for an installation they may be of other versions.
    pinned = [*("--no-deps", "--require-hashes", "--requirement"), str(packages.REQUIREMENTS)]
    _run(*download, *packages.FROM_SOURCE, *pinned)
    partial.rename(folder)
    return folder


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EngineError(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-3000:]}")
