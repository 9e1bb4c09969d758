"""`pyinit dev` with an invalid file: waits until a developer saves it."""

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
    """The folders of the files, watched before the files are read: no save is missed.

    Raises OSError if nothing can be watched.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._inotify = Inotify()
        folders = {os.path.dirname(os.path.abspath(path)) for path in paths} or {os.getcwd()}
        for folder in folders:
            self._inotify.add(os.fsencode(folder))

    def wait(self, loop: Loop, pipe: SignalPipe) -> list[int]:
        """Wait for a change beside a file; returns received signals. A stop ends the wait."""
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
        """Stop watching."""
        self._inotify.close()
