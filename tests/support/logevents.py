"""The documented events of pyinit's log: docs/reference/events.py."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Each record has these, and a record in parts `partial`.
COMMON = {"timestamp", "level", "event"}


@functools.cache
def table():
    """The module with the table."""
    path = ROOT / "docs/reference/events.py"
    spec = importlib.util.spec_from_file_location("events_pages", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def known():
    """`{event: (levels, fields)}`."""
    return table().known()


def undocumented(record):
    """What the page does not say of this record of pyinit's own log; "" when it says all."""
    event = record["event"]
    if event not in known():
        return f"the event {event!r}"
    levels, fields = known()[event]
    if record["level"] not in levels:
        return f"{event}: the level {record['level']}"
    more = sorted(record.keys() - COMMON - fields)
    return f"{event}: the fields {more}" if more else ""
