"""Finds, reads and parses a file; translates a PM2 file.

PM2's rules for the top level hold: `apps` (or `pm2`) is a list or one mapping, or the
file itself is such a list, or one app.
"""

from __future__ import annotations

import os

from entrypoint.core.record import Record

from .errors import Problems
from .jsonfile import parse_json
from .tree import MOST_BYTES, Node, decode, parse_yaml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


NAMES = (
    "ecosystem.yaml",
    "ecosystem.yml",
    "ecosystem.json",
    "ecosystem.config.js",
    "ecosystem.config.cjs",
    "ecosystem.config.mjs",
)
# Replaces a file's name if a program was given.
COMMAND_LINE = "command line"
_SCRIPT_EXTENSIONS = (".js", ".cjs", ".mjs")


class File(Record):
    """A parsed file. `environ` is the environment after its evaluation.

    `pm2`: PM2's rules apply to it, and `tree` is as PM2 would read it.
    `node` is the version of the node that evaluated it.
    """

    tree: Node
    environ: Mapping[str, str]
    pm2: bool = False
    node: str = ""


def find(path: str | None, environ: Mapping[str, str]) -> str:
    """The file to read: `path`, `$PYINIT_CONFIG`, or a usual name in the working folder.

    Raises ConfigErrors when there is none.
    """
    if path is None:
        path = environ.get("PYINIT_CONFIG") or None
    if path is not None:
        return path
    for name in NAMES:
        if os.path.exists(name):
            return name
    raise Problems("pyinit").stop(
        None,
        "",
        f"no configuration: none of {', '.join(NAMES[:4])} in {os.getcwd()}; "
        "use -c FILE or PYINIT_CONFIG, or begin with `pyinit ecosystem`",
    )


def read_file(
    file: str, environ: Mapping[str, str], problems: Problems, env_name: str = ""
) -> File:
    """The file's nodes, by its extension. Raises ConfigErrors."""
    from entrypoint.config.pm2.formats import is_pm2

    data = read_bytes(file, problems)
    if file.endswith(_SCRIPT_EXTENSIONS):
        from .jsfile import parse_js
        from .jslocations import put_locations

        args = (file, "--env", env_name) if env_name else (file,)
        found = parse_js(file, environ, problems, args)
        source = data.decode("utf-8", "replace")
        put_locations(found.tree, source)
        return File(found.tree, found.environ, is_pm2(file, found.tree), found.version)
    text = decode(data, problems)
    if not text.strip():
        raise problems.stop(None, "", "is empty")
    tree = parse_json(text, problems) if file.endswith(".json") else parse_yaml(text, problems)
    if tree.is_null:
        raise problems.stop(None, "", "is empty")
    return File(tree, environ, is_pm2(file, tree))


def read_app_of(app: tuple[tuple[str, object], ...]) -> File:
    """The file that the command line of `pyinit start PROGRAM` stands for."""
    from entrypoint.config.pm2.values import made

    return File(made([dict(app)]), os.environ, pm2=True)


def add_options(file: File, options: tuple[tuple[str, object], ...], problems: Problems) -> None:
    """Apply options of the command line to the apps of a file, as PM2 does."""
    from entrypoint.config.pm2.values import is_falsy, made

    for node, _ in app_nodes(file.tree, problems) if options else ():
        for key, value in options if node.kind == "map" else ():
            given = node.get(key)
            # These apply if the file does not set them.
            if key in {"watch", "ignore_watch", "namespace"} and given and not is_falsy(given):
                continue
            option = made(value)
            node.entries[key] = (option, option)


def to_native(
    file: File,
    before: Mapping[str, str],
    problems: Problems,
    env_name: str = "",
    *,
    look: bool = True,
) -> None:
    """Turn a PM2 file's nodes into pyinit's keys, in place."""
    from entrypoint.config.pm2.translate import translate

    translate(
        file.tree,
        app_nodes,
        problems,
        environ=file.environ,
        before=before,
        env_name=env_name,
        look=look,
    )


def read_bytes(file: str, problems: Problems) -> bytes:
    """The content of a file. Raises ConfigErrors."""
    try:
        # Not blocking: a FIFO would wait for a writer.
        fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no name of a file"
        raise problems.stop(None, "", f"cannot be read: {reason}") from None
    parts = []
    total = 0
    try:
        while total <= MOST_BYTES and (part := os.read(fd, 1 << 16)):
            parts.append(part)
            total += len(part)
    except OSError as error:
        raise problems.stop(None, "", f"cannot be read: {error.strerror}") from None
    finally:
        os.close(fd)
    return b"".join(parts)


def app_nodes(tree: Node, problems: Problems) -> list[tuple[Node, str]]:
    """The apps of a file and their paths, in all forms that PM2 accepts."""
    if tree.kind == "seq":
        return [(item, f"[{index}]") for index, item in enumerate(tree.items)]
    if tree.kind != "map":
        raise problems.stop(tree, "", "must be a mapping with `apps`")
    for word in ("apps", "pm2"):
        apps = tree.get(word)
        if apps is None:
            continue
        if apps.kind == "seq":
            return [(item, f"{word}[{index}]") for index, item in enumerate(apps.items)]
        if apps.kind == "map":
            return [(apps, word)]
        if not apps.is_null:
            problems.error(apps, word, "must be a list of apps")
        return []
    return [(tree, "")]
