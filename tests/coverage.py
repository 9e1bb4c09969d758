"""`make coverage`: branches of the core by its pure tests, and of all else by all tests.

`python -m tests.coverage [--core] [ARG of pytest…]`. Processes that tests start are
measured too: pyinit as PID 1, its commands, the loader. Exit 0: the core is at 100 %, the
rest above `REST`. Tests of what PID 1 imports may fail under a tracer; the table counts.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import namespace

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".cache" / "coverage"
CORE = ("tests/unit/core", "tests/unit/api", "tests/simulation")
REST = 90.0

SETTINGS = """\
[run]
branch = true
parallel = true
source = {source}
data_file = {data}
patch = {patch}
core = ctrace

[report]
exclude_also =
    if TYPE_CHECKING:
    raise NotImplementedError
"""


def main() -> int:
    arguments = sys.argv[1:]
    only_core = "--core" in arguments
    arguments = [each for each in arguments if each != "--core"]
    namespace.enter("tests.coverage")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    core = _measured("core", "entrypoint/core", [*CORE, *arguments])
    fine = core == 100.0
    print(f"branches and lines of the core, by its pure tests: {core:.1f} %")
    if not only_core:
        rest = _measured("all", "entrypoint", ["-n", "2", "--dist", "loadgroup", *arguments])
        print(f"everything, by all tests and the processes that they start: {rest:.1f} %")
        fine = fine and rest > REST
    return 0 if fine else 1


def _measured(name: str, source: str, tests: list[str]) -> float:
    """Run tests with a tracer, print the table; the share that was run."""
    settings = FOLDER / f"{name}.ini"
    data = FOLDER / f"{name}.data"
    patch = "" if name == "core" else "_exit, subprocess, fork"
    text = SETTINGS.format(source=ROOT / source, data=data, patch=patch)
    settings.write_text(text)
    coverage = [sys.executable, "-m", "coverage"]
    run = [*coverage, "run", f"--rcfile={settings}", "-m", "pytest", "-q", *tests]
    env = {**os.environ, "COVERAGE_CORE": "ctrace"}
    subprocess.run([*run, "-p", "no:cacheprovider"], cwd=ROOT, env=env)
    rcfile = f"--rcfile={settings}"
    subprocess.run([*coverage, "combine", "--quiet", rcfile], cwd=ROOT, check=True)
    subprocess.run([*coverage, "report", "--show-missing", "--skip-covered", rcfile], cwd=ROOT)
    totals = FOLDER / f"{name}.json"
    subprocess.run([*coverage, "json", "--quiet", rcfile, "-o", str(totals)], cwd=ROOT, check=True)
    return float(json.loads(totals.read_text())["totals"]["percent_covered"])


if __name__ == "__main__":
    sys.exit(main())
