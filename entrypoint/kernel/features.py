"""Which of the features that a run uses this kernel and the container allow.

Each is tested by a call that changes nothing. Only `pyinit --version --verbose` uses this.
"""

from __future__ import annotations

import ctypes
import errno
import os

from . import bpf, inotify, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
else:
    import _socket

_GET_NOTIF_SIZES = 3  # <linux/seccomp.h>, since Linux 5.0
_PIDFD_GETFD = 438  # the same number on every processor, since Linux 5.6


def features() -> list[tuple[str, str]]:
    """Name and result for each feature that a run uses and some systems lack."""
    return [
        ("seccomp notifications", _notifications()),
        ("pidfd_getfd", _pidfd_getfd()),
        ("SO_REUSEPORT", _reuseport()),
        ("inotify", _inotify()),
        ("prctl", _prctl()),
        ("cgroup", _cgroup()),
        (
            "PID",
            f"{os.getpid()}" + (", the init of this PID namespace" if os.getpid() == 1 else ""),
        ),
    ]


def _notifications() -> str:
    architecture = bpf.ARCHITECTURES.get(os.uname().machine)
    if architecture is None:
        return "no: unknown processor"
    libc = ctypes.CDLL(None, use_errno=True)
    sizes = ctypes.create_string_buffer(6)
    operation = (ctypes.c_ulong(_GET_NOTIF_SIZES), ctypes.c_ulong(0))
    failed = libc.syscall(ctypes.c_long(architecture.seccomp), *operation, sizes) != 0
    return _yes_or(ctypes.get_errno() if failed else 0)


def _pidfd_getfd() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    nobody = ctypes.c_long(-1)
    libc.syscall(ctypes.c_long(_PIDFD_GETFD), nobody, nobody, ctypes.c_ulong(0))
    number = ctypes.get_errno()
    # A kernel that supports the call returns EBADF.
    return _yes_or(0 if number == errno.EBADF else number)


def _reuseport() -> str:
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEPORT, 1)
    except OSError as error:
        return f"no: {error.strerror}"
    finally:
        sock.close()
    return "yes"


def _inotify() -> str:
    try:
        watch = inotify.Inotify()
    except OSError as error:
        return f"no: {error.strerror}"
    watch.close()
    return "yes"


def _prctl() -> str:
    try:
        prctl.is_child_subreaper()
    except (prctl.PrctlMissingError, OSError) as error:
        return f"no: {error}"
    return "yes"


def _cgroup() -> str:
    for path, version in (("/sys/fs/cgroup/cgroup.controllers", 2), ("/sys/fs/cgroup/memory", 1)):
        if os.path.exists(path):
            return f"version {version}"
    return "not mounted"


def _yes_or(number: int) -> str:
    return f"no: {os.strerror(number)}" if number else "yes"
