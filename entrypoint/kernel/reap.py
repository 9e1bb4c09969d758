"""Reaping: every child that has ended, and every orphan that became a child of PID 1."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

# The most in one call, so that a storm of orphans cannot hold up signals and
# probes. If a call returns this many, more may wait and no SIGCHLD may follow: call
# again after a turn of the loop.
BATCH = 512
# The longest time of a call (s): the kernel frees a process here, 10 to 100 µs each.
TIME = 0.01


def reap(
    known: Container[int] | None = None, flags: int = os.WNOHANG
) -> tuple[list[tuple[int, int]], int]:
    """Reap all children that have ended: returns those `known`, and how many others.

    The first are `(pid, wait status)`, the status for `os.WIFEXITED` and its kin. None
    stands for all. At most `BATCH` in one call, for `TIME` at most. With `os.WUNTRACED` in
    `flags` also those that were stopped.
    """
    ended: list[tuple[int, int]] = []
    others = 0
    wait, now = os.waitpid, time.monotonic
    until = now() + TIME
    try:
        for _ in range(BATCH):
            pid, status = wait(-1, flags)
            if not pid:
                break
            if known is None or pid in known:
                ended.append((pid, status))
            else:
                # Nothing is stored about an orphan: there may be very many.
                others += 1
            if now() > until:
                break
    except ChildProcessError:  # ECHILD: no children at all
        pass
    return ended, others


def may_be_more(count: int, began: float) -> bool:
    """Whether a `reap` that began then (monotonic s) with this result may have left some."""
    return count >= BATCH or (count > 0 and time.monotonic() - began >= TIME)


def any_left() -> bool:
    """Whether there are children, alive or not yet reaped."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def exit_code(status: int) -> int:
    """The exit code as in a shell: the exit status, or 128 + n if killed by signal n."""
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)
