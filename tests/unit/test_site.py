"""The site's navigation has every page once; its links out of docs/ are turned into pages."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def hooks():
    path = ROOT / "docs/site/hooks.py"
    spec = importlib.util.spec_from_file_location("site_hooks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def leaves(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from leaves(each)
    else:
        for each in value:
            yield from leaves(each)


def test_every_page_is_in_the_navigation_once() -> None:
    found = list(leaves(hooks().navigation()))
    assert len(found) == len(set(found))
    pages = {str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md")}
    assert pages <= set(found)
    assert set(found) - pages == set(hooks().PAGES)


def test_titles_are_told_apart() -> None:
    module = hooks()
    for part in module.navigation():
        ((_, pages),) = part.items()
        if not isinstance(pages, str):
            titles = [title for page in pages for title in page]
            assert len(titles) == len(set(titles)), part


def test_decisions_have_numbers_of_their_own() -> None:
    names = sorted(path.name for path in (ROOT / "docs/decisions").glob("*.md"))
    for name in names:
        number = name.partition("-")[0]
        first = (ROOT / "docs/decisions" / name).read_text().splitlines()[0]
        assert first.startswith(f"# {int(number)}. "), name
    numbers = [name.partition("-")[0] for name in names]
    assert len(numbers) == len(set(numbers)), names


def linked(text: str, here: str) -> str:
    module = hooks()
    own = module.PAGES.get(here, f"docs/{here}")
    return module.LINK.sub(lambda found: module._link(found, own, here), text)


def test_links_out_of_the_docs() -> None:
    assert linked("[a](../../README.md#x)", "how-to/jobs.md") == "[a](../index.md#x)"
    assert linked("[a](docs/how-to/jobs.md)", "index.md") == "[a](how-to/jobs.md)"
    assert linked("![a](docs/benchmarks.svg)", "index.md") == "![a](benchmarks.svg)"
    assert linked("[k8s/](../../k8s/)", "how-to/monitor.md") == "k8s/ (`k8s`)"
    assert linked("[a](https://x.org)", "index.md") == "[a](https://x.org)"
    assert linked("[a](#b)", "index.md") == "[a](#b)"


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in text
    assert not re.search(r"https?://", text)
