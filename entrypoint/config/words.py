"""Command lines: splits words like a POSIX shell, and tells whether a shell is needed.

`shlex` cannot tell a quoted `|` from a bare one, which decides here whether a worker is
the program itself or a shell around it.
"""

from __future__ import annotations

from entrypoint.core.record import Record

_SPACE = " \t\r"
# Words that only a shell understands where a command is expected.
_RESERVED = frozenset(
    (
        *("if", "for", "while", "until", "case", "select", "function", "time", "{", "[[", "!"),
        *(".", "source", "cd", "export", "ulimit", "umask", "set", "unset", "eval", "trap"),
        *("alias", "exec", "wait", "read"),
    )
)
_VARIABLE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_{(@*#?$!-")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")


class CommandLine(Record):
    """A parsed command line.

    `shell` is `no` (the words are the whole of it), `simple` (one command that a shell
    must expand: `exec` can stand before it) or `compound`. `command_at` is where the
    command's own name begins, after assignments; `command` is that name, empty when a
    shell must expand it first.
    """

    words: tuple[str, ...]
    shell: str
    command_at: int
    command: str


class _Word:
    def __init__(self, start: int) -> None:
        self.start = start
        self.text: list[str] = []
        self.expanded = False
        self.quoted = False


def split(line: str) -> CommandLine:
    """Parse `line`. Raises ValueError for a quote that is not closed."""
    return _Scanner(line).scan()


def split_words(line: str) -> tuple[str, ...]:
    """The words of `args`: quotes and backslashes count, other signs are literal."""
    return split(line).words


class _Scanner:
    def __init__(self, line: str) -> None:
        self._line = line
        self._words: list[_Word] = []
        self._word: _Word | None = None
        self._simple = False
        self._compound = False

    def scan(self) -> CommandLine:
        line = self._line
        at = 0
        while at < len(line):
            char = line[at]
            if char in _SPACE or char == "\n":
                # A line's end in the middle ends a command.
                self._compound |= char == "\n" and bool(line[at:].strip())
                self._word = None
                at += 1
            elif char == "\\":
                self._put(at, line[at + 1 : at + 2], quoted=True)
                at += 2
            elif char == "'":
                end = line.find("'", at + 1)
                if end < 0:
                    raise ValueError("a ' is not closed")
                self._put(at, line[at + 1 : end], quoted=True)
                at = end + 1
            elif char == '"':
                at = self._double_quoted(at)
            else:
                at = self._bare(at, char)
        return self._result()

    def _double_quoted(self, at: int) -> int:
        line = self._line
        self._put(at, "", quoted=True)
        start = at
        at += 1
        while at < len(line):
            char = line[at]
            if char == '"':
                return at + 1
            if char == "\\" and line[at + 1 : at + 2] in {"$", "`", '"', "\\"}:
                self._put(at, line[at + 1])
                at += 2
                continue
            if char == "`" or (char == "$" and line[at + 1 : at + 2] in _VARIABLE):
                self._expand(at)
            self._put(at, char)
            at += 1
        raise ValueError(f'the " at position {start + 1} is not closed')

    def _bare(self, at: int, char: str) -> int:
        line = self._line
        if char in "|;()&":
            # `2>&1` is part of a redirection.
            self._compound |= not (char == "&" and line[at - 1 : at] in {"<", ">"})
        begins = self._word is None
        if (
            char in "`*?<>"
            or (char == "$" and line[at + 1 : at + 2] in _VARIABLE)
            or (begins and char in "~#")
        ):
            self._expand(at)
        self._put(at, char)
        return at + 1

    def _put(self, at: int, text: str, *, quoted: bool = False) -> None:
        if self._word is None:
            self._word = _Word(at)
            self._words.append(self._word)
        self._word.text.append(text)
        self._word.quoted |= quoted

    def _expand(self, at: int) -> None:
        self._put(at, "")
        self._simple = True
        if self._word is not None:
            self._word.expanded = True

    def _result(self) -> CommandLine:
        first = 0
        while first < len(self._words) and _is_assignment("".join(self._words[first].text)):
            first += 1
            self._simple = True
        command = ""
        command_at = len(self._line)
        if first < len(self._words):
            word = self._words[first]
            command_at = word.start
            command = "" if word.expanded else "".join(word.text)
            self._compound |= not word.quoted and command in _RESERVED
        shell = "compound" if self._compound else "simple" if self._simple else "no"
        words = tuple("".join(word.text) for word in self._words)
        return CommandLine(words, shell, command_at, command)


def _is_assignment(word: str) -> bool:
    name, mark, _ = word.partition("=")
    return bool(mark and name) and not name[0].isdigit() and _NAME.issuperset(name)


def quote(word: str) -> str:
    """`word` as a shell reads it back."""
    plain = _NAME | frozenset("-./:=@%+,{}")
    if word and plain.issuperset(word):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"
