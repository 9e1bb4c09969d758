"""A page of the documentation as something to execute: its files and its commands."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"(?://|#|;) ([\w./-]+)\n")


class Page:
    """`steps`: in the order of the page, (file, its text), or ("$", a command line).

    A block whose first line is a comment with the name of a file is that file. A block of YAML
    without a name is for people to insert: (the language, its text).
    """

    def __init__(self, name: str) -> None:
        self.path = ROOT / "docs" / "tutorial" / f"{name}.md"
        self.steps: list[tuple[str, str]] = []
        for language, indented in _BLOCK.findall(self.path.read_text(encoding="utf-8")):
            text = textwrap.dedent(indented)
            named = _NAMED.match(text)
            if language == "console":
                lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
                self.steps += [("$", line) for line in lines]
            elif named:
                # Not every kind of file has comments, and a script's `#!` comes first.
                body = text[named.end() :]
                alone = language == "text" or body.startswith("#!")
                self.steps.append((named[1], body if alone else text))
            else:
                self.steps.append((language, text))
