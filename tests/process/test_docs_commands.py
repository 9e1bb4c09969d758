"""Every block of commands in the documents is executed by a test, or says why it is not.

The tutorials and the README have tests of their own. Of the other pages, a block that may run as it
stands is run here, and the rest begins with `<!-- not run: REASON -->`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import textwrap
from pathlib import Path

import pytest

from tests.support.commands import inside
from tests.support.run import PYINIT, Run

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
BLOCK = re.compile(
    r"^(?P<mark> *<!-- not run: [^\n]+ -->\n)?(?P<indent> *)```(?:sh|console|bash)\n"
    r"(?P<text>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)
# Page → the test that executes its blocks.
ELSEWHERE = {
    "README.md": "tests/process/test_readme.py",
    "docs/tutorial/laptop.md": "tests/process/test_tutorial_laptop.py",
    **{
        f"docs/tutorial/from-{name}.md": "tests/container/test_tutorials.py"
        for name in ("foreman", "pm2", "supervisord", "tini")
    },
}
# Page → how its blocks are run here.
HERE = ("docs/reference/convert.md", "docs/reference/control.md")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_each_block_is_run_or_says_why_not(page: Path) -> None:
    name = name_of(page)
    blocks = list(BLOCK.finditer(page.read_text(encoding="utf-8")))
    open_blocks = [found["text"] for found in blocks if not found["mark"]]
    if name in ELSEWHERE:
        stem = page.stem.removeprefix("from-")
        test = (ROOT / ELSEWHERE[name]).read_text(encoding="utf-8")
        assert name in test or page.name in test or f'"{page.stem}"' in test or stem in test
    else:
        assert open_blocks == [] or name in HERE


def commands(page: str) -> list[str]:
    """The lines of its blocks that are run."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for block in BLOCK.finditer(text):
        if not block["mark"]:
            lines = textwrap.dedent(block["text"]).splitlines()
            found += [line.removeprefix("$ ") for line in lines]
    return found


def shell(line: str, folder: Path, *before: str) -> subprocess.CompletedProcess[str]:
    fake = f'pyinit() {{ "{PYINIT}" "$@"; }}; '
    return subprocess.run(
        [*before, "sh", "-ec", fake + line], cwd=folder, capture_output=True, text=True, timeout=60
    )


def test_the_lines_of_the_page_on_convert(tmp_path: Path) -> None:
    (tmp_path / "ecosystem.config.js").write_text("module.exports = {apps: [{script: './a.sh'}]}\n")
    (tmp_path / "a.sh").write_text("#!/bin/sh\n")
    for name in ("web", "worker"):
        (tmp_path / f"{name}.service").write_text("[Service]\nExecStart=/bin/sleep 5\n")
    lines = commands("docs/reference/convert.md")
    assert len(lines) == 2
    for line in lines:
        if "config.js" in line and not shutil.which("node"):
            continue
        done = shell(line, tmp_path)
        assert done.returncode == 0, done.stderr
        assert "apps:" in (tmp_path / "ecosystem.yaml").read_text()


@pytest.mark.pid1
def test_the_line_of_the_page_on_control(tmp_path: Path) -> None:
    (line,) = commands("docs/reference/control.md")
    apps = [{"name": "web", "script": "sleep 1000"}]
    # Its folder is the first that can be written, here a short one of the test's own (unix(7)).
    with (
        tempfile.TemporaryDirectory(prefix="pi", dir="/tmp") as folder,
        Run(tmp_path, apps, env={"PYINIT_RUN_DIR": folder}) as run,
    ):
        run.event("app ready", app="web")
        run.until(lambda: list(Path(folder).glob("pyinit-0/*.sock")), "its socket")
        done = shell(line.replace("/run/", f"{folder}/"), tmp_path, *inside(run))
        assert done.returncode == 0, done.stderr
        assert '"exit":0' in done.stdout.replace(" ", "")
        assert run.stop() == 0
