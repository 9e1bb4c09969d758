"""Reaping: every child that has ended, and every orphan that the kernel gave to PID 1."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

# At most so many in one call, so that a storm of orphans cannot hold up signals and
# probes. When a call returns this many, more may wait and no SIGCHLD may follow: call
# again after the loop has turned.
BATCH = 512
# And for so long (s): the kernel takes a process apart here, 10 to 100 µs each.
TIME = 0.01


def reap(
    known: Container[int] | None = None, flags: int = os.WNOHANG
) -> tuple[list[tuple[int, int]], int]:
    """Reap all children that can be: those `known`, and how many others.

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
                # Nothing is kept of an orphan: there may be very many.
                others += 1
            if now() > until:
                break
    except ChildProcessError:  # ECHILD: no children at all
        pass
    return ended, others


def may_be_more(count: int, began: float) -> bool:
    """A call of `reap` that began then (monotonic s) and found so many has left some, perhaps."""
    return count >= BATCH or (count > 0 and time.monotonic() - began >= TIME)


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
