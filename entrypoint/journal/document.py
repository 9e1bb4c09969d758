"""The journal as text, one JSON object a line, made and read outside PID 1.

::

    {"journal": 1, "pyinit": "1.0.0", "dropped": 0}
    {"segment": 1, "snapshot": true, "gap": false}    then, of this segment:
    {"spec": 0, "value": {…}}               a definition: {"spec": 0} elsewhere stands for it
    {"state": ["workers", 3], "value": {…}} one value of the snapshot
    {"at": 12.25, "event": {…}, "effects": [{…}], "error": ""}

A Record is an object with its type as `is`, without fields that have their default. A
tuple is an array; `{"list": […]}`, `{"dict": […]}` and `{"text": "…"}` are what they say.
"""

from __future__ import annotations

import json
import marshal
import zlib

from entrypoint.core.record import Record

from .packing import DICT, LIST, SPEC, TEXT
from .recorder import FORMAT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

Kinds = dict[str, type[Record]]


class JournalError(Exception):
    """The text is not a journal, or not one that this pyinit understands: a sentence."""


class Segment:
    """What was read of one segment; `items` None: it has no snapshot.

    `gap`: it does not follow from the segment before.
    """

    def __init__(self, *, snapshot: bool, gap: bool = False) -> None:
        self.gap = gap
        self.items: list[tuple[tuple[Any, ...], Any]] | None = [] if snapshot else None
        self.turns: list[tuple[float, Any, tuple[Any, ...], str]] = []


class Journal:
    """A whole journal. `version`: of the pyinit that wrote it."""

    def __init__(self, version: str, dropped: int) -> None:
        self.version = version
        self.dropped = dropped
        self.segments: list[Segment] = []


# -- to text ----------------------------------------------------------------------------


def lines(dump: bytes, kinds: Kinds) -> Iterator[str]:
    """The lines of what `Recorder.dump` made, without their ends."""
    # From PID 1, over its private socket: nobody else writes there.
    number, version, types, dropped, segments = marshal.loads(dump)  # noqa: S302
    if number != FORMAT:
        raise JournalError(f"a journal of format {number}, this pyinit reads {FORMAT}")
    plain = _Plain(types, kinds)
    yield json.dumps({"journal": number, "pyinit": version, "dropped": dropped})
    for at, (snapshot, blocks, gap) in enumerate(segments, 1):
        yield json.dumps({"segment": at, "snapshot": snapshot is not None, "gap": gap})
        pieces = [_loaded(piece) for piece in snapshot or ()]
        turns = [_loaded(block) for block in blocks]
        # A piece of the snapshot may refer to what a later block defines.
        for specs, _ in (*pieces, *turns):
            for index, packed in specs:
                yield json.dumps({"spec": index, "value": plain.of(packed)})
        for _, items in pieces:
            for where, packed in items:
                yield json.dumps({"state": where, "value": plain.of(packed)})
        for _, block in turns:
            for when, event, effects, error in block:
                record = {"at": when, "event": plain.of(event), "effects": plain.of(effects)}
                yield json.dumps({**record, "error": error})


def _loaded(piece: bytes) -> Any:
    return marshal.loads(zlib.decompress(piece))  # noqa: S302  see `lines`


class _Plain:
    """Packed values as what JSON has."""

    def __init__(self, types: list[tuple[str, tuple[str, ...]]], kinds: Kinds) -> None:
        self._types = types
        self._kinds = kinds

    def of(self, value: Any) -> Any:
        if isinstance(value, tuple):
            return [self.of(item) for item in value]
        if isinstance(value, bytes):
            return {"text": repr(value)}
        if not isinstance(value, list):
            return value
        code, *rest = value
        if code == SPEC:
            return {"spec": rest[0]}
        if code == TEXT:
            return {"text": rest[0]}
        if code == LIST:
            return {"list": [self.of(item) for item in rest]}
        if code == DICT:
            return {"dict": [[self.of(key), self.of(item)] for key, item in rest]}
        name, fields = self._types[code]
        defaults = self._kinds[name].defaults() if name in self._kinds else {}
        record = {"is": name}
        for field, packed in zip(fields, rest, strict=True):
            if field not in defaults or not _same(packed, defaults[field]):
                record[field] = self.of(packed)
        return record


def _same(packed: Any, default: Any) -> bool:
    return type(packed) is type(default) and not isinstance(packed, list) and packed == default


# -- from text --------------------------------------------------------------------------


def read(text: Iterable[str], kinds: Kinds) -> Journal:
    """The journal in these lines. Raises JournalError."""
    journal: Journal | None = None
    reading = _Reading(kinds)
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
            if journal is None:
                journal = _begun(found)
            elif "segment" in found:
                reading.specs.clear()
                journal.segments.append(_segment(found))
            else:
                reading.line(found, journal.segments[-1])
        except JournalError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise JournalError(_not_understood(number, journal, error)) from None
    if journal is None:
        raise JournalError("it is empty: write one with `pyinit journal > FILE`")
    return journal


def _segment(found: dict[str, Any]) -> Segment:
    return Segment(snapshot=found["snapshot"], gap=bool(found.get("gap")))


def _begun(found: Any) -> Journal:
    if not isinstance(found, dict) or "journal" not in found:
        raise JournalError("line 1: no journal of pyinit: write one with `pyinit journal > FILE`")
    if found["journal"] != FORMAT:
        raise JournalError(f"a journal of format {found['journal']}, this pyinit reads {FORMAT}")
    return Journal(str(found["pyinit"]), int(found["dropped"]))


def _not_understood(number: int, journal: Journal | None, error: Exception) -> str:
    from entrypoint import __version__

    text = f"line {number}: not understood ({error!r})"
    if journal is not None and journal.version != __version__:
        text += f"; pyinit {journal.version} wrote it, this is {__version__}"
    return text


class _Reading:
    """JSON values as Records."""

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self.specs: dict[int, Any] = {}

    def line(self, found: dict[str, Any], segment: Segment) -> None:
        if "spec" in found:
            self.specs[found["spec"]] = self.value(found["value"])
        elif "state" in found:
            if segment.items is None:
                raise JournalError("a value of a snapshot in a segment that has none")
            segment.items.append((tuple(found["state"]), self.value(found["value"])))
        elif segment.items is None:
            # What it refers to was in the snapshot: to be read, not to be replayed.
            turned = (found["at"], found["event"], tuple(found["effects"]), found["error"])
            segment.turns.append(turned)
        else:
            effects = self.value(found["effects"])
            turned = (found["at"], self.value(found["event"]), effects, found["error"])
            segment.turns.append(turned)

    def value(self, found: Any) -> Any:
        if isinstance(found, list):
            return tuple(self.value(item) for item in found)
        if not isinstance(found, dict):
            return found
        if "is" in found:
            named = {name: self.value(item) for name, item in found.items() if name != "is"}
            return self._kinds[found["is"]](**named)
        if "spec" in found:
            return self.specs[found["spec"]]
        if "text" in found:
            return found["text"]
        if "list" in found:
            return [self.value(item) for item in found["list"]]
        return {self.value(key): self.value(item) for key, item in found["dict"]}
