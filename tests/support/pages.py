"""A page of the documentation as something to execute: its files and its commands."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"(?://|#|;) ([\w./-]+)\n")


class Page:
    """`steps`, in the order of the page: (kind, name, text).

    `run`: a command line. `write`: a file; its block begins with a comment that names it.
    `insert`: YAML without a name, for people to insert. Other blocks are shown only.
    """

    def __init__(self, name: str) -> None:
        self.path = ROOT / "docs" / "tutorial" / f"{name}.md"
        self.steps: list[tuple[str, str, str]] = []
        for language, indented in _BLOCK.findall(self.path.read_text(encoding="utf-8")):
            text = textwrap.dedent(indented)
            named = _NAMED.match(text)
            if language == "console":
                lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
                self.steps += [("run", "", line) for line in lines]
            elif named:
                # Not every kind of file has comments, and a script's `#!` comes first.
                body = text[named.end() :]
                alone = language == "text" or body.startswith("#!")
                self.steps.append(("write", named[1], body if alone else text))
            elif language == "yaml":
                self.steps.append(("insert", "", text))
