"""Immutable values for the core, made without `dataclasses`.

Every event, effect, spec and worker is a `Record`: slots, equality by type and
fields, a readable repr, and no assignment after construction.

Why not `dataclasses`: PID 1 pays for every import before its first worker runs.
`dataclasses` imports `inspect`, `ast`, `re` and `dis` (about 15 ms and 2 MB) and
compiles source for each class; this metaclass costs microseconds a class.
`@dataclass_transform` tells type checkers that it means the same.

The core makes dozens of them for each event, so loops in C read and set their fields:
`map` over a bound `__getattribute__` reads all, `any(map(…))` over a bound `__setattr__` sets
all (it returns None).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, ClassVar, Self, dataclass_transform
else:

    def dataclass_transform(**_options):
        return lambda cls: cls


# `Record.__setattr__` always raises; this name has the original that sets fields.
_bind_set = object.__setattr__.__get__


def _mistake(kind: type[Record], args: tuple[Any, ...], named: dict[str, Any]) -> str:
    """The error text for values that do not fit this kind of record."""
    fields = kind._fields
    if len(args) > len(fields):
        return f"{kind.__name__} takes {len(fields)} values, got {len(args)}"
    for field in fields[: len(args)]:
        if field in named:
            return f"{kind.__name__}.{field} is given twice"
    unknown = [field for field in sorted(named) if field not in fields]
    if unknown:
        return f"{kind.__name__} has no {', '.join(unknown)}"
    missing = next(f for f in fields[len(args) :] if f not in named and f not in kind.defaults())
    return f"{kind.__name__} needs {missing}"


class _RecordType(type):
    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
        own = tuple(namespace.get("__annotations__", ()))
        fields: tuple[str, ...] = ()
        defaults: dict[str, Any] = {}
        for base in bases:
            fields += getattr(base, "_fields", ())
            defaults.update(getattr(base, "_defaults", {}))
        for field in own:
            if field in namespace:
                defaults[field] = namespace.pop(field)
        namespace["__slots__"] = own
        namespace["_fields"] = fields + own
        namespace["_names"] = frozenset(fields + own)
        namespace["_defaults"] = defaults
        return super().__new__(mcs, name, bases, namespace)


@dataclass_transform(frozen_default=True, eq_default=True)
class Record(metaclass=_RecordType):
    """Base of all immutable values: annotate fields, give defaults, nothing else."""

    if TYPE_CHECKING:  # an annotation would be a field
        _fields: ClassVar[tuple[str, ...]]
        _names: ClassVar[frozenset[str]]
        _defaults: ClassVar[dict[str, Any]]

    def __init__(self, *args: Any, **named: Any) -> None:
        """Values of the fields, by position or by name. Raises TypeError."""
        if not named and len(args) == len(self._fields):
            any(map(_bind_set(self), self._fields, args))
            return
        given = dict(zip(self._fields, args, strict=False))
        given.update(named)
        values = {**self._defaults, **given}
        if len(given) != len(args) + len(named) or values.keys() != self._names:
            raise TypeError(_mistake(type(self), args, named))
        any(map(_bind_set(self), values, values.values()))

    def _values(self) -> Iterator[Any]:
        return map(self.__getattribute__, self._fields)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed. Raises TypeError for an unknown field."""
        values = dict(zip(self._fields, self._values(), strict=True))
        values.update(changes)
        if len(values) != len(self._fields):
            raise TypeError(_mistake(type(self), (), changes))
        copy = object.__new__(type(self))
        any(map(_bind_set(copy), values, values.values()))
        return copy

    def as_dict(self) -> dict[str, Any]:
        """Field names and values, in their order (not recursive)."""
        return dict(zip(self._fields, self._values(), strict=True))

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Fields that have a default, and their defaults."""
        return cls._defaults

    def __setattr__(self, field: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: use replace({field}=…)")

    def __delattr__(self, field: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self is other or tuple(self._values()) == tuple(other._values())

    def __hash__(self) -> int:
        return hash((type(self), *self._values()))

    def __repr__(self) -> str:
        inside = ", ".join(f"{f}={getattr(self, f)!r}" for f in self._fields)
        return f"{type(self).__name__}({inside})"
