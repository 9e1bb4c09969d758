"""The app's shared addresses: those the file declares, and those a worker was first to bind."""

from __future__ import annotations

import errno
import os

from ..core.record import Record
from ..kernel import sockets
from . import addresses
from .address import Address, Claim
from .addresses import Form
from .attended import Attended
from .claims import Claims, inode_of
from .claims import Held as Holding
from .errors import ListenerDownError, PortErrors, reason_of, sentence
from .group import Group, UnixGroup
from .held import Held
from .opening import adopted, opened
from .pathwatch import PathWatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from socket import socket

    from ..core.spec import AppSpec, ListenSpec
    from ..kernel.credentials import Credentials
    from ..loop import Loop
    from .sockaddr import Asked

    Log = Callable[[str, str, dict[str, object]], None]
    HeirOf = Callable[[Form], Address | None]

# A worker that binds a thousand ports is no reason for pyinit to hold them.
MAX_ADOPTED = 64
# How long after a worker began to listen the others of its addresses may follow (s).
UNUSED_AFTER = 3.0
DEFAULT_BACKLOG = 4096
# A handshake that began at a listener may end there as late as this (s): six SYN-ACKs.
LAST_HANDSHAKE = 70.0


class Wanted(Record):
    """For whom an address is bound that no file declares; `mode`: of a unix socket's file."""

    credentials: Credentials
    mode: int | None = None


class Listeners:
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

    # -- the whole --------------------------------------------------------------------

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

    # -- another revision of the file -------------------------------------------------

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

    def close(self) -> None:
        """Close all."""
        self._loop.cancel(("unused", self._app.name))
        self._attended.close()
        for _, group in self._held.groups():
            group.close()
        self._held.clear()
        self.discard()

    # -- what is given to workers -----------------------------------------------------

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

    def first_port(self) -> int:
        """The first TCP port, declared or adopted; 0 for none."""
        for address in self._held.lasting:
            if address.port:
                return address.port
        return 0

    def first_steered(self) -> Group | None:
        """The group of the first declared address that has a socket for each slot."""
        for address in self._held.declared:
            group = next(iter(address.groups.values()))
            if group.listening and group.steers and not group.single:
                return group
        return None

    def declares(self, port: int) -> bool:
        """The file declares this port."""
        return any(address.port == port for address in self._held.declared)

    def unix_groups(self) -> list[UnixGroup]:
        """The app's unix sockets, all that there are."""
        return [group for _, group in self._held.groups() if isinstance(group, UnixGroup)]

    def unix_names(self, incarnation: int) -> tuple[str, ...]:
        """The unix sockets that this worker has, as the kernel names them (`@name`)."""
        return tuple(
            group.kernel_name
            for group in self.unix_groups()
            if group.listening and (incarnation in group.users or group.declared)
        )

    def declares_path(self, path: str | None) -> bool:
        """The file declares this unix socket."""
        specs = (address.spec for address in self._held.declared)
        return any(spec is not None and bool(path) and spec.path == path for spec in specs)

    def claim(
        self,
        incarnation: int,
        asked: Asked,
        *,
        wanted: Wanted,
        v6only: bool | None = None,
    ) -> Claim | None:
        """The sockets that this bind means, bound now if need be; None: let it go.

        `v6only` None: not known.
        """
        self.claims.look_at_worker(incarnation)
        only6 = self._deduce(incarnation, asked) if v6only is None else v6only
        # In fork mode workers bind by themselves what the file does not declare.
        adopts = self._app.exec_mode == "cluster"
        if self._meant(asked, v6only=only6) is None and (
            not adopts or self._is_private(incarnation, asked, v6only=v6only)
        ):
            return None
        try:
            return self.obtain(incarnation, asked, wanted=wanted, v6only=v6only)
        except OSError as error:
            # The worker's own bind goes on and tells it the same error.
            self._log(
                "debug",
                "address not shared",
                {
                    "app": self._app.name,
                    "address": addresses.form_as_asked(asked, v6only=only6).text,
                    "reason": os.strerror(error.errno or 0),
                },
            )
            return None

    def _is_private(self, incarnation: int, asked: Asked, *, v6only: bool | None) -> bool:
        """The address is that worker's own affair: a port for one transfer, most likely.

        Programs that open such ports close them again. Once a worker has done that while it
        served, what its app binds while it serves is left to the kernel, unless siblings
        share it already.
        """
        if not self._one_time or not self._serves(incarnation) or asked.family == "unix":
            return False
        form = addresses.form_as_asked(asked, v6only=bool(v6only))
        known = self._adopted_as(form, certain=v6only is not None)
        return known is None or known.late

    def _serves(self, incarnation: int) -> bool:
        return any(held.listens for held in self.claims.of(incarnation))

    def _meant(self, asked: Asked, *, v6only: bool) -> tuple[int, Form] | None:
        specs = tuple(a.spec for a in self._held.declared if a.spec is not None)
        return addresses.meant(specs, asked, v6only=v6only)

    def obtain(
        self,
        incarnation: int,
        asked: Asked,
        *,
        wanted: Wanted,
        v6only: bool | None = None,
    ) -> Claim:
        """As `claim`, but binds whatever is asked for. Raises OSError.

        What the file declares was bound by us and is for any of the app's processes. The
        rest is only for one that could have bound it itself (EACCES).
        """
        only6 = self._deduce(incarnation, asked) if v6only is None else v6only
        found = self._meant(asked, v6only=only6)
        adopted = False
        if found is not None:
            address, form = self._held.declared[found[0]], found[1]
        else:
            form = addresses.form_as_asked(asked, v6only=only6)
            known = self._adopted_as(form, certain=v6only is not None)
            if known is not None:
                self.claims.look_at_address(known)
                known = self._adopted_as(form, certain=v6only is not None)
            if known is None:
                known = self._adopt(incarnation, form, wanted)
                known.assumed_dual = v6only is None and asked.host == addresses.ANY6 and not only6
                adopted = True
            address, form = known, next(iter(known.groups))
            if not address.groups[form].admits(wanted.credentials):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        group = address.groups.get(form)
        if group is None:
            group = self._group(address, form)
            group.open(self.slots)
            address.groups[form] = group
            self._attended.note(address, group)
        self._repair(group)
        group.users.add(incarnation)
        if group.mend():
            self._restored(group)
        return Claim(group, address, adopted)

    def _deduce(self, incarnation: int, asked: Asked) -> bool:
        """Whether `::` without IPv4 is meant, from what this worker has already.

        Linux would refuse dual-stack `::` beside its own 0.0.0.0.
        """
        return asked.host == addresses.ANY6 and any(
            incarnation in group.users
            and group.form.family == "inet"
            and group.form.port == asked.port
            for _, group in self._held.groups()
        )

    def _adopted_as(self, form: Form, *, certain: bool) -> Address | None:
        address = self._held.adopted.get(form)
        if address is None and not certain and form.family == "inet6":
            address = self._held.adopted.get(form.replace(v6only=not form.v6only))
        return address

    def _inherited(self, form: Form) -> Address | None:
        """What an app had that is no longer in the file: it may only have another name."""
        address = self._heir_of(form)
        if address is not None:
            self._held.adopted[form] = address
            self._welcome(address)
        return address

    def _adopt(self, incarnation: int, form: Form, wanted: Wanted) -> Address:
        again = Address(None)
        if self._held.take_back(form, again):
            self._attended.note(again, again.groups[form])
            return again
        inherited = self._inherited(form)
        if inherited is not None:
            return inherited
        if len(self._held.adopted) >= MAX_ADOPTED:
            for address in tuple(self._held.adopted.values()):
                self.claims.look_at_address(address)
            if len(self._held.adopted) >= MAX_ADOPTED:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        alone = not self._beside_assumed(incarnation, form) and not self._beside_sibling(
            incarnation, form
        )
        address = adopted(
            form,
            self.slots,
            lambda a, f: self._group(a, f, wanted),
            probed=alone,
            credentials=wanted.credentials,
        )
        address.late = self._serves(incarnation)
        for bound, group in address.groups.items():
            self._held.adopted[bound] = address
            self._attended.note(address, group)
        return address

    def _beside_assumed(self, incarnation: int, form: Form) -> bool:
        """0.0.0.0 after `::`: so that was IPv6 only, and the two are no conflict."""
        return form.family == "inet" and any(
            address.assumed_dual and group.form.port == form.port and incarnation in group.users
            for address, group in self._held.groups()
        )

    def _beside_sibling(self, incarnation: int, form: Form) -> bool:
        """Siblings have an address that overlaps it, and this worker has not.

        Alone it would find the port free.
        """
        near = [
            group
            for _, group in self._held.groups()
            if group.form.port == form.port and form.port and group.form.overlaps(form)
        ]
        return bool(near) and not any(incarnation in group.users for group in near)

    def claim_port(self, incarnation: int, ports: tuple[int, ...] = ()) -> Claim | None:
        """A TCP address of the app which this worker has not got yet.

        One of `ports` if it can be, in their order. For a worker that asks for
        port 0 and means the app's (`addresses.means_serve`).
        """
        candidates = [a for a in self._held.lasting if a.port]
        for port in (*ports, *(a.port for a in candidates)):
            for address in candidates:
                used = any(incarnation in group.users for group in address.groups.values())
                if address.port == port and not used:
                    group = address.group
                    group.users.add(incarnation)
                    return Claim(group, address)
        return None

    def of_descriptor(self, fd: int) -> Claim | None:
        """Whose socket this descriptor of ours is."""
        return self._attended.claim_of(os.fstat(fd).st_ino)

    def of_inode(self, inode: int) -> Claim | None:
        """Whose socket that is."""
        return self._attended.claim_of(inode)

    def accepted_by(self, incarnation: int, port: int = 0) -> Group | None:
        """Where this worker accepts: its first address, or that of TCP port `port`."""
        listening = [
            group
            for _, group in self._held.groups()
            if group.listening and (not port or group.form.port == port)
        ]
        own = [group for group in listening if incarnation in group.users]
        return next(iter((*own, *listening)), None)

    def hold(self, incarnation: int, slot: int, claim: Claim, inode: int) -> Holding:
        """The worker has this socket of `claim` now."""
        self._attended.note(claim.address, claim.group)
        group = claim.group
        held = self.claims.add(Holding(incarnation, slot, claim.address, group, inode))
        sock = group.of_inode(inode)
        if sock is not None and group.form.family != "unix" and not group.listens_at(inode):
            self._attended.await_connect(sock, lambda: self.dropped(held))
        self._attended.refresh(group, (slot,))
        return held

    def held_by(self, incarnation: int, inode: int) -> Holding | None:
        """This worker's claim to that socket."""
        return self.claims.find(incarnation, inode)

    def serves(self, incarnation: int) -> bool:
        """It listens on one of the app's addresses."""
        return self._serves(incarnation)

    def others_listen(self, own: socket) -> bool:
        """Somebody else listens where this socket is bound: another app, for example."""
        from ..kernel import sockdiag

        form = form_of(own)
        return any(
            each.port == form.port
            and each.family in ("inet", "inet6")
            and self._attended.claim_of(each.inode) is None
            and form.overlaps(Form(each.family, each.host, each.port, v6only=each.v6only))
            and (
                addresses.is_any(each.host) or addresses.is_any(form.host) or each.host == form.host
            )
            for each in sockdiag.listeners() or ()
        )

    def claim_bound(self, incarnation: int, slot: int, own: socket) -> Claim:
        """The claim to an address that the kernel has bound `own` to, which joins it."""
        form = form_of(own)
        found = self._meant(form.as_asked(), v6only=form.v6only)
        address = self._held.declared[found[0]] if found else self._held.adopted.get(form)
        adopted = address is None
        if address is None:
            address = Address(None)
            address.late = self._serves(incarnation)
            self._held.adopted[form] = address
        group = address.groups.get(form)
        if group is None:
            group = address.groups[form] = self._group(address, form)
            group.on_demand = True
        group.users.add(incarnation)
        group.join(slot, incarnation, own)
        self._attended.note(address, group)
        return Claim(group, address, adopted)

    def give_back(self, incarnation: int, claim: Claim) -> None:
        """The worker gets nothing of it after all."""
        claim.group.users.discard(incarnation)

    def step_aside(self, claim: Claim, *, lasting: bool) -> bool:
        """Give up an address that no worker uses, so that one can bind it itself.

        A declared one only if `lasting`: no other worker will ask for it. Connections that
        wait are reset. False: it is kept.
        """
        if not claim.group.declared:
            self._forget_address(claim.address)
            return True
        if lasting:
            self._held.declared = [e for e in self._held.declared if e is not claim.address]
            self._close_address(claim.address)
        return lasting

    def abandon(self, claim: Claim) -> None:
        """Nothing came of it: an address without any socket is none."""
        if claim.group.empty and not claim.group.declared:
            self._forget_address(claim.address)

    def begin(self, claim: Claim, inode: int) -> None:
        """A worker listens on that socket: so does the group. Raises OSError."""
        group = claim.group
        if not group.listening and not group.on_demand:
            group.listen()
        replaced = group.begins(inode)
        for held in self.claims.of_inode(inode):
            held.listens = True
        self._attended.note(claim.address, group)
        if replaced is not None:
            fd = replaced.fileno()
            self._loop.call_at(
                ("replaced", fd),
                self._loop.now() + LAST_HANDSHAKE,
                lambda: self._drop_replaced(claim.address, group, replaced),
            )
        self._settle(claim.address)
        if not all(address.used for address in self._held.lasting):
            key = ("unused", self._app.name)
            self._loop.call_at(key, self._loop.now() + UNUSED_AFTER, self._tell_unused)

    def _drop_replaced(self, address: Address, group: Group, sock: socket) -> None:
        if sock.fileno() >= 0:
            self._close_socket(address, group, inode_of(sock.fileno()))

    def _tell_unused(self) -> None:
        """Say once of each declared address that no worker listens there: its clients hang.

        One that no file declares is free: a worker that has ended had it, and the next one
        of the slot serves without it.
        """
        serving = {held.slot for held in self.claims if held.listens}
        for bound in tuple(self._held.adopted.values()):
            group = bound.group
            if not bound.used and group.awaited and serving.issuperset(group.awaited):
                self._forget_address(bound)
        used = [group.form.text for _, group in self._held.groups() if group.users]
        for address in self._held.declared:
            if used and not address.used and address not in self._unused:
                self._unused.append(address)
                told = {"app": self._app.name, "address": address.group.form.text}
                self._log("warning", "no worker listens there", {**told, "but_on": used})

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

    # -- claims that end --------------------------------------------------------------

    def _connection_arrived(self, group: Group, inode: int) -> None:
        self.claims.look_at(inode)
        holders = self.claims.of_inode(inode)
        if len(holders) == 1 and holders[0].listens and not holders[0].accepts:
            sock = group.of_inode(inode)
            if sock is not None and group.form.family != "unix" and not sockets.queue_length(sock):
                # It was there a moment ago, and nobody else could take it.
                holders[0].accepts = True
                self._saw(holders[0].incarnation, "accepting", {"address": group.form.text})

    def node_closed(self, incarnation: int, group: Group) -> None:
        """A Node worker says that it has closed its server on this address."""
        for held in self.claims.of(incarnation):
            if held.group is group:
                self.claims.end(held)

    def dropped(self, held: Holding) -> None:
        """The worker made a client of this socket: it is none of ours."""
        self.claims.remove(held)
        if not held.group.declared:
            held.group.gave_up(held.slot, held.incarnation)
        self._close_socket(held.address, held.group, held.inode)

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
        elif not group.declared and self._serves(held.incarnation):
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


def form_of(sock: socket) -> Form:
    """What a TCP socket is bound to."""
    host, port, *rest = sock.getsockname()
    family = "inet6" if rest else "inet"
    v6only = family == "inet6" and sockets.is_v6only(sock)
    return Form(family, host=host, port=port, v6only=v6only)
