"""`log.keys`: a preset, or a mapping that renames some keys of a preset."""

from __future__ import annotations

from entrypoint.core.record import Record
from entrypoint.logs.layout import NAMEABLE, PRESETS

from . import keys
from .read import MISSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .read import Reader
    from .tree import Node

# Records of cut lines, and of lines that are not UTF-8, have these too.
_TAKEN = ("partial", "base64")


class LogKeys(Record):
    """A preset and its renamed keys: the two fields of `LogSpec`."""

    preset: str = "default"
    names: tuple[tuple[str, str], ...] = ()


def read_log_keys(reader: Reader, node: Node, path: str) -> Any:
    """`gcp`, or `{preset: gcp, app: service}`: LogKeys, or MISSING after an error."""
    if node.kind != "map":
        preset = reader.choice(node, path, tuple(PRESETS))
        return preset if preset is MISSING else LogKeys(preset)
    values = reader.section(node, path, keys.LOG_NAME_KEYS)
    preset = values["preset"][2] if "preset" in values else "default"
    named = {name: values[name] for name in NAMEABLE if name in values}
    if preset == "otel" and named:
        where, location, _ = next(iter(named.values()))
        return reader.fail(location, where, "otel's fields have the names of its data model")
    for where, location, name in named.values():
        if not name.strip() or len(name) > 64 or not name.isprintable():
            return reader.fail(location, where, "a key has 1 to 64 printable characters")
    names = {role: name for role, (_, _, name) in named.items()}
    seen: dict[str, str] = {}
    whole = PRESETS[preset].replace(**names)
    for role in NAMEABLE:
        name = getattr(whole, role)
        if name in _TAKEN or name in seen or name in dict(whole.constants):
            where, location, _ = named.get(role) or next(iter(named.values()))
            other = f"is what `{seen[name]}` is called" if name in seen else "is a key of its own"
            return reader.fail(location, where, f"{name!r} {other}; choose another name")
        seen[name] = role
    return LogKeys(preset, tuple(names.items()))
