"""Each word of core/types.py is set by the core, and no other word is.

mypy does not look into `Record.replace(**changes)`, so this does.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from entrypoint.core import types
from tests.support import literals

# Which type the field of a record has, by the name of the field.
FIELDS = {"mode": "AppMode", "phase": "Phase", "stop_reason": "StopReason", "port": "PortMode"}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def strings(path: Path) -> frozenset[str]:
    """All that stand in that file."""
    return frozenset(
        node.value
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@cache
def constants() -> dict[str, str]:
    """Names of the core that stand for a word: `w.ERRORED`, `HEALTH`."""
    found = {}
    for path in literals.CORE.glob("*.py"):
        for node in parsed(path).body:
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(
                node.value, ast.Constant
            ):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                    found[target.id] = node.value.value
    return found


def set_words(field: str) -> set[str]:
    """What `.replace(field=…)` and constructors give that field, as far as it is written out."""
    known, found = constants(), set()
    for path in literals.CORE.glob("*.py"):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call):
                for keyword in node.keywords:
                    if keyword.arg == field:
                        found |= words_of(keyword.value, known)
    return found


def words_of(node: ast.AST, known: dict[str, str]) -> set[str]:
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            found.add(each.value)
        elif isinstance(each, ast.Attribute) and each.attr in known:
            found.add(known[each.attr])
        elif isinstance(each, ast.Name) and each.id in known:
            found.add(known[each.id])
    return found


@pytest.mark.parametrize("field", FIELDS)
def test_only_known_words_are_set(field):
    assert set_words(field)
    assert set_words(field) <= literals.words(FIELDS[field])


@pytest.mark.parametrize("name", literals.LITERALS)
def test_each_word_is_used_beside_its_type(name):
    used: set[str] = set()
    for path in [*literals.CORE.glob("*.py"), *literals.CORE.parent.glob("*/*.py")]:
        if path.name != "types.py":
            used |= strings(path)
    assert literals.words(name) <= used


def test_pid_1_holds_no_type_that_only_the_checker_needs():
    names = {name for name in vars(types) if not name.startswith("__")}
    assert names == {"annotations", "TYPE_CHECKING"}
