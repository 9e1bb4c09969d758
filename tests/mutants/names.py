"""Lists of mutants, by names that stay when their lines move.

A line at the margin is a mutant's name: `FILE: SCOPE [KIND] CODE #N`. Parts may be left out:
the scope, and the number. Lines that are indented are the reason. `#` begins a comment.
"""

from __future__ import annotations

import re
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.mutants.mutate import Mutant

FOLDER = Path(__file__).parent
# Mutants that change nothing that anybody can see, each with the reason.
EQUIVALENT = FOLDER / "equivalent.txt"
# Mutants that once survived and must never again.
MUST_BE_KILLED = FOLDER / "must-be-killed.txt"

_NAME = re.compile(
    r"(?P<path>[\w/]+\.py)(:\d+)*:? (?P<scope>[\w.,]+ )?\[(?P<kind>\w+)\] (?P<code>.*?)"
    r"( #(?P<nth>\d+))?$"
)


class ListError(Exception):
    """A list names what does not exist."""


def entries(text: str) -> dict[str, str]:
    """Reasons by name."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if not line[0].isspace():
            name = line.rstrip()
            found[name] = ""
        elif name:
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def chosen(known: Sequence[Mutant], path: Path) -> list[Mutant]:
    """Those that a list names. Raises ListError for a name that none of `known` has."""
    found = []
    for name in entries(path.read_text(encoding="utf-8")):
        match = _NAME.match(name)
        these = [each for each in known if match and _is_one(each, match)]
        if not these:
            raise ListError(f"{path.name}: there is no such mutant any more: {name}")
        found += [each for each in these if each not in found]
    return found


def _is_one(mutant: Mutant, name: re.Match[str]) -> bool:
    scope, nth = name["scope"], name["nth"]
    return (
        mutant.path.endswith(name["path"].rpartition("/")[2])
        and mutant.kind == name["kind"]
        and mutant.code == name["code"].strip()
        and (scope is None or mutant.scope == scope.strip())
        and (nth is None or mutant.nth == int(nth))
    )
