"""Checks by a command, which must exit with 0.

It runs as a child of pyinit with the worker's environment, user and folder, in a process
group of its own, which is killed as a whole.
"""

from __future__ import annotations

import os

from entrypoint.kernel import child_report, kill, process, signals
from entrypoint.kernel.reap import exit_code
from entrypoint.loop import READ
from entrypoint.shell.spawn_request import check_request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.loop import Loop
    from entrypoint.shell.children import Children, Started
    from entrypoint.sockets.ports import Ports

# The last bytes of its output that are kept, and reported when it fails.
KEPT = 1000
_SIZE = 65536


class ExecCheck:
    """One run of the command."""

    def __init__(
        self,
        loop: Loop,
        children: Children,
        started: Started,
        ports: Ports | None,
        ended: Callable[..., None],
    ) -> None:
        self._loop = loop
        self._children = children
        self._request = check_request(started, ports, init=kill.is_init())
        self._ended = ended
        self._said = b""
        self._reading = -1
        self._channel = -1
        self._pid = 0

    def begin(self) -> None:
        """Fork; `ended(reason, last words)` is called at its end, or at once if that fails."""
        self._reading, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._reading, False)
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            child = process.spawn(self._request.replace(stdin=null, stdout=writing, stderr=writing))
        except OSError as error:
            self._close()
            self._ended(f"fork: {os.strerror(error.errno or 0)}")
            return
        finally:
            os.close(writing)
            os.close(null)
        self._pid, self._channel = child.pid, child.channel
        self._children.adopt_helper(child.pid, self._reaped)
        self._loop.register(self._reading, READ, self._readable)

    def give_up(self) -> None:
        """Kill it; its later end has no meaning any more."""
        self._ended = lambda *_: None
        self._kill()
        self._close()

    def _kill(self) -> None:
        try:
            kill.send_signal(self._pid, signals.SIGKILL, group=True)
        except (PermissionError, ValueError):
            pass  # all of it runs as another user, or never existed

    def _readable(self, _events: int) -> None:
        try:
            data = os.read(self._reading, _SIZE)
        except BlockingIOError:
            return
        self._said = (self._said + data)[-KEPT:]
        if not data:
            self._loop.unregister(self._reading)

    def _reaped(self, status: int) -> None:
        # Processes that it leaves in its group would fill the pid space, one each time.
        if kill.group_exists(self._pid):
            self._kill()
        if self._reading < 0:
            return  # cancelled before
        failure = self._failure()
        self._readable(0)
        said = _last_lines(self._said)
        self._close()
        code = exit_code(status)
        if failure:
            self._ended(failure)
        elif code == 0:
            self._ended("")
        else:
            how = f"killed by {signals.name_of(code - 128)}" if code > 128 else f"exit code {code}"
            self._ended(how, said)

    def _failure(self) -> str:
        for message in child_report.read_channel(self._channel):
            if isinstance(message, child_report.SpawnFailed):
                return message.text
        return ""

    def _close(self) -> None:
        if self._reading >= 0:
            self._loop.unregister(self._reading)
            os.close(self._reading)
            self._reading = -1
        if self._channel >= 0:
            os.close(self._channel)
            self._channel = -1


def _last_lines(said: bytes) -> str:
    """The end of its output, in one line."""
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines()]
    return "; ".join(line for line in lines[-3:] if line)
