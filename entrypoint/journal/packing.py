"""Records as plain values and back, for any type of `Record`, with secrets hashed.

A packed value is what `marshal` and JSON can carry. A scalar is itself and a tuple stays
a tuple. Lists are ours: the first item says what follows::

    [n, value, …]   a Record of the type `types[n]`, its fields in order
    [-1, index]     an app's spec, defined once in a segment of the journal
    [-2, text]      a value with no packed form, as its repr
    [-3, value, …]  a list
    [-4, (key, value), …]  a dict

Fields in `HIDDEN` hold what may be secret: environments, arguments, health commands,
STATUS and the output of checks. They are replaced by a hash with a key that is never
written, so equal values stay equal and nothing can be guessed by trying.
"""

from __future__ import annotations

import _blake2
import marshal
from operator import attrgetter

from entrypoint.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

SPEC, TEXT, LIST, DICT = -1, -2, -3, -4

HIDDEN = frozenset(("env", "command", "args", "status", "said"))
# Checks over HTTP: the query of a URL may hold a token.
_QUERIES = frozenset(("http",))
# Types that many values refer to: defined once, by identity.
_SHARED = frozenset(("AppSpec",))
_PAIRS = frozenset(("Report",))

_PLAIN = frozenset((int, float, str, bool, bytes, type(None)))
# Known specs are kept alive: no more of them than this beyond what the core holds.
_SPECS_BEYOND = 64


class _Type:
    """How the values of one type are packed."""

    __slots__ = ("code", "get", "hidden", "pairs", "shared")

    def __init__(self, kind: type[Record], code: int) -> None:
        fields = kind._fields
        self.code = code
        self.get: Callable[[Any], tuple[Any, ...]] = _getter(fields)
        self.hidden = tuple(
            (at, name) for at, name in enumerate(fields) if name in HIDDEN or name in _QUERIES
        )
        self.shared = kind.__name__ in _SHARED
        self.pairs = kind.__name__ in _PAIRS


def _getter(fields: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if not fields:
        return lambda _value: ()
    if len(fields) == 1:
        get = attrgetter(fields[0])
        return lambda value: (get(value),)
    return attrgetter(*fields)


class Packer:
    """Packs values. With an empty `key` nothing is hashed: what is replayed is hashed."""

    def __init__(self, key: bytes) -> None:
        self.types: list[tuple[str, tuple[str, ...]]] = []
        # Definitions of specs since `specs_written`: (index, packed).
        self._new_specs: list[tuple[int, Any]] = []
        self._key = key
        self._known: dict[type, _Type] = {}
        self._specs: dict[int, tuple[Record, int]] = {}
        self._defined = 0

    def pack(self, value: Any) -> Any:
        """The packed form of any value."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        if kind is tuple:
            pack = self.pack
            return tuple([each if type(each) in _PLAIN else pack(each) for each in value])
        known = self._known.get(kind)
        if known is None:
            if not isinstance(value, Record):
                return self._pack_other(value)
            known = self._learn(kind)
        if known.shared:
            return [SPEC, self._index(value, known)]
        return self._pack_record(value, known)

    def _pack_record(self, value: Any, known: _Type) -> list[Any]:
        values = known.get(value)
        if known.hidden and self._key:
            values = self._hide(values, known, type(value).__name__)
        if known.pairs and self._key:
            values = tuple([self._hide_pairs(each) for each in values])
        pack = self.pack
        return [known.code, *[each if type(each) in _PLAIN else pack(each) for each in values]]

    def _pack_other(self, value: Any) -> Any:
        if isinstance(value, dict):
            pairs = value.items()
            return [DICT, *((self.pack(key), self.pack(item)) for key, item in pairs)]
        if isinstance(value, list):
            return [LIST, *(self.pack(item) for item in value)]
        return [TEXT, repr(value)[:256]]

    def _learn(self, kind: type[Record]) -> _Type:
        known = self._known[kind] = _Type(kind, len(self.types))
        self.types.append((kind.__name__, kind._fields))
        return known

    # -- specs --------------------------------------------------------------------------

    def _index(self, spec: Record, known: _Type) -> int:
        found = self._specs.get(id(spec))
        if found is not None:
            return found[1]
        packed = self._pack_record(spec, known)
        index = self._defined
        self._new_specs.append((index, packed))
        self._defined += 1
        self._specs[id(spec)] = (spec, index)  # the reference keeps the id its own
        return index

    def new_specs(self) -> tuple[tuple[int, Any], ...]:
        """The definitions that what was packed since `specs_written` needs."""
        return tuple(self._new_specs)

    def specs_written(self) -> None:
        """They are where they are needed."""
        self._new_specs.clear()

    def forget_specs(self, held: int = -1) -> None:
        """Define specs again when they come again; with `held`, only if too many are known."""
        if held < 0 or len(self._specs) > 2 * held + _SPECS_BEYOND:
            self._specs.clear()

    # -- secrets ------------------------------------------------------------------------

    def _hide(self, values: tuple[Any, ...], known: _Type, kind: str) -> tuple[Any, ...]:
        changed = list(values)
        for at, name in known.hidden:
            changed[at] = self._hidden(name, values[at], keep_program=kind == "AppSpec")
        return tuple(changed)

    def _hide_pairs(self, value: Any) -> Any:
        """The fields of a report: pairs of a name and a value."""
        if type(value) is not tuple:
            return value
        return tuple(
            (pair[0], self._hidden(pair[0], pair[1]))
            if type(pair) is tuple and len(pair) == 2 and pair[0] in HIDDEN
            else pair
            for pair in value
        )

    def _hidden(self, name: str, value: Any, *, keep_program: bool = False) -> Any:
        if not value or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, str):
            if name in _QUERIES:
                path, mark, query = value.partition("?")
                return path + mark + (self._hash(query) if query else "")
            return self._hash(value)
        if name == "env":
            return ((self._hash(value), f"{len(value)} variables"),)
        if keep_program and isinstance(value[0], str):
            return (value[0], self._hash(value[1:])) if len(value) > 1 else value
        return (self._hash(value),)

    def _hash(self, value: Any) -> str:
        # Version 2 of marshal writes equal values as equal bytes; later ones need not.
        plain = marshal.dumps(self.pack(value), 2)
        return "#" + _blake2.blake2b(plain, key=self._key, digest_size=8).hexdigest()


class Unpacker:
    """Packed values as Records again. `kinds`: the types by their names."""

    def __init__(
        self, types: list[tuple[str, tuple[str, ...]]], kinds: dict[str, type[Record]]
    ) -> None:
        self._types = types
        self._kinds = kinds
        self.specs: dict[int, Any] = {}

    def define(self, index: int, packed: Any) -> None:
        """An app's spec, for those that refer to it."""
        self.specs[index] = self.unpack(packed)

    def unpack(self, value: Any) -> Any:
        """The value. Raises LookupError or TypeError when this pyinit has no such type."""
        if isinstance(value, tuple):
            return tuple(self.unpack(item) for item in value)
        if not isinstance(value, list):
            return value
        code, *rest = value
        if code == SPEC:
            return self.specs[rest[0]]
        if code == TEXT:
            return rest[0]
        if code == LIST:
            return [self.unpack(item) for item in rest]
        if code == DICT:
            return {self.unpack(key): self.unpack(item) for key, item in rest}
        name, fields = self._types[code]
        values = {field: self.unpack(item) for field, item in zip(fields, rest, strict=True)}
        return self._kinds[name](**values)


def kinds() -> dict[str, type[Record]]:
    """Every type of Record that is loaded, by its name.

    A name may be used twice (`Instance`, `SpawnFailed`): then it is the core's type.
    """
    core = Record.__module__.rpartition(".")[0]
    found = sorted(_below(Record), key=lambda each: each.__module__.startswith(core))
    return {each.__name__: each for each in found}


def _below(kind: type[Record]) -> Iterator[type[Record]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def text_of(value: Any, types: list[tuple[str, tuple[str, ...]]], spec: str = "spec") -> str:
    """A packed value for people: `WorkerExited(incarnation=3, code=1)`."""
    if isinstance(value, tuple):
        inside = ", ".join(text_of(item, types) for item in value)
        return f"({inside})"
    if not isinstance(value, list):
        return repr(value) if not isinstance(value, float) else f"{value:.6g}"
    code, *rest = value
    if code == SPEC:
        return f"{spec} {rest[0]}"
    if code == TEXT:
        return str(rest[0])
    if code in {LIST, DICT}:
        return f"({', '.join(text_of(item, types) for item in rest)})"
    name, fields = types[code]
    pairs = zip(fields, rest, strict=False)
    inside = ", ".join(f"{f}={text_of(v, types)}" for f, v in pairs if not _is_dull(v))
    return f"{name}({inside})"


def _is_dull(value: Any) -> bool:
    return value is None or value is False or value in ("", ())
