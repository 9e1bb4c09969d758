"""The last events of one app as log records of a bounded size."""

from __future__ import annotations

from entrypoint.logs.schema import quote

from .packing import text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from entrypoint.core.transaction import State

    from .recorder import Recorder

    Types = list[tuple[str, tuple[str, ...]]]

EVENTS = 200
RECORD_LIMIT = 8_000  # bytes of one record
LIMIT = 64_000  # bytes of all of them
# Kept back in a record for its other fields.
_HEAD = 700
_LINE_LIMIT = 600  # characters
# Blocks of turns that are looked through, newest first: about 10 ms.
_BLOCKS = 40


def records(recorder: Recorder, state: State, app: str) -> list[dict[str, object]]:
    """Fields of the records: the app's last `EVENTS` events, oldest first."""
    types, turns = recorder.latest(_BLOCKS)
    chosen = turns
    if app:
        wanted = _incarnations(turns, types, state, app)
        chosen = [t for t in turns if app in _apps_of(t, types) or _number(t[1], types) in wanted]
    lines = [_line(turn, types) for turn in chosen[-EVENTS:]]
    parts = _parts(lines)
    total = len(parts)
    return [
        {**({"app": app} if app else {}), "part": number, "parts": total, "events": part}
        for number, part in enumerate(parts, 1)
    ]


def _parts(lines: list[str]) -> list[list[str]]:
    """Lines in records; the oldest go when there is no space for all."""
    space = RECORD_LIMIT - _HEAD
    parts: list[list[str]] = []
    used = space
    for line in reversed(lines):
        size = len(quote(line)) + 1
        if used + size > space:
            if len(parts) == LIMIT // RECORD_LIMIT:
                break
            parts.append([])
            used = 0
        parts[-1].append(line)
        used += size
    return [part[::-1] for part in reversed(parts)]


def _line(turn: Any, types: Types) -> str:
    now, event, effects, error = turn
    line = f"{now:.3f} {text_of(event, types)}"
    if error:
        line += f" raised {error}"
    elif effects:
        line += " → " + ", ".join(filter(None, (_short(each, types) for each in effects)))
    return line if len(line) <= _LINE_LIMIT else line[: _LINE_LIMIT - 1] + "…"


def _short(effect: Any, types: Types) -> str:
    name, fields = types[effect[0]]
    if name == "Report":
        return f"Report({effect[1 + fields.index('event')]})"
    if name in {"Count", "StopTimer"}:
        return ""  # they follow from the others
    return text_of(effect, types)


def _fields(packed: Any, types: Types) -> Iterator[tuple[str, Any]]:
    if isinstance(packed, list) and packed and packed[0] >= 0:
        yield from zip(types[packed[0]][1], packed[1:], strict=False)


def _number(event: Any, types: Types) -> int:
    """The incarnation that an event names, of itself or by its timer; 0: none."""
    for name, value in _fields(event, types):
        if name == "incarnation":
            return int(value)
        if name == "timer":
            return _number(value, types)
    return 0


def _apps_of(turn: Any, types: Types) -> set[str]:
    """Apps that an event or what was decided about it names."""
    found: set[str] = set()
    for packed in (turn[1], *turn[2]):
        for name, value in _fields(packed, types):
            if name == "app":
                found.add(value)
            elif name == "timer":
                found.update(v for n, v in _fields(value, types) if n == "app")
            elif name == "fields":
                found.update(v for n, v in value if n == "app")
    return found


def _incarnations(turns: list[Any], types: Types, state: State, app: str) -> set[int]:
    """Numbers of the app's workers: those that live and those that these turns name."""
    found = {number for number, worker in state.workers.items() if worker.app == app}
    for turn in turns:
        if _apps_of(turn, types) == {app}:
            found.add(_number(turn[1], types))
            for effect in turn[2]:
                found.add(_number(effect, types))
    found.discard(0)
    return found


__all__ = ["EVENTS", "LIMIT", "RECORD_LIMIT", "records"]
