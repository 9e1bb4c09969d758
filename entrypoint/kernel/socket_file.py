"""Files of unix sockets: bound, restored and removed by descriptor, see `unixpath`."""

from __future__ import annotations

import _socket
import errno
import os
import stat

from entrypoint.core.record import Record

from .credentials import Credentials, act_as
from .unixpath import Folder, address, identity_of, open_folder, path_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


_ENTRY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NOGROUP = 65534


class _Way(Record):
    """How a path is bound: by which address, and with which credentials (None: pyinit's)."""

    address: str
    credentials: Credentials | None


def _way(path: str, folder: Folder, name: str) -> _Way:
    """How to bind a path. Raises OSError (EPERM) if root must not use it."""
    if os.geteuid() != 0 or folder.stable:
        return _Way(path, None)  # the kernel checks what another user may do
    if folder.owner > 0 and os.fstat(folder.fd).st_uid == folder.owner:
        return _Way(path, Credentials(folder.owner, _group_of(folder.owner), (), 0))
    if not folder.linked:
        return _Way(folder.by_descriptor(name), None)
    raise OSError(
        errno.EPERM,
        "other users can make this path lead elsewhere (a symbolic link in a folder that they "
        "may write); name the folder that is meant",
        path,
    )


def _group_of(uid: int) -> int:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return _NOGROUP


def bind(
    sock: _socket.socket,
    path: str,
    *,
    mode: int | None = None,
    replace_stale: bool = False,
    credentials: Credentials | None = None,
    hidden: bool = True,
) -> SocketFile | None:
    """Bind a new unix socket to a path or an abstract name; returns its file, None for the latter.

    `mode`: exactly that of the file, from the beginning; None: by umask.
    `replace_stale`: a socket file without a listener belongs to a dead process, and is
    removed; a file that is no socket never is. `credentials`: of the socket's owner. `hidden`:
    with a second name, so that the path can be restored.
    Raises OSError (EADDRINUSE: another socket listens there, or another file has the path;
    ESTALE: another process has replaced it meanwhile).
    """
    if path.startswith("@"):
        act_as(credentials, lambda: sock.bind(address(path)))
        return None
    above, name = os.path.split(path if path.startswith("/") else f"{os.getcwd()}/{path}")
    folder: Folder = act_as(credentials, lambda: open_folder(above))
    try:
        way = _Way(path, credentials) if credentials else _way(path, folder, name)
        file = SocketFile.bound(sock, folder, name, way, mode=mode, replace_stale=replace_stale)
    except BaseException:
        folder.close()
        raise
    if hidden:
        file.hide()
    return file


def bind_with_mode(sock: _socket.socket, where: str, mode: int | None) -> None:
    """bind(2) to a path that no other user can replace. Raises OSError.

    `mode` is exactly that of the file, from the beginning; None: by umask.
    """
    if mode is None:
        sock.bind(where)
        return
    if os.fstat(sock.fileno()).st_uid == os.geteuid():
        os.fchmod(sock.fileno(), mode)
    before = os.umask(0)
    try:
        sock.bind(where)
    finally:
        os.umask(before)


def remove_stale(folder: Folder, name: str) -> bool:
    """Remove a socket file that refuses connections; returns whether it did. Raises OSError."""
    try:
        entry = os.open(name, _ENTRY, dir_fd=folder.fd)
    except FileNotFoundError:
        return False
    try:
        if not stat.S_ISSOCK(os.fstat(entry).st_mode) or not _refuses(entry):
            return False
        os.unlink(name, dir_fd=folder.fd)
    finally:
        os.close(entry)
    return True


def _refuses(entry: int) -> bool:
    kind = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    trial = _socket.socket(_socket.AF_UNIX, kind)
    try:
        trial.connect(f"/proc/self/fd/{entry}")
    except OSError as error:
        return error.errno == errno.ECONNREFUSED
    finally:
        trial.close()
    return False


class SocketFile:
    """The file of a socket that pyinit has bound, kept by descriptors.

    A second, hidden name next to it keeps it alive: a file without a name cannot be linked
    again.
    """

    def __init__(self, folder: Folder, name: str, entry: int, way: _Way) -> None:
        self.folder = folder
        self.name = name
        self.hidden = f".{name}.pyinit"
        self._entry = entry
        self._credentials = way.credentials
        self._identity = identity_of(os.fstat(entry))

    @classmethod
    def bound(
        cls,
        sock: _socket.socket,
        folder: Folder,
        name: str,
        way: _Way,
        *,
        mode: int | None,
        replace_stale: bool,
    ) -> SocketFile:
        """Bind. Raises OSError; takes ownership of `folder` if it succeeds."""
        if mode is not None:
            os.fchmod(sock.fileno(), mode)  # the socket is pyinit's, whoever binds it

        def make() -> SocketFile:
            try:
                bind_with_mode(sock, way.address, mode)
            except OSError as error:
                stale = error.errno == errno.EADDRINUSE and replace_stale
                if not stale or not remove_stale(folder, name):
                    raise
                bind_with_mode(sock, way.address, mode)
            entry = _opened(folder, name)
            return cls(folder, name, entry, way)

        made: SocketFile = act_as(way.credentials, make)
        return made

    def _act(self, action: Callable[[], Any]) -> Any:
        return act_as(self._credentials, action)

    def hide(self) -> None:
        """Create the second name."""

        def link() -> None:
            _unlink(self.folder, self.hidden)
            self._link(self.hidden)

        try:
            self._act(link)
        except OSError:
            pass  # a file system without links: the path cannot be restored

    def _link(self, name: str) -> None:
        os.link(f"/proc/self/fd/{self._entry}", name, dst_dir_fd=self.folder.fd)

    def fileno(self) -> int:
        """A descriptor of the file (O_PATH)."""
        return self._entry

    def is_at(self, name: str) -> bool:
        """Whether this name in the folder is pyinit's socket."""
        found = self.folder.stat(name)
        return found is not None and identity_of(found) == self._identity

    @property
    def is_there(self) -> bool:
        """Whether its path leads to it, as far as its folder is concerned."""
        return self.is_at(self.name)

    def restore(self) -> bool:
        """Link the path again if nothing is there; returns whether it was."""
        if self.folder.stat(self.name) is not None:
            return False  # it is pyinit's, or another file, which is not pyinit's to remove
        try:
            self._act(lambda: self._link(self.name))
        except OSError:
            return False
        if not self.is_at(self.hidden):
            self.hide()
        return True

    @property
    def is_lost(self) -> bool:
        """Whether no path leads to it and none can: its names and its folder are gone."""
        try:
            links = os.fstat(self._entry).st_nlink
            return links == 0 or os.fstat(self.folder.fd).st_nlink == 0
        except OSError:
            return True

    def act(self, action: Callable[[str], Any]) -> Any:
        """Run `action(path)` with a path to this very file, with the credentials of its bind."""
        return self._act(lambda: action(f"/proc/self/fd/{self._entry}"))

    def set_mode(self, mode: int) -> None:
        """chmod(2) of this very file. Raises OSError."""
        self.act(lambda path: os.chmod(path, mode))

    def remove(self) -> None:
        """Remove its names, if they still are its own."""

        def unlink() -> None:
            for name in (self.name, self.hidden):
                if self.is_at(name):
                    _unlink(self.folder, name)

        try:
            self._act(unlink)
        except OSError:
            pass

    def close(self) -> None:
        """Close the descriptors; the file stays."""
        self.folder.close()
        if self._entry >= 0:
            os.close(self._entry)
            self._entry = -1


def _opened(folder: Folder, name: str) -> int:
    """Open what bind(2) has just made. Raises OSError (ESTALE) if something else is there."""
    try:
        entry = os.open(name, _ENTRY, dir_fd=folder.fd)
    except FileNotFoundError:
        raise path_error(errno.ESTALE, name) from None
    found = os.fstat(entry)
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        os.close(entry)
        raise path_error(errno.ESTALE, name)
    return entry


def _unlink(folder: Folder, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder.fd)
    except FileNotFoundError:
        pass
