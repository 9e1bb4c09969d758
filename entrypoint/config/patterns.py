"""Checks regular expressions that PID 1 matches to the output of workers.

Python's `re` backtracks, and some patterns make it run practically forever:
`(a+)+$`, `(a|a)*b`. Nothing can interrupt it, so such patterns are refused when
the file is read: a repeat within a repeat, a choice within a repeat, references back,
and more than a few repeats without an end, each of which may multiply the cost by the length
of the matched text (128 bytes: logs/multiline.py).
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST_REPEATS = 3
_LONG = 16  # `\d{1,4}` costs nothing, `\d{1,1000}` as much as `\d+`
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")


def check_pattern(pattern: str) -> None:
    """Raise ValueError, with a sentence, for a pattern that PID 1 does not accept."""
    try:
        re.compile(pattern.encode())
        # The tree that `re` itself compiles; there is no public way to it.
        tree = re._parser.parse(pattern.encode())  # type: ignore[attr-defined]  # noqa: SLF001
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression: {error}") from None
    if _count(tree, inside=False) > MOST_REPEATS:
        raise ValueError(
            f"has more than {MOST_REPEATS} repeats without an end (`*`, `+`): "
            "matching it could take too long"
        )


def _count(tree: Any, *, inside: bool) -> int:
    """The number of long repeats."""
    found = 0
    for operation, argument in tree:
        name = str(operation)
        if name in _REPEATS:
            low, high, sub = argument
            variable = high > low
            if inside and variable:
                raise ValueError("has a repeat within a repeat: matching it could take for ever")
            long = variable and int(high) - int(low) > _LONG
            below = _count(sub, inside=inside or (variable and high > 1))
            found += long + below * (int(high) if high == low else 1)
        elif name == "BRANCH":
            if inside:
                raise ValueError("has a choice within a repeat: matching it could take for ever")
            found += max(_count(sub, inside=inside) for sub in argument[1])
        elif name == "SUBPATTERN":
            found += _count(argument[3], inside=inside)
        elif name in ("ASSERT", "ASSERT_NOT"):
            found += _count(argument[1], inside=inside)
        elif name == "ATOMIC_GROUP":
            found += _count(argument, inside=inside)
        elif name.startswith("GROUPREF"):
            raise ValueError("refers back to a group: matching it could take for ever")
    return found
