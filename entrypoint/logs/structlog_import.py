"""Imports structlog without asyncio: only the part that PID 1 uses, at a third of the cost.

`import structlog` loads all of it: its bridge to `logging`, test helpers, asyncio
variants of the log methods, rich tracebacks. These pull in asyncio, ssl, socket,
subprocess, threading and dataclasses: 100 ms and 13 MB, where all of PID 1
is to stay under 20 MB. What renders an event (`wrap_logger`, the filtering bound
logger, processors) needs none of them, but names them in import statements. The same holds
for `typing`: annotations are not evaluated, and 1 MB is saved.

So while structlog is being imported, and only then, `sys.modules` holds placeholders
for the modules of which it touches no more than a name. Nothing of structlog is
changed, copied or reached into; afterwards whoever imports one of those modules gets
the real one. The locks are real (`_thread`), the classes are empty: they stand in
annotations, base classes and defaults that PID 1 never uses.

A structlog that does not load this way (a later release may use more than a name) is
imported normally: slower, but correct. docs/decisions/0008 has the details.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

# Named in structlog's import statements, not used by what PID 1 uses of it.
_EMPTY = (
    "asyncio",
    "copy",
    "datetime",
    "threading",
    "logging",
    "pickle",
    "traceback",
    "typing",
    "uuid",
    "weakref",
    "structlog.dev",
    "structlog.stdlib",
    "structlog.testing",
    "structlog.threadlocal",
    "structlog.tracebacks",
    "structlog.typing",
)
# Optional for structlog, which works without them (`except ImportError`). An app's
# image may well have them: rich alone costs 5 MB.
_ABSENT = ("rich", "better_exceptions", "colorama", "greenlet", "structlog.twisted")


def _accept(_self: object, *_args: object, **_named: object) -> None:
    """Any call makes an instance: some placeholders stand in default arguments."""


def _cast(_type: object, value: object) -> object:
    """What `typing.cast` does."""
    return value


class _Empty:
    """Base of the classes that replace those of the modules (a test looks for them)."""

    __init__ = _accept


class _Placeholder(type(sys)):  # type: ignore[misc]  # types.ModuleType, not imported
    """A module that returns an empty class for each requested name."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (_Empty,), {"__module__": self.__name__})
        setattr(self, name, made)
        return made


def _placeholder(name: str) -> ModuleType:
    module: ModuleType = _Placeholder(name)
    if name == "threading":
        import _thread

        named = vars(module)
        named["local"] = _thread._local  # noqa: SLF001  what `threading` itself exports
        named["Lock"] = _thread.allocate_lock
        named["RLock"] = _thread.RLock
        named["get_ident"] = _thread.get_ident
    elif name == "typing":
        vars(module)["cast"] = _cast
    return module


def _import_lean() -> ModuleType:
    put: dict[str, ModuleType | None] = {}
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    try:
        for name in _EMPTY:
            if name not in modules:
                put[name] = modules[name] = _placeholder(name)
        for name in _ABSENT:
            if name not in modules:
                # `None` makes the import statement raise ModuleNotFoundError.
                put[name] = modules[name] = None
        import structlog

        return structlog
    finally:
        for name, module in put.items():
            if modules.get(name) is module:
                del modules[name]


def import_structlog() -> ModuleType:
    """structlog, without asyncio where that works. Raises ImportError without structlog."""
    loaded = sys.modules.get("structlog")
    if loaded is not None:
        return loaded
    try:
        structlog = _import_lean()
        # What PID 1 uses must exist and work before it is relied upon.
        lines: list[str] = []
        logger = structlog.wrap_logger(
            lambda _name: None,
            processors=[_last_step(lines, structlog)],
            wrapper_class=structlog.make_filtering_bound_logger(0),
        )
        logger.info("trial", number=1)
        if lines != ['{"number":1,"event":"trial"}']:
            raise ImportError(f"structlog rendered {lines!r}")  # noqa: TRY301
        return structlog
    except Exception:  # noqa: BLE001  whatever a later structlog may trip over
        for name in [n for n in sys.modules if n == "structlog" or n.startswith("structlog.")]:
            del sys.modules[name]
    import structlog as plain

    return plain


def _last_step(lines: list[str], structlog: ModuleType) -> object:
    render = structlog.processors.JSONRenderer(separators=(",", ":"))

    def step(logger: object, method: str, event: dict[str, object]) -> str:
        lines.append(render(logger, method, event))
        raise structlog.DropEvent

    return step
