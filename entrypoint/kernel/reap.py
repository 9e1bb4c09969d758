"""Reaping: every child that has ended, and every orphan that the kernel gave to PID 1."""

from __future__ import annotations

import os

# At most so many in one call, so that a storm of orphans cannot hold up signals and
# probes. When a call returns this many, more may wait and no SIGCHLD may follow: call
# again after the loop has turned.
BATCH = 512


def reap(flags: int = os.WNOHANG) -> list[tuple[int, int]]:
    """All children that can be waited for: `(pid, wait status)`, at most `BATCH`.

    The status is for `os.WIFEXITED` and its kin. With `os.WUNTRACED` in `flags` also
    those that were stopped.
    """
    ended: list[tuple[int, int]] = []
    add = ended.append
    wait = os.waitpid
    try:
        for _ in range(BATCH):
            child = wait(-1, flags)
            if not child[0]:
                break
            add(child)
    except ChildProcessError:  # ECHILD: no children at all
        pass
    return ended


def any_left() -> bool:
    """There are children, alive or not yet reaped."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def exit_code(status: int) -> int:
    """What a shell would report: the exit status, or 128 + n when killed by signal n."""
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)
