"""The flight recorder: the last events of the core and its decisions.

The core is pure, so what happened is the list of its events. `Recorder` keeps them in at
most two segments of `LIMIT` bytes together. Each segment begins with a snapshot of the
core's state, so its events can be replayed from there (`replay`). When the newer one has
filled its half, the older one is dropped.

Cost. A turn of the core appends four references to a list. `BLOCK` turns together are
packed (`packing`), written by `marshal` and compressed. A snapshot copies dicts of
immutable values and is packed some values at a time by the blocks that follow, so 1,000
workers do not make a long turn.

Memory: `LIMIT` for what is packed, and besides at most one block of turns and the values
of one snapshot that wait to be packed.
"""

from __future__ import annotations

import marshal
import os
import zlib

from .packing import Packer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from entrypoint.core.effects import Effect
    from entrypoint.core.events import Event
    from entrypoint.core.record import Record
    from entrypoint.core.transaction import State

    # When, what happened, what was decided, what was raised instead ("": nothing).
    Turned = tuple[float, Event, Sequence[Effect], str]
    # One value of a snapshot: where it belongs in the state, and the value.
    Item = tuple[tuple[Any, ...], Any]

FORMAT = 1
LIMIT = 1_000_000
# Part of `LIMIT` reserved for the table of types.
_RESERVE = 20_000
# A block is this many turns, or fewer that decided more than `_ORDERS` effects.
BLOCK = 32
_ORDERS = 512
# Turns that wait while there is no memory to pack them.
_MOST_TURNS = 32 * BLOCK
# How much a segment may exceed its half with its last block.
_SLACK = 64_000
# Values of a snapshot that a block packs beside its turns.
_ITEMS = 64
_LEVEL = 1  # of zlib: a fifth of the size, for 3 µs a turn


class Segment:
    """A snapshot and the turns after it, packed. `snapshot` None: it was too large.

    `gap`: turns were dropped between the segment before and the snapshot.
    """

    __slots__ = ("blocks", "gap", "size", "snapshot", "waiting")

    def __init__(self, items: list[Item], *, gap: bool = False) -> None:
        self.gap = gap
        self.snapshot: list[bytes] | None = []
        self.blocks: list[bytes] = []
        self.size = 0
        self.waiting = items


class Recorder:
    """The last turns of the core whose state is `state`."""

    def __init__(self, state: State, limit: int = LIMIT) -> None:
        self._state = state
        self._slack = min(_SLACK, limit // 8)
        self._half = (limit - _RESERVE) // 2 - self._slack
        self._packer = Packer(os.urandom(16))
        self._turns: list[Turned] = []
        self._orders = 0  # effects of these turns
        self._due = BLOCK  # so many turns are packed next
        self._broken = False  # turns were dropped: the next one needs another snapshot
        self._segments: list[Segment] = []
        self.dropped = 0  # turns that did not fit

    def begin(self, turns: Sequence[Turned] = ()) -> None:
        """Record from now on. `turns`: those since the core was made, all of them."""
        if not turns:
            self._segments.append(Segment(_items_of(self._state)))
            return
        # Before them there was nothing.
        self._segments.append(Segment(_items_of(type(self._state)())))
        for turned in turns:
            self.append(turned)

    def append(self, turned: Turned) -> None:
        """One turn. Cheap but for each `BLOCK`th."""
        turns = self._turns
        turns.append(turned)
        self._orders += len(turned[2])
        if len(turns) >= self._due or self._orders > _ORDERS:
            try:
                self._flush(_ITEMS)
            except MemoryError:
                self._no_memory()

    def _no_memory(self) -> None:
        """Try again with later turns; too many of them are dropped."""
        if len(self._turns) > _MOST_TURNS:
            self.dropped += len(self._turns)
            self._turns.clear()
            # What follows needs another snapshot: the next flush begins with one.
            self._broken = True
        self._orders = 0
        self._due = len(self._turns) + BLOCK

    def _flush(self, items: int) -> None:
        """Pack what waits; of a snapshot only so many values."""
        segment = self._segments[-1]
        self._pack_snapshot(segment, items)
        if self._broken:
            self.dropped += len(self._turns)
            self._turns.clear()
            self._next_segment(gap=True)
            self._broken = False
        turns = self._turns
        if not turns:
            return
        block = self._packed(turns)
        self._turns = []
        self._orders = 0
        self._due = BLOCK
        fits = len(block) <= self._half + self._slack - segment.size
        if fits:
            segment.blocks.append(block)
            segment.size += len(block)
            if segment.size < self._half:
                return
        else:
            self.dropped += len(turns)
        self._next_segment(gap=not fits)

    def _next_segment(self, *, gap: bool) -> None:
        self._pack_snapshot(self._segments[-1], None)
        self._packer.forget_specs()
        following = Segment(_items_of(self._state), gap=gap)
        self._segments = [self._segments[-1], following]

    def _packed(self, turns: Sequence[Turned]) -> bytes:
        pack = self._packer.pack
        packed = []
        for now, event, effects, error in turns:
            try:
                packed.append((now, pack(event), tuple([pack(each) for each in effects]), error))
            except MemoryError:
                raise
            except Exception as failure:  # noqa: BLE001  a bug here must not stop the journal
                said = f"{error} (not packed: {failure!r})"
                packed.append((now, [-2, type(event).__name__], (), said))
        block = zlib.compress(marshal.dumps((self._packer.new_specs(), packed)), _LEVEL)
        self._packer.specs_written()
        self._packer.forget_specs(len(self._state.apps))
        return block

    def _pack_snapshot(self, segment: Segment, count: int | None) -> None:
        while segment.waiting:
            some = segment.waiting[: count or _ITEMS]
            pack = self._packer.pack
            packed = [(where, pack(value)) for where, value in some]
            piece = zlib.compress(marshal.dumps((self._packer.new_specs(), packed)), _LEVEL)
            self._packer.specs_written()
            del segment.waiting[: len(some)]
            if segment.snapshot is not None:
                segment.snapshot.append(piece)
                segment.size += len(piece)
            if segment.size > self._half:
                # Without it the turns can still be read.
                segment.size -= sum(map(len, segment.snapshot or ()))
                segment.snapshot = None
                segment.waiting.clear()
            if count is not None:
                return

    # -- reading ------------------------------------------------------------------------

    def dump(self, version: str) -> bytes:
        """Everything, packed: what `document.lines` reads."""
        if self._segments:
            self._flush(_ITEMS)
            self._pack_snapshot(self._segments[-1], None)
        segments = [(each.snapshot, each.blocks, each.gap) for each in self._segments]
        return marshal.dumps((FORMAT, version, self._packer.types, self.dropped, segments))

    def latest(self, blocks: int) -> tuple[list[tuple[str, tuple[str, ...]]], list[Any]]:
        """The types, and the packed turns of the last so many blocks, oldest first."""
        if self._segments:
            self._flush(_ITEMS)
        found = [block for segment in self._segments for block in segment.blocks][-blocks:]
        turns: list[Any] = []
        for block in found:
            turns += marshal.loads(zlib.decompress(block))[1]  # noqa: S302  we wrote it
        return self._packer.types, turns

    @property
    def size(self) -> int:
        """Bytes of what is packed."""
        return sum(segment.size for segment in self._segments)


def _items_of(state: State) -> list[Item]:
    """A picture of the state: every value that is immutable, and where it belongs.

    Attributes of the state are Records, scalars, and dicts of those, one in another. A
    value that is met again is written as a reference to where it was first.
    """
    seen: dict[int, int] = {}
    items: list[Item] = []
    for where, value in _walk((), vars(state)):
        number = seen.get(id(value))
        if number is None:
            if hasattr(value, "_fields"):
                seen[id(value)] = len(items)
            items.append((where, value))
        else:
            items.append((where, {SAME: number}))
    return items


# In a snapshot `{SAME: n}` stands for the value of its nth item, `{}` for an empty dict.
SAME = "same"


def _walk(where: tuple[Any, ...], value: Any) -> Iterator[Item]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _walk((*where, key), item)
    else:
        yield where, {} if isinstance(value, dict) else value


def rebuilt(state: State, items: Sequence[tuple[tuple[Any, ...], Any]]) -> State:
    """Fill an empty state with the items of a snapshot (unpacked); returns it."""
    values: list[Any] = []
    for where, item in items:
        value: Record | Any = item
        if isinstance(item, dict) and item:
            value = values[item[SAME]]
        elif isinstance(item, dict):
            value = {}
        values.append(value)
        attribute, *keys = where
        if not keys:
            setattr(state, attribute, value)
            continue
        into = getattr(state, attribute)
        for key in keys[:-1]:
            into = into.setdefault(key, {})
        into[keys[-1]] = value
    return state
