"""What every build of the packages must be; how each is installed: test_installed.py."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

import entrypoint
from tests.support.namespace import own_namespace

FILE = """
apps:
  - {name: job, script: /bin/pyinit, args: "--version", autorestart: false, user: nobody}
"""


@pytest.fixture(scope="module")
def root(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root filesystem that has nothing but the program, moved, and two account files."""
    folder = tmp_path_factory.mktemp("root")
    [archive] = dist.glob("pyinit-*-linux-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    [unpacked] = folder.glob("pyinit-*")
    folder.chmod(0o755)
    (folder / "bin").mkdir()
    (unpacked / "bin" / "pyinit").rename(folder / "bin" / "pyinit")
    for name in ("proc", "dev", "etc", "tmp"):
        (folder / name).mkdir()
    (folder / "etc" / "passwd").write_text("nobody:x:65534:65534::/:/none\n")
    (folder / "etc" / "group").write_text("nogroup:x:65534:\n")
    # A static program must not ask the image's name service modules.
    (folder / "etc" / "nsswitch.conf").write_text("passwd: systemd\ngroup: systemd\n")
    return folder


def run(root: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = own_namespace(
        "sh",
        "-c",
        'mount --bind /proc "$0/proc" && mount --rbind /dev "$0/dev"'
        ' && exec chroot "$0" /bin/pyinit "$@"',
        str(root),
        *words,
    )
    return subprocess.run(
        ["unshare", "--mount", *command],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_it_runs_a_job_in_an_empty_root_from_another_place(root: Path) -> None:
    (root / "ecosystem.yaml").write_text(FILE)
    done = run(
        root,
        *("-c", "/ecosystem.yaml"),
        # Meant for workers. A dynamic program would obey all of them.
        LD_PRELOAD="/bin/pyinit",
        LD_LIBRARY_PATH="/bin",
        PYTHONPATH="/bin",
        PYTHONHOME="/nowhere",
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done
    said = {event["event"] for event in events}
    assert f"pyinit {entrypoint.__version__}" in said
    assert not {event["event"] for event in events if event["level"] in {"warning", "error"}}


def test_a_signal_before_any_import_counts(root: Path) -> None:
    """The kernel drops a signal that PID 1 has no handler for; a blocked one waits."""
    done = subprocess.run(
        [
            "strace",
            "-f",
            "-e",
            "trace=execve,rt_sigprocmask",
            str(root / "bin/pyinit"),
            "--version",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    calls = [line for line in done.stderr.splitlines() if "(" in line]
    assert calls[0].startswith("execve(")
    assert calls[1].startswith("rt_sigprocmask(SIG_BLOCK, ~[")
    assert "rt_sigprocmask(SIG_SETMASK, []" in done.stderr


def test_checksums_and_provenance_name_every_file(dist: Path) -> None:
    sums = dict(
        reversed(line.split("  ")) for line in (dist / "SHA256SUMS").read_text().splitlines()
    )
    files = {path.name: path.read_bytes() for path in dist.iterdir() if path.name != "SHA256SUMS"}
    assert {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} == sums
    provenance = json.loads(files.pop("provenance.json"))
    named = {each["name"]: each["digest"]["sha256"] for each in provenance["subject"]}
    assert named == {name: sums[name] for name in files}
    assert provenance["predicateType"] == "https://slsa.dev/provenance/v1"
    materials = provenance["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert any("libpython3.11-dev@" in each["uri"] for each in materials)


def test_no_package_is_larger_than_the_goal(dist: Path, root: Path) -> None:
    assert (root / "bin/pyinit").stat().st_size < 22e6
    assert {path.name for path in dist.iterdir() if path.stat().st_size > 8e6} == set()
