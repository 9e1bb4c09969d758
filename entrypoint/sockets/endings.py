"""Handles sockets of an app that its workers close, shut down, or leave open at their end."""

from __future__ import annotations

from entrypoint.kernel import bind_errors, sockets

from .claims import Claim, Claims, inode_of
from .listener_monitor import ListenerMonitor
from .listener_registry import ListenerRegistry
from .path_watch import PathWatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket

    from entrypoint.core.spec import AppSpec
    from entrypoint.loop import Loop

    from .address import Address
    from .group import Group

    Log = Callable[[str, str, dict[str, object]], None]

# A handshake that began at a listener may end there as late as this (s): six SYN-ACKs.
LAST_HANDSHAKE = 70.0


class Endings:
    """The sockets of one app and how they end."""

    def __init__(
        self,
        loop: Loop,
        app: AppSpec,
        log: Log,
        pid_of: Callable[[int], int],
        saw: Callable[[int, str, dict[str, object]], None],
    ) -> None:
        """`saw(incarnation, what, fields)` reports an action of a living worker.

        It has `closed` a listener, or was seen to accept connections (`accepting`). `stalled` names
        a slot instead of an incarnation, which is 0.
        """
        self._loop = loop
        self._app = app
        self._log = log
        self._registry = ListenerRegistry()
        self.claims = Claims(app, log, pid_of, self._claim_ended)
        self._saw = saw
        self._monitor = ListenerMonitor(
            loop,
            self._registry.groups,
            self._revived,
            self.claims,
            self._connection_arrived,
            self._down,
            PathWatch(loop, self._restored, log),
        )
        self._monitor.stalls.on_stalled = self._stalled
        # Those already reported as impossible to revive.
        self._said_down: set[Group] = set()
        # A worker has listened somewhere, closed it and continued to serve: ports that this app
        # binds later may be for one connection only.
        self._one_time = False
        self.unowned = self._monitor.unowned

    def _revived(self, group: Group, slots: tuple[int, ...]) -> None:
        where = {"app": self._app.name, "address": group.form.text}
        self._log("info", "listener revived", {**where, "slots": list(slots)})
        self._said_down.discard(group)
        # A unix path then has another socket: holders of the old one get no connections.
        for claim in self.claims:
            if claim.group is group and group.of_inode(claim.inode) is None:
                self.claims.end(claim)

    def _restored(self, group: Group) -> None:
        """Handle a removed path that was restored."""
        fields: dict[str, object] = {"app": self._app.name, "address": group.form.text}
        self._log("debug", "socket file restored", fields)

    def _down(self, group: Group, error: OSError) -> None:
        """Report a listener that a worker shut down and that cannot be made again."""
        if group in self._said_down:
            return
        self._said_down.add(group)
        fields: dict[str, object] = {
            "app": self._app.name,
            "address": group.form.text,
            "reason": bind_errors.reason_of(group.form.family, error),
            "then": "it is tried again until it can be bound",
        }
        self._log("error", "listener down", fields)

    def _drop_later(self, address: Address, group: Group, sock: socket) -> None:
        """Close a replaced listener when no handshake can end there any more."""
        self._loop.call_at(
            ("replaced", sock.fileno()),
            self._loop.now() + LAST_HANDSHAKE,
            lambda: self._drop_replaced(address, group, sock),
        )

    def _drop_replaced(self, address: Address, group: Group, sock: socket) -> None:
        if sock.fileno() >= 0:
            self._close_socket(address, group, inode_of(sock.fileno()))

    def _end_deserted(self, address: Address) -> None:
        """Close sockets without accepting workers, and relay the connections that wait there."""
        for group in address.deserted():
            self._monitor.look_away(group)
            self._pass_on(address, group)
            group.quiet()

    def _pass_on(self, address: Address, group: Group) -> None:
        waiting = group.waiting()
        forms = tuple(other.form for other in address.groups.values() if other.users)
        for sock, length in waiting:
            self._monitor.proxy().take(sock, length, forms, closing=True)

    def _connection_arrived(self, group: Group, inode: int) -> None:
        self.claims.look_at(inode)
        holders = self.claims.of_inode(inode)
        if len(holders) == 1 and holders[0].listens and not holders[0].accepts:
            sock = group.of_inode(inode)
            if sock is not None and group.form.family != "unix" and not sockets.queue_length(sock):
                # It was there a moment ago, and no other process could take it.
                holders[0].accepts = True
                self._saw(holders[0].incarnation, "accepting", {"address": group.form.text})

    def _stalled(self, group: Group, slot: int, since: float, waiting: int) -> None:
        where = {"app": self._app.name, "slot": slot, "address": group.form.text}
        self._saw(0, "stalled", {**where, "since": since, "waiting": waiting})

    def dropped(self, claim: Claim) -> None:
        """Drop a socket that the worker turned into a client."""
        self.claims.remove(claim)
        if not claim.group.declared:
            claim.group.gave_up(claim.slot, claim.incarnation)
        self._close_socket(claim.address, claim.group, claim.inode)

    def serves(self, incarnation: int) -> bool:
        """Whether it listens on one of the app's addresses."""
        return any(claim.listens for claim in self.claims.of(incarnation))

    def _claim_ended(self, claim: Claim) -> None:
        """Handle the end of a claim: no process of that worker has the socket any more."""
        group = claim.group
        if any(other.group is group for other in self.claims.of(claim.incarnation)):
            # It has another socket of this address.
            if group.slot_of(group.key_of(claim.inode) or 0) != group.key_of(claim.inode):
                self._close_socket(claim.address, group, claim.inode)
            return
        if not claim.listens:
            group.users.discard(claim.incarnation)
        elif not group.declared and self.serves(claim.incarnation):
            self._one_time = True
        group.gave_up(claim.slot, claim.incarnation)
        if not group.declared and not self.claims.of_inode(claim.inode):
            self._close_socket(claim.address, group, claim.inode)
        else:
            self._monitor.refresh(group, (claim.slot,))
        if claim.listens:
            fields: dict[str, object] = {"address": group.form.text, "declared": group.declared}
            self._saw(claim.incarnation, "closed", fields)

    def _close_socket(self, address: Address, group: Group, inode: int) -> None:
        """Close one socket of an address; relay the connections that wait there, if possible."""
        sock = group.of_inode(inode)
        if sock is None:
            return
        forms = tuple(
            other.form
            for _, other in self._registry.groups()
            if other.listening and other.users and other.form.port == group.form.port
        )
        waiting = 0 if group.form.family == "unix" else sockets.queue_length(sock)
        if waiting and forms and group.retire(inode):
            self._monitor.note(address, group)
            self._drop_later(address, group, sock)
            return
        if waiting and forms:
            self._monitor.proxy().take(sock, waiting, forms, closing=True)
        group.remove(inode)
        self._monitor.forget(sock)
        sock.close()
        if group.empty and not group.declared:
            self._forget_address(address)
        else:
            group.steer(group.steered)

    def _forget_address(self, address: Address) -> None:
        """Release an address that no worker has and no file declares."""
        for form, known in tuple(self._registry.adopted.items()):
            if known is address:
                del self._registry.adopted[form]
        self._close_address(address)
        text = address.identity.text if address.groups else ""
        self._log("debug", "address released", {"app": self._app.name, "address": text})

    def release(self, incarnation: int) -> None:
        """Release a worker that is gone: its claims end, unlinked socket files are restored."""
        for claim in self.claims.of(incarnation):
            self.claims.remove(claim)
            if not claim.listens and not claim.group.declared:
                self._close_unless_used(claim)
        self.claims.release(incarnation)
        for address in self._registry.lasting:
            for group in address.groups.values():
                group.release(incarnation)
                group.mend()
            if len(address.groups) > 1:
                self._end_deserted(address)

    def _close_unless_used(self, claim: Claim) -> None:
        """Close a socket that was bound and never listened, with its worker."""
        if not self.claims.of_inode(claim.inode) and not claim.group.listens_at(claim.inode):
            claim.group.gave_up(claim.slot, claim.incarnation)
            self._close_socket(claim.address, claim.group, claim.inode)

    def _close_address(self, address: Address) -> None:
        self._monitor.let_go(address)
        self.claims.drop(address)
        for group in address.groups.values():
            group.close()
