"""Options that a worker sets on a socket before it binds it.

If PID 1 can get the worker's own socket (`borrow.socket_of`), the options are there. Docker's
default seccomp profile prevents that, and the slot's socket replaces the worker's. So
its filter reports setsockopt(2); the options are recorded, and set on the slot's socket at
bind. The call itself always continues in the kernel.

A notification costs the worker some 40 µs, as long as it lives, so not all calls are
reported. Options that only listeners have, or few programs use, are reported for each descriptor.
Those that many programs set on each connection (SO_KEEPALIVE and its times, SO_LINGER, timeouts)
are reported for descriptors up to the highest at which a worker of this app has bound before: a
listener holds its number, and connections get higher ones. At an app's first start that number
is unknown. `LEAST` is the lowest number assumed; missed options are reported once seen.
"""

from __future__ import annotations

from entrypoint.kernel import (
    bpf,
    calling_process,
    credentials,
    memory,
    sockets,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket

    from entrypoint.kernel.seccomp import Notification, Notifier

    from .app_sockets import Log

# The highest descriptor for which the common options are reported in an app's first life: the
# first three of a program. LISTEN_FDS and its kin are below.
LEAST = 5
# A program does not open its listeners above this descriptor at its start.
_MOST = 1023
# What one worker can make pyinit store: sockets, options of each, and the size of one (the
# kernel's longest is TCP_CONGESTION with 16 bytes).
_SOCKETS = 64
_OPTIONS = 64
_SIZE = 128
# Calls of a listening worker without a following bind: it sets them on connections.
_IN_VAIN = 256


class _Life:
    """Options set by a worker: inode → (level, number) → value. `reported`: up to which number."""

    def __init__(self, reported: int) -> None:
        self.reported = reported
        self.chosen: dict[int, dict[tuple[int, int], bytes]] = {}
        self.in_vain = 0
        self.listens = False
        # It has bound a descriptor whose common options were not reported.
        self.unseen = False


class SetOptions:
    """Options set by the workers of one app, and which calls are reported."""

    def __init__(self, app: str, log: Log) -> None:
        self._app = app
        self._log = log
        self._sure: bool | None = None
        self._lives: dict[int, _Life] = {}
        # The highest descriptor at which a worker has bound.
        self._highest = -1
        self._said = False

    def report(self, incarnation: int, given: int) -> tuple[str, ...]:
        """The calls to report for this worker, which starts now with `given` descriptors."""
        if self._sure is None:
            from entrypoint.kernel import borrow

            self._sure = borrow.is_sure()
        if self._sure:
            return ()
        # The next worker may have one more descriptor open.
        upto = max(self._highest, LEAST + given)
        self._lives[incarnation] = _Life(upto)
        return (f"setsockopt:{upto}",)

    def note(self, incarnation: int, notifier: Notifier, call: Notification) -> None:
        """Record an option that a worker sets. Raises OSError if it cannot be read."""
        life = self._lives.get(incarnation)
        if life is None or (life.listens and life.in_vain >= _IN_VAIN):
            return
        pid = call.pid
        fd, level, number, value, size = call.args[:5]
        size &= 0xFFFFFFFF
        inode = calling_process.socket_inode(pid, fd)
        if not inode or not 0 < size <= _SIZE:
            return
        data = memory.read(pid, value, size)
        if not notifier.waits(call):
            return
        life.in_vain += 1
        chosen = life.chosen.pop(inode, {})
        # The last socket is forgotten last, and so is the last option.
        life.chosen[inode] = chosen
        key = (level & 0xFFFFFFFF, number & 0xFFFFFFFF)
        chosen.pop(key, None)
        chosen[key] = data
        if len(chosen) > _OPTIONS:
            del chosen[next(iter(chosen))]
        if len(life.chosen) > _SOCKETS:
            del life.chosen[next(iter(life.chosen))]

    def is_v6only(self, incarnation: int, pid: int, fd: int) -> bool | None:
        """IPV6_V6ONLY of a worker's socket; None if it cannot be known."""
        from entrypoint.kernel import borrow

        known = borrow.v6only_of(pid, fd)
        life = self._lives.get(incarnation)
        if known is not None or life is None:
            return known
        value = life.chosen.get(calling_process.socket_inode(pid, fd), {}).get(sockets.V6ONLY)
        return sockets.is_fresh_v6only() if value is None else any(value)

    def carry(
        self,
        incarnation: int,
        notifier: Notifier,
        call: Notification,
        own: _socket.socket | None,
        target: _socket.socket,
    ) -> None:
        """Copy to `target`, which replaces a worker's socket, the options of that socket.

        `own`: a duplicate of the worker's, if there is one. Raises OSError.
        """
        from entrypoint.kernel import options

        if own is not None:
            options.copy(own, target)
            return
        options.reset(target)
        pid, fd = call.pid, call.args[0]
        chosen = self._take(incarnation, calling_process.socket_inode(pid, fd), fd)
        if chosen:
            wanting = credentials.caller(pid).credentials
            if notifier.waits(call):
                options.apply(chosen, target, wanting)

    def carry_unix(
        self, incarnation: int, notifier: Notifier, call: Notification, target: _socket.socket
    ) -> None:
        """The same for a unix socket, the one listener of all workers. Raises OSError."""
        from ..kernel import borrow, options

        pid, fd = call.pid, call.args[0]
        own = borrow.socket_of(pid, fd)
        if own is not None:
            options.switch_on(own, target)
            own.close()
            return
        chosen = self._take(incarnation, calling_process.socket_inode(pid, fd), fd)
        wanted = [each for each in chosen if each[:2] in options.UNIX and any(each[2])]
        if wanted and notifier.waits(call):
            options.apply(wanted, target, credentials.own())

    def _take(self, incarnation: int, inode: int, fd: int) -> tuple[tuple[int, int, bytes], ...]:
        """Remove and return the options of this socket, which is bound now as descriptor `fd`."""
        self._sure = False  # else nobody would ask
        life = self._lives.get(incarnation)
        if life is None:
            return ()
        life.in_vain = 0
        chosen = life.chosen.pop(inode, {})
        self._learn(life, fd, common=any(n in bpf.COMMON_OPTIONS.get(x, ()) for x, n in chosen))
        return tuple((level, number, value) for (level, number), value in chosen.items())

    def _learn(self, life: _Life, fd: int, *, common: bool) -> None:
        if fd > _MOST:
            return
        self._highest = max(self._highest, fd)
        if fd > life.reported:
            life.unseen = True
        if common:
            self._say()

    def _say(self) -> None:
        if self._said or not any(life.unseen for life in self._lives.values()):
            return
        self._said = True
        self._log(
            "info",
            "options lost",
            {
                "app": self._app,
                "reason": "the runtime refuses pidfd_getfd, and workers that started before "
                "set socket options before bind that were not seen",
                "then": "options of workers that start from now on hold; reload the app",
            },
        )

    def listens(self, incarnation: int) -> None:
        """Record that the worker listens: later options are mostly for its connections."""
        life = self._lives.get(incarnation)
        if life is not None:
            life.listens = True

    def forget(self, incarnation: int) -> None:
        """Forget a worker that is gone."""
        self._lives.pop(incarnation, None)
