"""MkDocs' hooks: one navigation with every page, and pages of the repository's root.

README, CHANGELOG, CONTRIBUTING and SECURITY lie above docs/, where people and code hosts look
for them; the site has them as pages too. A link to a file that is no page (a manifest, an example)
becomes its name.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# The name in the repository → the page of the site.
ROOT_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "examples/README.md": "examples.md",
}
PAGES = {page: name for name, page in ROOT_PAGES.items()}
# In this order; `…/*` stands for the other pages of a folder, by their titles.
NAVIGATION: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Learn", ("tutorial/from-pm2.md", "tutorial/*", "examples.md")),
    ("Do", ("how-to/troubleshooting.md", "how-to/docker.md", "how-to/kubernetes.md", "how-to/*")),
    ("Look up", ("reference/command-line.md", "reference/file.md", "reference/*")),
    ("Understand", ("explanation/the-port.md", "explanation/*")),
    ("Decisions", ("decisions/*",)),
    ("Take part", ("contributing.md", "development/*", "security.md", "changelog.md")),
)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def title_of(name: str) -> str:
    """The first heading of a page."""
    source = ROOT / PAGES[name] if name in PAGES else ROOT / "docs" / name
    for line in source.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            return line[2:].replace("`", "")
    raise ValueError(f"{name} has no heading")


def navigation() -> list[dict[str, Any]]:
    """Every page once."""
    left = {
        path.relative_to(ROOT / "docs").as_posix()
        for path in (ROOT / "docs").rglob("*.md")
        if "site" not in path.relative_to(ROOT / "docs").parts
    }
    chosen = [name for _, names in NAVIGATION for name in names if not name.endswith("/*")]
    left -= set(chosen)
    made: list[dict[str, Any]] = [{"pyinit": "index.md"}]
    for title, names in NAVIGATION:
        pages: list[dict[str, str]] = []
        for name in names:
            if name.endswith("/*"):
                folder = name.removesuffix("*")
                found = sorted(page for page in left if page.startswith(folder))
                if folder != "decisions/":
                    found.sort(key=title_of)
                pages += [{title_of(page): page} for page in found]
                left -= set(found)
            else:
                pages.append({title_of(name): name})
        made.append({title: pages})
    if left:
        raise ValueError(f"in no part of the navigation: {sorted(left)}")
    return made


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The navigation, made of what is there."""
    config.nav = navigation()
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root."""
    from mkdocs.structure.files import File

    for name, page in ROOT_PAGES.items():
        content = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Links as the site needs them."""
    own = PAGES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    parts = re.split(r"(^ *```.*?^ *```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        part if number % 2 else LINK.sub(lambda found: _link(found, own, page.file.src_uri), part)
        for number, part in enumerate(parts)
    )


def _link(found: re.Match[str], own: str, here: str) -> str:
    image, text, target = found.groups()
    path, anchor, fragment = target.partition("#")
    if "://" in target or target.startswith("mailto:") or not path:
        return found.group()
    name = posixpath.normpath(posixpath.join(posixpath.dirname(own), path))
    if not (ROOT / name).exists():
        return found.group()  # MkDocs reports it
    page = ROOT_PAGES.get(name, name.removeprefix("docs/") if name.startswith("docs/") else "")
    if name == "docs/decisions":
        page = "decisions/0001-pure-core-one-loop.md"
    known = page and (page in PAGES or (ROOT / "docs" / page).is_file())
    if not known or page.endswith(".py"):
        return text if text.startswith("`") else f"{text} (`{name}`)"
    relative = posixpath.relpath(page, posixpath.dirname(here) or ".")
    return f"{image}[{text}]({relative}{anchor}{fragment})"


def on_post_build(config: MkDocsConfig) -> None:
    """Nothing may be loaded from another host."""
    outside = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(https?:)?//""")
    for folder, _, names in os.walk(config.site_dir):
        for name in names:
            if name.endswith(".html"):
                html = Path(folder, name).read_text(encoding="utf-8")
                found = outside.search(html)
                if found and 'rel="canonical"' not in found.group():
                    raise ValueError(f"{name} loads something from elsewhere: {found.group()}")
