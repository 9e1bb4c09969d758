"""Restores removed paths of unix sockets if no filter reports the removal.

The cause is a worker without the filter, a user's command, or io_uring. inotify(7) watches the
socket file itself, not its folder: its link count changes (IN_ATTRIB) or it is moved
(IN_MOVE_SELF), and nothing else in a busy folder wakes PID 1. Between the removal and the new link
clients find no file.
"""

from __future__ import annotations

from entrypoint.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.kernel.inotify import Inotify
    from entrypoint.kernel.socket_file import SocketFile
    from entrypoint.loop import Loop

    from .group import Group

    Log = Callable[[str, str, dict[str, object]], None]

# Changes that restore nothing (chmod in a loop) are handled at most once in this time (s).
PAUSE = 0.02


class PathWatch:
    """The socket files of one app. `restored(group)` is called for a path that was gone."""

    def __init__(self, loop: Loop, restored: Callable[[Group], None], log: Log) -> None:
        self._loop = loop
        self._restored = restored
        self._log = log
        self._inotify: Inotify | None = None
        self._refused = False
        self._watched: dict[int, tuple[Group, SocketFile]] = {}

    def follow(self, group: Group) -> None:
        """Watch the present file of the group."""
        file = group.file
        if file is None or self._refused or any(f is file for _, f in self._watched.values()):
            return
        self.forget(group)
        try:
            inotify = self._opened()
            wd = file.act(lambda path: inotify.add(path.encode()))
        except OSError as error:
            self._refused = True
            reason = str(error.strerror or error)
            self._log("info", "socket file not watched", {"reason": reason})
            return
        self._watched[wd] = (group, file)

    def _opened(self) -> Inotify:
        if self._inotify is None:
            from entrypoint.kernel.inotify import Inotify

            self._inotify = Inotify()
            self._loop.register(self._inotify.fd, READ, self._changed)
        return self._inotify

    def forget(self, group: Group) -> None:
        """Stop watching its file: it has another one, or none."""
        for wd in [wd for wd, (other, _) in self._watched.items() if other is group]:
            del self._watched[wd]
            if self._inotify is not None:
                self._inotify.remove(wd)
        if not self._watched:
            self.close()

    def _changed(self, _events: int) -> None:
        inotify = self._inotify
        if inotify is None:
            return
        changed = {event.wd for event in inotify.read()}
        done = False
        for wd in changed & self._watched.keys():
            group, file = self._watched[wd]
            if group.file is file and group.mend():
                done = True
                self._restored(group)
        if not done:
            self._loop.modify(inotify.fd, 0)
            self._loop.call_at(("paths", id(self)), self._loop.now() + PAUSE, self._resume)

    def _resume(self) -> None:
        """Continue. The loop reports changes of the meantime at once."""
        if self._inotify is not None:
            self._loop.modify(self._inotify.fd, READ)

    def close(self) -> None:
        """Stop watching."""
        self._loop.cancel(("paths", id(self)))
        self._watched.clear()
        if self._inotify is not None:
            self._loop.unregister(self._inotify.fd)
            self._inotify.close()
            self._inotify = None
