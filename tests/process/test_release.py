"""`make release`: in a clone of this checkout, the upload excepted."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("release")

ROOT = Path(__file__).resolve().parents[2]
SOMEBODY = {
    "GIT_AUTHOR_NAME": "somebody",
    "GIT_AUTHOR_EMAIL": "somebody@example.org",
    "GIT_COMMITTER_NAME": "somebody",
    "GIT_COMMITTER_EMAIL": "somebody@example.org",
}


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", *words],
        cwd=folder,
        env={**os.environ, **SOMEBODY},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as it is, committed, in a repository of its own."""
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    folder = tmp_path_factory.mktemp("release")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
            target.chmod((ROOT / name).stat().st_mode)
    git(folder, "init", "--quiet", "--initial-branch=main")
    changelog = folder / "CHANGELOG.md"
    head, _, rest = changelog.read_text().partition("## [Unreleased]\n")
    older = rest[rest.index("\n## [") :]
    changelog.write_text(f"{head}## [Unreleased]\n\n### Added\n\n- A thing.\n{older}")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "all of it")
    return folder


@pytest.fixture
def clone(base: Path, tmp_path: Path) -> Path:
    """A clone of it, to change."""
    git(tmp_path, "clone", "--quiet", str(base), "clone")
    return tmp_path / "clone"


def release(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/release", *words],
        cwd=clone,
        env={**os.environ, **SOMEBODY},
        capture_output=True,
        text=True,
        timeout=300,
    )


def state(clone: Path) -> tuple[str, ...]:
    asked = (("rev-parse", "HEAD"), ("tag", "--list"), ("status", "--porcelain"))
    return tuple(git(clone, *words) for words in asked)


def test_a_release_but_for_the_upload(clone: Path):
    before = state(clone)
    done = release(clone, "9.8.7", "--do", "--date=2031-02-03")
    assert done.returncode == 0, done.stderr

    assert '__version__ = "9.8.7"' in (clone / "entrypoint/__init__.py").read_text()
    changelog = (clone / "CHANGELOG.md").read_text()
    assert "## [Unreleased]\n\n## [9.8.7] - 2031-02-03\n\n### Added\n\n- A thing.\n" in changelog
    assert git(clone, "log", "-1", "--format=%s") == "release: 9.8.7"
    assert git(clone, "rev-parse", "HEAD^") == before[0]
    assert git(clone, "rev-parse", "v9.8.7^{commit}") == git(clone, "rev-parse", "HEAD")
    assert git(clone, "cat-file", "-t", "v9.8.7") == "tag"
    assert "\n### Added\n\n- A thing." in git(clone, "tag", "--list", "--format=%(contents)")
    assert git(clone, "status", "--porcelain") == ""

    dist = clone / "dist"
    sums = dict(line.split("  ")[::-1] for line in (dist / "SHA256SUMS").read_text().splitlines())
    wheel, archive = sorted(sums)
    assert wheel == "pyinit_entrypoint-9.8.7-py3-none-any.whl"
    assert archive == "pyinit_entrypoint-9.8.7.tar.gz"
    for name, digest in sums.items():
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest
        assert f"dist/{name}" in done.stdout
    with zipfile.ZipFile(dist / wheel) as opened:
        assert b'"9.8.7"' in opened.read("entrypoint/__init__.py")
        assert any(name.endswith("/scripts/pyinit") for name in opened.namelist())
    with tarfile.open(dist / archive) as opened:
        assert "pyinit_entrypoint-9.8.7/scripts/pyinit" in opened.getnames()
    assert (dist / "NOTES.md").read_text() == "pyinit 9.8.7\n\n### Added\n\n- A thing.\n"

    again = release(clone, "9.8.7", "--do")
    assert again.returncode == 1
    assert "v9.8.7 exists" in again.stderr


def test_a_trial_changes_nothing(clone: Path):
    before = state(clone)
    done = release(clone, "9.8.7")
    assert done.returncode == 0, done.stderr
    assert "this was a trial" in done.stdout
    assert "release: v9.8.7 is" in done.stdout
    assert state(clone) == before
    assert not (clone / "dist").exists()


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("0.1.0", "0.1.0 is not above"),
        ("1.0", "is no version"),
        ("v1.0.0", "is no version"),
        ("1.0.0rc1", "is no version"),
    ],
)
def test_a_wrong_version_is_refused(clone: Path, version: str, sentence: str):
    before = state(clone)
    done = release(clone, version, "--do")
    assert (done.returncode, sentence in done.stderr) == (1, True), done.stderr
    assert state(clone) == before


def test_nothing_to_release_is_refused(clone: Path):
    changelog = clone / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("\n### Added\n\n- A thing.\n", ""))
    git(clone, "commit", "--quiet", "--all", "--message", "less")
    done = release(clone, "9.8.7", "--do")
    assert done.returncode == 1
    assert "nothing under Unreleased" in done.stderr
    assert git(clone, "tag") == ""


def test_uncommitted_changes_are_refused(clone: Path):
    (clone / "README.md").write_text("changed")
    done = release(clone, "9.8.7", "--do")
    assert done.returncode == 1
    assert "not committed" in done.stderr


def test_a_section_that_is_dated_already_is_taken(clone: Path):
    changelog = clone / "CHANGELOG.md"
    text = changelog.read_text().replace("\n### Added\n\n- A thing.\n", "")
    version = text.partition("## [Unreleased]")[2].partition("## [")[2].partition("]")[0]
    changelog.write_text(text)
    git(clone, "commit", "--quiet", "--all", "--message", "less")
    before = git(clone, "rev-parse", "HEAD")
    done = release(clone, version, "--do")
    assert done.returncode == 0, done.stderr
    assert git(clone, "rev-parse", f"v{version}^{{commit}}") == before
