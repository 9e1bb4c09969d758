"""Handles a worker that binds a temporary path and renames it to a path of the app.

haproxy does so, to replace the path in one step. Each worker has another temporary path,
so pyinit has a socket for each; at the rename the worker gets the app's socket instead, and
the temporary one is removed. If something else already refers to the worker's socket (an epoll
set, a duplicate) the rename continues in the kernel: the path then leads to that worker only.
"""

from __future__ import annotations

import os

from entrypoint.kernel import (
    borrow,
    calling_process,
    credentials,
    look,
    proc,
    seccomp,
)

from .app_sockets import Wanted
from .claims import inode_of
from .sockaddr import Asked
from .unix_group import UnixGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .address import Assignment
    from .bind_calls import Binding, Worker
    from .claims import Claim


def serve_at(
    binding: Binding,
    worker: Worker,
    call: seccomp.Notification,
    source: UnixGroup,
    target: UnixGroup,
) -> bool:
    """Answer a rename of `source`'s path to `target`'s. Raises OSError.

    False: let it continue in the kernel.
    """
    listeners = binding.listeners
    claim = next(
        (each for each in listeners.claims.of(worker.incarnation) if each.group is source), None
    )
    if claim is None or not _can_replace(binding, worker, call, claim):
        return False
    caller = credentials.caller(call.pid)
    asked = Asked("unix", path=target.form.path)
    assignment = listeners.assign(worker.incarnation, asked, wanted=Wanted(caller.credentials))
    if assignment is None or not worker.notifier.waits(call):
        return False
    _replace(binding, worker, call, claim, assignment)
    return True


def _can_replace(
    binding: Binding, worker: Worker, call: seccomp.Notification, claim: Claim
) -> bool:
    """Whether it is the caller's own descriptor without other references."""
    pid, fd = claim.pid, claim.fd
    if proc.process_of(call.pid) != pid or calling_process.socket_inode(pid, fd) != claim.inode:
        return False
    tree = look.tree(binding.pid_of(worker.incarnation) or pid)
    return not borrow.is_tied(pid, fd, claim.inode, tree)


def _replace(
    binding: Binding,
    worker: Worker,
    call: seccomp.Notification,
    claim: Claim,
    assignment: Assignment,
) -> None:
    flags = calling_process.descriptor_flags(claim.pid, claim.fd)
    sock = assignment.group.hand(worker.slot, worker.incarnation)
    binding.follow_mode(worker, assignment, nonblocking=bool(flags & os.O_NONBLOCK))
    cloexec = bool(flags & os.O_CLOEXEC)
    if not worker.notifier.put(call, sock.fileno(), claim.fd, cloexec=cloexec):
        return  # killed meanwhile, or its call restarts
    if isinstance(assignment.group, UnixGroup):
        assignment.group.take_mode(claim.group)
    listens = claim.listens
    binding.listeners.dropped(claim)
    inode = inode_of(sock.fileno())
    binding.bound(worker, assignment, inode, claim.pid, claim.fd)
    if listens:
        binding.begin(worker, call, assignment, inode)
    else:
        worker.notifier.answer(call)
