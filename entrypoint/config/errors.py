"""The problems of a file, as sentences for the person who must correct it.

All problems are collected and reported at once, sorted by location. A message never holds a value
of an environment: it may be a secret.
"""

from __future__ import annotations

from entrypoint.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    class Location(Protocol):
        """Anything with a position in the file; line and column begin at 1."""

        line: int
        column: int


# A broken file of 1 MiB can hold 100,000 mistakes: the first ones are enough to begin
# with, and searching a spelling for each costs a millisecond.
MOST_ERRORS = 200
MOST_SUGGESTIONS = 40


class ConfigError(Record):
    """One problem. `line` is 0 when the location is not known (a `.config.js` file).

    `path` is the key's path in the file, such as `apps[0].instances`. `code` is the number
    of a finding (findings.py). `severity` is `error`, `warning` or `note`.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    code: str = ""
    severity: str = "error"

    @property
    def location(self) -> str:
        """`file:line:column`, or the file alone."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def __str__(self) -> str:
        """The problem as `file:line:column: path: message (CODE)`."""
        message = f"{self.message} ({self.code})" if self.code else self.message
        return ": ".join(part for part in (self.location, self.path, message) if part)


class ConfigErrors(Exception):
    """The file cannot be used. `errors` has at least one entry, sorted by location."""

    def __init__(self, errors: Iterable[ConfigError], warnings: Iterable[ConfigError] = ()) -> None:
        self.errors = tuple(errors)
        self.warnings = tuple(warnings)
        super().__init__("\n".join(str(error) for error in self.errors))


class Problems:
    """Collects errors and warnings. `file` is the first file, or the one that is parsed."""

    def __init__(self, file: str) -> None:
        self.file = file
        # Dictionaries as sets that keep their order.
        self._errors: dict[ConfigError, None] = {}
        self._warnings: dict[ConfigError, None] = {}
        self._notes: dict[ConfigError, None] = {}
        self._suggested = 0
        self._dropped = 0

    def error(self, location: Location | None, path: str, message: str) -> None:
        """Record an error. The same one at the same location is reported once."""
        self._note(self._make(location, path, message))

    def error_in(self, file: str, line: int, column: int, path: str, message: str) -> None:
        """Record an error at a location of another file, which the key at `path` names."""
        self._note(ConfigError(file, line, column, path, message))

    def has_error_at(self, path: str) -> bool:
        """Whether an error of that key was reported."""
        return any(error.path == path for error in self._errors)

    def _note(self, found: ConfigError) -> None:
        if found in self._errors:
            return
        if len(self._errors) >= MOST_ERRORS:
            self._dropped += 1
        else:
            self._errors[found] = None

    def warn(self, location: Location | None, path: str, message: str, code: str = "") -> None:
        """Add a warning: the file can be used."""
        self._add(self._warnings, location, path, message, code, "warning")

    def note(self, location: Location | None, path: str, message: str, code: str = "") -> None:
        """Add a note: a difference that needs no action. Only `pyinit check` shows it."""
        self._add(self._notes, location, path, message, code, "note")

    def _add(
        self,
        kind: dict[ConfigError, None],
        location: Location | None,
        path: str,
        message: str,
        code: str,
        severity: str,
    ) -> None:
        found = self._make(location, path, message).replace(code=code, severity=severity)
        if found not in kind and len(kind) < MOST_ERRORS:
            kind[found] = None

    def stop(self, location: Location | None, path: str, message: str) -> ConfigErrors:
        """The exception that ends the reading: `raise problems.stop(…)`, with all found so far."""
        self.error(location, path, message)
        return self.as_exception()

    def _make(self, location: Location | None, path: str, message: str) -> ConfigError:
        line = location.line if location is not None else 0
        column = location.column if location is not None and location.line else 0
        return ConfigError(self.file_of(location), line, column, path, message)

    def file_of(self, location: Location | None) -> str:
        """The file that this location is in."""
        return getattr(location, "file", "") or self.file

    @property
    def errors(self) -> tuple[ConfigError, ...]:
        """All errors by location; when there are very many, the first and their number."""
        # This file's first.
        found = sorted(self._errors, key=lambda e: (e.file != self.file, e.file, _by_location(e)))
        if self._dropped:
            found.append(ConfigError(self.file, 0, 0, "", f"and {self._dropped} more errors"))
        return tuple(found)

    @property
    def warnings(self) -> tuple[ConfigError, ...]:
        """All warnings by location."""
        found = self._warnings
        return tuple(sorted(found, key=lambda e: (e.file != self.file, e.file, _by_location(e))))

    @property
    def notes(self) -> tuple[ConfigError, ...]:
        """All notes by location."""
        found = self._notes
        return tuple(sorted(found, key=lambda e: (e.file != self.file, e.file, _by_location(e))))

    def as_exception(self) -> ConfigErrors:
        """The errors and warnings so far, to be raised."""
        return ConfigErrors(self.errors, self.warnings)

    def raise_errors(self) -> None:
        """Raise ConfigErrors when there is an error."""
        if self._errors:
            raise self.as_exception()

    def suggest(self, word: str, choices: Iterable[str]) -> str:
        """`; did you mean …?` when a choice is spelled much like `word`, else nothing."""
        if self._suggested >= MOST_SUGGESTIONS:
            return ""
        self._suggested += 1
        return suggest(word, choices)


def suggest(word: str, choices: Iterable[str]) -> str:
    """As `Problems.suggest`, without a bound."""
    import difflib  # 8 ms, and only a wrong file needs it

    folded = word[:64].casefold().replace("-", "_")
    by_folded = {choice.casefold().replace("-", "_"): choice for choice in choices}
    begun = [choice for choice in by_folded if len(folded) > 3 and choice.startswith(folded)]
    near = begun[:1] or difflib.get_close_matches(folded, by_folded, n=1, cutoff=0.66)
    return f"; did you mean {by_folded[near[0]]!r}?" if near else ""


def quoted(text: str) -> str:
    """A value as a message shows it: quoted, printable, at most 40 characters."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _by_location(error: ConfigError) -> tuple[int, int]:
    # What has no location (line 0) concerns the whole file and comes first.
    return (error.line, error.column)
