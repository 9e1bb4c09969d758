r"""Files of variables in the syntax of Compose's `env_file`.

https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/
describes it; where Compose continues with a guess, this is an error:

- A line is `NAME=value`, `NAME: value`, or `NAME` alone, which takes the variable over
  from the environment where there is one. `export` may stand before it.
- A value without quotes ends at the line's end or at ` #`. In single quotes all is
  literal but `\'`; in double quotes `\n`, `\t`, `\"`, `\$` and so on count. Quotes may go
  over several lines.
- `$NAME` and `${NAME}`, with a shell's `:-`, `-`, `:?`, `?`, `:+`, `+`, are replaced but in
  single quotes; `$$` is `$`. What is not set is an error: Compose puts nothing there,
  which makes half a password of `pa$word`.

A message never holds a part of a value, nor a name that follows a `$`: those may be
secrets too.
"""

from __future__ import annotations

from .variables import is_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # Line and column from 1, and a sentence.
    Told = Callable[[int, int, str], None]

_SPACE = " \t\r\v\f"
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_VARIABLE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    **{sign: sign for sign in '"\\$'},
}
_DEEPEST = 10
# Of one file; more are not looked for.
_MOST_MISTAKES = 50


class _Wrong(Exception):
    """A mistake at `at`; the statement gives nothing."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at = at


class _Unclosed(_Wrong):
    """The end of this statement cannot be found."""


class _Unset(_Wrong):
    """A variable has no value; not a mistake if its value is not needed."""


def parse(text: str, environ: Mapping[str, str], wrong: Told) -> dict[str, str]:
    """The variables of a file, in order; the last one of a repeated name.

    `environ` is what `$NAME` means where the file has not said it before. Each mistake
    is reported by `wrong`; the lines without one count.
    """
    return _Parser(text, environ, wrong).parse()


def parse_raw(text: str, environ: Mapping[str, str], wrong: Told) -> dict[str, str]:
    """As `docker run --env-file`: everything after `=` is the value, as it stands."""
    found: dict[str, str] = {}
    for number, ended in enumerate(text.split("\n"), 1):
        line = ended.removesuffix("\r")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        name = name.lstrip()
        if not name or not _NAME.issuperset(name):
            wrong(number, 1, "must be NAME=value")
        elif equals:
            found[name] = value
        elif name in environ:
            found[name] = environ[name]
    return found


class _Parser:
    def __init__(self, text: str, environ: Mapping[str, str], wrong: Told) -> None:
        self._text = text
        self._environ = environ
        self._wrong = wrong
        self._found: dict[str, str] = {}
        self._at = 0
        self._quote = ""
        self._mistakes = 0

    def parse(self) -> dict[str, str]:
        while self._at < len(self._text):
            try:
                self._statement()
            except _Wrong as error:
                self._tell(error)
                if isinstance(error, _Unclosed) or self._mistakes >= _MOST_MISTAKES:
                    break
                self._at = self._line_end(self._at) + 1
        return self._found

    def _tell(self, error: _Wrong) -> None:
        self._mistakes += 1
        before = self._text[: error.at]
        line = before.count("\n") + 1
        self._wrong(line, error.at - (before.rfind("\n") + 1) + 1, str(error))

    def _line_end(self, at: int) -> int:
        end = self._text.find("\n", at)
        return end if end >= 0 else len(self._text)

    def _skip_space(self) -> None:
        while self._text[self._at : self._at + 1] and self._text[self._at] in _SPACE:
            self._at += 1

    def _statement(self) -> None:
        self._skip_space()
        text = self._text
        end = self._line_end(self._at)
        if self._at == end or text[self._at] == "#":
            self._at = end + 1
            return
        if text.startswith("export", self._at) and text[self._at + 6 : self._at + 7] in {" ", "\t"}:
            self._at += 6
            self._skip_space()
        start = self._at
        while self._at < end and text[self._at] in _NAME:
            self._at += 1
        name = text[start : self._at]
        if not name or name[0] in "0123456789.-":
            raise _Wrong(start, "must begin with the name of a variable, as in NAME=value")
        self._skip_space()
        if self._at >= end:
            if name in self._environ:
                self._found[name] = self._environ[name]
            self._at = end + 1
            return
        if text[self._at] not in "=:":
            raise _Wrong(self._at, "`=` must follow the name")
        self._at += 1
        self._skip_space()
        first = text[self._at : self._at + 1]
        value = self._quoted(first) if first in {'"', "'"} else self._unquoted()
        if "\0" in value:
            self._tell(_Wrong(start, "a variable cannot hold a NUL"))
        else:
            self._found[name] = value

    def _unquoted(self) -> str:
        text = self._text
        end = self._line_end(self._at)
        stop = end
        for at in range(self._at, end):
            if text[at] == "#" and text[at - 1] in _SPACE:
                stop = at
                break
        raw = text[self._at : stop].rstrip(_SPACE)
        stop = self._at + len(raw)
        self._quote = ""
        value = self._expanded(stop)
        self._at = end + 1
        return value

    def _quoted(self, quote: str) -> str:
        text = self._text
        opened = self._at
        self._at += 1
        close = self._closing(quote, opened)
        self._quote = quote
        try:
            value = self._expanded(close)
        finally:
            # After a mistake too: the rest of the value holds no statements.
            self._at = close + 1
        end = self._line_end(self._at)
        rest = text[self._at : end]
        if rest.strip(_SPACE) and not (rest[0] in _SPACE and rest.lstrip(_SPACE)[0] == "#"):
            raise _Wrong(self._at, "only a comment may follow the closing quote, after a space")
        self._at = end + 1
        return value

    def _closing(self, quote: str, opened: int) -> int:
        at = opened + 1
        while at < len(self._text):
            if self._text[at] == "\\":
                at += 2 if quote == '"' or self._text[at + 1 : at + 2] == "'" else 1
            elif self._text[at] == quote:
                return at
            else:
                at += 1
        raise _Unclosed(opened, f"the {quote} is not closed")

    def _expanded(self, stop: int) -> str:
        parts = []
        while self._at < stop:
            if self._text[self._at] == "$" and self._quote != "'":
                parts.append(self._dollar(stop))
            else:
                parts.append(self._literal())
        return "".join(parts)

    def _literal(self) -> str:
        """The next character; what a backslash begins, where it counts."""
        char = self._text[self._at]
        self._at += 1
        if char != "\\" or not self._quote:
            return char
        following = self._text[self._at]
        meant = _ESCAPES.get(following) if self._quote == '"' else None
        if self._quote == following == "'":
            meant = "'"
        if meant is None:
            return char  # it begins nothing: `C:\users`
        self._at += 1
        return meant

    # -- variables ----------------------------------------------------------------

    def _dollar(self, stop: int, depth: int = 0) -> str:
        """The value of the `$` at the current position and its name."""
        text = self._text
        start = self._at
        following = text[start + 1 : start + 2] if start + 1 < stop else ""
        if following == "$":
            self._at += 2
            return "$"
        if following == "{":
            return self._braced(stop, depth)
        end = start + 1
        while end < stop and text[end] in _VARIABLE:
            end += 1
        name = text[start + 1 : end]
        if not is_name(name):
            self._at += 1
            return "$"
        self._at = end
        value = self._value_of(name)
        if value is None:
            raise _Unset(start, "this variable is not set; write $$ for a $")
        return value

    def _value_of(self, name: str) -> str | None:
        return self._found.get(name, self._environ.get(name))

    def _braced(self, stop: int, depth: int) -> str:
        text = self._text
        start = self._at
        end = start + 2
        while end < stop and text[end] in _VARIABLE:
            end += 1
        name = text[start + 2 : end]
        operator = text[end : end + 1] if end < stop else ""
        if operator == ":":
            operator = text[end : end + 2]
        if not is_name(name) or operator not in {"}", ":-", "-", ":?", "?", ":+", "+"}:
            raise _Wrong(start, "only ${NAME} and ${NAME:-default} are replaced; write $$ for a $")
        value = self._value_of(name)
        self._at = end + len(operator)
        if operator == "}":
            if value is None:
                raise _Unset(start, "this variable is not set; write ${NAME:-} if that is meant")
            return value
        # A shell's: with a colon an empty value counts as none.
        given = bool(value) if operator[0] == ":" else value is not None
        use_word = given if operator[-1] == "+" else not given and operator[-1] == "-"
        word = self._word(start, stop, depth + 1, wanted=use_word)
        if use_word:
            return word
        if operator[-1] == "?" and not given:
            raise _Unset(start, "this variable is not set, and the file says that it must be")
        return "" if operator[-1] == "+" else value or ""

    def _word(self, start: int, stop: int, depth: int, *, wanted: bool) -> str:
        """The text up to the closing brace; its variables count if it is needed."""
        if depth > _DEEPEST:
            raise _Wrong(start, f"is nested more than {_DEEPEST} levels deep")
        text = self._text
        parts = []
        while self._at < stop and text[self._at] != "}":
            if text[self._at] == "$":
                try:
                    parts.append(self._dollar(stop, depth))
                except _Unset:
                    if wanted:
                        raise
            else:
                parts.append(self._literal())
        if self._at >= stop:
            raise _Wrong(start, "the { is not closed")
        self._at += 1
        return "".join(parts)
