"""The answers to a worker's `bind`, `listen` and related calls.

What a worker observes: bind(2) returns 0, and its own open file is in the address's group;
or its descriptor is another open file, bound to the address and perhaps already listening
(docs/decisions/0018). listen(2) returns 0.

Choices:

- *Blocking or not* follows the worker's own socket as it was at bind: the open file is
  shared, so what libuv set before bind must apply to ours, and a program with a plain
  blocking accept(2) must not meet EAGAIN.
- *Port 0* is left to the kernel, except for npm's `serve` (`addresses.means_serve`). The other
  way to help it (own_connects.py) needs a worker that ends, and `serve` goes on.
- *Undeclared addresses* that pyinit binds for a worker are bound with all of the
  caller's credentials (`kernel.credentials`), so that pyinit lends no privileges.
"""

from __future__ import annotations

import errno
import os
import struct

from entrypoint.kernel import (
    borrow,
    calling_process,
    credentials,
    look,
    memory,
    proc,
    seccomp,
    sockets,
)

from . import addresses, sockaddr
from .app_sockets import Wanted
from .claims import UNUSED_AFTER, inode_of
from .unix_calls import UnixCalls, bound_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Callable

    from entrypoint.core.spec import AppSpec
    from entrypoint.kernel.epoll_sets import EpollSets
    from entrypoint.loop import Loop

    from .address import Assignment
    from .app_sockets import Log
    from .created_sockets import CreatedSockets
    from .listeners import Listeners
    from .setoptions import SetOptions
    from .sockaddr import Asked

    Observed = Callable[[int, str, dict[str, object]], None]

# Linux 5.15: before, streams and datagrams are both called UNIX.
_STREAMS_NAMED = (5, 15)
_UNREADABLE = "it changed its user without exec, or has PR_SET_DUMPABLE 0"


class Worker:
    """`makes`: its filter reports socket(2), so pyinit makes its sockets (created_sockets.py)."""

    def __init__(
        self,
        incarnation: int,
        slot: int,
        notifier: seccomp.Notifier,
        listeners: Listeners,
        *,
        makes: bool,
    ) -> None:
        self.incarnation = incarnation
        self.slot = slot
        self.notifier = notifier
        self.makes = makes
        # When it first listened (monotonic s).
        self.listened_at = 0.0
        self.gone = False
        # Slots' sockets whose blocking mode this worker has set: (form, non-blocking).
        self.modes: dict[addresses.Form, bool] = {}
        self.bound: set[addresses.Form] = set()
        self.unix = UnixCalls(listeners)


class Binding:
    """Answers the socket calls of one app's workers.

    Each method returns False to let the call continue in the kernel.
    """

    def __init__(
        self,
        loop: Loop,
        app: AppSpec,
        listeners: Listeners,
        log: Log,
        listen_visible: Observed,
        pid_of: Callable[[int], int],
        options: SetOptions,
    ) -> None:
        self._loop = loop
        self._app = app
        self.listeners = listeners
        self._log = log
        self._observed = listen_visible
        self.pid_of = pid_of
        self._options = options
        # Workers of this app get sockets made by pyinit, from their next start on.
        self.makes_sockets = False
        self._created: CreatedSockets | None = None

    def change(self, app: AppSpec) -> None:
        """Apply another revision of the app."""
        self._app = app

    def forget(self, incarnation: int) -> None:
        """Forget a worker that is gone."""
        if self._created is not None:
            self._created.release(incarnation)

    def close(self) -> None:
        """Close everything: no worker remains."""
        if self._created is not None:
            self._created.close()

    def make_socket(self, worker: Worker, call: seccomp.Notification) -> bool:
        """Answer socket(2) of a worker that gets sockets made by pyinit, until it has listened."""
        is_set_up = worker.listened_at and self._loop.now() - worker.listened_at > UNUSED_AFTER
        if is_set_up or not calling_process.same_network(call.pid):
            return False
        if self._created is None:
            from .created_sockets import CreatedSockets

            self._created = CreatedSockets(self._loop)
        pid = proc.process_of(call.pid)
        try:
            return self._created.make(worker.notifier, call, worker.incarnation, pid)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                return False  # ours or the worker's: the kernel knows which
            raise

    def _needs_our_sockets(self, worker: Worker, reason: str) -> None:
        """Give its next incarnation sockets made by pyinit; replace the worker now, if possible."""
        if not self.makes_sockets:
            self.makes_sockets = True
            self._log(
                "info",
                "sockets made for workers",
                {
                    "app": self._app.name,
                    "reason": reason,
                    "then": "its workers start again; until they listen, each of their "
                    "connections to others costs them a notification",
                },
            )
        if not worker.makes and not self.listeners.serves(worker.incarnation):
            self._observed(worker.incarnation, "unfit", {"reason": reason})

    def _drop_created(self, call: seccomp.Notification) -> None:
        """Drop the socket, which is not used for an address of the app."""
        if self._created is None:
            return
        sock = self._created.take(calling_process.socket_inode(call.pid, call.args[0]))
        if sock is not None:
            sock.close()

    def _own(self, pid: int, fd: int) -> _socket.socket | None:
        """A duplicate of the worker's socket, if pyinit can get one."""
        ours = self._created.take(calling_process.socket_inode(pid, fd)) if self._created else None
        return ours if ours is not None else borrow.socket_of(pid, fd)

    def tell_listening(self, worker: Worker, call: seccomp.Notification) -> bool:
        """Answer SO_ACCEPTCONN of a slot's socket: whether this worker listens, not a sibling.

        A program that may have inherited its socket (haproxy) calls listen(2) only where
        that is 0. Other options are not reported.
        """
        pid, (value, size) = call.pid, call.args[3:5]
        inode = calling_process.socket_inode(pid, call.args[0])
        claim = self.listeners.claimed_by(worker.incarnation, inode)
        if claim is None:
            self.listeners.asked_about(inode)
        if claim is None or claim.listens or claim.reported:
            return False
        (capacity,) = struct.unpack("=i", memory.read(pid, size, 4))
        if capacity < 4 or not worker.notifier.waits(call):
            return False
        memory.write(pid, value, struct.pack("=i", 0))
        memory.write(pid, size, struct.pack("=i", 4))
        worker.notifier.answer(call)
        return True

    def bind(self, worker: Worker, call: seccomp.Notification) -> bool:
        """Answer a bind of any socket."""
        pid, fd = call.pid, call.args[0]
        size = min(call.args[2], sockaddr.MAX_SIZE)
        if size < 2 or call.args[2] > 128:
            return False
        try:
            asked = sockaddr.parse(memory.read(pid, call.args[1], size))
        except PermissionError:
            self._bind_unread(worker, call)
            return False
        if asked is None or self._is_passing(asked, pid):
            self._drop_created(call)
            return False
        if not self._is_stream(asked, pid, fd) or not calling_process.same_network(pid):
            return False
        if self.listeners.of_inode(calling_process.socket_inode(pid, fd)) is not None:
            return False  # already bound: EINVAL, as from the kernel
        assignment = self._assign(worker, call, asked)
        if assignment is None:
            self._drop_created(call)
            return False
        try:
            return self._give(worker, call, assignment)
        except seccomp.NotTakenError:
            # The same bind may be answered again later: it must find the address unchanged.
            if assignment.group.form not in worker.bound:
                self.listeners.give_back(worker.incarnation, assignment)
            raise
        finally:
            self.listeners.abandon(assignment)

    def _give(self, worker: Worker, call: seccomp.Notification, assignment: Assignment) -> bool:
        """Answer a bind with the socket of `assignment`, or bind the worker's own into its group.

        The worker's own is better if nothing waits at the slot's: all that refers to it,
        and all options set on it, remain. Otherwise it is replaced, and its options are copied.
        """
        pid, fd, group = call.pid, call.args[0], assignment.group
        own = self._own(pid, fd) if group.form.family != "unix" else None
        sets: EpollSets | None = None
        if own is None and self._is_tied(worker, call):
            if group.form.family == "unix":
                from entrypoint.kernel import epoll_sets

                sets = epoll_sets.find(pid, fd, self._tree(worker, call))
            if sets is None:
                return self._cannot_replace(worker, call, assignment)
        if own is not None and self._keeps_own(worker, assignment, call, own):
            inode = inode_of(own.fileno())
            try:
                group.adopt(worker.slot, worker.incarnation, own)
            except OSError as error:
                own.close()
                worker.notifier.answer(call, error.errno or errno.EINVAL)
                return True
            worker.notifier.answer(call)
            self.bound(worker, assignment, inode, pid, fd)
            return True
        flags = calling_process.descriptor_flags(pid, fd)
        again = worker.incarnation in group.holders.get(worker.slot, ())
        source = group.hand(worker.slot, worker.incarnation)
        alone = not group.has_siblings(worker.slot, worker.incarnation)
        fresh = group.form.family != "unix" and not again
        if alone and (own is not None or fresh):
            self._options.carry(worker.incarnation, worker.notifier, call, own, source)
        elif group.form.family == "unix":
            self._options.carry_unix(worker.incarnation, worker.notifier, call, source)
        if own is not None:
            own.close()
        self.follow_mode(worker, assignment, nonblocking=bool(flags & os.O_NONBLOCK))
        if not worker.notifier.put(call, source.fileno(), fd, cloexec=bool(flags & os.O_CLOEXEC)):
            return True  # killed meanwhile, or its call restarts
        if sets is not None:
            sets.put(source.fileno(), fd)
        self.bound(worker, assignment, inode_of(source.fileno()), pid, fd)
        worker.notifier.answer(call)
        return True

    def _keeps_own(
        self,
        worker: Worker,
        assignment: Assignment,
        call: seccomp.Notification,
        own: _socket.socket,
    ) -> bool:
        """Use the worker's own socket for the slot."""
        group = assignment.group
        if not borrow.is_tcp(own):
            return False
        if group.single or group.shared:
            return not group.has(worker.slot)
        return not group.has(worker.slot) or self._is_tied(worker, call)

    def _is_tied(self, worker: Worker, call: seccomp.Notification) -> bool:
        pid, fd = call.pid, call.args[0]
        inode = calling_process.socket_inode(pid, fd)
        return borrow.is_tied(pid, fd, inode, self._tree(worker, call))

    def _tree(self, worker: Worker, call: seccomp.Notification) -> tuple[int, ...]:
        return look.tree(self.pid_of(worker.incarnation) or call.pid)

    def _cannot_replace(
        self, worker: Worker, call: seccomp.Notification, assignment: Assignment
    ) -> bool:
        """Handle a socket with other references, if neither it nor those can be duplicated."""
        reason = "a socket was in an epoll set, or duplicated, before its bind"
        form = assignment.group.form
        self.listeners.give_back(worker.incarnation, assignment)
        if form.family != "unix" and not worker.makes:
            self._needs_our_sockets(worker, reason)
            return False
        alone = not assignment.group.users and self.listeners.step_aside(
            assignment, lasting=self._app.instances == 1
        )
        then = "the worker binds it itself: connections are refused while it is away"
        if not alone:
            then = "the worker finds it in use; use one instance, or `handoff: fds`"
        where = {"app": self._app.name, "address": form.text, "pid": call.pid}
        level = "warning" if alone else "error"
        self._log(level, "address not shared", {**where, "reason": reason, "then": then})
        if not alone:
            worker.notifier.answer(call, errno.EADDRINUSE)
        return not alone

    def _bind_unread(self, worker: Worker, call: seccomp.Notification) -> None:
        """Handle a bind of a process whose memory is unreadable (undumpable, or dropped root).

        A socket that pyinit made is prepared so that the kernel's own bind joins the group.
        Its address is found when it listens.
        """
        if not worker.makes:
            self._needs_our_sockets(worker, "the bind of a process cannot be read: " + _UNREADABLE)
        found = self._created.of(proc.process_of(call.pid), call.args[0]) if self._created else ()
        if not found:
            return
        # The kernel's own bind of this socket then joins the group of its address.
        for created in found:
            sockets.allow_sharing(created.sock)

    def bound(self, worker: Worker, assignment: Assignment, inode: int, pid: int, fd: int) -> None:
        """Record that the worker now has the socket of that inode, for this claim."""
        claim = self.listeners.hold(worker.incarnation, worker.slot, assignment, inode)
        claim.pid, claim.fd = proc.process_of(pid), fd
        form = assignment.group.form
        if form not in worker.bound:
            worker.bound.add(form)
            self._observed(
                worker.incarnation, "bound", {"address": form.text, "adopted": assignment.adopted}
            )

    @staticmethod
    def _is_passing(asked: Asked, pid: int) -> bool:
        """Whether any port will do, as for clients: the bind means no address of the app."""
        if asked.family == "unix" or asked.port:
            return False
        return not addresses.means_serve(calling_process.command_line(pid))

    def _is_stream(self, asked: Asked, pid: int, fd: int) -> bool:
        protocol = calling_process.protocol_of(pid, fd)
        if protocol == "UNIX" and seccomp.kernel_version() < _STREAMS_NAMED:
            # It may be a datagram socket: rely only on the file.
            return self.listeners.declares_path(
                bound_path(pid, asked.path, self.listeners.unix_groups())
            )
        return protocol in sockaddr.PROTOCOLS[asked.family]

    def _assign(
        self, worker: Worker, call: seccomp.Notification, asked: Asked
    ) -> Assignment | None:
        pid, fd, incarnation = call.pid, call.args[0], worker.incarnation
        caller = credentials.caller(pid)
        wanted = Wanted(caller.credentials, reuses=lambda: borrow.reuses_port(pid, fd))
        if asked.family == "unix":
            path = bound_path(pid, asked.path, self.listeners.unix_groups())
            mode = calling_process.socket_mode(pid, fd) & ~caller.umask
            if path is None or not worker.notifier.waits(call):
                return None
            return self.listeners.assign(
                incarnation, asked.replace(path=path), wanted=wanted.replace(mode=mode)
            )
        if asked.port == 0:
            command = calling_process.command_line(pid)
            if not worker.notifier.waits(call) or not addresses.means_serve(command):
                return None
            return self.listeners.assign_port(incarnation, addresses.ports_of_serve(command))
        v6only: bool | None = False
        if asked.host == addresses.ANY6:
            v6only = self._options.is_v6only(incarnation, pid, fd)
        if not worker.notifier.waits(call):
            return None
        return self.listeners.assign(incarnation, asked, wanted=wanted, v6only=v6only)

    def follow_mode(self, worker: Worker, assignment: Assignment, *, nonblocking: bool) -> None:
        """Give the replacement the blocking mode of the worker's own socket."""
        group = assignment.group
        if not nonblocking and (
            # If a worker binds several sockets to one address, a non-blocking one wins, and the
            # mode that the first user of a shared socket set stays: it may
            # have set it non-blocking itself, after its bind.
            worker.modes.get(group.form) or group.has_siblings(worker.slot, worker.incarnation)
        ):
            return
        worker.modes[group.form] = nonblocking
        group.set_blocking(worker.slot, not nonblocking)

    def listen(self, worker: Worker, call: seccomp.Notification) -> bool:
        """Answer a listen of any socket."""
        inode = calling_process.socket_inode(call.pid, call.args[0])
        if not inode:
            return self._listen_unread(worker, call)
        assignment = self.listeners.of_inode(inode)
        if assignment is None:
            self._drop_created(call)
            return False
        if not worker.notifier.waits(call):
            return False
        self.begin(worker, call, assignment, inode)
        return True

    def begin(
        self, worker: Worker, call: seccomp.Notification, assignment: Assignment, inode: int
    ) -> None:
        """Answer the call with which the worker starts to listen on that socket."""
        assignment.group.users.add(worker.incarnation)
        self.listeners.begin(assignment, inode)
        worker.listened_at = worker.listened_at or self._loop.now()
        self._options.listens(worker.incarnation)
        # The call is not made: a worker's own backlog would replace pyinit's.
        worker.notifier.answer(call)
        self._observed(worker.incarnation, "listening", {"address": assignment.group.form.text})

    def _listen_unread(self, worker: Worker, call: seccomp.Notification) -> bool:
        """Handle listen(2) of a process that cannot be inspected, on a bound socket of pyinit."""
        if self._created is None:
            return False
        pid = proc.process_of(call.pid)
        found = self._created.of(pid, call.args[0])
        bound = [created for created in found if sockets.port_of(created.sock)]
        if len(bound) != 1:
            return False
        own = self._created.take(bound[0].inode)
        if own is None:
            return False
        inode = bound[0].inode
        if self.listeners.others_listen(own):
            # Its bind joined the group of another app, which PID 1 holds as well.
            own.close()
            worker.notifier.answer(call, errno.EADDRINUSE)
            return True
        assignment = self.listeners.assign_bound(worker.incarnation, worker.slot, own)
        self.bound(worker, assignment, inode, pid, call.args[0])
        self.begin(worker, call, assignment, inode)
        return True
