"""The comments of a file, by line, so that `pyinit convert` can keep them."""

from __future__ import annotations

from .jslocations import comments as of_javascript

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 200


class Comments:
    """Comments above a line and at its end. Each is returned once."""

    def __init__(self, source: str, *, yaml: bool) -> None:
        self._above: dict[int, list[str]] = {}
        self._beside: dict[int, str] = {}
        found = _of_yaml(source) if yaml else of_javascript(source)
        lines = source.split("\n")
        waiting: list[str] = []
        by_line: dict[int, list[tuple[str, bool]]] = {}
        for line, text, alone in found:
            by_line.setdefault(line, []).append((text, alone))
        # The first line that is no comment.
        self._code = 0
        for number, content in enumerate(lines, 1):
            here = by_line.get(number, [])
            if any(alone for _, alone in here):
                waiting += [line for text, _ in here for line in _lines(text)]
                continue
            if content.strip() and not content.startswith("#!"):
                self._code = self._code or number
            if here:
                self._beside[number] = " ".join(line for text, _ in here for line in _lines(text))
            if not content.strip():
                # An empty line separates a comment from what follows, except the file's first.
                waiting = waiting if not self._code else []
            elif waiting:
                self._above[number] = waiting
                waiting = []

    def first(self) -> list[str]:
        """The comment with which the file begins."""
        first = min(self._above, default=0)
        return self.above(first) if first and first == self._code else []

    def above(self, line: int) -> list[str]:
        """The comment lines directly above a line."""
        return self._above.pop(line, [])

    def beside(self, line: int) -> str:
        """The comment at the end of a line."""
        return self._beside.pop(line, "")


def _lines(text: str) -> list[str]:
    """The lines of a comment without the signs that frame them."""
    found = []
    for line in text.split("\n"):
        plain = line.strip().lstrip("*").strip()
        if plain:
            found.append("".join(c if c.isprintable() else " " for c in plain)[:_LONGEST])
    return found


def _of_yaml(source: str) -> Iterable[tuple[int, str, bool]]:
    for number, line in enumerate(source.split("\n"), 1):
        stripped = line.strip()
        if stripped.startswith("#"):
            yield number, stripped.lstrip("#"), True
        elif " #" in line and not {'"', "'"} & set(line[line.index(" #") :]):
            yield number, line[line.index(" #") + 2 :], False
