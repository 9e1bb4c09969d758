"""Prepares the process for where it runs, and reports at boot what does not work there."""

from __future__ import annotations

import os

# PID 1 of `ENTRYPOINT pyinit …` in its shell form, where the shell does not replace itself.
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "busybox", "zsh", "ksh"))


def prepare(*, is_init: bool) -> tuple[str, ...]:
    """Make this process a subreaper if needed; returns sentences about what is missing."""
    from entrypoint.kernel import proc

    missing = [] if is_init else [*_become_reaper(), *_behind_a_shell()]
    if not proc.is_ours():
        missing.append(
            "/proc is not this PID namespace's: memory limits, `pyinit ls` and messages of "
            "grandchildren cannot tell processes apart"
        )
    return tuple(missing)


def _become_reaper() -> tuple[str, ...]:
    """Become a subreaper if this process is not PID 1."""
    from entrypoint.kernel import prctl

    try:
        prctl.set_child_subreaper()
    except (prctl.PrctlMissingError, OSError) as error:
        return (f"not PID 1 and no child subreaper: orphans go elsewhere ({error})",)
    return ()


def _behind_a_shell() -> tuple[str, ...]:
    from entrypoint.kernel import proc

    if os.getppid() != 1 or os.isatty(0):
        return ()
    name = proc.read("/proc/1/comm").decode("utf-8", "replace").strip()
    if name not in _SHELLS:
        return ()
    sentence = (
        f"PID 1 is a shell ({name}), which forwards no signal: a stop of the container never "
        'comes here; write the entrypoint as a list, ["pyinit", …], or `exec pyinit …`'
    )
    return (sentence,)


def no_terminal() -> bool:
    """Whether this process has no controlling terminal (tty(4)), so that nothing resizes it."""
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return True
    os.close(fd)
    return False


class Terminal:
    """The terminal that pyinit was started on, if there is one."""

    def __init__(self) -> None:
        self._fd = next((fd for fd in (0, 1, 2) if os.isatty(fd)), -1)

    def hung_up(self) -> bool:
        """Whether the terminal was closed, which is the cause of a SIGHUP (tty_ioctl(4))."""
        return self._fd >= 0 and not os.isatty(self._fd)
