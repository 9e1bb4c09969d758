"""Decides which lines `pyinit logs` shows: by app, level, field and stream."""

from __future__ import annotations

import fnmatch
import json

from entrypoint.logs.schema import LEVELS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .records import Facts, Rendering

# What loggers call the levels, besides our own words.
WORDS = {
    **{word: word for word in LEVELS},
    **dict.fromkeys(("trace", "verbose", "silly"), "debug"),
    **dict.fromkeys(("information", "notice", "http"), "info"),
    "warn": "warning",
    "err": "error",
    **dict.fromkeys(
        ("fatal", "crit", "alert", "emerg", "emergency", "panic", "dpanic"), "critical"
    ),
}
# pino and bunyan: 10 trace, 20 debug, 30 info, 40 warn, 50 error, 60 fatal.
NUMBERS = ((60, "critical"), (50, "error"), (40, "warning"), (30, "info"))


def level_of(value: object) -> str:
    """The level in pyinit's own words; empty if it is unknown."""
    if isinstance(value, bool):
        return ""
    if isinstance(value, int | float):
        return next((word for least, word in NUMBERS if value >= least), "debug")
    return WORDS.get(str(value).lower(), "")


class Filter:
    """`apps`: `web`, `web:0`; `level`: the least; `fields`: `NAME` or `NAME=PATTERN`."""

    def __init__(
        self,
        rendering: Rendering,
        apps: Sequence[str] = (),
        level: str | None = None,
        fields: Sequence[str] = (),
        streams: Sequence[str] = (),
    ) -> None:
        self._rendering = rendering
        self._apps = frozenset(apps)
        self._level = LEVELS[level] if level else 0
        self._fields = [field.partition("=") for field in fields]
        self._streams = streams
        self._everything = not (apps or level or fields or streams)

    def takes(self, line: bytes) -> bool:
        """Whether the line is shown. What is no record passes only without any filter."""
        if self._everything:
            return True
        facts = self._rendering.facts(line)
        return facts is not None and self._fits(facts)

    def _fits(self, facts: Facts) -> bool:
        if self._apps and not self._apps & {facts.app, f"{facts.app}:{facts.instance}"}:
            return False
        if self._streams and facts.stream not in self._streams:
            return False
        if self._level and LEVELS.get(level_of(facts.level), 0) < self._level:
            return False
        return all(_has(facts.fields, *field) for field in self._fields)


def _has(fields: dict[str, object], name: str, equals: str, pattern: str) -> bool:
    """The field is there, by its name or by its path (`http.status`), with that value."""
    value: object = fields
    if name in fields:
        value = fields[name]
    else:
        for part in name.split("."):
            if not isinstance(value, dict) or part not in value:
                return False
            value = value[part]
    if not equals:
        return True
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return fnmatch.fnmatchcase(text, pattern)
