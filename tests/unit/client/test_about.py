"""`pyinit --version --verbose`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import entrypoint
from entrypoint import cli
from entrypoint.client import about

ROOT = Path(entrypoint.__file__).parents[1]


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert cli.main(["--version", "--verbose"], starts_run=False) == 0
    first, *rows = capsys.readouterr().out.splitlines()
    assert first == f"pyinit {entrypoint.__version__}"
    return {name: text.strip() for name, _, text in (row.partition(":") for row in rows)}


def test_it_tells_what_runs_and_what_the_kernel_allows(capsys):
    found = told(capsys)
    assert found["installed from"] == f"a checkout ({ROOT})"
    assert found["Python"].startswith(sys.version.split()[0])
    for feature in ("seccomp notifications", "pidfd_getfd", "SO_REUSEPORT", "inotify", "prctl"):
        assert found[feature] == "yes" or found[feature].startswith("no: "), feature
    assert found["cgroup"] in {"version 1", "version 2", "not mounted"}


@pytest.mark.parametrize(
    ("place", "beside", "kind"),
    [
        ("/app/node_modules/pyinit-entrypoint/bin/pyinit", (), "npm"),
        ("bin/pyinit", ("share/sbom.cdx.json",), "tar.gz ({folder})"),
        ("bin/pyinit", ("lib/python3.9/site-packages/pyinit_entrypoint-1.dist-info/x",), "wheel"),
        ("bin/pyinit", (), "static program, copied alone"),
    ],
)
def test_the_place_of_the_program_tells_its_package(monkeypatch, tmp_path, place, beside, kind):
    for name in beside:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(about, "is_static", lambda: True)
    monkeypatch.setattr(about, "_program", lambda: str(tmp_path / place))
    assert about.installed_from().startswith(kind.format(folder=tmp_path))
