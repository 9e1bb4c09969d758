"""The command of a worker: PM2's `script`, `args` and `interpreter` → an argument vector.

As PM2 does (`lib/Common.js`: prepareAppConf, resolveInterpreter, verifyConfs), with two
differences for the better: a command line that needs no shell gets none, so that the
worker is the program itself and not a shell that forwards no signals; and a text file
with a `#!` line is run by what that line says, where PM2 takes node.
"""

from __future__ import annotations

import os

from entrypoint.core.record import Record

from . import words
from .errors import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

INTERPRETERS = {
    ".js": ("node",),
    ".mjs": ("node",),
    ".cjs": ("node",),
    ".py": ("python3", "python"),
    ".sh": ("bash", "sh"),
    ".rb": ("ruby",),
    ".php": ("php",),
    ".pl": ("perl",),
    ".ts": ("bun", "node"),
    ".mts": ("bun", "node"),
    ".tsx": ("bun",),
    ".jsx": ("bun",),
    ".coffee": ("coffee",),
    ".ls": ("lsc",),
}
_NODE = frozenset(("node", "nodejs"))
_NODE_TOOLS = frozenset(("npm", "npx", "yarn", "yarnpkg", "pnpm", "pnpx", "corepack"))
# execve(2) reads that much of a `#!` line.
_HEAD = 4096


class CommandError(ValueError):
    """Why there is no command; `key` is the key of the file that must change."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class Wanted(Record):
    """The file's settings. `path` is the `PATH` of the app's environment."""

    script: str
    cwd: str
    path: str
    args: tuple[str, ...] = ()
    interpreter: str = ""
    interpreter_args: tuple[str, ...] = ()
    # Formats (a part of) a value for a message: never what a `${VAR}` brought.
    show: Callable[[str, str], str] = lambda _key, text: quoted(text)
    folder: str = "the working directory"

    def shown(self, text: str) -> str:
        """A word or a file of the script for a message."""
        return self.show("script", text)


class Command(Record):
    """What is executed.

    `node`: a Node program. `node_script`: one that PM2 runs in cluster mode by default
    (a script with its arguments apart, no command line). `script` and `interpreter` are
    PM2's `pm_exec_path` and `exec_interpreter`.
    """

    argv: tuple[str, ...]
    node: bool
    node_script: bool = False
    python: bool = False
    script: str = ""
    interpreter: str = "none"


def resolve(wanted: Wanted) -> Command:
    """The command of an app. Raises CommandError with a sentence."""
    script = wanted.script.strip()
    if not script:
        raise CommandError("script", "is empty")
    if "\0" in script:
        raise CommandError("script", "cannot hold a NUL")
    # A path that contains a blank is one path if the file exists.
    if " " not in script or os.path.isfile(_join(wanted.cwd, script)):
        return _program(wanted, script, (), line=False)
    try:
        line = words.split(script)
    except ValueError as error:
        raise CommandError("script", f"is no command line: {error}") from None
    if line.shell != "no":
        return _in_shell(wanted, script, line)
    return _program(wanted, line.words[0], line.words[1:], line=True)


def unseen(wanted: Wanted) -> Command:
    """The command from the words of the file only, if nothing can be looked up."""
    try:
        script = words.split_words(wanted.script) or (wanted.script,)
    except ValueError:
        script = (wanted.script,)
    interpreter = wanted.interpreter if wanted.interpreter != "none" else ""
    extension = os.path.splitext(script[0])[1]
    if not interpreter and extension in INTERPRETERS:
        interpreter = INTERPRETERS[extension][-1]
    argv = (*((interpreter,) if interpreter else ()), *script, *wanted.args)
    base = os.path.basename(argv[0])
    node = base in _NODE or base in _NODE_TOOLS
    return Command(argv, node=node, node_script=node and len(script) == 1)


def _join(folder: str, path: str) -> str:
    return os.path.normpath(os.path.join(folder, path))


def which(word: str, path: str, cwd: str) -> str | None:
    """The file that execvp(3) would run for `word`, or None."""
    if "/" in word:
        found = _join(cwd, word)
        return found if _runnable(found) else None
    for folder in path.split(":"):
        found = os.path.join(cwd, folder, word)
        if _runnable(found):
            return found
    return None


def _runnable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _find(wanted: Wanted, word: str) -> str | None:
    """As `which`, and in the project's own `node_modules/.bin` after `PATH`."""
    found = which(word, wanted.path, wanted.cwd)
    if found is None and "/" not in word:
        found = which(word, _join(wanted.cwd, "node_modules/.bin"), wanted.cwd)
    return found


def _program(wanted: Wanted, word: str, rest: tuple[str, ...], *, line: bool) -> Command:
    arguments = (*rest, *wanted.args)
    there = _join(wanted.cwd, word)
    is_file = os.path.isfile(there)
    extension = os.path.splitext(word)[1]
    if wanted.interpreter and wanted.interpreter != "none":
        return _interpreted(wanted, there if is_file else word, arguments, line=line)
    found = _find(wanted, word)
    if is_file and extension in INTERPRETERS and not wanted.interpreter:
        interpreter = _by_extension(wanted, there, extension)
        argv = (*interpreter, *wanted.interpreter_args, there, *arguments)
        return _command(wanted, argv, line=line, script=there, interpreter=interpreter[0])
    if is_file and ("/" in word or _runnable(there) or found is None):
        return _direct(wanted, there, there, arguments, line=line)
    if found is None:
        raise CommandError("script", _not_found(wanted, word, there))
    # A word of PATH stays a word, as a shell would pass it.
    in_path = which(word, wanted.path, wanted.cwd) is not None
    return _direct(wanted, word if in_path else found, found, arguments, line=line)


def _not_found(wanted: Wanted, word: str, there: str) -> str:
    if os.path.isdir(there):
        return f"{wanted.shown(word)} is a folder; name the file to run"
    if "/" in word or os.path.splitext(word)[1] in INTERPRETERS:
        near = next((end for end in INTERPRETERS if os.path.isfile(there + end)), "")
        hint = f"; did you mean {wanted.shown(word + near)}?" if near else ""
        return f"no file {wanted.shown(word)} in {wanted.folder}{hint}"
    return (
        f"{wanted.shown(word)} is neither a file in {wanted.folder} nor a command of PATH or "
        "node_modules/.bin"
    )


def _by_extension(wanted: Wanted, there: str, extension: str) -> tuple[str, ...]:
    names = INTERPRETERS[extension]
    for name in names:
        if which(name, wanted.path, wanted.cwd) is None:
            continue
        if extension in {".ts", ".mts"} and name == "node":
            return (name, *_type_stripping(wanted))
        return (name,)
    raise CommandError(
        "script",
        f"{wanted.shown(os.path.basename(there))} needs {' or '.join(names)}, which is not in "
        "PATH; name another `interpreter`",
    )


def _type_stripping(wanted: Wanted) -> tuple[str, ...]:
    """The option with which this node runs TypeScript (PM2's tools/typestrip.js)."""
    version = numbers(node_version(wanted.path, wanted.cwd))
    if (22, 18) <= version < (23, 0) or version >= (23, 6):
        return ()
    if version >= (22, 6):
        return ("--experimental-strip-types",)
    raise CommandError(
        "script", "TypeScript needs bun, node 22.6 or later, or an `interpreter` such as tsx"
    )


def node_version(path: str, cwd: str) -> str:
    """What `node --version` says, or nothing."""
    import subprocess

    program = which("node", path or os.defpath, cwd)
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, "--version"],
            capture_output=True,
            check=False,
            timeout=5,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("ascii", "replace").strip()


def numbers(version: str) -> tuple[int, int]:
    """Major and minor of `v22.18.0`; zeros for anything else."""
    parts = version.removeprefix("v").split(".")
    if len(parts) < 2 or not all(part.isascii() and part.isdigit() for part in parts[:2]):
        return (0, 0)
    return (int(parts[0]), int(parts[1]))


def _interpreted(wanted: Wanted, target: str, arguments: tuple[str, ...], *, line: bool) -> Command:
    name = wanted.interpreter
    if name.startswith("node@"):
        raise CommandError(
            "interpreter", "pyinit installs no node; choose its version by the image"
        )
    interpreter: tuple[str, ...] = (name,)
    if _find(wanted, name) is None:
        try:
            interpreter = words.split_words(name)
        except ValueError:
            interpreter = ()
        if len(interpreter) < 2 or _find(wanted, interpreter[0]) is None:
            shown = wanted.show("interpreter", name)
            raise CommandError("interpreter", f"{shown} is not found or cannot be run")
    first = interpreter[0]
    if which(first, wanted.path, wanted.cwd) is None:
        first = _find(wanted, first) or first
    elif "/" in first:
        first = _join(wanted.cwd, first)
    if not os.path.isabs(target):
        # A folder: node and python find the file to run in it.
        there = _join(wanted.cwd, target)
        found = there if os.path.isdir(there) else _find(wanted, target)
        if found is None:
            raise CommandError("script", _not_found(wanted, target, _join(wanted.cwd, target)))
        target = found
    argv = (first, *interpreter[1:], *wanted.interpreter_args, target, *arguments)
    return _command(wanted, argv, line=line, script=target, interpreter=first)


def _direct(
    wanted: Wanted, program: str, file: str, arguments: tuple[str, ...], *, line: bool
) -> Command:
    """Execute the file itself, if execve(2) will."""
    shebang = shebang_of(file)
    node_script = shebang is not None and _says_node(shebang)
    if node_script and (wanted.interpreter_args or not os.access(file, os.X_OK)):
        # As PM2, which runs every text file by node.
        argv = ("node", *wanted.interpreter_args, file, *arguments)
        if which("node", wanted.path, wanted.cwd) is None:
            raise CommandError("script", f"{wanted.shown(file)} needs node, which is not in PATH")
        return _command(wanted, argv, line=line, script=file, interpreter="node")
    if wanted.interpreter_args:
        raise CommandError("interpreter_args", "there is no interpreter that could take them")
    if not os.access(file, os.X_OK):
        raise CommandError(
            "script",
            f"{wanted.shown(file)} may not be executed (chmod +x), and no `interpreter` is given",
        )
    if shebang is not None:
        _check_shebang(wanted, file, shebang)
    elif is_text(file):
        raise CommandError(
            "script", f"{wanted.shown(file)} is a text without a #! line; name its `interpreter`"
        )
    argv = (program, *arguments)
    return _command(
        wanted, argv, line=line, script=file, interpreter="node" if node_script else "none"
    )


def _command(
    wanted: Wanted, argv: tuple[str, ...], *, line: bool, script: str, interpreter: str
) -> Command:
    base = os.path.basename(argv[0])
    node = _is_node(argv, wanted.path, wanted.cwd)
    by_node = base in _NODE or (node and base != "env")
    return Command(
        argv,
        node=node,
        node_script=node and by_node and not line,
        python="python" in base,
        script=script,
        interpreter=interpreter,
    )


def _in_shell(wanted: Wanted, script: str, line: words.CommandLine) -> Command:
    if wanted.interpreter and wanted.interpreter != "none":
        raise CommandError("script", "a shell's command line cannot have an `interpreter`")
    if wanted.interpreter_args:
        raise CommandError("interpreter_args", "there is no interpreter that could take them")
    text = script
    if line.shell == "compound":
        if wanted.args:
            raise CommandError(
                "args", "cannot be added to a shell's command line; write them in `script`"
            )
    else:
        if line.command and _find(wanted, line.command) is None:
            raise CommandError(
                "script", _not_found(wanted, line.command, _join(wanted.cwd, line.command))
            )
        # `exec`, so that signals reach the program and not a shell around it.
        text = f"{script[: line.command_at]}exec {script[line.command_at :]}"
        text = " ".join((text, *(words.quote(word) for word in wanted.args)))
    shell = "bash" if which("bash", wanted.path, wanted.cwd) else "/bin/sh"
    inner = [word.strip("\"'();&|") for word in line.words]
    node = any(_is_node((word,), wanted.path, wanted.cwd) for word in inner if word)
    found = which(shell, wanted.path, wanted.cwd) or shell
    return Command((shell, "-c", text), node=node, script=found)


def _is_node(argv: tuple[str, ...], path: str, cwd: str, depth: int = 3) -> bool:
    """Whether node runs in the end: it, its package runners, or a `#!` line naming it."""
    base = os.path.basename(argv[0])
    if base in _NODE or base in _NODE_TOOLS:
        return True
    if depth == 0:
        return False
    if base == "env":
        inner = tuple(word for word in argv[1:] if "=" not in word and word[:1] != "-")
        return bool(inner) and _is_node(inner, path, cwd, depth - 1)
    file = which(argv[0], path, cwd)
    if file is None:
        found = which(argv[0], _join(cwd, "node_modules/.bin"), cwd)
        if "/" in argv[0] or found is None:
            return False
        file = found
    shebang = shebang_of(file)
    if shebang is None:
        return False
    if os.path.basename(shebang[0]) in {"sh", "bash", "dash"} and "/node_modules/" in file:
        # pnpm and npm-on-Windows put shell scripts into node_modules/.bin.
        return b"node" in _head(file)
    return _is_node(shebang, path, cwd, depth - 1)


def _says_node(shebang: tuple[str, ...]) -> bool:
    return any(os.path.basename(word) in _NODE for word in shebang)


def _head(file: str) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read(_HEAD)
    except OSError:
        return b""


def shebang_of(file: str) -> tuple[str, ...] | None:
    """The words of a file's `#!` line, or None."""
    head = _head(file)
    if not head.startswith(b"#!"):
        return None
    line = head[2:].split(b"\n", 1)[0].decode("utf-8", "replace")
    return tuple(line.split()) or None


def _check_shebang(wanted: Wanted, file: str, shebang: tuple[str, ...]) -> None:
    interpreter = shebang[0]
    missing = not _runnable(interpreter)
    if not missing and os.path.basename(interpreter) == "env":
        names = [word for word in shebang[1:] if word[:1] != "-" and "=" not in word]
        if names and which(names[0], wanted.path, wanted.cwd) is None:
            interpreter, missing = names[0], True
    if missing:
        raise CommandError(
            "script",
            f"{wanted.shown(file)} begins with #!{' '.join(shebang)[:60]}, but "
            f"{wanted.shown(interpreter)} is not found",
        )


def is_text(file: str) -> bool:
    """Whether a file's beginning is UTF-8 without a NUL."""
    head = _head(file)
    # A file that cannot be read (mode 0111) is left to the kernel.
    if b"\0" in head or (not head and not os.access(file, os.R_OK)):
        return False
    try:
        head[: _HEAD - 4].decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
