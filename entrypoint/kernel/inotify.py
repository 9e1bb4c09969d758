"""inotify(7), by the calls of the `inotify` package.

Only `inotify.calls` and `inotify.constants` are used: `inotify.adapters` brings its own
epoll, leaks its descriptor into children, drops IN_Q_OVERFLOW and raises on names that
are not UTF-8. Even `inotify.calls` imports `logging`, and looks for libc by running
`ldconfig` in a subprocess: both are replaced while it is imported, because PID 1 has no
threads and starts nothing that it does not reap itself.

Imported only when something is watched.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys

from entrypoint.core.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

_HEAD = struct.Struct("iIII")  # wd, mask, cookie, length of the name
# One read returns as many events as fit; a name has at most 255 bytes.
_READ = 64 * 1024


class Changed(Record):
    """One event: `wd` of which watch (-1 for an overflow), `name` in a watched folder."""

    wd: int
    mask: int
    name: bytes


class WatchLimitError(OSError):
    """The kernel's limit is reached; the text names the sysctl to raise."""


def _import_calls() -> tuple[ModuleType, ModuleType]:
    """The functions and constants: the package's, or pyinit's own if it is not installed."""
    try:
        return _import_package()
    except ModuleNotFoundError as error:
        if error.name != "inotify":
            raise
        from . import inotify_calls

        return inotify_calls, inotify_calls


def _import_package() -> tuple[ModuleType, ModuleType]:
    import ctypes

    class StandIn(type(sys)):  # type: ignore[misc]  # types.ModuleType, not imported
        @staticmethod
        def find_library(_name: str) -> str | None:
            """None: the main program's own libc, glibc or musl."""
            return None

        @staticmethod
        def getLogger(_name: str) -> None:  # noqa: N802  logging's name
            """A stand-in for logging: the used functions never log."""

    real_load = ctypes.CDLL

    def load(_name: str | None, *, use_errno: bool) -> ctypes.CDLL:
        # "libc.so.6" is the package's fallback; musl has no such file, and
        # libc is in this process already: dlopen(3) of NULL.
        return real_load(None, use_errno=use_errno)

    absent = object()
    before = {name: sys.modules.get(name, absent) for name in ("logging", "ctypes.util")}
    had_util = vars(ctypes).get("util", absent)
    try:
        if before["logging"] is absent:
            sys.modules["logging"] = StandIn("logging")
        stand_in = StandIn("ctypes.util")
        sys.modules["ctypes.util"] = stand_in
        vars(ctypes)["util"] = stand_in
        ctypes.CDLL = load  # type: ignore[misc,assignment]
        from inotify import calls, constants
    finally:
        ctypes.CDLL = real_load  # type: ignore[misc]
        if had_util is absent:
            del vars(ctypes)["util"]
        else:
            vars(ctypes)["util"] = had_util
        for name, module in before.items():
            if module is absent:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module  # type: ignore[assignment]
    return calls, constants


class Inotify:
    """One inotify instance: `fd` is readable when `read` has something.

    Raises WatchLimitError if the user has no instance left.
    """

    def __init__(self) -> None:
        self._calls, self.flags = _import_calls()
        try:
            self.fd: int = self._calls.inotify_init()
        except self._calls.InotifyError as error:
            raise _named(error.errno, "max_user_instances") from None
        fcntl.fcntl(self.fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        os.set_blocking(self.fd, False)
        flags = self.flags
        self.mask = (
            flags.IN_CLOSE_WRITE
            | flags.IN_ATTRIB
            | flags.IN_CREATE
            | flags.IN_DELETE
            | flags.IN_MOVED_FROM
            | flags.IN_MOVED_TO
            | flags.IN_DELETE_SELF
            | flags.IN_MOVE_SELF
        )

    def add(self, path: bytes) -> int:
        """Watch a file or folder; the number of the watch (the same for the same inode).

        Raises WatchLimitError, or OSError (ENOENT, EACCES, …).
        """
        try:
            wd: int = self._calls.inotify_add_watch(self.fd, path, self.mask)
        except self._calls.InotifyError as error:
            if error.errno == errno.ENOSPC:
                raise _named(error.errno, "max_user_watches") from None
            raise OSError(error.errno, os.strerror(error.errno), path) from None
        return wd

    def remove(self, wd: int) -> None:
        """Remove a watch; it may be gone already."""
        try:
            self._calls.inotify_rm_watch(self.fd, wd)
        except self._calls.InotifyError:
            return

    def read(self) -> list[Changed]:
        """Pending events, as many as one system call returns; never blocks."""
        try:
            data = os.read(self.fd, _READ)
        except BlockingIOError:
            return []
        found = []
        at = 0
        while at + _HEAD.size <= len(data):
            wd, mask, _cookie, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            found.append(Changed(wd, mask, data[at : at + length].rstrip(b"\0")))
            at += length
        return found

    def close(self) -> None:
        """Remove all watches."""
        os.close(self.fd)


def _named(number: int, sysctl: str) -> WatchLimitError:
    if number in (errno.ENOSPC, errno.EMFILE):
        return WatchLimitError(
            number, f"the limit of inotify is reached: raise fs.inotify.{sysctl} on the host"
        )
    return WatchLimitError(number, os.strerror(number))
