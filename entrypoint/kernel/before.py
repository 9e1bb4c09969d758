"""Commands that run in a child before its own exec: `before_start`.

The child forks and waits. It already is a worker, with its user, folder, limits and output, and
in its process group, so a stop signal ends the command and the child alike.
"""

from __future__ import annotations

import os
import time

from .execute import ExecError, execute

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Mapping, Sequence
else:
    import _signal

SIGKILL = 9
SIGCHLD = 17
# Variables of the worker itself: a command must not use them as its own.
_NOT_FOR_COMMANDS = (
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "NODE_CHANNEL_FD",
    "NODE_CHANNEL_SERIALIZATION_MODE",
    "NODE_UNIQUE_ID",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
)
_HIGHEST_FD = 65536


class CommandFailed(Exception):
    """Which command failed, and how."""


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command that runs beside a worker with `env`."""
    return {name: value for name, value in env.items() if name not in _NOT_FOR_COMMANDS}


def run_all(
    commands: Sequence[tuple[str, ...]], env: Mapping[str, str], timeout: float, mask: Sequence[int]
) -> None:
    """Run the commands one after the other. Raises CommandFailed for the first that fails.

    Called in a child with all signals blocked; they are unblocked while it waits. `timeout` (s) is
    for all commands together, 0 for none.
    """
    deadline = time.monotonic() + timeout if timeout > 0 else float("inf")
    env = environment(env)
    for argv in commands:
        before = _signal.pthread_sigmask(_signal.SIG_SETMASK, (SIGCHLD,))
        try:
            status = _run(argv, env, deadline, mask)
        finally:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
        if status is None:
            raise CommandFailed(f"not done in {timeout:g} s ({argv[0]})")
        code = os.waitstatus_to_exitcode(status)
        if code:
            how = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
            raise CommandFailed(f"{how} ({argv[0]})")


def _run(
    argv: tuple[str, ...], env: Mapping[str, str], deadline: float, mask: Sequence[int]
) -> int | None:
    """Run one command; the wait status, or None if the time is over."""
    pid = os.fork()
    if pid == 0:
        _become(argv, env, mask)
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        left = deadline - time.monotonic()
        if left <= 0:
            os.kill(pid, SIGKILL)
            os.waitpid(pid, 0)
            return None
        # Bounded, because a SIGCHLD of the previous command may have replaced this one's.
        _signal.sigtimedwait((SIGCHLD,), min(left, 1.0))


def _become(argv: tuple[str, ...], env: Mapping[str, str], mask: Sequence[int]) -> None:
    text = ""
    try:
        # Other descriptors of the worker, sockets for example, are not for the command.
        os.closerange(3, _HIGHEST_FD)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        execute(argv, env)
    except ExecError as error:
        text = f"{error.filename}: {error.detail or error.strerror}"
    except BaseException as error:  # noqa: BLE001  nothing may escape into the worker's start
        text = repr(error)
    finally:
        try:
            os.write(2, f"pyinit: exec: {text}\n".encode("utf-8", "replace"))
        finally:
            os._exit(127)
