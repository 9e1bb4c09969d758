"""What the packages are built from: fetched once into a cache, checked by hash.

Three sources, each through its ordinary client: Debian's packages (installed, see `DEBIAN`),
CPython's source archive (`apt-get source`), Python packages (`pip download`).
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REQUIREMENTS = HERE / "requirements.txt"

FROM_SOURCE = ("--no-binary", "PyYAML,python-prctl")

# Debian 12. Its libpython.a is compiled with profiles (PGO) and gets security updates.
PYTHON = "python3.11"
INTERPRETER = Path("/usr/bin") / PYTHON
# What is linked, then what links it.
LINKED = (
    f"lib{PYTHON}-dev",
    "libc6-dev",
    "libcap-dev",
    "libffi-dev",
    "libgcc-12-dev",
    "libyaml-dev",
    "zlib1g-dev",
)
TOOLS = ("binutils", "gcc", PYTHON, f"{PYTHON}-venv")
# Debian compiles some modules of CPython as shared objects only. Their sources, of the version
# that Debian's package is made from:
SOURCE = "python3.11_3.11.2.orig.tar.gz"
SOURCE_SHA256 = "2411c74bda5bbcfcddaf4531f66d1adc73f247f529aee981b029513aefdbf849"
# A folder that has it already, for a build without a network.
SOURCES_HERE = Path("/usr/src/pyinit")


class InputError(Exception):
    """Something to build from is missing; says what to do."""


def check_system() -> None:
    """Raises InputError when Debian's packages are not here."""
    wanted = (*LINKED, *TOOLS)
    if shutil.which("dpkg-query") is None:
        raise InputError("the packages are built on Debian 12, or in an image of it (Dockerfile)")
    missing = [name for name in wanted if not installed_version(name)]
    if missing:
        raise InputError(f"Debian packages are missing: apt-get install {' '.join(missing)}")


def installed_version(package: str) -> str:
    """The version of a Debian package; "" when it is not installed."""
    form = "${db:Status-Status} ${Version}"
    command = ["dpkg-query", "--show", f"--showformat={form}", package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    status, _, version = done.stdout.partition(" ")
    return version if status == "installed" else ""


def source_package(package: str) -> tuple[str, str]:
    """Name and version of the source that a Debian package is built from."""
    form = "${source:Package} ${source:Version}"
    command = ["dpkg-query", "--show", f"--showformat={form}", package]
    name, version = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.split()
    return name, version


def python_packages(cache: Path) -> list[Path]:
    """The archives that requirements.txt names."""
    folder = cache / f"python-{digest(REQUIREMENTS.read_bytes())[:12]}"
    if not folder.is_dir():
        partial = _fresh(folder)
        # A source archive is asked for its metadata; `--no-deps`: all are named.
        pip = [*_pip(cache), "download", "--quiet", "--no-deps", "--require-hashes"]
        where = ["--dest", str(partial), "--requirement", str(REQUIREMENTS)]
        _run(*pip, *FROM_SOURCE, *where)
        partial.rename(folder)
    return sorted(folder.iterdir())


def _pip(cache: Path) -> list[str]:
    venv = cache / "pip"
    if not (venv / "bin" / "pip").exists():
        _run(str(INTERPRETER), "-m", "venv", "--clear", str(venv))
    return [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]


def cpython_source(cache: Path) -> Path:
    """The folder with CPython's `Modules`."""
    folder = cache / f"cpython-{SOURCE_SHA256[:12]}"
    if folder.is_dir():
        return folder
    partial = _fresh(folder)
    with tarfile.open(source_archive(cache)) as tar:
        tar.extractall(partial)  # trusted: its hash is checked
    [unpacked] = partial.iterdir()
    unpacked.rename(folder)
    partial.rmdir()
    return folder


def source_archive(cache: Path) -> Path:
    """CPython's source archive, of the version and hash above."""
    archive = SOURCES_HERE / SOURCE
    if not archive.exists():
        archive = _apt_source(cache)
    if digest(archive.read_bytes()) != SOURCE_SHA256:
        raise InputError(f"{archive} is not the archive that inputs.py names")
    return archive


def _apt_source(cache: Path) -> Path:
    """`apt-get source`, with lists of its own: the system's may lack source packages."""
    archive = cache / SOURCE
    if archive.exists():
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "lists" / "partial").mkdir(parents=True)
        parts = folder / "parts"
        parts.mkdir()
        lists = Path("/etc/apt").glob("sources.list.d/*")
        for path in sorted([*Path("/etc/apt").glob("sources.list"), *lists]):
            text = path.read_text()
            if path.suffix in {".sources", ".list"} and "/debian" in text:
                text = re.sub(r"(?m)^(Types: )?deb( |$)", r"\1deb-src\2", text)
                (parts / path.name).write_text(text)
        apt = [
            "apt-get",
            "--quiet",
            f"--option=Dir::Etc::SourceParts={parts}",
            "--option=Dir::Etc::SourceList=/dev/null",
            f"--option=Dir::State::Lists={folder}/lists",
            "--option=APT::Sandbox::User=root",
        ]
        _run(*apt, "update")
        _run(*apt, "source", "--download-only", "--tar-only", PYTHON, cwd=folder)
        shutil.move(folder / SOURCE, archive)
    return archive


def site(archives: list[Path], dest: Path) -> None:
    """Unpack the packages into `dest`: wheels as they are, source archives as `NAME-VERSION`."""
    for path in archives:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                wheel.extractall(dest)
        else:
            with tarfile.open(path) as tar:
                tar.extractall(dest)  # trusted: by --require-hashes


def _fresh(folder: Path) -> Path:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial


def digest(data: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise InputError(f"{' '.join(command[:4])} … failed:\n{tail}")
