"""A unix socket: one for all workers, and the path that leads to it."""

from __future__ import annotations

import errno
import os

from entrypoint.kernel import socket_file, sockets
from entrypoint.kernel.credentials import act_as

from .addresses import ListenerDownError
from .group import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Sequence

    from entrypoint.kernel.credentials import Credentials
    from entrypoint.kernel.unixpath import Identity

    from .addresses import Form


class UnixGroup(Group):
    """A unix socket: a path leads to one socket, so all slots share it.

    Workers unlink the path, before they bind or when they exit, as if it were theirs. It is
    linked again when it is gone: connect(2) finds a socket by inode, whatever name led
    there.
    """

    def __init__(
        self,
        form: Form,
        backlog: int,
        *,
        mode: int | None = None,
        replace_stale: bool = False,
        credentials: Credentials | None = None,
    ) -> None:
        super().__init__(form, backlog, single=True, credentials=credentials)
        self._mode = mode
        self._replace_stale = replace_stale

    def _bind(self) -> _socket.socket:
        sock = sockets.unix_stream()
        try:
            self.file = socket_file.bind(
                sock,
                self.form.path,
                mode=self._mode,
                replace_stale=self._replace_stale,
                credentials=self._credentials,
            )
        except BaseException:
            sock.close()
            raise
        return sock

    def _listen(self, key: int) -> None:
        # SO_PEERCRED shows clients who called listen(2).
        listen = super()._listen
        act_as(self._credentials, lambda: listen(key))

    def admits(self, credentials: Credentials | None) -> bool:
        """Whether this process could have made the file itself."""
        if credentials is None or credentials == self._credentials or self.file is None:
            return True
        return self.file.folder.may_write(credentials)

    @property
    def kernel_name(self) -> str:
        """Its name in /proc/net/unix."""
        for sock in self._sockets.values():
            name = sock.getsockname()
            return "@" + os.fsdecode(name[1:]) if isinstance(name, bytes) else str(name)
        return self.form.path

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its file, including the hidden one."""
        return (self.file.name, self.file.hidden) if self.file is not None else ()

    def is_file(self, folder: Identity, name: str) -> bool:
        """Whether a process reaches this socket by that name in that folder."""
        file = self.file
        return (
            file is not None
            and file.folder.identity == folder
            and name in (file.name, file.hidden)
            and file.is_at(name)
        )

    def mend(self) -> bool:
        """Link the path again if it is gone; returns whether it was."""
        return self.file is not None and self.file.restore()

    @property
    def is_down(self) -> bool:
        """Whether there is no socket for the path to lead to: `revive` makes another."""
        if not self._sockets:
            return True
        return self.file is not None and self.file.is_lost

    def tune(self, backlog: int, mode: int | None) -> None:
        """Apply a new mode; without one the mode stays as it is."""
        super().tune(backlog, mode)
        if mode is None or mode == self._mode:
            return
        self._mode = mode
        if self.file is not None:
            self.file.set_mode(mode)

    def take_mode(self, other: Group) -> None:
        """Apply the mode that the worker has set for its own file, if the file declares none."""
        if self._mode is None and self.file is not None and other.file is not None:
            self.file.set_mode(other.file.act(os.stat).st_mode & 0o777)

    def revive(self, fallen: Sequence[int] = ()) -> tuple[int, ...]:  # noqa: ARG002
        """Bind another socket at the path: a unix socket that was shut down stays so.

        Raises OSError; then there is none, and a retry is possible.
        """
        if not self.listening:
            return ()
        self._drop()
        self.grow(1)
        return (0,)

    def _drop(self) -> None:
        self._array.clear()
        self._remove_file()
        while self._sockets:
            self._sockets.popitem()[1].close()

    def socket(self, slot: int) -> _socket.socket:
        """The one socket. Raises ListenerDownError while it could not be bound again."""
        if self.listening and not self._sockets:
            raise ListenerDownError(
                errno.ENOTCONN, self.form.text, "its path could not be bound again yet"
            )
        return super().socket(slot)

    def quiet(self) -> None:
        """Never called: a unix socket has one form."""

    def pause(self) -> None:
        """Close the socket: a unix socket that was shut down stays so."""
        self._paused = self.listening
        self._drop()
        self.listening = False

    def resume(self) -> None:
        """Bind another socket at the path, if the file is gone. Raises OSError."""
        if self._paused or self.listening:
            self._paused, self.listening, self._refuses = False, True, False
            if self.file is None or not self._sockets:
                self.revive()

    def refuse(self) -> None:
        """Remove the path: new clients find no file; queued connections stay."""
        self._refuses = True
        self._remove_file()

    def steer(self, slots: tuple[int, ...]) -> None:
        """A no-op: all slots have the one socket."""
        self.steered = slots

    def queue_length(self, slot: int) -> int:  # noqa: ARG002
        """The queue, which siblings and successors share unless no new connections come."""
        if not self._refuses or not self.listening:
            return 0
        return sum(each.waiting for each in self.depths())

    @staticmethod
    def _depth(sock: _socket.socket) -> sockets.Depth | None:
        from entrypoint.kernel import sockdiag

        return sockdiag.unix_depth(sock)

    def _remove_file(self) -> None:
        file, self.file = self.file, None
        if file is not None:
            file.remove()
            file.close()

    def close(self) -> None:
        """Close it and remove its file."""
        self._remove_file()
        super().close()
