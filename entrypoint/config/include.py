"""The documents of a plan: the files of `-c`, and the files that they include.

Every node of a document but the first knows its file, so that each message names the right
location. A file is read once: a cycle, and a file that two others include, are errors.
"""

from __future__ import annotations

import os

from entrypoint.core.record import Record

from .read import MISSING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .errors import Problems
    from .read import Reader
    from .tree import Node

KEY = "include"
MOST_FILES = 200
_SPECIAL = frozenset("*?[")


class Document(Record):
    """A file and its value."""

    file: str
    tree: Node


class Documents:
    """Reads files and what they include; `read` makes the nodes of one."""

    def __init__(self, reader: Reader, read: Callable[[str], Node]) -> None:
        self._reader = reader
        self._problems: Problems = reader.problems
        self._read = read
        self._found: list[Document] = []
        # By real path: where it was included first, for a message.
        self._seen: dict[str, str] = {}

    def all_of(self, files: tuple[str, ...]) -> tuple[Document, ...]:
        """The documents of `files`, each followed by those that it includes."""
        for number, file in enumerate(files):
            if self._is_new(file, None, "", "-c"):
                self._take(file, (), first=number == 0)
        return tuple(self._found)

    def _is_new(self, file: str, node: Node | None, path: str, by: str) -> bool:
        real = _real(file)
        if real in self._seen:
            shown = file if node is None else self._reader.redacted(node, file)
            self._problems.error(node, path, f"{shown} is already included by {self._seen[real]}")
            return False
        self._seen[real] = by
        if len(self._seen) > MOST_FILES:
            raise self._problems.stop(node, path, f"more than {MOST_FILES} files are included")
        return True

    def _take(self, file: str, trail: tuple[str, ...], *, first: bool = False) -> None:
        """Read a file and what it includes. The first one's nodes need no file."""
        main, self._problems.file = self._problems.file, file
        try:
            tree = self._read(file)
        finally:
            self._problems.file = main
        if not first:
            _mark(tree, file)
            self._reader.files[os.path.abspath(file)] = None
        self._found.append(Document(file, tree))
        entry = tree.entries.get(KEY) if tree.kind == "map" else None
        if entry is None or entry[1].is_null:
            return
        value = entry[1]
        trail = (*trail, file)
        listed = value.kind == "seq"
        for at, item in enumerate(value.items if listed else [value]):
            where = f"{KEY}[{at}]" if listed else KEY
            if not self._reader.ready(item, where):
                continue
            text = self._reader.read_text(item, where)
            if text is not MISSING:
                self._include(item, where, text, trail)

    def _include(self, node: Node, where: str, text: str, trail: tuple[str, ...]) -> None:
        name = os.path.join(os.path.dirname(trail[-1]), text)
        names = [name]
        if not _SPECIAL.isdisjoint(text):
            from glob import glob

            names = sorted(glob(name))
            if not names:
                self._problems.warn(
                    node, where, f"no file matches {self._reader.redacted(node, text)}"
                )
        by = f"{trail[-1]}:{node.line}" if node.line else trail[-1]
        for name in names:
            shown = self._reader.redacted(node, name)
            if any(_real(name) == _real(file) for file in trail):
                cycle = " → ".join((*trail, shown))
                self._problems.error(node, where, f"a file cannot include itself: {cycle}")
            elif not os.path.isfile(name):
                self._problems.error(node, where, f"there is no file {shown}")
            elif self._is_new(name, node, where, by):
                self._take(name, trail)


def _real(file: str) -> str:
    try:
        return os.path.realpath(file)
    except ValueError:  # a NUL: reading it will say so
        return file


def _mark(tree: Node, file: str) -> None:
    """Set the file of every node. Aliases make one node a part of several others."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if node.file:
            continue
        node.file = file
        todo += node.items
        for pair in node.entries.values():
            todo += pair
