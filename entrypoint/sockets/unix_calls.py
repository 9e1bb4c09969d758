"""Handles workers' calls on the app's unix sockets and paths: remove, move, shut down, connect.

The socket is pyinit's, its name is in a folder of the worker's, and programs treat the name as
their own: they remove it when they exit, while PID 1 and their siblings still serve there. In
a reload clients then found no file. Some programs connect to it before they bind, to see whether
another instance already serves: they reach pyinit.

- *Removing or moving the path away* is answered 0 and not done. The path is that of PID 1's
  socket as long as the app has it.
- *Moving a socket that it has just bound over it* means that the worker serves there (renames.py).
- *Moving another file over it* is allowed: the program wants to serve that file from now on.
- *Shutting the socket down* is answered 0 and not done: a unix socket stays shut down, for
  all its holders.
- *A connection to the path from a worker that has not bound it yet* is refused, as if no
  process served. At most three times for each worker and path: a worker that got the socket
  as a descriptor may mean it.

All other calls continue in the kernel, most of them after a check of the path's last part.
"""

from __future__ import annotations

import errno
import os

from entrypoint.kernel import (
    calling_process,
    credentials,
    memory,
    seccomp,
    unixpath,
)

from . import sockaddr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .listeners import Listeners
    from .unix_group import UnixGroup

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_REFUSALS = 3


class UnixCalls:
    """The calls of one worker. `serve` returns the answers."""

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._memory = memory.Memory()
        self._refused: dict[UnixGroup, int] = {}

    def close(self) -> None:
        """Close it: the worker's last process has ended."""
        self._memory.close()

    def removal(self, call: seccomp.Notification) -> bool:
        """Answer 0 to an unlink or rename of a path that must stay. Raises OSError."""
        groups = self._listeners.unix_groups()
        if not groups:
            return False
        names = {os.fsencode(name) for group in groups for name in group.names}
        for folder, pointer in _paths(call):
            path = self._memory.text(call.pid, pointer)
            if path.rpartition(b"/")[2] in names:
                found = self._at(call.pid, folder, os.fsdecode(path), groups)
                if found is not None:
                    return True
        return False

    def renamed(self, call: seccomp.Notification) -> tuple[UnixGroup, UnixGroup] | None:
        """Handle a move of an undeclared socket of pyinit to the path of a declared one.

        Raises OSError.
        """
        groups = self._listeners.unix_groups()
        if "rename" not in call.call or len(groups) < 2 or _exchanges(call):
            return None
        ends = _ends(call)
        names = {os.fsencode(name) for group in groups for name in group.names}
        found: list[UnixGroup] = []
        for folder, pointer in ends:
            path = self._memory.text(call.pid, pointer)
            if path.rpartition(b"/")[2] not in names:
                return None
            group = self._at(call.pid, folder, os.fsdecode(path), groups)
            if group is None:
                return None
            found.append(group)
        source, target = found
        return (source, target) if target.declared and not source.declared else None

    def ends_listener(self, call: seccomp.Notification) -> bool:
        """Answer 0 to a shutdown of a listening socket of pyinit. Raises OSError."""
        if call.args[0] >= 1 << 31:
            return False
        inode = calling_process.socket_inode(call.pid, call.args[0])
        groups = self._listeners.unix_groups()
        return any(group.listening and inode in group.inodes for group in groups)

    def connection(self, call: seccomp.Notification, bound: set[UnixGroup]) -> int:
        """The errno of a connect, 0 to let it go. `bound`: the worker's sockets. Raises OSError."""
        groups = [
            group
            for group in self._listeners.unix_groups()
            if group not in bound and self._refused.get(group, 0) < _REFUSALS
        ]
        size = call.args[2]
        if not groups or not 2 < size <= 128:
            return 0
        data = self._memory.read(call.pid, call.args[1], min(size, sockaddr.MAX_SIZE))
        asked = sockaddr.parse(data)
        if asked is None or asked.family != "unix":
            return 0
        if asked.path.startswith("@"):
            found = next((group for group in groups if group.form.path == asked.path), None)
            if not calling_process.same_network(call.pid):
                return 0
        else:
            found = self._at(call.pid, _AT_FDCWD, asked.path, groups, follow=True)
        if found is None or not found.listening:
            return 0
        self._refused[found] = self._refused.get(found, 0) + 1
        return errno.ECONNREFUSED

    def _at(
        self,
        pid: int,
        folder: int,
        path: str,
        groups: list[UnixGroup],
        *,
        follow: bool = False,
    ) -> UnixGroup | None:
        """The group that a process reaches by this path."""
        absolute = _absolute(pid, folder, path)
        if absolute is None:
            return None
        caller = credentials.caller(pid).credentials
        return credentials.act_as(caller, lambda: _reached(absolute, groups, follow=follow))  # type: ignore[no-any-return]


def group_at(pid: int, path: str, groups: list[UnixGroup]) -> UnixGroup | None:
    """The group of this absolute path, by whatever links, as a process sees it."""
    caller = credentials.caller(pid).credentials
    return credentials.act_as(caller, lambda: _reached(path, groups, follow=False))  # type: ignore[no-any-return]


def _reached(path: str, groups: list[UnixGroup], *, follow: bool) -> UnixGroup | None:
    try:
        folder, name = unixpath.locate(path, follow=follow)
    except OSError:
        return None  # the kernel reports why
    try:
        return next((group for group in groups if group.is_file(folder.identity, name)), None)
    finally:
        folder.close()


def bound_path(pid: int, path: str, groups: list[UnixGroup]) -> str | None:
    """The path that a process means, as `groups` spell it; None if it is not one of the app's."""
    if path.startswith("@"):
        return path
    folder = calling_process.directory_of(pid)
    if folder is None:
        return None
    path = os.path.normpath(os.path.join(folder, path))
    if len(os.fsencode(path)) > unixpath.PATH_MAX:
        return None
    if any(group.form.path == path for group in groups):
        return path
    # By another name of its folder it is the same socket.
    known = group_at(pid, path, groups) if groups else None
    return known.form.path if known is not None else path


def _absolute(pid: int, folder: int, path: str) -> str | None:
    """The absolute path; None if the process sees other files than pyinit."""
    here = calling_process.directory_of(pid)
    if here is None or not path:
        return None
    if path.startswith("/") or folder == _AT_FDCWD:
        return os.path.join(here, path)
    return os.path.join(calling_process.target_of(pid, folder), path)


def _paths(call: seccomp.Notification) -> tuple[tuple[int, int], ...]:
    """(descriptor of a folder, address of a path) of the file that loses its name."""
    args = call.args
    if call.call in ("unlink", "rename"):
        return ((_AT_FDCWD, args[0]),)
    first = (_signed(args[0]), args[1])
    if _exchanges(call):
        return (first, (_signed(args[2]), args[3]))
    return (first,)


def _exchanges(call: seccomp.Notification) -> bool:
    return call.call == "renameat2" and bool(call.args[4] & _RENAME_EXCHANGE)


def _ends(call: seccomp.Notification) -> tuple[tuple[int, int], tuple[int, int]]:
    """The same of both paths of a rename."""
    args = call.args
    if call.call == "rename":
        return (_AT_FDCWD, args[0]), (_AT_FDCWD, args[1])
    return (_signed(args[0]), args[1]), (_signed(args[2]), args[3])


def _signed(argument: int) -> int:
    low = argument & 0xFFFFFFFF
    return low - (1 << 32) if low & (1 << 31) else low
