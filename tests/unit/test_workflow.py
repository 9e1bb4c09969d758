"""The workflow of the public forge: it calls targets that exist, and all tests are in a job."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
JOBS = WORKFLOW["jobs"]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
EVIDENCE = JOBS["evidence"]["strategy"]["matrix"]["include"]


def test_each_job_has_ten_minutes_at_most():
    assert {name: job["timeout-minutes"] <= 10 for name, job in JOBS.items()} == dict.fromkeys(
        JOBS, True
    )


def test_the_targets_that_are_called_exist():
    called = {
        word
        for job in JOBS.values()
        for step in job["steps"]
        for word in re.findall(r"\bmake ([a-z]+)", step.get("run", ""))
    }
    assert called >= {"lint", "unit", "setup", "test"}
    assert called <= TARGETS
    assert {each["target"] for each in EVIDENCE} <= TARGETS
    assert {"chaos", "fuzz", "mutants", "soak", "coverage"} <= {x["target"] for x in EVIDENCE}


def test_each_test_file_is_in_a_job():
    parts = " ".join(JOBS["test"]["strategy"]["matrix"]["part"]).split()
    folders = [ROOT / part for part in (*parts, "tests/unit", "tests/simulation")]
    left = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if "node_modules" not in path.parts
        and not any(path.is_relative_to(folder) for folder in folders)
    ]
    assert left == []


@pytest.mark.parametrize("each", EVIDENCE, ids=lambda each: each["target"])
def test_the_options_of_the_evidence_are_known(each):
    (module,) = re.findall(
        rf"^{each['target']}:.*\n(?:\t.*\n)*?\t@\$\(PYTHON\) -m (\S+) \$\(ARGS\)",
        MAKEFILE,
        re.MULTILINE,
    )
    path = ROOT / (module.replace(".", "/") + ".py")
    source = (path if path.exists() else path.with_suffix("") / "__main__.py").read_text()
    for option in re.findall(r"--[a-z]+", each["args"]):
        assert f'"{option}"' in source
