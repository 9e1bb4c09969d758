"""Prints findings for people: one line each in the style of compilers, with an excerpt.

ecosystem.json:3:5: warning: apps[0].out_file: is ignored: … [PM2-002]
  3 |     "out_file": "/var/log/api.log",
    |     ^^^^^^^^^^
"""

from __future__ import annotations

import os

from .tree import MOST_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .errors import ConfigError

_RESET, _BOLD, _DIM = "\x1b[0m", "\x1b[1m", "\x1b[2m"
_COLOURS = {"error": "\x1b[31m", "warning": "\x1b[33m", "note": "\x1b[36m"}
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.$")
_KEY = _WORD - frozenset(".")
_WIDEST = 60


class Report:
    """Renders findings; reads each file once for its lines."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour
        self._files: dict[str, list[str]] = {}

    def of(self, findings: Iterable[ConfigError]) -> str:
        """All of them, each with its excerpt."""
        return "".join(f"{self._one(finding)}\n" for finding in findings)

    def _one(self, finding: ConfigError) -> str:
        code = f" [{finding.code}]" if finding.code else ""
        where = f"{finding.path}: " if finding.path else ""
        severity = self._paint(f"{finding.severity}:", _COLOURS[finding.severity])
        location = self._paint(f"{printable(finding.location)}:", _BOLD)
        said = printable(f"{where}{finding.message}{code}")
        return "\n".join((f"{location} {severity} {said}", *self._excerpt(finding)))

    def _paint(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_RESET}" if self._colour else text

    def _excerpt(self, finding: ConfigError) -> list[str]:
        """The location and what begins its line; nothing beside it, which may be a secret."""
        lines = self._lines(finding.file)
        if not 0 < finding.line <= len(lines):
            return []
        line = lines[finding.line - 1].rstrip("\r\n").replace("\t", " ")
        start = finding.column - 1
        if start == 0:
            start = len(line) - len(line.lstrip())
        word = line[start : start + min(_width(line, start), _WIDEST)]
        if _holds_value(finding.path, word):
            return []
        before = line[:start]
        if not _is_beginning(before):
            before = "  … "
        after = " …" if line[start + len(word) :].strip(" ,}]") else ""
        caret = " " * len(before) + "^" * max(1, len(word))
        bar = self._paint("|", _DIM)
        number = str(finding.line)
        return [
            f"  {number} {bar} {printable(before + word)}{after}",
            f"  {' ' * len(number)} {bar} {self._paint(caret, _COLOURS[finding.severity])}",
        ]

    def _lines(self, file: str) -> list[str]:
        if file not in self._files:
            try:
                with open(file, encoding="utf-8", errors="replace") as stream:
                    self._files[file] = stream.read(MOST_BYTES).splitlines()
            except OSError:
                self._files[file] = []
        return self._files[file]


def _holds_value(path: str, word: str) -> bool:
    """Whether the finding is about an environment, and the location is not the key itself.

    Also for a file of variables, whose every line may hold a secret.
    """
    parts = path.split(".")
    if not any(part == "env" or part.startswith("env_") for part in parts):
        return False
    return word.strip("'\"") != parts[-1]


def _is_beginning(text: str) -> bool:
    """Whether only blanks, brackets and at most one key precede the location."""
    rest = text.lstrip(" -{[").rstrip()
    return not rest or (rest[-1] == ":" and _KEY.issuperset(rest[:-1].strip("'\"")))


def _width(line: str, start: int) -> int:
    """The length of the word or the quoted text that begins there."""
    if start >= len(line):
        return 1
    first = line[start]
    if first in "'\"":
        end = line.find(first, start + 1)
        return end - start + 1 if end > 0 else 1
    end = start
    while end < len(line) and line[end] in _WORD:
        end += 1
    return max(1, end - start)


def summary(findings: Iterable[ConfigError]) -> str:
    """`2 errors, 1 warning`; empty without any."""
    counts = dict.fromkeys(("error", "warning", "note"), 0)
    for finding in findings:
        counts[finding.severity] += 1
    return ", ".join(f"{n} {kind}{'s' * (n != 1)}" for kind, n in counts.items() if n)


def printable(text: str) -> str:
    """A hostile file's keys must not drive a terminal, nor a surrogate end the print."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def codes(findings: Iterable[ConfigError]) -> str:
    """How to read more about numbered findings, or nothing."""
    named = sorted({finding.code for finding in findings if finding.code})
    return f"more: pyinit explain {' '.join(named)}{os.linesep}" if named else ""
