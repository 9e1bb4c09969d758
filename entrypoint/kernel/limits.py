"""Limits of this process and its container: raised if possible, named in errors.

PID 1 has a few descriptors for each worker, and the usual soft limit is 1,024, for the
sake of programs that use select(2): systemd recommends raising it to the hard limit
(systemd.exec(5), "Process Properties"), and starting programs with the
original soft limit.
"""

from __future__ import annotations

import errno
import os
import resource
import sys

# More is useless, and a container may say "unlimited": 2**30 on some hosts.
_ENOUGH = 65536


# Names in the file; not every kernel has all.
NAMES: dict[str, int] = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in sorted(dir(resource))
    if name.startswith("RLIMIT_") and name != "RLIMIT_OFILE"
}


class LimitError(OSError):
    """A limit was refused; `detail` says which one, and which values are allowed."""

    def __init__(self, number: int, detail: str) -> None:
        super().__init__(number, os.strerror(number))
        self.detail = detail


def apply(limits: tuple[tuple[str, int, int], ...]) -> None:
    """In a child: set these (name, soft, hard; -1 is unlimited). Raises LimitError."""
    infinite = resource.RLIM_INFINITY
    for name, soft, hard in limits:
        wanted = (infinite if soft == -1 else soft, infinite if hard == -1 else hard)
        try:
            resource.setrlimit(NAMES[name], wanted)
        except (OSError, ValueError):
            # Python says ValueError for both EINVAL and EPERM.
            _, most = resource.getrlimit(NAMES[name])
            shown = "unlimited" if most == infinite else str(most)
            detail = f"{name} may be at most {shown} here without CAP_SYS_RESOURCE"
            raise LimitError(errno.EPERM, detail) from None


def mark(value: int) -> None:
    """In a child: set this soft RLIMIT_LOCKS as a mark, if possible (tree.py)."""
    from .tree import RLIMIT_LOCKS

    try:
        _, hard = resource.getrlimit(RLIMIT_LOCKS)
        resource.setrlimit(RLIMIT_LOCKS, (value, hard))
    except (OSError, ValueError):
        pass  # a lower hard limit, or a runtime that has none


# The limit that this process was started with, after it was raised.
_before: tuple[int, int] | None = None


def open_files() -> int:
    """The soft limit of this process's descriptors; -1 for none."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def raise_open_files() -> None:
    """Raise this process's limit of open files to the maximum; children get the original one."""
    global _before  # noqa: PLW0603  as the limit itself, it is the process's
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    wanted = _ENOUGH if hard == infinite else min(hard, _ENOUGH)
    if soft == infinite or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return
    _before = before


def restore_open_files() -> None:
    """In a child: the limit that pyinit was started with."""
    if _before is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, _before)


def explain(error: OSError) -> str:
    """The system's message, with the limit that caused it if known."""
    number = error.errno or 0
    said = os.strerror(number) if number else str(error)
    name = _name_of(number)
    return f"{said} ({name})" if name else said


def _name_of(number: int) -> str:
    if number == errno.EMFILE:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return f"pyinit may open {soft} files: `ulimit -n`"
    if number == errno.EAGAIN:
        return _of_processes()
    return ""


def _of_processes() -> str:
    """fork(2): EAGAIN is the cgroup's `pids` limit, RLIMIT_NPROC, or the machine's own."""
    from . import cgroup

    pids = cgroup.pids_limit()
    # A process may have ended meanwhile, or several threads at once were refused.
    if pids is not None and pids[1] >= pids[0] - 1:
        return f"the container's pids limit is {pids[0]}, and it has {pids[1]}"
    most, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if most != resource.RLIM_INFINITY and os.getuid() != 0:
        return f"user {os.getuid()} may have {most} processes: `ulimit -u`"
    return f"the container's pids limit is {pids[0]}" if pids is not None else ""


def release_code() -> None:
    """In the packages' program: unmap the code of its modules, 6 MB, after most imports.

    A later import reads the code from the file again.
    """
    if "_pyinit" in sys.builtin_module_names:
        import _pyinit

        _pyinit.release_code()
