"""Apps that were read from another format, and their YAML."""

from __future__ import annotations

from entrypoint.config import emit, keys
from entrypoint.config.findings import CONVERTED_LITERAL, IMPORTED
from entrypoint.config.pm2.values import made
from entrypoint.config.references import is_secret, left_to_run
from entrypoint.config.variables import escape
from entrypoint.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from entrypoint.config.errors import Problems

    Value = str | int | bool | Sequence[object] | Mapping[str, object]


_PLACEHOLDERS = ("{fd}", "{port}", "{instance}", "{slot}")


class Raw(str):
    """A text with `${NAME}` that pyinit's YAML is to replace."""

    __slots__ = ()


class App:
    """One app: keys of pyinit with plain values, and the comment above it."""

    def __init__(self, name: str, line: int = 0) -> None:
        self.name = name
        self.line = line
        self.keys: dict[str, Value] = {}
        self.comments: list[str] = []


class Found(Record):
    """The content of a file. `notes` are comments at the top of the YAML."""

    apps: tuple[App, ...]
    notes: tuple[str, ...] = ()


class Location:
    """A line of the file, for a finding."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.column = 1


def left_out(problems: Problems, line: int, what: str, why: str) -> None:
    """Report a line that is not converted."""
    problems.warn(Location(line) if line else None, what[:120], why, IMPORTED)


def hide_secrets(found: Found, problems: Problems) -> None:
    """Replace values of `env` that are secrets by references, and report that."""
    for app in found.apps:
        env = app.keys.get("env")
        if not isinstance(env, dict):
            continue
        secrets = [
            name
            for name, value in env.items()
            if is_secret(name, str(value)) and not _refers(value)
        ]
        app.keys["env"] = env | {name: Raw(f"${{{name}}}") for name in secrets}
        for name in secrets:
            location = Location(app.line) if app.line else None
            path = f"{app.name}.env.{name}"
            problems.warn(location, path, left_to_run(name), CONVERTED_LITERAL)


def _refers(value: object) -> bool:
    """Whether it takes its value from the environment; `$$` is a dollar sign."""
    return isinstance(value, Raw) and "$" in value.replace("$$", "")


def yaml(source: str, found: Found) -> str:
    """The apps as the text of a file of pyinit."""
    lines = [f"# From {source}, by `pyinit convert`.", *(f"# {note}" for note in found.notes)]
    lines.append("apps:")
    for app in found.apps:
        lines += _app(app)
    return "\n".join(lines) + "\n"


def _app(app: App) -> Iterator[str]:
    for comment in app.comments:
        yield f"  # {comment}"
    values: dict[str, Value] = {"name": app.name, **app.keys}
    if any(word in text for text in _texts(values) for word in _PLACEHOLDERS):
        values["placeholders"] = False
    order = {word: at for at, word in enumerate(keys.by_spelling(keys.APP_KEYS))}
    for at, (key, value) in enumerate(sorted(values.items(), key=lambda item: order[item[0]])):
        start = "  - " if at == 0 else "    "
        yield f"{start}{key}:{_value(value)}"


def _texts(values: dict[str, Value]) -> Iterable[str]:
    """The texts in which braces would be pyinit's."""
    for key in ("script", "args", "env"):
        for text in _parts(values.get(key, "")):
            if not isinstance(text, Raw):
                yield str(text)


def _parts(value: Value) -> Iterable[object]:
    if isinstance(value, (str, int)):
        return (value,)
    return value.values() if isinstance(value, dict) else value


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return f" {'true' if value else 'false'}"
    if isinstance(value, int):
        return f" {value}"
    if isinstance(value, str):
        return f" {_text(value)}"
    if isinstance(value, dict):
        lines = (f"\n      {emit.text(name)}: {_flow(inner)}" for name, inner in value.items())
        return "".join(lines)
    return "".join(f"\n      - {_flow(item)}" for item in value)


def _flow(value: object) -> str:
    if isinstance(value, (dict, list)):
        return emit.flow(made(value))
    return _text(value if isinstance(value, str) else str(value))


def _text(value: str) -> str:
    if isinstance(value, Raw):
        return emit.reference(value, text=True)
    return emit.text(escape(value))
