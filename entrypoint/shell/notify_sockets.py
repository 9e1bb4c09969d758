"""The NOTIFY_SOCKET of each worker: created, read in turn, and removed with the worker.

Only messages of the worker's own process tree count. A sender that has already ended
(`systemd-notify --no-block` in a script) cannot be looked up any more: its user decides.
"""

from __future__ import annotations

import os

from entrypoint.loop import READ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from entrypoint.core.events import Event
    from entrypoint.kernel.notify import Message, NotifyFolder, NotifySocket
    from entrypoint.loop import Loop

    from .children import Children

    class Runtime(Protocol):
        """What is used of the run."""

        children: Children
        loop: Loop

        def emit(self, event: Event) -> None:
            """Hand an event to the core."""


class Notifying:
    """The notify sockets of one run."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._folder: NotifyFolder | None = None
        self._sockets: dict[int, NotifySocket] = {}

    def open(self, incarnation: int) -> str:
        """Create a socket for this worker, which starts now; returns its path. Raises OSError."""
        from entrypoint.kernel.notify import NotifyFolder, NotifySocket

        if self._folder is None:
            self._folder = NotifyFolder()
        made = NotifySocket(self._folder)
        try:
            self._runtime.loop.register(
                made.fd, READ, lambda _events: self._received(incarnation), owner=incarnation
            )
        except BaseException:
            made.close()
            raise
        self._sockets[incarnation] = made
        return made.path

    def forget(self, incarnation: int) -> None:
        """Remove the socket of a worker that is gone; a no-op if it has none."""
        found = self._sockets.pop(incarnation, None)
        if found is not None:
            self._runtime.loop.unregister(found.fd)
            found.close()

    def close(self) -> None:
        """Remove all."""
        for incarnation in tuple(self._sockets):
            self.forget(incarnation)
        if self._folder is not None:
            self._folder.close()

    def _received(self, incarnation: int) -> None:
        from .notify_messages import Batch

        found = self._sockets.get(incarnation)
        if found is None:
            return
        batch = Batch(incarnation)
        senders: dict[tuple[int, int], bool] = {}
        for message in found.receive():
            sender = (message.pid, message.uid)
            if sender not in senders:
                senders[sender] = self._is_its_own(incarnation, message)
            if senders[sender]:
                batch.add(message.fields)
        for event in batch.events():
            self._runtime.emit(event)

    def _is_its_own(self, incarnation: int, message: Message) -> bool:
        from entrypoint.kernel import proc, tree

        children = self._runtime.children
        owner = proc.owner(message.pid, children.pids)
        if owner:
            return children.incarnation_of(owner) == incarnation
        if proc.alive(message.pid):
            # It is in a session of its own and its parents are gone: a daemon.
            mark = tree.mark_of(message.pid)
            return mark is not None and mark.incarnation == incarnation
        started = children.get(incarnation)
        if started is None:
            return False
        uid = started.spec.uid
        return message.uid == (os.geteuid() if uid is None else uid)
