"""Interception: a worker's `bind` is answered with the slot's socket, its `listen` is heard.

What a worker sees: bind(2) returns 0 and its descriptor is another open file, bound to
the address and perhaps already listening; listen(2) returns 0. Whatever is not
understood, or is not the app's, goes on in the kernel unchanged.

Choices:

- *Blocking or not* follows the worker's own socket as it was at bind: the open file is
  shared, so what libuv set before bind must hold on ours, and a program with a plain
  blocking accept(2) must not meet EAGAIN.
- *Port 0* goes through, but for npm's `serve` (`addresses.means_serve`). The other way
  to help it, refusing its connect(2) to its own port, would cost a notification for
  each connection that such a worker makes.
- *What is bound for a worker* and not declared by the file is bound with all of the
  caller's credentials (`kernel.credentials`), so that pyinit lends nobody its privileges.
"""

from __future__ import annotations

import errno
import os

from ..kernel import borrow, bpf, credentials, look, options, seccomp, unixpath
from ..kernel.interrupt import interrupter
from ..loop import HANGUP, READ
from . import addresses, sockaddr
from .claims import inode_of
from .listeners import Wanted
from .unixcalls import UnixCalls, group_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Callable

    from ..core.spec import AppSpec
    from ..loop import Loop
    from .address import Claim
    from .listeners import Listeners, Log
    from .pending import Pending
    from .sockaddr import Asked

    Observed = Callable[[int, str, dict[str, object]], None]

_PROTOCOLS = {
    "inet": ("TCP", "MPTCP"),  # Go asks for MPTCP; plain TCP is its own fallback
    "inet6": ("TCPv6", "MPTCPv6"),
    "unix": ("UNIX-STREAM",),
}
# Linux 5.15: before, streams and datagrams are both called UNIX.
_STREAMS_NAMED = (5, 15)


class _Worker:
    def __init__(
        self, incarnation: int, slot: int, notifier: seccomp.Notifier, listeners: Listeners
    ) -> None:
        self.incarnation = incarnation
        self.slot = slot
        self.notifier = notifier
        self.gone = False
        # Slots' sockets whose blocking mode this worker has set: (form, non-blocking).
        self.modes: dict[addresses.Form, bool] = {}
        self.bound: set[addresses.Form] = set()
        self.unix = UnixCalls(listeners)


class Interception:
    """The notifiers of all workers of one app."""

    def __init__(
        self,
        loop: Loop,
        app: AppSpec,
        listeners: Listeners,
        log: Log,
        observed: Observed,
        pending: Pending,
        pid_of: Callable[[int], int],
    ) -> None:
        self._pid_of = pid_of
        self._loop = loop
        self._app = app
        self._listeners = listeners
        self._log = log
        self._observed = observed
        self._workers: dict[int, _Worker] = {}
        self._pending = pending
        self._complained = False

    def change(self, app: AppSpec) -> None:
        """Another revision of the app counts from now on."""
        self._app = app

    def attach(self, incarnation: int, slot: int, notify_fd: int) -> None:
        """Answer this worker's calls from now on. Takes ownership of `notify_fd`."""
        worker = _Worker(incarnation, slot, seccomp.Notifier(notify_fd), self._listeners)
        self._workers[notify_fd] = worker
        self._loop.register(notify_fd, READ, lambda events: self._ready(worker, events))

    def forget(self, incarnation: int) -> None:
        """The worker is gone. Processes it left behind may bind what they like.

        Its notifier is closed once the last of them has ended: without one, every bind
        of theirs would fail.
        """
        for worker in self._workers.values():
            if worker.incarnation == incarnation:
                worker.gone = True

    def close(self) -> None:
        """No worker is left, but perhaps some process that one has left behind.

        Without a notifier its calls would fail. So each is kept until its last process has
        ended.
        """
        for worker in tuple(self._workers.values()):
            worker.gone = True
            if worker.notifier.is_over():
                self._drop(worker)

    def _drop(self, worker: _Worker) -> None:
        fd = worker.notifier.fd
        if self._workers.pop(fd, None) is not None:
            self._loop.unregister(fd)
            self._pending.drop(worker)
            worker.notifier.close()
            worker.unix.close()

    def _ready(self, worker: _Worker, events: int) -> None:
        if not events & READ:
            if events & HANGUP:
                self._drop(worker)  # the last process with this filter has ended
            return
        # Nothing here may wait for the caller: see kernel/interrupt.py.
        with interrupter():
            call = worker.notifier.receive()
            if call is None:
                return
            if self._pending.has(worker) or not self._answer(worker, call):
                self._later(worker, call)

    def _later(self, worker: _Worker, call: seccomp.Notification) -> None:
        """Try again: its thread does not run now. It slows down only its own worker."""
        fd = worker.notifier.fd
        if self._pending.add(
            worker,
            lambda: self._again(worker, call),
            resume=lambda: self._loop.modify(fd, READ),
        ):
            self._loop.modify(fd, 0)

    def _answer(self, worker: _Worker, call: seccomp.Notification) -> bool:
        """Answer the call or let it go; False: not in time, it still waits."""
        done = False
        try:
            done = self._serve(worker, call)
        except seccomp.NotTakenError:
            return False
        except OSError as error:
            self._complain(call, error)
        except BaseException:
            worker.notifier.let_go(call)
            raise
        if not done:
            worker.notifier.let_go(call)
        return worker.notifier.flush()

    def _again(self, worker: _Worker, call: seccomp.Notification) -> bool:
        """As `_answer`, for a call that was not answered in time. All is looked at anew."""
        with interrupter():
            try:
                if not worker.notifier.flush():
                    return False
                if not worker.notifier.waits(call):
                    return True  # what was left was its answer, or its caller is gone
            except seccomp.NotTakenError:
                return False
            return self._answer(worker, call)

    def _complain(self, call: seccomp.Notification, error: OSError) -> None:
        # It has ended meanwhile: nothing to tell.
        if self._complained or error.errno in (errno.ENOENT, errno.ESRCH):
            return
        self._complained = True
        self._log(
            "warning",
            "call not intercepted",
            {
                "app": self._app.name,
                "call": call.call,
                "pid": call.pid,
                "reason": os.strerror(error.errno or 0),
            },
        )

    def _serve(self, worker: _Worker, call: seccomp.Notification) -> bool:
        """Answer the call, or return False to let it go. Raises OSError likewise."""
        if call.pid == 0:
            return False  # of a PID namespace that we cannot see into
        if call.call in bpf.REMOVALS:
            return self._remove(worker, call)
        if worker.gone or call.args[0] >= 1 << 31:
            return False
        if call.call == "connect":
            return self._connect(worker, call)
        if call.call == "listen":
            return self._listen(worker, call)
        if call.call == "bind":
            return self._bind(worker, call)
        return False

    # -- paths of unix sockets ----------------------------------------------------------

    def _remove(self, worker: _Worker, call: seccomp.Notification) -> bool:
        if not worker.unix.removal(call) or not worker.notifier.waits(call):
            return False
        worker.notifier.answer(call)
        return True

    def _connect(self, worker: _Worker, call: seccomp.Notification) -> bool:
        bound = {g for g in self._listeners.unix_groups() if g.form in worker.bound}
        number = worker.unix.connection(call, bound)
        if not number or not worker.notifier.waits(call):
            return False
        worker.notifier.answer(call, number)
        return True

    # -- bind -------------------------------------------------------------------------

    def _bind(self, worker: _Worker, call: seccomp.Notification) -> bool:
        pid, fd = call.pid, call.args[0]
        size = min(call.args[2], sockaddr.MAX_SIZE)
        if size < 2 or call.args[2] > 128:
            return False
        asked = sockaddr.parse(seccomp.read_memory(pid, call.args[1], size))
        if asked is None or not self._is_stream(asked, pid, fd) or not seccomp.same_network(pid):
            return False
        if self._listeners.of_inode(seccomp.socket_inode(pid, fd)) is not None:
            return False  # bound already: EINVAL, as the kernel says
        claim = self._claim(worker, call, asked)
        if claim is None:
            return False
        try:
            return self._give(worker, call, claim)
        finally:
            self._listeners.abandon(claim)

    def _give(self, worker: _Worker, call: seccomp.Notification, claim: Claim) -> bool:
        """Answer a bind with the socket of `claim`, or bind the worker's own into its group.

        The worker's own is better where nothing waits at the slot's: all that refers to it,
        and all that was set on it, stays. Else it is replaced, and what was set is copied.
        """
        pid, fd, group = call.pid, call.args[0], claim.group
        own = borrow.socket_of(pid, fd) if group.form.family != "unix" else None
        if own is not None and self._keeps_own(worker, claim, call, own):
            inode = inode_of(own.fileno())
            try:
                group.adopt(worker.slot, worker.incarnation, own)
            except OSError as error:
                own.close()
                worker.notifier.answer(call, error.errno or errno.EINVAL)
                return True
            worker.notifier.answer(call)
            self._bound(worker, claim, inode, pid, fd)
            return True
        flags = seccomp.descriptor_flags(pid, fd)
        again = group.holders.get(worker.slot) == worker.incarnation
        source = group.hand(worker.slot, worker.incarnation)
        alone = not group.single or len(group.users) < 2
        if own is not None:
            if alone:
                options.copy(own, source)
            own.close()
        elif group.form.family != "unix" and alone and not again:
            options.reset(source)
        self._follow_mode(worker, claim, nonblocking=bool(flags & os.O_NONBLOCK))
        if not worker.notifier.put(call, source.fileno(), fd, cloexec=bool(flags & os.O_CLOEXEC)):
            return True  # killed meanwhile, or its call begins anew
        self._bound(worker, claim, inode_of(source.fileno()), pid, fd)
        worker.notifier.answer(call)
        return True

    def _keeps_own(
        self,
        worker: _Worker,
        claim: Claim,
        call: seccomp.Notification,
        own: _socket.socket,
    ) -> bool:
        """Its own socket becomes the slot's."""
        group = claim.group
        if not borrow.is_tcp(own):
            return False
        if group.single:
            return not group.has(worker.slot)
        if not group.has(worker.slot):
            return True
        tree = look.tree(self._pid_of(worker.incarnation) or call.pid)
        return borrow.is_tied(call.pid, call.args[0], inode_of(own.fileno()), tree)

    def _bound(self, worker: _Worker, claim: Claim, inode: int, pid: int, fd: int) -> None:
        held = self._listeners.hold(worker.incarnation, worker.slot, claim, inode)
        held.pid, held.fd = borrow.group_of(pid), fd
        form = claim.group.form
        if form not in worker.bound:
            worker.bound.add(form)
            self._observed(
                worker.incarnation, "bound", {"address": form.text, "adopted": claim.adopted}
            )

    def _is_stream(self, asked: Asked, pid: int, fd: int) -> bool:
        protocol = seccomp.protocol_of(pid, fd)
        if protocol == "UNIX" and seccomp.kernel_version() < _STREAMS_NAMED:
            # It may be a datagram socket: believe only the file.
            return self._listeners.declares_path(self._absolute(pid, asked.path))
        return protocol in _PROTOCOLS[asked.family]

    def _claim(self, worker: _Worker, call: seccomp.Notification, asked: Asked) -> Claim | None:
        pid, incarnation = call.pid, worker.incarnation
        caller = credentials.caller(pid)
        wanted = Wanted(caller.credentials)
        if asked.family == "unix":
            path = self._absolute(pid, asked.path)
            mode = seccomp.socket_mode(pid, call.args[0]) & ~caller.umask
            if path is None or not worker.notifier.waits(call):
                return None
            return self._listeners.claim(
                incarnation, asked.replace(path=path), wanted=wanted.replace(mode=mode)
            )
        if asked.port == 0:
            command = seccomp.command_line(pid)
            if not worker.notifier.waits(call) or not addresses.means_serve(command):
                return None
            return self._listeners.claim_port(incarnation, addresses.ports_of_serve(command))
        v6only: bool | None = False
        if asked.host == addresses.ANY6:
            v6only = seccomp.v6only_of(pid, call.args[0])
        if not worker.notifier.waits(call):
            return None
        return self._listeners.claim(incarnation, asked, wanted=wanted, v6only=v6only)

    def _absolute(self, pid: int, path: str) -> str | None:
        if path.startswith("@"):
            return path
        folder = seccomp.directory_of(pid)
        if folder is None:
            return None
        path = os.path.normpath(os.path.join(folder, path))
        if len(os.fsencode(path)) > unixpath.PATH_MAX:
            return None
        groups = self._listeners.unix_groups()
        if any(group.form.path == path for group in groups):
            return path
        # By another name of its folder it is the same socket.
        known = group_at(pid, path, groups) if groups else None
        return known.form.path if known is not None else path

    def _follow_mode(self, worker: _Worker, claim: Claim, *, nonblocking: bool) -> None:
        group = claim.group
        if not nonblocking and (
            # Of several sockets that a worker binds to one address a non-blocking one
            # wins, and what the first user of a shared socket made of it stays: it may
            # have set it non-blocking itself, after its bind.
            worker.modes.get(group.form) or (group.single and len(group.users) > 1)
        ):
            return
        worker.modes[group.form] = nonblocking
        group.set_blocking(worker.slot, not nonblocking)

    # -- listen -----------------------------------------------------------------------

    def _listen(self, worker: _Worker, call: seccomp.Notification) -> bool:
        inode = seccomp.socket_inode(call.pid, call.args[0])
        claim = self._listeners.of_inode(inode)
        if claim is None or not worker.notifier.waits(call):
            return False
        claim.group.users.add(worker.incarnation)
        self._listeners.begin(claim, inode)
        # Not made: a worker's own backlog would replace ours.
        worker.notifier.answer(call)
        self._observed(worker.incarnation, "listening", {"address": claim.group.form.text})
        return True
