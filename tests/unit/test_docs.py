"""What the documents say of the code is what the code says of itself."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from entrypoint.api.probes import ENDPOINTS
from entrypoint.cli import HELP
from entrypoint.logs import schema

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
PAGES = [page for page in PAGES if "node_modules" not in page.parts]


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target.partition("#")[0]).exists(), target


# Of the house style's table of words (docs/development/style.md), and what reads translated.
NOT_PLAIN = re.compile(
    r"\b(heir|attended|likewise|whoever|all the same|none the less|nevertheless)\b"
    r"|\b(is|are|be) told\b"
)
AS_MEASURED = ("servers.md", "benchmarks.md", "style.md")


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if "decisions" not in page.parts and page.name not in AS_MEASURED],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_pages_use_plain_words(page: Path) -> None:
    found = NOT_PLAIN.search(page.read_text(encoding="utf-8"))
    assert found is None, found


def is_there(path: Path) -> bool:
    """A file, or a folder with more in it than old bytecode."""
    return path.is_file() or any(
        each.is_file() for each in path.rglob("*") if "__pycache__" not in each.parts
    )


FOR_DEVELOPERS = (
    "CONTRIBUTING.md",
    "docs/development/contract.md",
    "docs/development/style.md",
    "docs/explanation/core.md",
)


@pytest.mark.parametrize("page", FOR_DEVELOPERS)
def test_files_and_folders_that_a_page_names_are_there(page: str) -> None:
    named = re.findall(r"`((?:entrypoint|tests|scripts|docs|k8s)/[\w./-]*)`", text(page))
    assert named or page == "docs/development/contract.md"
    assert [name for name in named if not is_there(ROOT / name)] == []


def test_the_folders_of_the_house_are_there() -> None:
    house = text("CONTRIBUTING.md").partition("## The house")[2].partition("\n## ")[0]
    rows = [line for line in house.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`([\w./]+)`", row.split(" | ")[0])]
    assert len(named) > 8
    assert [name for name in named if not is_there(ROOT / "entrypoint" / name)] == []


def test_the_developers_pages_show_targets_of_make() -> None:
    makefile = text("Makefile")
    for page in FOR_DEVELOPERS:
        for target in re.findall(r"(?:`|\$ )make ([a-z]+)", text(page)):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (page, target)


def test_the_command_line_page_has_the_help_text() -> None:
    assert HELP.rstrip() in text("docs/reference/command-line.md")


def test_the_generated_pages_are_what_the_tables_in_the_code_say() -> None:
    path = ROOT / "docs" / "reference" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert text("docs/reference/file.md") == module.page(), "run `make reference`"
    assert text("docs/reference/metrics.md") == module.metrics_page(), "run `make reference`"
    assert text("docs/reference/events.md") == module.events().page(), "run `make reference`"
    pm2 = module.pm2()
    assert text("docs/reference/pm2.md") == pm2.page(), "run `make reference`"
    assert text("docs/reference/findings.md") == pm2.findings_page(), "run `make reference`"
    manual = module.manual()
    assert text("docs/man/pyinit.1") == manual.commands(), "run `make reference`"
    assert text("docs/man/pyinit.5") == manual.file(), "run `make reference`"


def test_the_log_page_has_the_schema() -> None:
    rows = [line for line in (schema.__doc__ or "").splitlines() if line.startswith("|")]
    assert rows
    assert "\n".join(rows) in text("docs/reference/logs.md")


def test_the_probe_page_names_every_endpoint() -> None:
    page = text("docs/reference/probes.md")
    for endpoint in (*ENDPOINTS, "status", "metrics"):
        assert f"`/{endpoint}`" in page


def test_make_explains_each_target_that_a_person_calls() -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for target in ("demo", "test", "unit", "lint", "bench", "image", "sbom", "clean", "help"):
        assert re.search(rf"^  make {target} +\S", shown, re.MULTILINE), target
