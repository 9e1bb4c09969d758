"""What the loader's process pays for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import os, sys
from entrypoint.config.load import load
from entrypoint.config.errors import ConfigErrors
plan = load("f.yaml", environ=os.environ).plan
heavy = {"re", "enum", "json", "typing", "dataclasses", "subprocess", "asyncio", "yaml.resolver"}
print(plan.apps[0].name, sorted(heavy & set(sys.modules)))
for broken in ("a: [", "a:\\n\\t- b", "a: *b", "a: 'b"):
    open("g.yaml", "w").write(broken)
    try:
        load("g.yaml", environ=os.environ)
    except ConfigErrors as errors:
        print(errors.errors[0])
"""


def run(folder, *options, **environ):
    packages = [path for path in sys.path if path.endswith("site-packages")]
    return subprocess.run(
        [sys.executable, "-S", *options, "-c", PROGRAM],
        cwd=folder.path,
        env={
            **os.environ,
            "PATH": folder.environ["PATH"],
            "PYTHONPATH": ":".join([str(ROOT), *packages]),
            **environ,
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()


def test_a_yaml_file_loads_without_heavy_modules(folder):
    folder.file("f.yaml", "apps: [{script: app.js}]")
    lines = run(folder)
    assert lines[0] == "app []"
    assert len(lines) == 5
    assert all(line.startswith("g.yaml:") for line in lines[1:])


def test_the_whole_of_pyyaml_says_the_same(folder):
    folder.file("f.yaml", "apps: [{script: app.js}]")
    trimmed = run(folder)
    sitecustomize = folder.file("site/preload.py", "import re, yaml\n")
    program = (
        f"import sys; sys.path.insert(0, {str(sitecustomize.parent)!r}); import preload\n" + PROGRAM
    )
    whole = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder.path,
        env={**os.environ, "PATH": folder.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert whole[1:] == trimmed[1:]
