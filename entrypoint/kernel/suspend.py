"""Suspends processes for a moment to inspect what they do (SIGSTOP, SIGCONT).

A process that was stopped in accept(2) or epoll_wait(2) gets EINTR afterwards if it catches
a signal too, else the call continues (`signal(7)`).
"""

from __future__ import annotations

import os

from . import proc, signals
from .credentials import look_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Calls in which a thread has no work in hand, by `os.uname().machine`: accept, accept4, the
# polls and selects, futex, the sleeps, wait4 and waitid, pause, rt_sigsuspend and
# rt_sigtimedwait, read, recvfrom, recvmsg, restart_syscall, io_uring_enter.
_WAITING_X86_64 = "43 288 7 23 270 271 232 281 441 202 35 230 61 247 34 130 128 0 45 47 219 426"
_WAITING_AARCH64 = "202 242 72 73 22 441 98 101 115 260 95 133 137 63 207 212 128 426"
_WAITING = {
    "x86_64": frozenset(map(int, _WAITING_X86_64.split())),
    "aarch64": frozenset(map(int, _WAITING_AARCH64.split())),
}
_STOPPED = frozenset(b"TtZX")


def suspend(pids: Iterable[int]) -> bool:
    """Send SIGSTOP; False if one may not be signalled. `is_suspended` tells when it has stopped."""
    return _send(pids, signals.SIGSTOP)


def resume(pids: Iterable[int]) -> None:
    """Continue them, children first: a shell must not find its job stopped."""
    _send(reversed(tuple(pids)), signals.SIGCONT)


def _send(pids: Iterable[int], number: int) -> bool:
    allowed = True
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        except PermissionError:
            allowed = False
    return allowed


def _threads(pid: int) -> list[str]:
    if not proc.is_ours():
        return []
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []  # it has ended


def is_suspended(pid: int) -> bool:
    """Whether none of its threads runs. True also if it has ended, or cannot be inspected."""
    for thread in _threads(pid):
        data = _read(f"/proc/{pid}/task/{thread}/stat")
        state = data.rpartition(b") ")[2][:1]
        if state and state[0] not in _STOPPED:
            return False
    return True


def only_waits(pid: int) -> bool | None:
    """Whether each of its suspended threads was stopped while it waited; None: unknown."""
    waiting = _WAITING.get(os.uname().machine, frozenset())

    def calls() -> list[bytes]:
        found = []
        for thread in _threads(pid):
            try:
                found.append(_read_checked(f"/proc/{pid}/task/{thread}/syscall"))
            except FileNotFoundError:
                continue
        return found

    try:
        numbers = [call.partition(b" ")[0] for call in look_at(pid, calls)]
    except OSError:
        return None
    return all(number.isdigit() and int(number) in waiting for number in numbers)


def _read(path: str) -> bytes:
    try:
        return _read_checked(path)
    except OSError:
        return b""


def _read_checked(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)
