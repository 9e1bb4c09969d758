"""The paths of unix sockets: bound, restored, removed, and safe from being swapped meanwhile.

PID 1 is often root, and the folder of a socket is often writable for a worker, which
can put a symbolic link or another file at any name in it, at any moment, in a loop. So
no path is used that was only checked before:

- A folder is opened once, component by component (`Folder`), and from then on its
  descriptor represents it. pyinit reads and follows links, never the kernel, so a
  link into `/proc/PID/root` leads nowhere.
- bind(2) has no form with a folder's descriptor, and getsockname(2) returns the path that
  was passed to it. So root binds by the path only if no other user can
  replace a part of it. If the one who can is the owner of the folder, the socket is
  bound as that user, who could have bound it too. Otherwise it is bound through
  `/proc/self/fd`.
- The mode is that of the socket itself, set before bind(2) copies it (fchmod(2) on an
  unbound unix socket), with no umask for that moment. There is no chmod(2) afterwards.
- The bound file is opened (O_PATH) and checked: it is a socket, and of pyinit's user. That
  descriptor represents the file: it is linked and changed by it (`/proc/self/fd`).
- unlink(2) in an opened folder can hit only a file that a user has put at the socket's name,
  who could have removed it as well.

Operations for a worker also use its credentials (`credentials`).
"""

from __future__ import annotations

import errno
import os
import stat

from .credentials import CAP_DAC_OVERRIDE, Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

# As in the kernel (MAXSYMLINKS).
_MOST_LINKS = 40
# sun_path, less its zero.
PATH_MAX = 107
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANYBODY = -1

Identity = tuple[int, int]


def address(path: str) -> str | bytes:
    """The address of a path, or of an abstract name (written `@name`)."""
    return b"\0" + os.fsencode(path[1:]) if path.startswith("@") else path


def path_error(number: int, path: str) -> OSError:
    """The error of this number, with its path."""
    return OSError(number, os.strerror(number), path)


def identity_of(status: os.stat_result) -> Identity:
    """Device and inode."""
    return status.st_dev, status.st_ino


class Folder:
    """An opened folder. `path` is its location, without links.

    `stable`: only root can make its path lead elsewhere. `owner`: the one user who
    can; -1 if there are several. `linked`: a link that such a user can replace was
    followed.
    """

    def __init__(self, fd: int, path: str, *, stable: bool, owner: int, linked: bool) -> None:
        self.fd = fd
        self.path = path
        self.stable = stable
        self.owner = owner
        self.linked = linked
        self.identity = identity_of(os.fstat(fd))

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def stat(self, name: str) -> os.stat_result | None:
        """The stat of this name, of a link itself and not its target; None: nothing."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def may_write(self, credentials: Credentials) -> bool:
        """Whether a process may make a file here, by the folder's mode (`inode(7)`)."""
        found = os.fstat(self.fd)
        if credentials.capabilities & CAP_DAC_OVERRIDE:
            return True
        if found.st_uid == credentials.uid:
            needed = stat.S_IWUSR | stat.S_IXUSR
        elif found.st_gid == credentials.gid or found.st_gid in credentials.groups:
            needed = stat.S_IWGRP | stat.S_IXGRP
        else:
            needed = stat.S_IWOTH | stat.S_IXOTH
        return found.st_mode & needed == needed

    def by_descriptor(self, name: str) -> str:
        """A path to `name` in this very folder, whatever its own path leads to now."""
        return f"/proc/self/fd/{self.fd}/{name}"


class _Walk:
    """A walk from the root to a folder, link by link. See `Folder` for what is recorded."""

    def __init__(self) -> None:
        self.fd = os.open("/", _FOLDER)
        self.names: list[str] = []
        self.stable = True
        self.owners: set[int] = set()
        self.linked = False
        self._links = 0

    def go(self, path: str) -> None:
        waiting = [part for part in path.split("/") if part not in ("", ".")][::-1]
        while waiting:
            part = waiting.pop()
            if part == "..":
                self._descend("..")
                if self.names:
                    self.names.pop()
                continue
            above = os.fstat(self.fd)
            entry = os.stat(part, dir_fd=self.fd, follow_symlinks=False)
            self._judge(above, entry)
            if not stat.S_ISLNK(entry.st_mode):
                self._descend(part)
                self.names.append(part)
                continue
            self._links += 1
            if self._links > _MOST_LINKS:
                raise path_error(errno.ELOOP, path)
            self.linked = self.linked or not self.stable
            target = os.readlink(part, dir_fd=self.fd)
            if target.startswith("/"):
                self._restart()
            waiting += [each for each in target.split("/") if each not in ("", ".")][::-1]

    def _judge(self, above: os.stat_result, entry: os.stat_result) -> None:
        """Record who, besides root, can replace `entry` in folder `above`."""
        able = {above.st_uid}
        if above.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            # In a sticky folder only the owner of the entry, otherwise any writer.
            able.add(entry.st_uid if above.st_mode & stat.S_ISVTX else _ANYBODY)
        able.discard(0)
        if able:
            self.stable = False
            self.owners |= able

    def _descend(self, name: str) -> None:
        fd = os.open(name, _FOLDER, dir_fd=self.fd)
        os.close(self.fd)
        self.fd = fd

    def _restart(self) -> None:
        fd = os.open("/", _FOLDER)
        os.close(self.fd)
        self.fd = fd
        self.names.clear()


def open_folder(path: str) -> Folder:
    """Open a folder by its absolute path. Raises OSError."""
    walk = _Walk()
    try:
        walk.go(path)
        owner = next(iter(walk.owners)) if len(walk.owners) == 1 else -1
        return Folder(
            walk.fd,
            "/" + "/".join(walk.names),
            stable=walk.stable,
            owner=owner,
            linked=walk.linked,
        )
    except BaseException:
        os.close(walk.fd)
        raise


def locate(path: str, *, follow: bool = False) -> tuple[Folder, str]:
    """The folder and the last name of an absolute path; the caller closes the folder.

    `follow`: a link at its end is followed, as connect(2) does. Raises OSError.
    """
    for _ in range(_MOST_LINKS):
        above, _, name = path.rstrip("/").rpartition("/")
        folder = open_folder(above)
        try:
            found = folder.stat(name) if follow else None
            if found is None or not stat.S_ISLNK(found.st_mode):
                return folder, name
            target = os.readlink(name, dir_fd=folder.fd)
        except BaseException:
            folder.close()
            raise
        folder.close()
        path = os.path.join(folder.path, target)
    raise path_error(errno.ELOOP, path)


def private_folder(
    parent: str, name: str, mode: int = 0o700, *, make_parent: bool = True
) -> Folder:
    """The folder `name` in `parent`, of pyinit's user and with this mode; created if needed.

    Raises OSError (EPERM: it belongs to another user, or is no folder).
    """
    try:
        above = open_folder(parent)
    except FileNotFoundError:
        if not make_parent:
            raise
        os.mkdir(parent, 0o700)
        above = open_folder(parent)
    try:
        if above.linked and os.geteuid() == 0:
            raise OSError(errno.EPERM, "other users can make it lead elsewhere", parent)
        try:
            os.mkdir(name, mode, dir_fd=above.fd)
        except FileExistsError:
            pass
        # Not O_PATH: its mode may have to be changed, and on this very folder.
        fd = os.open(name, os.O_RDONLY | _FOLDER & ~os.O_PATH, dir_fd=above.fd)
        path = os.path.join(parent, name)
        made = Folder(fd, path, stable=above.stable, owner=above.owner, linked=above.linked)
        try:
            _own(made, mode)
        except BaseException:
            made.close()
            raise
        return made
    finally:
        above.close()


def _own(folder: Folder, mode: int) -> None:
    found = os.fstat(folder.fd)
    if found.st_uid != os.geteuid():
        raise OSError(errno.EPERM, "belongs to another user", folder.path)
    if stat.S_IMODE(found.st_mode) & 0o777 != mode:
        os.fchmod(folder.fd, mode)
