"""Executes a program found in the child's own PATH, with an error that explains the failure.

Like execvp(3) and unlike `os.execvpe`: a script without a `#!` line is run by /bin/sh, as
every shell and tini do, and nothing is imported (`os.get_exec_path` imports
`warnings`).
"""

from __future__ import annotations

import errno
import os

from . import elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

# What execvp(3) uses when there is no PATH.
DEFAULT_PATH = "/bin:/usr/bin"

# Errors after which the search continues (glibc's posix/execvpe.c).
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT)


class ExecError(OSError):
    """exec(2) failed for `filename`; `detail` says more than errno, if more is known."""

    def __init__(self, number: int, filename: str, detail: str = "") -> None:
        super().__init__(number, os.strerror(number), filename)
        self.detail = detail


def execute(argv: tuple[str, ...], env: Mapping[str, str]) -> NoReturn:
    """Replace this process. Raises ExecError, or ValueError for a NUL in an argument."""
    name = argv[0]
    if "/" in name:
        _attempt(name, argv, env)
        raise _failed(errno.ENOENT, name)
    if not name:
        raise ExecError(errno.ENOENT, name, "the command is empty")
    path = env.get("PATH", DEFAULT_PATH)
    refused: ExecError | None = None
    for folder in path.split(":"):
        candidate = f"{folder}/{name}" if folder else name
        try:
            _attempt(candidate, argv, env)
        except ExecError as error:
            if error.errno != errno.EACCES:
                raise
            # As execvp(3): a later folder may have an executable one.
            refused = error
            continue
        if os.path.lexists(candidate):
            raise _failed(errno.ENOENT, candidate)
    if refused is not None:
        raise refused
    raise ExecError(errno.ENOENT, name, f"not found in PATH ({path})")


def _attempt(path: str, argv: tuple[str, ...], env: Mapping[str, str]) -> None:
    """Return if there is no such file; raise ExecError for everything else."""
    try:
        os.execve(path, argv, env)
    except OSError as error:
        number = error.errno or errno.EINVAL
    head = _head(path) if number == errno.ENOEXEC else b""
    # With a `#!` line the interpreter is foreign: /bin/sh would misread the script.
    if number == errno.ENOEXEC and elf.is_text(head) and not head.startswith(b"#!"):
        try:
            os.execve("/bin/sh", ("/bin/sh", path, *argv[1:]), env)
        except OSError:
            raise _failed(errno.ENOEXEC, path) from None
    if number not in _ABSENT:
        raise _failed(number, path)


def _failed(number: int, path: str) -> ExecError:
    return ExecError(number, path, _explain(number, path))


def _explain(number: int, path: str) -> str:
    if number == errno.EACCES:
        if os.path.isdir(path):
            return "it is a folder"
        if os.path.exists(path) and _is_noexec(path):
            return "its file system is mounted with noexec"
        if os.path.exists(path) and not os.access(path, os.X_OK):
            return f"it is not executable; try: chmod +x {path}"
        return ""
    if number == errno.ENOEXEC:
        head = _head(path)
        if head.startswith(b"#!"):
            interpreter = os.fsdecode(head[2:].split(b"\n")[0].strip().split(b" ")[0])
            kind = elf.why_foreign(_head(interpreter)) or "no program for this machine"
            return f"its interpreter {interpreter} is {kind}"
        return f"it is {elf.why_foreign(head) or 'neither a program for this machine nor a script'}"
    if number != errno.ENOENT:
        return ""
    if os.path.islink(path) and not os.path.exists(path):
        return "it is a symbolic link to nothing"
    head = _head(path)
    # The file exists, but something that it needs does not.
    if head.startswith(b"#!"):
        line = head[2:].split(b"\n")[0]
        interpreter = os.fsdecode(line.strip().split(b" ")[0])
        if line.endswith(b"\r"):
            return (
                "its first line ends with CR LF (DOS line ends), "
                f"so its interpreter would be {interpreter + chr(13)!r}"
            )
        return f"its interpreter {interpreter} does not exist"
    if head.startswith(b"\x7fELF"):
        return elf.why_no_loader(head)
    return ""


def _is_noexec(path: str) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_NOEXEC)
    except OSError:
        return False


def _head(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.read(fd, elf.HEAD)
    except OSError:
        return b""
    finally:
        os.close(fd)
