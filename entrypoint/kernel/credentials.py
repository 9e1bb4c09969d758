"""Acting as a worker: PID 1 assumes all of its credentials, then restores its own.

Everything that PID 1 does on behalf of a process (bind an address for it, make or remove
a socket file that belongs to it, look into its `/proc` folder) goes through `act_as`, so that
the kernel decides as it would have decided for that process. There is no other way.

Rules of the kernel that shape this file (`credentials(7)`, `capabilities(7)`):

- The *effective* and *filesystem* ids change, the real and saved ids stay pyinit's. So the
  worker can neither signal nor trace PID 1 meanwhile, and the way back needs no privilege.
- When the effective user leaves 0 the effective capabilities are cleared; the permitted
  ones stay, so those that the worker has can be raised again. When it returns to 0
  they are all raised again. They are set explicitly in both directions anyway:
  securebits may say otherwise.
- A worker may be root with fewer capabilities than PID 1 (`setpriv --bounding-set`), or
  another user with some (ambient ones). Its capabilities count only in its own user
  namespace: those of a process in another one have no effect here.
- A change of credentials sets the dumpable flag of this process to 0 (`prctl(2)`,
  PR_SET_DUMPABLE), after which `/proc/1` is closed to `docker exec` by root without
  CAP_SYS_PTRACE, and clears its parent-death signal. Both are restored.
- Each change allocates memory and may fail for lack of it. PID 1 never continues as another
  user: it retries, and exits if that does not help.
"""

from __future__ import annotations

import errno
import os
import time

from entrypoint.core.record import Record

from . import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

CAP_DAC_OVERRIDE = 1 << 1

_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_PDEATHSIG, _PR_GET_PDEATHSIG = 1, 2
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
# How long to retry restoring pyinit's own credentials (s).
_RESUME_WITHIN = 10.0
_RESUME_PAUSE = 0.01
_EX_SOFTWARE = 70
# A process may be in 65,536 groups (NGROUPS_MAX), ten digits each.
_STATUS_SIZE = 1 << 20


class Credentials(Record):
    """The credentials that the kernel checks: filesystem user and group, groups, capabilities.

    `groups` are sorted. `capabilities` are the effective ones in our user namespace, as a
    bit mask; PID 1 cannot use capabilities that it does not have itself.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: int


class _Own(Record):
    """The credentials of this process, which are restored."""

    credentials: Credentials
    permitted: int
    inheritable: int
    dumpable: int
    parent_death_signal: int


class _Libc:
    """capget(2), capset(2) and prctl(2), which `os` does not have."""

    def __init__(self) -> None:
        import ctypes

        self._ctypes = ctypes
        self._libc = ctypes.CDLL(None, use_errno=True)

    def _checked(self, result: int) -> int:
        if result < 0:
            number = self._ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    def capabilities(self) -> tuple[int, int, int]:
        """Effective, permitted, inheritable."""
        header = (self._ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        data = (self._ctypes.c_uint32 * 6)()
        self._checked(self._libc.capget(header, data))
        effective, permitted, inheritable = (data[at] | data[at + 3] << 32 for at in range(3))
        return effective, permitted, inheritable

    def set_capabilities(self, effective: int, permitted: int, inheritable: int) -> None:
        header = (self._ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        sets = (effective, permitted, inheritable)
        low, high = (s & 0xFFFFFFFF for s in sets), (s >> 32 for s in sets)
        data = (self._ctypes.c_uint32 * 6)(*low, *high)
        self._checked(self._libc.capset(header, data))

    def dumpable(self) -> int:
        return self._checked(self._libc.prctl(_PR_GET_DUMPABLE, *self._zeros(4)))

    def set_dumpable(self, value: int) -> None:
        # 2 (SUID_DUMP_ROOT) can be set by the kernel alone.
        wanted = self._ctypes.c_ulong(min(value, 1))
        self._checked(self._libc.prctl(_PR_SET_DUMPABLE, wanted, *self._zeros(3)))

    def parent_death_signal(self) -> int:
        found = self._ctypes.c_int(0)
        where = self._ctypes.byref(found)
        self._checked(self._libc.prctl(_PR_GET_PDEATHSIG, where, *self._zeros(3)))
        return found.value

    def set_parent_death_signal(self, number: int) -> None:
        wanted = self._ctypes.c_ulong(number)
        self._checked(self._libc.prctl(_PR_SET_PDEATHSIG, wanted, *self._zeros(3)))

    def _zeros(self, count: int) -> list[Any]:
        return [self._ctypes.c_ulong(0)] * count


_libc: _Libc | None = None
_own: _Own | None = None


def _system() -> _Libc:
    global _libc  # noqa: PLW0603  loaded with its first use
    if _libc is None:
        _libc = _Libc()
    return _libc


def _ours() -> _Own:
    """The credentials of pyinit itself; read once, because only `act_as` changes them."""
    global _own  # noqa: PLW0603  see above
    if _own is None:
        system = _system()
        effective, permitted, inheritable = system.capabilities()
        credentials = Credentials(
            os.geteuid(), os.getegid(), tuple(sorted(os.getgroups())), effective
        )
        _own = _Own(
            credentials, permitted, inheritable, system.dumpable(), system.parent_death_signal()
        )
    return _own


def own() -> Credentials:
    """The credentials of this process."""
    return _ours().credentials


# -- whose they are --------------------------------------------------------------------


class Caller(Record):
    """A process that makes a request: its credentials, and the properties of its new files.

    `umask`: of files that it makes. `namespace`: its user namespace is ours.
    """

    credentials: Credentials
    umask: int
    namespace: bool


def caller(pid: int) -> Caller:
    """The present state of thread `pid`. Raises OSError if it is gone.

    A thread that waits in a system call cannot change its credentials meanwhile: a caller
    that needs this has to check that it still waits *after* this.
    """
    fields = _status(pid)
    try:
        uid = int(fields[b"Uid"].split()[3])
        gid = int(fields[b"Gid"].split()[3])
        groups = tuple(sorted(int(each) for each in fields[b"Groups"].split()))
        capabilities = int(fields[b"CapEff"], 16)
        umask = int(fields.get(b"Umask", b"22"), 8)  # Linux 4.7
    except (KeyError, ValueError, IndexError):
        raise OSError(errno.ESRCH, os.strerror(errno.ESRCH)) from None
    namespace = _same_user_namespace(pid)
    known = Credentials(uid, gid, groups, capabilities if namespace else 0)
    return Caller(known, umask, namespace)


def _check_proc() -> None:
    """Raises PermissionError if a number names another process in `/proc`."""
    if not proc.is_ours():
        raise PermissionError(errno.EACCES, "/proc is not this PID namespace's")


def _status(pid: int) -> dict[bytes, bytes]:
    _check_proc()
    fd = os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while len(data) < _STATUS_SIZE and (more := os.read(fd, 65536)):
            data += more
    finally:
        os.close(fd)
    fields: dict[bytes, bytes] = {}
    for line in data.split(b"\n"):  # a newline in the process's name is escaped
        name, _, value = line.partition(b":")
        fields.setdefault(name, value.strip())
    return fields


def _same_user_namespace(pid: int) -> bool:
    """False also if it cannot be known: then its capabilities are ignored."""
    path = f"/proc/{pid}/ns/user"
    try:
        return bool(look_at(pid, lambda: os.readlink(path)) == os.readlink("/proc/self/ns/user"))
    except OSError:
        return False


# -- acting ----------------------------------------------------------------------------


def act_as(wanted: Credentials | None, action: Callable[[], Any]) -> Any:
    """Run `action()` with these credentials; None: with pyinit's own.

    Raises what `action` raises, and PermissionError if the credentials cannot be assumed: then
    nothing was done.
    """
    if wanted is None:
        return action()
    ours = _ours()
    wanted = wanted.replace(capabilities=wanted.capabilities & ours.permitted)
    if wanted == ours.credentials:
        return action()
    try:
        _assume(wanted, ours)
        return action()
    finally:
        _resume(ours)


def look_at(pid: int, look: Callable[[], Any]) -> Any:
    """Run `look()` at the `/proc` folder of a process, as its user if pyinit's own may not.

    Reading it requires what ptrace(2) requires: the same user and group and no capability that
    pyinit lacks, or CAP_SYS_PTRACE, which Docker does not give to root. Raises OSError, also if
    the number names another process in `/proc` (`proc.is_ours`).
    """
    _check_proc()
    try:
        return look()
    except PermissionError:
        ours = own()
        # Its effective user; root if the process is undumpable.
        owner = os.stat(f"/proc/{pid}")
        if ours.uid != 0 or owner.st_uid == 0:
            raise
    return act_as(ours.replace(uid=owner.st_uid, gid=owner.st_gid), look)


def _assume(wanted: Credentials, ours: _Own) -> None:
    mine = ours.credentials
    if wanted.groups != mine.groups:
        os.setgroups(wanted.groups)
    if wanted.gid != mine.gid:
        os.setegid(wanted.gid)
    if wanted.uid != mine.uid:
        os.seteuid(wanted.uid)
    _system().set_capabilities(wanted.capabilities, ours.permitted, ours.inheritable)


def _resume(ours: _Own) -> None:
    deadline = 0.0
    while True:
        try:
            _become_ourselves(ours)
            if _is_ourselves(ours):
                return
        except (OSError, MemoryError):
            pass
        if not deadline:
            deadline = time.monotonic() + _RESUME_WITHIN
        elif time.monotonic() > deadline:
            _give_up()
        time.sleep(_RESUME_PAUSE)


def _become_ourselves(ours: _Own) -> None:
    """Restore pyinit's credentials from any state of `_assume`; each step permits the next."""
    mine, system = ours.credentials, _system()
    system.set_capabilities(ours.permitted, ours.permitted, ours.inheritable)
    if os.geteuid() != mine.uid:
        os.seteuid(mine.uid)
        system.set_capabilities(ours.permitted, ours.permitted, ours.inheritable)
    if os.getegid() != mine.gid:
        os.setegid(mine.gid)
    if tuple(sorted(os.getgroups())) != mine.groups:
        os.setgroups(mine.groups)
    if mine.capabilities != ours.permitted:
        system.set_capabilities(mine.capabilities, ours.permitted, ours.inheritable)
    system.set_dumpable(ours.dumpable)
    if ours.parent_death_signal:
        system.set_parent_death_signal(ours.parent_death_signal)


def _is_ourselves(ours: _Own) -> bool:
    mine = ours.credentials
    return (
        os.geteuid() == mine.uid
        and os.getegid() == mine.gid
        and tuple(sorted(os.getgroups())) == mine.groups
        and _system().capabilities()[0] == mine.capabilities
    )


def _give_up() -> NoReturn:
    """Exit: no PID 1 is better than one with the wrong credentials."""
    try:
        os.write(2, b"pyinit: cannot get its own credentials back, and ends\n")
    finally:
        os._exit(_EX_SOFTWARE)
