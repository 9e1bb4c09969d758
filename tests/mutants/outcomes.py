"""What became of each mutant, in a file that grows while they are tried.

A run that is stopped has a rate, and `--go-on` tries only the rest. The first line says which
core and which tests: outcomes of others say nothing about these.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

KILLED, SURVIVED, LATE, UNTRIED = "killed", "survived", "late", "untried"


class OtherCodeError(Exception):
    """The outcomes are of another core, or of other tests."""


def digest(folders: list[str]) -> str:
    """Of all Python files below these."""
    found = hashlib.sha256()
    for path in sorted(path for folder in folders for path in Path(folder).rglob("*.py")):
        found.update(f"{path} ".encode() + path.read_bytes())
    return found.hexdigest()[:16]


class Outcomes:
    """`known`: the outcome of each mutant, by its name; `killers`: the test that killed it."""

    def __init__(self, path: Path, code: str) -> None:
        self._path = path
        self._code = code
        self.known: dict[str, str] = {}
        self.killers: dict[str, str] = {}

    def begin(self) -> None:
        """Forget what an earlier run found."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps({"code": self._code}) + "\n")

    def read(self) -> None:
        """Raises FileNotFoundError and OtherCodeError."""
        first, *lines = self._path.read_text().splitlines()
        if json.loads(first)["code"] != self._code:
            raise OtherCodeError(f"{self._path} tells of another core, or of other tests")
        for line in lines:
            try:
                found = json.loads(line)
            except ValueError:
                continue  # the run ended in the middle of it
            self.known[found["mutant"]] = found["outcome"]
            self.killers[found["mutant"]] = found["test"]

    def add(self, name: str, outcome: str, test: str) -> None:
        self.known[name], self.killers[name] = outcome, test
        with self._path.open("a") as file:
            file.write(json.dumps({"mutant": name, "outcome": outcome, "test": test}) + "\n")

    @property
    def share(self) -> float:
        """Of those that were tried, the part that was killed."""
        counts = Counter(self.known.values())
        return counts[KILLED] / max(1, counts.total() - counts[UNTRIED])

    def report(self, names: list[str]) -> str:
        """A table by file, and the rate; `names`: all that were to be tried."""
        by_file: dict[str, Counter[str]] = {}
        for name, outcome in self.known.items():
            by_file.setdefault(name.partition(" ")[0], Counter())[outcome] += 1
        lines = [f"{'file':34} tried killed survived late"]
        for path, counts in sorted(by_file.items()):
            row = (counts.total() - counts[UNTRIED], counts[KILLED], counts[SURVIVED], counts[LATE])
            lines.append(f"{path:34} {row[0]:5} {row[1]:6} {row[2]:8} {row[3]:4}")
        counts = Counter(self.known.values())
        tried = counts.total() - counts[UNTRIED]
        lines.append(f"{counts[KILLED]} of {tried} killed: {self.share:.1%}")
        if counts[UNTRIED]:
            lines.append(f"{counts[UNTRIED]} can only be shown by an interpreter that begins")
        if left := len(set(names) - self.known.keys()):
            lines.append(f"{left} are left: `--go-on` tries them")
        return "\n".join(lines)
