"""inotify(7)'s system calls, for a pyinit without the `inotify` package.

The packages of pyinit (npm, deb, …) are one program with python-prctl inside, under the GPL,
version 3 or later. The `inotify` package says "GPL 2", so it is not part of that program
(docs/decisions/0002-licence-and-name.md). Names and errors are those of `inotify.calls` and
`inotify.constants`.
"""

from __future__ import annotations

import ctypes
import os

# <sys/inotify.h>
IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_CREATE = 0x100
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_UNMOUNT = 0x2000
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ISDIR = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


class InotifyError(Exception):
    """A call failed; `errno` says why."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.errno = number


def inotify_init() -> int:
    """A new inotify instance: its descriptor."""
    return _checked(_libc.inotify_init1(ctypes.c_int(0)))


def inotify_add_watch(fd: int, path: bytes, mask: int) -> int:
    """Watch `path` for the events of `mask`: the watch's number."""
    words = (ctypes.c_int(fd), ctypes.c_char_p(path), ctypes.c_uint32(mask))
    return _checked(_libc.inotify_add_watch(*words))


def inotify_rm_watch(fd: int, wd: int) -> int:
    """Remove the watch `wd`: 0."""
    return _checked(_libc.inotify_rm_watch(ctypes.c_int(fd), ctypes.c_int(wd)))


def _checked(result: int) -> int:
    if result < 0:
        raise InotifyError(ctypes.get_errno())
    return result
