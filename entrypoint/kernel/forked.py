"""Run a function in a short-lived child and get its bytes back through a pipe.

PID 1 reads the file this way: the child may import PyYAML, start node for a
`.config.js` and fail on a hostile file; PID 1 keeps none of that memory and is
unaffected if it goes wrong. Reads that may wait for a worker also run in a child.
"""

from __future__ import annotations

import os
import resource
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable
else:
    import _signal

# A file that takes longer to read is not a valid configuration (s of CPU).
_CPU_LIMIT = 30
FAILED = 70  # EX_SOFTWARE of sysexits.h


def fork_function(
    function: Callable[[], bytes], purpose: str = "read the configuration"
) -> tuple[int, int]:
    """Run `function` in a child. Returns its pid and the read end of its answer.

    `purpose`: what the child cannot do if it fails, for people.

    The descriptor is non-blocking and close-on-exec; at end of file the answer is
    complete if the child then exits 0. Raises OSError if fork(2) or pipe(2) fails.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC)
    every = _signal.valid_signals()
    before = _signal.pthread_sigmask(_signal.SIG_BLOCK, every)
    try:
        pid = os.fork()
        if pid == 0:
            _child(function, writing, purpose)
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
    os.set_blocking(reading, False)
    return pid, reading


class Child:
    """A child of `fork_function`: `fd` is readable until its answer is complete."""

    def __init__(
        self, function: Callable[[], bytes], purpose: str = "read the configuration"
    ) -> None:
        self.pid, self.fd = fork_function(function, purpose)
        self._answer = bytearray()
        self._reaped = False

    def ended(self, _status: int) -> None:
        """Record that it was reaped: its pid may be reused from now on."""
        self._reaped = True

    def take(self, before_close: Callable[[int], None]) -> bytes | None:
        """Read available bytes. At end of file `fd` is closed: returns the whole answer."""
        while True:
            try:
                data = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                return None
            if not data:
                before_close(self.fd)
                os.close(self.fd)
                return bytes(self._answer)
            self._answer += data

    def abandon(self, kill: Callable[[int, int], None] = os.kill) -> None:
        """Stop waiting for the answer."""
        os.close(self.fd)
        if not self._reaped:
            kill(self.pid, 9)


def _close_sockets() -> None:
    """Close inherited listeners: if the parent closes one, it must not stay open in the child.

    Otherwise the address of an app that is removed and added again would be in use.
    """
    try:
        fds = os.listdir("/proc/self/fd")
    except OSError:
        return
    for fd in map(int, fds):
        try:
            if fd > 2 and stat.S_ISSOCK(os.fstat(fd).st_mode):
                os.close(fd)
        except OSError:  # the descriptor of the folder itself
            continue


def _child(function: Callable[[], bytes], writing: int, purpose: str) -> None:
    code = FAILED
    try:
        # The parent's: a signal meant for the child must not wake the parent.
        _signal.set_wakeup_fd(-1)
        for signum in _signal.valid_signals():
            if signum not in (_signal.SIGKILL, _signal.SIGSTOP):
                try:
                    _signal.signal(signum, _signal.SIG_DFL)
                except (OSError, ValueError):
                    continue
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        _close_sockets()
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_LIMIT, _CPU_LIMIT))
        answer = memoryview(function())
        while answer:
            answer = answer[os.write(writing, answer) :]
        code = 0
    except BaseException as error:  # noqa: BLE001  nothing of the child may reach the parent's code
        os.write(2, f"pyinit: cannot {purpose}: {error!r}\n".encode())
    finally:
        os._exit(code)
