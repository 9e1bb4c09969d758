"""The closed sets of words of core/types.py, which exist for the type checker alone."""

from __future__ import annotations

import ast
from pathlib import Path

CORE = Path(__file__).resolve().parents[2] / "entrypoint" / "core"


def _literals() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse((CORE / "types.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            words = [
                each.value
                for each in ast.walk(node.value)
                if isinstance(each, ast.Constant) and isinstance(each.value, str)
            ]
            if words:
                found[node.targets[0].id] = set(words)
    return found


LITERALS = _literals()


def words(name: str) -> set[str]:
    """The words of one type. Raises KeyError."""
    return LITERALS[name]
