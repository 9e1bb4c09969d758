"""`pyinit dev` with a file that is wrong: wait until somebody saves it."""

from __future__ import annotations

import os

from entrypoint.kernel import signals
from entrypoint.kernel.inotify import Inotify
from entrypoint.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from entrypoint.kernel.signals import SignalPipe
    from entrypoint.loop import Loop

# An editor saves in several steps (s).
PAUSE = 0.1


class Saves:
    """The folders of the files, watched from before they are read: no save is missed.

    Raises OSError where nothing can be watched.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._inotify = Inotify()
        folders = {os.path.dirname(os.path.abspath(path)) for path in paths} or {os.getcwd()}
        for folder in folders:
            self._inotify.add(os.fsencode(folder))

    def wait(self, loop: Loop, pipe: SignalPipe) -> list[int]:
        """Wait for a change beside one of the files; the signals that came, a stop ends it."""
        seen: list[int] = []
        saved: list[bool] = []

        def changed(_events: int) -> None:
            if self._inotify.read():
                loop.call_at("saved", loop.now() + PAUSE, lambda: saved.append(True))

        loop.register(self._inotify.fd, READ, changed)
        loop.register(pipe.fd, READ, lambda _events: seen.extend(pipe.read()))
        while not saved and not any(number in signals.STOPS for number in seen):
            loop.turn()
        loop.cancel("saved")
        loop.unregister(self._inotify.fd)
        loop.unregister(pipe.fd)
        return seen

    def close(self) -> None:
        """Watch no more."""
        self._inotify.close()
