"""`pyinit -- CMD` below a shell's job control: pyinit stops and continues with its command.

A shell sees the stop of the process that it has started, which is pyinit. So pyinit stops when
its command is stopped from the terminal (Ctrl-Z), and the shell takes the terminal back. If
no shell watches it, no process would continue pyinit: then it does not stop, like tini. It also
stops when SIGTSTP is sent to it, like dumb-init.

A stopped process cannot notice that the command alone is continued (`kill -CONT`). A
helper process checks for that as long as pyinit is stopped.
"""

from __future__ import annotations

import os
import time

from entrypoint.kernel import proc, signals

# How often the helper checks (s).
LOOK = 0.1


def is_watched() -> bool:
    """Whether a shell of this session may have started pyinit as a job on its terminal."""
    parent = os.getppid()
    try:
        session = os.getsid(0)
        if session == os.getpid() or parent < 1 or os.getsid(parent) != session:
            return False
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    os.close(fd)
    return True


def is_stop_of_the_job(signum: int, child: int) -> bool:
    """Whether the child's stop is a job's: from the terminal, or while it has the terminal."""
    if signum in signals.SUSPENDS:
        return True
    try:
        return os.tcgetpgrp(0) == child
    except OSError:
        return False


def stop(child: int, *, stopped: bool) -> int:
    """Stop this process; the pid of the helper that continues it with the child."""
    own = os.getpid()
    helper = os.fork()
    if helper == 0:
        try:
            _continue_with(child, own, stopped=stopped)
        finally:
            os._exit(0)
    os.kill(own, signals.SIGSTOP)
    return helper


def _continue_with(child: int, own: int, *, stopped: bool) -> None:
    """Continue `own` as soon as `child`, once it is stopped, runs again or has ended."""
    os.closerange(0, 3)
    while os.getppid() == own:
        time.sleep(LOOK)
        found = proc.stat(child)
        if found is None or found.state in "ZX" or (stopped and found.state != "T"):
            os.kill(own, signals.SIGCONT)
            return
        stopped = stopped or found.state == "T"
