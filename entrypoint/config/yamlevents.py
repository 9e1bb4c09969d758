"""PyYAML's parser without the rest of PyYAML.

`import yaml` takes about 20 ms, three quarters of it for modules that are not used here
(`re`, `datetime`, the constructors and emitters), and PID 1 waits for its file before
the first worker starts. The binding to libyaml, `yaml._yaml`, imports the package only
for its exception, event and token classes. In a process that has not imported `re`
(the loader's own short-lived one) it gets a package of just those: about 5 ms. In any
other process the whole package costs little and is loaded, as it is if
PyYAML has no libyaml or another layout.
"""

from __future__ import annotations

import _imp
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MARKED = ("scanner.ScannerError", "parser.ParserError", "composer.ComposerError")
_UNUSED = (
    "constructor.ConstructorError",
    "emitter.EmitterError",
    "reader.ReaderError",
    "representer.RepresenterError",
    "serializer.SerializerError",
)

_found: tuple[Any, tuple[type[Exception], ...]] | None = None


def reader(text: str) -> Any:
    """A parser over `text` with `get_event()`; see yaml/events.py of PyYAML."""
    return _load()[0](text)


def syntax_errors() -> tuple[type[Any], ...]:
    """What the parser raises: exceptions with `problem`, `problem_mark`, `context`."""
    return _load()[1]


def _load() -> tuple[Any, tuple[type[Exception], ...]]:
    global _found  # noqa: PLW0603  one parser class for the process
    if _found is None:
        if "re" not in sys.modules and "yaml" not in sys.modules:
            _found = _lean()
        _found = _found or _whole()
    return _found


def _whole() -> tuple[Any, tuple[type[Exception], ...]]:
    import yaml

    errors: tuple[type[Exception], ...] = (yaml.MarkedYAMLError,)
    if yaml.__with_libyaml__:
        from yaml._yaml import CParser  # type: ignore[import-not-found, unused-ignore]

        return CParser, errors
    return yaml.SafeLoader, errors


def _lean() -> tuple[Any, tuple[type[Exception], ...]] | None:
    """The parser alone, or None. Afterwards this process must not `import yaml`."""
    folder = next(
        (found for entry in sys.path if os.path.isfile((found := f"{entry}/yaml") + "/events.py")),
        None,
    )
    # In the packages' program all modules are frozen: none has a file.
    if folder is None and not _imp.is_frozen("yaml"):
        return None
    module = type(sys)
    package = module("yaml")
    package.__path__ = [folder] if folder else []
    sys.modules["yaml"] = package
    try:
        import yaml.error
        import yaml.events
        import yaml.nodes
        import yaml.tokens

        marked: Any = yaml.error.MarkedYAMLError
        for name in (*_MARKED, *_UNUSED):
            where, _, cls = name.partition(".")
            stub = module(f"yaml.{where}")
            setattr(stub, cls, type(cls, (marked if name in _MARKED else Exception,), {}))
            setattr(package, where, stub)
            sys.modules[f"yaml.{where}"] = stub
        from yaml._yaml import CParser
    except (ImportError, AttributeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "yaml"]:
            del sys.modules[name]
        return None
    return CParser, (marked,)
