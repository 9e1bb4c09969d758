"""A timer that interrupts a system call which waits for a process outside pyinit's control.

`SECCOMP_IOCTL_NOTIF_ADDFD` returns when the worker's thread has run and taken the
descriptor. A thread of low priority on a busy machine may not run for seconds, and PID 1
would serve no one meanwhile. No flag of that call bounds the wait; a signal does: the call
then returns EINTR and has done nothing.

- *An interval timer*: a single shot may fire just before the call is entered, and then
  interrupts nothing.
- *timer_create(2), not setitimer(2)*: SIGALRM belongs to the workers, which get it when
  it is sent to PID 1. This timer can send any signal. SIGXFSZ is one that pyinit
  never forwards. It needs a handler (`signals.install_handlers`): Python ignores it, and
  an ignored signal interrupts nothing.
- *SIGEV_THREAD_ID*: the signal must reach the thread that waits. (Tests run the loop in a
  thread; PID 1 has only one.)

A forked child has no such timer (timer_create(2)), and exec(2) resets the handler.
"""

from __future__ import annotations

import errno
import os
import struct

from .signals import SIGXFSZ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

# When a call is first interrupted, and the interval from then on (s). The first expiry is
# beyond the scheduler's next tick: arming then programs no hardware and costs 2 µs, not 5.
FIRST = 0.004
INTERVAL = 0.001
# A call that is interrupted after this time is abandoned (s). An earlier interruption may
# be another signal, SIGCHLD for example: the call is repeated.
AT_MOST = 0.002

_CLOCK_MONOTONIC = 1
_SIGEV_THREAD_ID = 4
# timer_create, timer_settime. The C library has both, but musl's and old versions of
# glibc's do not take SIGEV_THREAD_ID, or are in another library.
_CALLS = {"x86_64": (222, 223), "aarch64": (107, 110)}
_SIGEVENT = struct.Struct("=QiiI44x")  # sigval, signo, notify, thread id
_ITIMERSPEC = struct.Struct("=qqqq")  # interval and first expiry, each s and ns


class Interrupter:
    """`with interrupter:` interrupts this thread's system calls after `FIRST` seconds.

    Repeats each `INTERVAL` until the end of the block. May be nested. Raises OSError if the
    kernel or the runtime refuses the timer.
    """

    def __init__(self) -> None:
        import ctypes
        from _thread import get_native_id

        numbers = _CALLS.get(os.uname().machine)
        if numbers is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        create, settime = numbers
        libc = ctypes.CDLL(None, use_errno=True)
        event = _SIGEVENT.pack(0, SIGXFSZ, _SIGEV_THREAD_ID, get_native_id())
        identity = ctypes.c_int(0)
        made = libc.syscall(
            ctypes.c_long(create),
            ctypes.c_long(_CLOCK_MONOTONIC),
            ctypes.c_char_p(event),
            ctypes.byref(identity),
        )
        if made != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        first, interval = int(FIRST * 1e9), int(INTERVAL * 1e9)
        self._syscall = libc.syscall
        # Made once, because each intercepted call arms it.
        self._on, self._off = (
            (
                ctypes.c_long(settime),
                ctypes.c_long(identity.value),
                ctypes.c_long(0),
                ctypes.c_char_p(_ITIMERSPEC.pack(*times)),
                ctypes.c_void_p(0),
            )
            for times in ((0, interval, 0, first), (0, 0, 0, 0))
        )
        self._depth = 0

    def __enter__(self) -> Self:
        self._depth += 1
        if self._depth == 1:
            self._syscall(*self._on)
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._syscall(*self._off)


# By thread: the timer's signal goes to the thread that made it.
_interrupters: dict[int, Interrupter] = {}


def interrupter() -> Interrupter:
    """This thread's interrupter. Raises OSError if the kernel or the runtime refuses the timer."""
    from _thread import get_native_id

    thread = get_native_id()
    found = _interrupters.get(thread)
    if found is None:
        found = _interrupters[thread] = Interrupter()
    return found


class _Unbounded:
    def __enter__(self) -> None:
        """No timer here."""

    def __exit__(self, *_: object) -> None:
        """No timer here."""


def bounded() -> Interrupter | _Unbounded:
    """The interrupter; if it is refused, calls wait without a limit.

    It loads ctypes: use it only when a call may have to wait.
    """
    try:
        return interrupter()
    except OSError:
        return _Unbounded()
