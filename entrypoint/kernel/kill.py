"""kill(2): to a process, to its group, and at the end to all processes of the namespace."""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def send_signal(pid: int, number: int, group: bool = False) -> bool:
    """Signal a process or its whole group; False if there is none (ESRCH).

    Raises PermissionError if none of them may be signalled, and ValueError for a
    `pid` below 2: to kill(2), 0 and -1 mean many processes.
    """
    if pid < 2:
        raise ValueError(f"not the pid of a worker: {pid}")
    try:
        os.kill(-pid if group else pid, number)
    except ProcessLookupError:
        return False
    return True


def is_suspended(pid: int) -> bool:
    """Whether it was stopped by SIGSTOP or by job control: signals wait until SIGCONT."""
    from . import proc  # `pyinit --` never asks

    found = proc.stat(pid)
    return found is not None and found.state == "T"


def group_exists(pgid: int) -> bool:
    """Whether any process is in the group. A zombie counts until it is reaped."""
    try:
        return send_signal(pgid, 0, group=True)
    except PermissionError:
        return True


def sweep_below(number: int) -> None:
    """Signal every descendant of this process, one by one: `sweep` for one that is no init."""
    from . import proc

    for pid in proc.tree(os.getpid()):
        if pid != os.getpid():
            try:
                os.kill(pid, number)
            except OSError:
                continue  # gone meanwhile, or another user's


class NotInitError(PermissionError):
    """`sweep` was called where it would reach processes outside of pyinit."""


def is_init() -> bool:
    """Whether this process is the init of its PID namespace.

    Its pid is 1 and its parent is outside; /proc, when it tells, agrees (innermost
    number of NSpid, also when /proc is of an outer namespace).
    """
    if os.getpid() != 1 or os.getppid() != 0:
        return False
    from . import proc

    pids = proc.namespace_pids()
    return not pids or pids[-1] == 1


def sweep(number: int, kill: Callable[[int, int], None] = os.kill) -> bool:
    """Signal every process of this PID namespace except pyinit; False if there is none.

    kill(2) with -1 reaches everything that the caller may signal: from anywhere but the
    init of a namespace that is every process of the machine. Raises NotInitError then,
    before `kill` is called (a parameter, so that a test can check that it is not).
    """
    if not is_init():
        raise NotInitError(
            errno.EPERM, "not the init of a PID namespace: kill(-1) would reach everybody's"
        )
    try:
        kill(-1, number)
    except ProcessLookupError:
        return False
    return True
