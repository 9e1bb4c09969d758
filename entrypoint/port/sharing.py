"""The listening sockets of one app as a whole: opened, changed, steered, closed.

And what becomes of a socket that its worker has closed. What a worker's bind means is in
listeners.py.
"""

from __future__ import annotations

import errno
import os

from ..core.record import Record
from ..kernel import sockets
from . import addresses
from .address import Address
from .addresses import Form
from .attended import Attended
from .claims import Claims, inode_of
from .claims import Held as Holding
from .errors import ListenerDownError, PortErrors, reason_of, sentence
from .group import Group
from .held import Held
from .opening import opened
from .pathwatch import PathWatch
from .unixgroup import UnixGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from socket import socket

    from ..core.spec import AppSpec, ListenSpec
    from ..kernel.credentials import Credentials
    from ..loop import Loop

    Log = Callable[[str, str, dict[str, object]], None]
    HeirOf = Callable[[Form], Address | None]

DEFAULT_BACKLOG = 4096


class Wanted(Record):
    """For whom an address is bound that no file declares; `mode`: of a unix socket's file."""

    credentials: Credentials
    mode: int | None = None


class Sharing:
    """All listening sockets of one app."""

    def __init__(
        self,
        loop: Loop,
        app: AppSpec,
        log: Log,
        heir_of: HeirOf,
        pid_of: Callable[[int], int],
        saw: Callable[[int, str, dict[str, object]], None],
    ) -> None:
        """`saw(incarnation, what, fields)` is told of what a living worker does.

        It has `closed` a listener, or is seen to take connections (`accepting`).
        """
        self._loop = loop
        self._app = app
        self._log = log
        self._held = Held()
        self._steered: tuple[int, ...] = ()
        self._unused: list[Address] = []  # of which that was said
        self.claims = Claims(app, log, pid_of, self._claim_ended)
        self._saw = saw
        self._attended = Attended(
            loop,
            self._held.groups,
            self._revived,
            self.claims,
            self._connection_arrived,
            self._down,
            PathWatch(loop, self._restored, log),
        )
        # Of which was said that they cannot be revived.
        self._said_down: set[Group] = set()
        # A worker has listened somewhere, closed it and served on: ports of this app that
        # are bound later may be for one connection alone.
        self._one_time = False
        self.vacancies = self._attended.vacancies
        self.slots = 0
        # An address of an app that is being removed, given up to us (`give`).
        self._heir_of = heir_of

    def open(self, slots: int, but: Collection[Form] = ()) -> None:
        """Bind all that the file declares and listen. Raises PortErrors, nothing open.

        `but`: what another app will hand over (`receive`).
        """
        self.slots = max(1, slots)
        problems: list[str] = []
        for spec in self._app.listen:
            if addresses.first_form(spec) in but:
                continue
            try:
                self._held.declared.append(self._opened(spec, self._app.listen))
            except OSError as error:
                problems.append(f"{self._app.name}: listen: {spec.text}: {sentence(spec, error)}")
        if problems:
            self.close()
            raise PortErrors(problems)

    def prepare(self, app: AppSpec, but: Collection[Form] = ()) -> None:
        """Bind what this revision newly declares. Raises PortErrors, nothing changed.

        `but`: what another app will hand over (`receive`).
        """
        self.discard()
        problems: list[str] = []
        for spec in app.listen:
            form = addresses.first_form(spec)
            if form in but or self._held.knows(form):
                continue
            try:
                self._held.coming.append(self._opened(spec, app.listen))
            except OSError as error:
                why = self._held_here(spec, error) or sentence(spec, error)
                problems.append(f"{app.name}: listen: {spec.text}: {why}")
        if problems:
            self.discard()
            raise PortErrors(problems)

    def _held_here(self, spec: ListenSpec, error: OSError) -> str:
        """It is the port of an address of our own that a new one would overlap."""
        if error.errno != errno.EADDRINUSE or spec.family == "unix":
            return ""
        for _, group in self._held.groups():
            if group.form.port == spec.port:
                # While both listen the kernel chooses, and the old has workers of before only.
                return f"{group.form.text} is held; another host of its port needs a new container"
        return ""

    def discard(self) -> None:
        """What was prepared will not be needed."""
        for address in self._held.coming:
            self._close_address(address)
        self._held.coming.clear()

    def change(self, app: AppSpec) -> None:
        """This revision counts from now on. What stays keeps its sockets and queues.

        What it no longer declares is closed by `trim`: workers of before still have it.
        """
        changed = app != self._app
        self._app = app
        for address, spec in self._held.change(app, other=changed):
            self._declare(address, spec)
        if app.share == "one":
            for address in self._held.lasting:
                for group in address.groups.values():
                    self._attended.unite(group)

    def _declare(self, address: Address, spec: ListenSpec) -> None:
        """The file says this of it now: what is not its address may be new."""
        before = address.spec
        address.declared = spec
        # Its host may be narrowed to what this machine can do.
        address.spec = spec
        if before is not None:
            address.spec = before.replace(name=spec.name, backlog=spec.backlog, mode=spec.mode)
        for group in address.groups.values():
            try:
                if not group.declared:
                    group.declare(self.slots)
                    self._attended.note(address, group)
                group.tune(spec.backlog, spec.mode)
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                told: dict[str, object] = {
                    "app": self._app.name,
                    "address": spec.text,
                    "reason": reason,
                }
                self._log("warning", "listener not changed", told)

    @property
    def homes(self) -> frozenset[Form]:
        """What a file declares, or declared."""
        return self._held.homes

    def give(self, form: Form) -> Address | None:
        """Hand this address on to another app; None: it is not here.

        Workers of ours accept on it until they end.
        """
        address = self._held.give(form)
        if address is not None:
            self._attended.let_go(address)
            self.claims.drop(address)
            for group in address.groups.values():
                group.forget_workers()
        return address

    def receive(self, address: Address) -> None:
        """Another app's address; `change` follows, which says what it is here."""
        self._held.coming.append(address)
        self._welcome(address)

    def _welcome(self, address: Address) -> None:
        for group in address.groups.values():
            group.steer(self._steered)
            self._attended.note(address, group)
            # What waits in a slot that is none of ours is for whoever has one.
            for place in group.descriptors:
                if group.slot_of(place) == place and place not in self._steered:
                    self.vacancies.vacate(place)

    def trim(self) -> None:
        """No worker of an earlier revision is left: close what is not declared any more."""
        for address in self._held.trim():
            self._close_address(address)

    def _close_address(self, address: Address) -> None:
        self._attended.let_go(address)
        self.claims.drop(address)
        for group in address.groups.values():
            group.close()

    def _opened(self, spec: ListenSpec, listen: tuple[ListenSpec, ...]) -> Address:
        """`listen`: all that the file declares, of which this is one. Raises OSError."""
        address = opened(spec, listen, self.slots, self._group)
        for group in address.groups.values():
            self._attended.note(address, group)
        return address

    def _group(self, address: Address, form: Form, wanted: Wanted | None = None) -> Group:
        spec = address.spec
        backlog = spec.backlog if spec is not None else DEFAULT_BACKLOG
        if form.family == "unix":
            unix = UnixGroup(
                form,
                backlog,
                mode=spec.mode if spec is not None else wanted.mode if wanted else None,
                replace_stale=spec is not None,
                credentials=wanted.credentials if wanted else None,
            )
            unix.declared = spec is not None
            return unix
        group = Group(
            form,
            backlog,
            single=self._app.share == "one",
            on_demand=spec is None,
            credentials=wanted.credentials if wanted else None,
        )
        group.steered = self._steered
        group.declared = spec is not None
        return group

    @property
    def texts(self) -> tuple[str, ...]:
        """The addresses that are listened on, as people write them."""
        return tuple(dict.fromkeys(g.form.text for _, g in self._held.groups() if g.listening))

    def _revived(self, group: Group, slots: tuple[int, ...]) -> None:
        where = {"app": self._app.name, "address": group.form.text}
        self._log("info", "listener revived", {**where, "slots": list(slots)})
        self._said_down.discard(group)
        # Of a unix socket it is another one: those who have the old one serve nobody.
        for held in self.claims:
            if held.group is group and group.of_inode(held.inode) is None:
                self.claims.end(held)

    def _restored(self, group: Group) -> None:
        """Its path was removed by somebody."""
        told: dict[str, object] = {"app": self._app.name, "address": group.form.text}
        self._log("debug", "socket file restored", told)

    def _down(self, group: Group, error: OSError) -> None:
        """A worker has ended it, and it cannot be made again."""
        if group in self._said_down:
            return
        self._said_down.add(group)
        told: dict[str, object] = {
            "app": self._app.name,
            "address": group.form.text,
            "reason": reason_of(group.form.family, error),
            "then": "it is tried again until it can be bound",
        }
        self._log("error", "listener down", told)

    def grow(self, slots: int) -> None:
        """Have at least `slots` sockets on each address. Raises OSError."""
        self.slots = max(self.slots, slots)
        for address, group in self._held.groups():
            group.grow(self.slots)
            self._attended.note(address, group)

    def steer(self, slots: tuple[int, ...]) -> None:
        """New connections go to these slots only; () means all."""
        self._steered = slots
        for _, group in self._held.groups():
            group.steer(slots)
        self.vacancies.steered(slots)

    def queue_length(self, slot: int) -> int:
        """Connections that wait for this slot and could be accepted by no other."""
        return sum(group.queue_length(slot) for _, group in self._held.groups())

    def depths(self) -> dict[str, tuple[sockets.Depth, ...]]:
        """The accept queues behind each address that is listened on."""
        found: dict[str, tuple[sockets.Depth, ...]] = {}
        for _, group in self._held.groups():
            text = group.form.text
            found[text] = (*found.get(text, ()), *group.depths())
        return {text: depths for text, depths in found.items() if depths}

    def refuse(self) -> None:
        """Take no new connections; what is queued stays."""
        for _, group in self._held.groups():
            group.refuse()

    def pause(self) -> None:
        """Refuse connections, keep the addresses; `resume` takes them again."""
        for _, group in self._held.groups():
            self._attended.look_away(group)
            group.pause()

    def resume(self) -> None:
        """Take connections again where they were taken. Raises OSError."""
        for address, group in self._held.groups():
            self._attended.look_away(group)
            group.resume()
            self._attended.note(address, group)

    def close(self) -> None:
        """Close all."""
        self._loop.cancel(("unused", self._app.name))
        self._attended.close()
        for _, group in self._held.groups():
            group.close()
        self._held.clear()
        self.discard()

    def descriptors(self, slot: int) -> tuple[tuple[int, str], ...]:
        """(descriptor, name) of each declared address, for LISTEN_FDS."""
        given = []
        for address in self._held.declared:
            spec = address.spec
            group = next(iter(address.groups.values()))
            self._repair(group)
            sock = group.socket(slot)
            name = (spec.name if spec is not None else "") or self._app.name
            # The separator of LISTEN_FDNAMES, and what sd_listen_fds(3) says of it.
            given.append((sock.fileno(), name.replace(":", "_") or "unknown"))
        return tuple(given)

    def _repair(self, group: Group) -> None:
        """Have a socket for a worker that starts. Raises ListenerDownError."""
        try:
            self._attended.repair(group)
        except OSError as error:
            reason = reason_of(group.form.family, error)
            number = error.errno or errno.ENOTCONN
            raise ListenerDownError(number, group.form.text, reason) from None

    def _drop_replaced(self, address: Address, group: Group, sock: socket) -> None:
        if sock.fileno() >= 0:
            self._close_socket(address, group, inode_of(sock.fileno()))

    def _settle(self, address: Address) -> None:
        """Nobody may wait where nobody accepts."""
        for group in address.deserted():
            self._attended.look_away(group)
            self._pass_on(address, group)
            group.quiet()

    def _pass_on(self, address: Address, group: Group) -> None:
        waiting = group.waiting()
        if not waiting:
            return
        forms = tuple(other.form for other in address.groups.values() if other.users)
        for sock, length in waiting:
            self._attended.proxy().take(sock, length, forms)

    def _connection_arrived(self, group: Group, inode: int) -> None:
        self.claims.look_at(inode)
        holders = self.claims.of_inode(inode)
        if len(holders) == 1 and holders[0].listens and not holders[0].accepts:
            sock = group.of_inode(inode)
            if sock is not None and group.form.family != "unix" and not sockets.queue_length(sock):
                # It was there a moment ago, and nobody else could take it.
                holders[0].accepts = True
                self._saw(holders[0].incarnation, "accepting", {"address": group.form.text})

    def dropped(self, held: Holding) -> None:
        """The worker made a client of this socket: it is none of ours."""
        self.claims.remove(held)
        if not held.group.declared:
            held.group.gave_up(held.slot, held.incarnation)
        self._close_socket(held.address, held.group, held.inode)

    def serves(self, incarnation: int) -> bool:
        """It listens on one of the app's addresses."""
        return any(held.listens for held in self.claims.of(incarnation))

    def _claim_ended(self, held: Holding) -> None:
        """No process of that worker has the socket any more."""
        group = held.group
        if any(other.group is group for other in self.claims.of(held.incarnation)):
            # It has another socket of this address.
            if group.slot_of(group.place_of(held.inode) or 0) != group.place_of(held.inode):
                self._close_socket(held.address, group, held.inode)
            return
        if not held.listens:
            group.users.discard(held.incarnation)
        elif not group.declared and self.serves(held.incarnation):
            self._one_time = True
        group.gave_up(held.slot, held.incarnation)
        if not group.declared and not self.claims.of_inode(held.inode):
            self._close_socket(held.address, group, held.inode)
        else:
            self._attended.refresh(group, (held.slot,))
        if held.listens:
            fields: dict[str, object] = {"address": group.form.text, "declared": group.declared}
            self._saw(held.incarnation, "closed", fields)

    def _close_socket(self, address: Address, group: Group, inode: int) -> None:
        """Close one socket of an address; what waits there is passed on if it can be."""
        sock = group.remove(inode)
        if sock is None:
            return
        self._attended.forget(sock)
        forms = tuple(
            other.form
            for _, other in self._held.groups()
            if other.listening and other.users and other.form.port == group.form.port
        )
        waiting = 0 if group.form.family == "unix" else sockets.queue_length(sock)
        if waiting and forms:
            self._attended.proxy().take(sock, waiting, forms, close=True)
        sock.close()
        if group.empty and not group.declared:
            self._forget_address(address)
        else:
            group.steer(group.steered)

    def _forget_address(self, address: Address) -> None:
        """No worker has it, and no file declares it: it is free."""
        for form, known in tuple(self._held.adopted.items()):
            if known is address:
                del self._held.adopted[form]
        self._close_address(address)
        text = address.home.text if address.groups else ""
        self._log("debug", "address released", {"app": self._app.name, "address": text})

    def release(self, incarnation: int) -> None:
        """The worker is gone: its claims end, unlinked socket files come back."""
        for held in self.claims.of(incarnation):
            self.claims.remove(held)
            if not held.listens and not held.group.declared:
                self._close_unless_used(held)
        self.claims.release(incarnation)
        for address in self._held.lasting:
            for group in address.groups.values():
                group.release(incarnation)
                group.mend()
            if len(address.groups) > 1:
                self._settle(address)

    def _close_unless_used(self, held: Holding) -> None:
        """A socket that was bound and never listened dies with its worker."""
        if not self.claims.of_inode(held.inode) and not held.group.listens_at(held.inode):
            held.group.gave_up(held.slot, held.incarnation)
            self._close_socket(held.address, held.group, held.inode)
