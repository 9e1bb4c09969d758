"""Seccomp user notification (`seccomp_unotify(2)`): pyinit answers calls of a worker.

`install_filter` runs in the child between fork and exec. pyinit gets the notifier that it
returns: each `bind` and `listen` of the worker and of all processes that the
worker starts is reported, and pyinit answers while the caller waits.

Rules of the kernel that shape this file:

- A receive may block although the notifier is polled ready only if it is called more
  than once for each readiness: the kernel counts requests, and one whose caller was
  killed meanwhile is answered ENOENT. So: one receive for each EPOLLIN.
- The caller's pid may be another process's by the time its memory was read. The id shows
  whether the call still waits; it is checked after reading and before acting.
- The memory may change after it was read, so this cannot be used to forbid anything. It is
  not: calls that are not understood continue unchanged.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import time

from entrypoint.core.record import Record

from . import bpf, interrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
else:
    pass

_RECEIVE = 0xC0502100
_SEND = 0xC0182101
_ID_VALID = 0x40082102
_ID_VALID_OLD = 0x80082102  # before Linux 5.17 the direction bit was wrong
_ADD_FD = 0x40182103
_SET_FLAGS = 0x40082104

_NOTIFICATION = struct.Struct("=QIIiIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_FD = struct.Struct("=QIIII")

_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
_SET_FD = 1  # SECCOMP_ADDFD_FLAG_SETFD
_SYNC_WAKE_UP = 1  # SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP

_SET_MODE_FILTER = 1
_FLAG_SPEC_ALLOW = 1 << 2  # no Spectre mitigation that the worker would not have otherwise
_FLAG_NEW_LISTENER = 1 << 3
_FLAG_WAIT_KILLABLE_RECV = 1 << 5  # Linux 5.19: a signal does not restart a call in our hands
_PR_SET_NO_NEW_PRIVS = 38

_MINIMUM = (5, 9)  # SECCOMP_ADDFD_FLAG_SETFD


class Notification(Record):
    """A call that waits for an answer. `pid` is the calling thread's."""

    id: int
    pid: int
    call: str  # bind | listen | …: the name of the system call
    args: tuple[int, ...]


def filter_supported() -> bool:
    """Whether a filter is worth trying. A runtime's own profile may still refuse it.

    False for an unknown architecture, a kernel before 5.9, if the
    kernel does not list the action (gVisor), and without the timer that bounds answers.
    """
    system = os.uname()
    if system.machine not in bpf.ARCHITECTURES or kernel_version() < _MINIMUM:
        return False
    try:
        interrupt.interrupter()
    except OSError:
        return False
    try:
        fd = os.open("/proc/sys/kernel/seccomp/actions_avail", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return b"user_notif" in os.read(fd, 4096).split()
    finally:
        os.close(fd)


def filter_refusal() -> str:
    """Why no filter can be installed on a worker, found by trying; "" if one can.

    Runs in a child: a filter cannot be removed, and a profile may kill the caller.
    """
    if not filter_supported():
        return "the kernel or runtime has no seccomp user notification"
    pid = os.fork()
    if pid == 0:
        code = 255
        try:
            code = _refused_with()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return ""
    return f"seccomp: {os.strerror(code)}" if 0 < code < 255 else "seccomp: it is killed"


def _refused_with() -> int:
    try:
        install_filter()
    except OSError as error:
        return error.errno or errno.ENOSYS
    return 0


def kernel_version() -> tuple[int, int]:
    """Major and minor of the running kernel."""
    numbers = [0, 0]
    for index, part in enumerate(os.uname().release.split(".")[:2]):
        digits = ""
        for character in part:
            if not character.isdigit():
                break
            digits += character
        numbers[index] = int(digits or 0)
    return numbers[0], numbers[1]


def preload() -> None:
    """Import what `install_filter` needs, before fork: otherwise each child would import it."""
    import ctypes  # noqa: F401


def install_filter(calls: Collection[str] = bpf.PORT_CALLS) -> int:
    """Install a filter that reports `calls` on this process; returns its close-on-exec notifier.

    Sets `no_new_privs`, which an unprivileged filter needs. For the child between fork
    and exec. Raises OSError: EBUSY if there is a notifier already, EPERM or ENOSYS
    if the runtime refuses.
    """
    import ctypes

    machine = os.uname().machine
    if machine not in bpf.ARCHITECTURES:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    program = bpf.interception(machine, calls)
    code = ctypes.create_string_buffer(bpf.pack(program))
    described = struct.pack("=HxxxxxxQ", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    zero = ctypes.c_ulong(0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    flags = _FLAG_NEW_LISTENER | _FLAG_SPEC_ALLOW
    number = 0
    for more in (_FLAG_WAIT_KILLABLE_RECV, 0):
        fd = libc.syscall(
            ctypes.c_long(bpf.ARCHITECTURES[machine].seccomp),
            ctypes.c_ulong(_SET_MODE_FILTER),
            ctypes.c_ulong(flags | more),
            described,
        )
        if fd >= 0:
            return int(fd)
        number = ctypes.get_errno()
        if number != errno.EINVAL:
            break
    raise OSError(number, os.strerror(number))


class NotTakenError(Exception):
    """The calling thread did not run in time to take a descriptor; nothing was done.

    The call still waits: answer it again later. (It must not continue: on an address that
    pyinit holds it would get EADDRINUSE.)
    """


def _ioctl(fd: int, request: int, argument: bytes | bytearray) -> int:
    """ioctl(2) on a notifier, for `interrupt.AT_MOST` at most. Raises NotTakenError after that.

    Answers wait for a lock, and ADDFD waits for the calling thread to run: its priority
    decides how long. A signal ends the wait with nothing done (`seccomp_notify_addfd` in
    kernel/seccomp.c withdraws its request). It may be the interrupter's or any other,
    SIGCHLD for example: so the time decides whether the call is repeated.
    """
    until = time.monotonic() + interrupt.AT_MOST
    with interrupt.interrupter():
        while True:
            try:
                return int(fcntl.ioctl(fd, request, bytearray(argument)))
            except OSError as error:
                if error.errno != errno.EINTR:
                    raise
            if time.monotonic() >= until:
                raise NotTakenError


class Notifier:
    """pyinit's end of a filter. Takes ownership of `fd`."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self.fd = fd
        try:
            # Linux 6.6: the caller wakes on pyinit's CPU, soon to be idle: 15 µs instead of 100.
            fcntl.ioctl(fd, _SET_FLAGS, _SYNC_WAKE_UP)
        except OSError:
            pass
        native = bpf.ARCHITECTURES[os.uname().machine]
        self._calls = {
            (known.audit, number): name
            for known in (native, native.compat)
            if known is not None
            for name, number in known.calls.items()
        }
        # Answers that the kernel did not take in time, in order (see `flush`).
        self._unsent: list[bytes] = []

    def close(self) -> None:
        """Close it: from now on the calls of processes with the filter fail (ENOSYS)."""
        os.close(self.fd)

    def is_over(self) -> bool:
        """Whether no process with this filter remains."""
        poll = select.poll()
        poll.register(self.fd, select.POLLHUP)
        return any(events & select.POLLHUP for _, events in poll.poll(0))

    def receive(self) -> Notification | None:
        """The waiting call; None if its caller is gone. Call it once for each EPOLLIN."""
        data = bytearray(_NOTIFICATION.size)  # the kernel wants it zeroed
        try:
            # Not restarted: the loop calls again if there is one.
            fcntl.ioctl(self.fd, _RECEIVE, data)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return None
            raise
        identity, pid, _, number, architecture, _, *args = _NOTIFICATION.unpack(data)
        call = self._calls.get((architecture, number), "")
        return Notification(identity, pid, call, tuple(args))

    def waits(self, call: Notification) -> bool:
        """Whether the caller still waits, so that what was read of its pid was its own."""
        identity = struct.pack("=Q", call.id)
        for request in (_ID_VALID, _ID_VALID_OLD):
            try:
                _ioctl(self.fd, request, identity)
                return True
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return False
        return False

    def let_go(self, call: Notification) -> None:
        """Let the call continue in the kernel as if there were no filter."""
        self._respond(_RESPONSE.pack(call.id, 0, 0, _CONTINUE))

    def answer(self, call: Notification, error: int = 0) -> None:
        """Make the call return 0, or -1 with `error`, without executing it."""
        self._respond(_RESPONSE.pack(call.id, 0, -error, 0))

    def put(self, call: Notification, source: int, number: int, *, cloexec: bool) -> bool:
        """Put pyinit's descriptor `source` at the caller's `number`; False: the caller is gone.

        The call still waits for its answer. Raises NotTakenError, and OSError otherwise
        (EMFILE, EBUSY).
        """
        return self._add(call, _SET_FD, source, number, cloexec=cloexec) >= 0

    def give(self, call: Notification, source: int, *, cloexec: bool) -> int:
        """Make the call return a new descriptor, a copy of `source`: its number there.

        -1: the caller is gone. Raises NotTakenError, and OSError otherwise (EMFILE: of the
        caller's limit). In two steps: SECCOMP_ADDFD_FLAG_SEND does both in one, but when the
        wait for it is interrupted the call has been answered with 0, and has no descriptor.
        """
        number = self._add(call, 0, source, 0, cloexec=cloexec)
        if number >= 0:
            self._respond(_RESPONSE.pack(call.id, number, 0, 0))
        return number

    def _add(
        self, call: Notification, flags: int, source: int, number: int, *, cloexec: bool
    ) -> int:
        """The caller's number of the new descriptor; -1 when the caller is gone."""
        mode = os.O_CLOEXEC if cloexec else 0
        try:
            return _ioctl(self.fd, _ADD_FD, _FD.pack(call.id, flags, source, number, mode))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINPROGRESS):
                return -1
            raise

    def _respond(self, response: bytes) -> None:
        self._unsent.append(response)
        self.flush()

    def flush(self) -> bool:
        """Send the remaining answers; False: some still remain, call again later.

        An answer waits for a lock. A thread of low priority may be preempted while it
        holds the lock.
        """
        while self._unsent:
            try:
                _ioctl(self.fd, _SEND, self._unsent[0])
            except NotTakenError:
                return False
            except OSError as error:
                del self._unsent[0]
                # The caller was killed, or a signal has restarted its call.
                if error.errno not in (errno.ENOENT, errno.EINPROGRESS):
                    raise
            else:
                del self._unsent[0]
        return True


def unfolded(call: Notification) -> Notification:
    """The call that a socketcall(2) of a 32-bit program stands for. Raises OSError.

    Any other call is itself.
    """
    if call.call != "socketcall":
        return call
    from . import memory  # only a 32-bit program needs it

    name, count = bpf.SOCKETCALLS.get(call.args[0] & 0xFFFFFFFF, ("", 0))
    data = memory.read(call.pid, call.args[1], 4 * count) if count else b""
    if len(data) != 4 * count:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    return call.replace(call=name, args=struct.unpack(f"={count}I", data))
