"""Interception: the notifiers of the workers' seccomp filters, and the dispatch of their calls.

bind_calls.py has the answers to bind(2), listen(2) and related calls, unix_calls.py those about
paths of unix sockets. A call that is not understood, or not about the app's addresses, continues in
the kernel unchanged.
"""

from __future__ import annotations

import errno
import os

from entrypoint.kernel import bpf, memory, seccomp
from entrypoint.kernel.interrupt import interrupter
from entrypoint.loop import HANGUP, READ

from .bind_calls import Binding, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.core.spec import AppSpec
    from entrypoint.loop import Loop

    from .app_sockets import Log
    from .bind_calls import Observed
    from .listeners import Listeners
    from .own_connects import OwnConnects
    from .pending_calls import Pending
    from .setoptions import SetOptions


class Interception:
    """The notifiers of all workers of one app."""

    def __init__(
        self,
        loop: Loop,
        app: AppSpec,
        listeners: Listeners,
        log: Log,
        listen_visible: Observed,
        pending: Pending,
        pid_of: Callable[[int], int],
        own_connects: OwnConnects,
        options: SetOptions,
    ) -> None:
        self._binding = Binding(loop, app, listeners, log, listen_visible, pid_of, options)
        self._options = options
        self._loop = loop
        self._app = app
        self._listeners = listeners
        self._log = log
        self._workers: dict[int, Worker] = {}
        self._pending = pending
        self._own_connects = own_connects
        self._complained = False
        self._said_ring = False

    def change(self, app: AppSpec) -> None:
        """Apply another revision of the app."""
        self._app = app
        self._binding.change(app)

    @property
    def makes_sockets(self) -> bool:
        """Workers of this app get sockets made by pyinit, from their next start on."""
        return self._binding.makes_sockets

    def attach(self, incarnation: int, slot: int, notify_fd: int, *, makes: bool) -> None:
        """Answer this worker's calls from now on. Takes ownership of `notify_fd`.

        `makes`: socket(2) is among them.
        """
        notifier = seccomp.Notifier(notify_fd)
        worker = Worker(incarnation, slot, notifier, self._listeners, makes=makes)
        self._workers[notify_fd] = worker
        self._loop.register(
            notify_fd, READ, lambda events: self._ready(worker, events), owner=incarnation
        )

    def attends(self, incarnation: int) -> bool:
        """Whether this worker's calls are reported."""
        return any(worker.incarnation == incarnation for worker in self._workers.values())

    def forget(self, incarnation: int) -> None:
        """Forget a worker that is gone. Processes that it left may bind what they like.

        Its notifier is closed once the last of them has ended: without a notifier all their
        binds would fail.
        """
        for worker in self._workers.values():
            if worker.incarnation == incarnation:
                worker.gone = True
        self._binding.forget(incarnation)
        self._options.forget(incarnation)

    def close(self) -> None:
        """Close everything; no worker remains, but processes that one left may.

        Without a notifier their calls would fail. So each is kept until its last process has
        ended.
        """
        self._binding.close()
        for worker in tuple(self._workers.values()):
            worker.gone = True
            if worker.notifier.is_over():
                self._drop(worker)

    def _drop(self, worker: Worker) -> None:
        fd = worker.notifier.fd
        if self._workers.pop(fd, None) is not None:
            self._loop.unregister(fd)
            self._pending.drop(worker)
            worker.notifier.close()
            worker.unix.close()

    def _ready(self, worker: Worker, events: int) -> None:
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

    def _later(self, worker: Worker, call: seccomp.Notification) -> None:
        """Retry: its thread does not run now. Only its own worker is slowed down."""
        fd = worker.notifier.fd
        if self._pending.add(
            worker,
            lambda: self._again(worker, call),
            resume=lambda: self._loop.modify(fd, READ),
        ):
            self._loop.modify(fd, 0)

    def _answer(self, worker: Worker, call: seccomp.Notification) -> bool:
        """Answer the call or let it continue; False: not in time, it still waits."""
        done = False
        try:
            done = self._serve(worker, call)
        except seccomp.NotTakenError:
            return False
        except memory.NotPresentError as missing:
            if self._pending.fetch(worker, call.id, missing):
                return False
        except OSError as error:
            self._complain(call, error)
        except BaseException:
            worker.notifier.let_go(call)
            raise
        if not done:
            worker.notifier.let_go(call)
        return worker.notifier.flush()

    def _again(self, worker: Worker, call: seccomp.Notification) -> bool:
        """As `_answer`, for a call that was not answered in time. Everything is checked anew."""
        if self._pending.reads_memory(worker):
            return False
        with interrupter():
            try:
                if not worker.notifier.flush():
                    return False
                if not worker.notifier.waits(call):
                    return True  # only its answer was missing, or its caller is gone
            except seccomp.NotTakenError:
                return False
            return self._answer(worker, call)

    def _complain(self, call: seccomp.Notification, error: OSError) -> None:
        # It has ended meanwhile: nothing to report.
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

    def _serve(self, worker: Worker, call: seccomp.Notification) -> bool:
        """Answer the call; False lets it continue in the kernel, and so does an OSError."""
        if call.pid == 0:
            return False  # from a PID namespace that pyinit cannot see into
        if call.call in bpf.REMOVALS:
            return self._remove(worker, call)
        if call.call == "shutdown":
            return self._shut_down(worker, call)
        call = seccomp.unfolded(call)
        if worker.gone or call.args[0] >= 1 << 31:
            return False
        serve = {
            "connect": self._connect,
            "bind": self._binding.bind,
            "listen": self._binding.listen,
            "getsockopt": self._binding.tell_listening,
            "socket": self._binding.make_socket,
            "setsockopt": self._set_option,
            "io_uring_setup": self._refuse_ring,
        }.get(call.call)
        return serve is not None and serve(worker, call)

    def _remove(self, worker: Worker, call: seccomp.Notification) -> bool:
        renamed = None if worker.gone else worker.unix.renamed(call)
        if renamed is not None:
            from .renames import serve_at

            return serve_at(self._binding, worker, call, *renamed)
        if not worker.unix.removal(call) or not worker.notifier.waits(call):
            return False
        worker.notifier.answer(call)
        return True

    def _set_option(self, worker: Worker, call: seccomp.Notification) -> bool:
        self._options.note(worker.incarnation, worker.notifier, call)
        return False

    def _refuse_ring(self, worker: Worker, call: seccomp.Notification) -> bool:
        """Refuse io_uring if bind and listen can use it unreported (Linux 6.11)."""
        worker.notifier.answer(call, errno.EPERM)
        if not self._said_ring:
            self._said_ring = True
            self._log(
                "info",
                "io_uring refused",
                {
                    "app": self._app.name,
                    "pid": call.pid,
                    "reason": "a port that is bound through it cannot be shared",
                    "then": "the program works without it; `handoff: fds` allows it, for "
                    "programs that take their socket as a descriptor",
                },
            )
        return True

    def _shut_down(self, worker: Worker, call: seccomp.Notification) -> bool:
        if not worker.unix.ends_listener(call) or not worker.notifier.waits(call):
            return False
        worker.notifier.answer(call)
        return True

    def _connect(self, worker: Worker, call: seccomp.Notification) -> bool:
        bound = {g for g in self._listeners.unix_groups() if g.form in worker.bound}
        number = worker.unix.connection(call, bound) or self._own_connects.answer(
            worker.incarnation, call
        )
        if not number or not worker.notifier.waits(call):
            return False
        worker.notifier.answer(call, number)
        return True


# -- which calls are reported ------------------------------------------------------------
# Each reported call costs the program a notification.

# Linux 6.11: IORING_OP_BIND and IORING_OP_LISTEN.
_RINGS_BIND = (6, 11)


def filter_calls(
    app: AppSpec, *, connects: bool, has_paths: bool, makes: bool, options: tuple[str, ...]
) -> tuple[str, ...]:
    """Names for `bpf.interception`.

    `connects`: also connects whose address is as long as IPv4's. `has_paths`: the app
    has unix sockets. `makes`: pyinit makes the worker's sockets. `options`: setsockopt's.
    """
    hidden = any(bpf.looks_like_inet(each.path) for each in app.listen if each.family == "unix")
    connect = "connect_any" if connects or hidden else "connect"
    calls: tuple[str, ...] = (*bpf.PORT_CALLS, *bpf.REMOVALS, connect, *options)
    if has_paths:
        calls = (*calls, "shutdown")
    if seccomp.kernel_version() >= _RINGS_BIND:
        calls = (*calls, "io_uring_setup")
    return (*calls, "socket") if makes else calls
