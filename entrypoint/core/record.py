"""Immutable values for the core, made without `dataclasses`.

Every event, effect, spec and worker is a `Record`: slots, equality by type and
fields, a readable repr, and no assignment after construction.

Why not `dataclasses`: PID 1 pays for every import before its first worker runs.
`dataclasses` imports `inspect`, `ast`, `re` and `dis` (about 15 ms and 2 MB) and
compiles source for each class; this metaclass costs microseconds a class.
`@dataclass_transform` tells type checkers that it means the same.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_options):
        return lambda cls: cls


_assign = object.__setattr__


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
        namespace["_defaults"] = defaults
        return super().__new__(mcs, name, bases, namespace)


@dataclass_transform(frozen_default=True, eq_default=True)
class Record(metaclass=_RecordType):
    """Base of all immutable values: annotate fields, give defaults, nothing else."""

    if TYPE_CHECKING:
        _fields: tuple[str, ...]
        _defaults: dict[str, Any]
    else:

        def __init__(self, *args, **named):
            fields = self._fields
            if len(args) > len(fields):
                raise TypeError(
                    f"{type(self).__name__} takes {len(fields)} values, got {len(args)}"
                )
            for field, value in zip(fields, args, strict=False):
                if field in named:
                    raise TypeError(f"{type(self).__name__}.{field} is given twice")
                _assign(self, field, value)
            for field in fields[len(args) :]:
                if field in named:
                    _assign(self, field, named.pop(field))
                elif field in self._defaults:
                    _assign(self, field, self._defaults[field])
                else:
                    raise TypeError(f"{type(self).__name__} needs {field}")
            if named:
                raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(named))}")

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed. Raises TypeError for a field it has not."""
        values = {field: getattr(self, field) for field in self._fields}
        for field in changes:
            if field not in values:
                raise TypeError(f"{type(self).__name__} has no {field}")
        values.update(changes)
        return type(self)(**values)

    def as_dict(self) -> dict[str, Any]:
        """Field names and values, in their order (not recursive)."""
        return {field: getattr(self, field) for field in self._fields}

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
        return all(getattr(self, f) == getattr(other, f) for f in self._fields)

    def __hash__(self) -> int:
        return hash((type(self), *(getattr(self, f) for f in self._fields)))

    def __repr__(self) -> str:
        inside = ", ".join(f"{f}={getattr(self, f)!r}" for f in self._fields)
        return f"{type(self).__name__}({inside})"
