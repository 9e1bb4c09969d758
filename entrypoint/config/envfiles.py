"""Variables out of files: `env_file`, `env_from_file`, and the `NAME_FILE` convention.

Read where the rest of the file is, in the loader's process: PID 1 keeps only what the
workers get. A message names files, lines and variables, never a value.
"""

from __future__ import annotations

import errno
import os

from entrypoint.core.record import Record

from . import dotenv, keys
from .scalars import MISSING
from .tree import MOST_BYTES, Node
from .variables import is_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from .errors import Problems
    from .keys import Key

    class Reader(Protocol):
        """What is used of `read.Reader`."""

        files: dict[str, None]
        problems: Problems

        def fail(self, node: Node, path: str, message: str) -> Any:
            """Record an error; returns MISSING."""

        def ready(self, node: Node, path: str) -> bool:
            """Replace the variables in a text; whether that went well."""

        def read_text(self, node: Node, path: str) -> Any:
            """A text, or MISSING."""

        def section(
            self, node: Node, path: str, table: tuple[Key, ...]
        ) -> dict[str, tuple[str, Node, Any]]:
            """All keys of a mapping: name → (its path, its value's node, the value)."""


# execve(2): one argument or variable, with its name, "=" and the NUL, is at most 32 pages.
MOST_VARIABLE = 32 * 4096 - 1

# Names of files that programs open themselves, which `expand_file_env: true` leaves alone.
_NOT_EXPANDED = frozenset(
    (
        "SSL_CERT_FILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
        "AWS_CONFIG_FILE",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AZURE_FEDERATED_TOKEN_FILE",
    )
)


class EnvFile(Record):
    """An entry of `env_file`; `path` is absolute."""

    path: str
    node: Node
    where: str
    required: bool = True
    raw: bool = False


class SecretFile(Record):
    """An entry of `env_from_file`; `path` is absolute."""

    name: str
    path: str
    node: Node
    where: str


def read_files(reader: Reader, node: Node, path: str) -> Any:
    """The value of `env_file`: a tuple of EnvFile, or MISSING."""
    items = (
        [(item, f"{path}[{index}]") for index, item in enumerate(node.items)]
        if node.kind == "seq"
        else [(node, path)]
    )
    found = [_entry(reader, item, where) for item, where in items]
    return MISSING if MISSING in found else tuple(found)


def _entry(reader: Reader, node: Node, where: str) -> Any:
    if node.kind != "map":
        if not reader.ready(node, where):
            return MISSING
        text = reader.read_text(node, where)
        return text if text is MISSING else EnvFile(_absolute(reader, text, node), node, where)
    values = reader.section(node, where, keys.ENV_FILE_KEYS)
    if "path" not in values:
        return reader.fail(node, where, "needs a `path`") if node.get("path") is None else MISSING
    given = {name: value for name, (_, _, value) in values.items()}
    return EnvFile(
        _absolute(reader, given["path"], node),
        node.get("path") or node,
        where,
        given.get("required", True),
        given.get("format", "env") == "raw",
    )


def read_secrets(reader: Reader, node: Node, path: str) -> Any:
    """The value of `env_from_file`: a tuple of SecretFile, or MISSING."""
    if node.kind != "map":
        return reader.fail(node, path, "must be a mapping of names to files")
    found = []
    for name, (key_node, value) in node.entries.items():
        where = f"{path}.{name}"[:120]
        if not is_name(name):
            return reader.fail(key_node, where, "must be the name of an environment variable")
        if not reader.ready(value, where):
            return MISSING
        text = reader.read_text(value, where)
        if text is MISSING:
            return text
        found.append(SecretFile(name, _absolute(reader, text, value), value, where))
    return tuple(found)


def _absolute(reader: Reader, path: str, node: Node) -> str:
    # As Compose: beside the file that names it.
    folder = os.path.dirname(os.path.abspath(reader.problems.file_of(node)))
    return os.path.normpath(os.path.join(folder, path))


# -- the files --------------------------------------------------------------------------


def variables(reader: Reader, files: tuple[EnvFile, ...], environ: Mapping[str, str]) -> Any:
    """All variables of `files`; the last value of a name counts.

    `environ` is what a file may refer to, beside what comes before it.
    """
    found: dict[str, str] = {}
    for file in files:
        data = _content(
            reader,
            file.path,
            file.node,
            file.where,
            _shown_path(file.path, file.node),
            most=MOST_BYTES,
            required=file.required,
        )
        if data is None:
            continue
        text = _text(reader, file, data)
        if text is None:
            continue

        def wrong(line: int, column: int, message: str, file: EnvFile = file) -> None:
            reader.problems.error_in(file.path, line, column, file.where, message)

        parse = dotenv.parse_raw if file.raw else dotenv.parse
        said = parse(text, {**environ, **found}, wrong)
        found |= {k: v for k, v in said.items() if _fits(reader, k, v, file.node, file.where)}
    return found


def _text(reader: Reader, file: EnvFile, data: bytes) -> str | None:
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        reader.problems.error_in(file.path, line, column, file.where, "is not UTF-8")
        return None


def secrets(reader: Reader, files: tuple[SecretFile, ...]) -> dict[str, str]:
    """The variables of `env_from_file`."""
    found = {}
    for file in files:
        value = _secret(
            reader, file.name, file.path, file.node, file.where, _shown_path(file.path, file.node)
        )
        if value is not None:
            found[file.name] = value
    return found


def expand(
    reader: Reader, env: dict[str, str], wanted: bool | tuple[str, ...], node: Node, where: str
) -> None:
    """Replace each wanted `NAME_FILE` of `env` by `NAME`.

    The rules are those of the official images: both set is an error, and the program
    gets `NAME` only.
    """
    if wanted is True:
        names = tuple(
            name.removesuffix("_FILE")
            for name, value in env.items()
            if name.endswith("_FILE")
            and is_name(name.removesuffix("_FILE"))
            and value.startswith("/")
            and name not in _NOT_EXPANDED
        )
    else:
        names = wanted or ()
    for name in names:
        path = env.get(f"{name}_FILE", "")
        if not path:
            continue
        if env.get(name):
            reader.fail(node, where, f"both {name} and {name}_FILE are set; one of them is meant")
            continue
        value = _secret(reader, name, os.path.abspath(path), node, where, f"{name}_FILE")
        if value is not None:
            del env[f"{name}_FILE"]
            env[name] = value


def _shown_path(path: str, node: Node) -> str:
    """The file in a message, without its path if that came from the environment.

    A user who confuses the two options has written the secret itself there.
    """
    return "the file" if node.replaced else path


def _secret(reader: Reader, name: str, path: str, node: Node, where: str, shown: str) -> str | None:
    data = _content(reader, path, node, where, shown, most=MOST_VARIABLE)
    if data is None:
        return None
    data = data.rstrip(b"\r\n")
    if b"\0" in data:
        reader.fail(node, where, f"{shown} holds a NUL, which no variable can")
        return None
    # Any bytes: the way of os.environ.
    value = os.fsdecode(data)
    return value if _fits(reader, name, value, node, where) else None


def _fits(reader: Reader, name: str, value: str, node: Node, where: str) -> bool:
    if len(os.fsencode(name)) + 1 + len(os.fsencode(value)) <= MOST_VARIABLE:
        return True
    reader.fail(node, where, f"{name} is longer than a variable can be (128 KiB)")
    return False


def _content(
    reader: Reader,
    path: str,
    node: Node,
    where: str,
    shown: str,
    *,
    most: int,
    required: bool = True,
) -> bytes | None:
    reader.files[path] = None
    try:
        # Not blocking: a FIFO would wait for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError:  # a NUL
        reader.fail(node, where, f"{shown} is no name of a file")
        return None
    except OSError as error:
        if required or error.errno not in (errno.ENOENT, errno.ENOTDIR):
            reader.fail(node, where, f"{shown} cannot be read: {error.strerror}")
        return None
    data = b""
    try:
        while len(data) <= most and (part := os.read(fd, 1 << 16)):
            data += part
    except OSError as error:
        reader.fail(node, where, f"{shown} cannot be read: {error.strerror}")
        return None
    finally:
        os.close(fd)
    if len(data) > most:
        reader.fail(node, where, f"{shown} is larger than {-(-most // 1024)} KiB")
        return None
    return data
