"""All listening sockets of one app: opened, changed, steered, closed.

endings.py handles sockets that workers close, listeners.py what a worker's bind
means.
"""

from __future__ import annotations

import errno
import os

from entrypoint.core.record import Record
from entrypoint.kernel import bind_errors, sockets

from . import addresses
from .address import Address
from .addresses import Form, ListenerDownError, PortErrors
from .endings import Endings
from .group import Group
from .opened import form_of, opened
from .unix_group import UnixGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from socket import socket

    from entrypoint.core.spec import AppSpec, ListenSpec
    from entrypoint.kernel.credentials import Credentials
    from entrypoint.loop import Loop

    Log = Callable[[str, str, dict[str, object]], None]
    HeirOf = Callable[[Form], Address | None]

DEFAULT_BACKLOG = 4096


class Wanted(Record):
    """The worker for which an undeclared address is bound; `mode`: of a unix socket's file.

    `reuses`: reads SO_REUSEPORT of the caller's socket, None if it cannot be known.
    """

    credentials: Credentials
    mode: int | None = None
    reuses: Callable[[], bool | None] = lambda: None


class Sharing(Endings):
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
        """`saw(incarnation, what, fields)` reports an action of a living worker.

        It has `closed` a listener, or was seen to accept connections (`accepting`).
        """
        super().__init__(loop, app, log, pid_of, saw)
        self._steered: tuple[int, ...] = ()
        # Queues that get no new connections while this worker leaves them.
        self._kept_away: dict[int, int] = {}
        self._unused: list[Address] = []  # those already reported
        self.slots = 0
        # An address of an app that is being removed, transferred to this app (`give`).
        self._heir_of = heir_of

    def open(self, slots: int, but: Collection[Form] = ()) -> None:
        """Bind and listen on all that the file declares. Raises PortErrors with nothing open.

        `but`: addresses that another app will hand over (`receive`).
        """
        self.slots = max(1, slots)
        problems: list[str] = []
        for spec in self._app.listen:
            if addresses.first_form(spec) in but:
                continue
            try:
                self._registry.declared.append(self._opened(spec, self._app.listen))
            except OSError as error:
                why = bind_errors.sentence(spec.family, spec.port, error)
                problems.append(f"{self._app.name}: listen: {spec.text}: {why}")
        if problems:
            self.close()
            raise PortErrors(problems)

    def prepare(self, app: AppSpec, but: Collection[Form] = ()) -> None:
        """Bind what this revision newly declares. Raises PortErrors with nothing changed.

        `but`: addresses that another app will hand over (`receive`).
        """
        self.discard()
        problems: list[str] = []
        for spec in app.listen:
            form = addresses.first_form(spec)
            if form in but or self._registry.knows(form):
                continue
            try:
                self._registry.coming.append(self._opened(spec, app.listen))
            except OSError as error:
                why = self._held_here(spec, error) or bind_errors.sentence(
                    spec.family, spec.port, error
                )
                problems.append(f"{app.name}: listen: {spec.text}: {why}")
        if problems:
            self.discard()
            raise PortErrors(problems)

    def _held_here(self, spec: ListenSpec, error: OSError) -> str:
        """Whether it is the port of one of the app's addresses that a new one would overlap."""
        if error.errno != errno.EADDRINUSE or spec.family == "unix":
            return ""
        for _, group in self._registry.groups():
            if group.form.port == spec.port:
                # While both listen the kernel chooses; only old workers accept on the old one.
                return f"{group.form.text} is held; another host of its port needs a new container"
        return ""

    def discard(self) -> None:
        """Close what was prepared."""
        for address in self._registry.coming:
            self._close_address(address)
        self._registry.coming.clear()

    def change(self, app: AppSpec) -> None:
        """Apply this revision. Unchanged addresses keep their sockets and queues.

        `trim` closes what it no longer declares: old workers still use it.
        """
        changed = app != self._app
        self._app = app
        for address, spec in self._registry.change(app, other=changed):
            self._declare(address, spec)
        for _, group in self._registry.groups():
            group.shared = group.shared or app.share == "generations"
        if app.share == "one":
            for address in self._registry.lasting:
                for group in address.groups.values():
                    self._monitor.unite(group)

    def _declare(self, address: Address, spec: ListenSpec) -> None:
        """Apply what the file now says of this address; an undeclared one may become new."""
        before = address.spec
        address.declared = spec
        # Its host may be narrowed to what this machine supports.
        address.spec = spec
        if before is not None:
            address.spec = before.replace(name=spec.name, backlog=spec.backlog, mode=spec.mode)
        for group in address.groups.values():
            try:
                if not group.declared:
                    group.declare(self.slots)
                    self._monitor.note(address, group)
                group.tune(spec.backlog, spec.mode)
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                fields: dict[str, object] = {
                    "app": self._app.name,
                    "address": spec.text,
                    "reason": reason,
                }
                self._log("warning", "listener not changed", fields)

    @property
    def declared_forms(self) -> frozenset[Form]:
        """The addresses that this file, or an earlier one, declares."""
        return self._registry.declared_forms

    def give(self, form: Form) -> Address | None:
        """Hand this address over to another app; None: it is not here.

        Workers of this app accept on it until they end.
        """
        address = self._registry.give(form)
        if address is not None:
            self._monitor.let_go(address)
            self.claims.drop(address)
            for group in address.groups.values():
                group.forget_workers()
        return address

    def receive(self, address: Address) -> None:
        """Take over another app's address; `change` follows, which says what it is here."""
        self._registry.coming.append(address)
        self._welcome(address)

    def _welcome(self, address: Address) -> None:
        for group in address.groups.values():
            group.steer(self._steered)
            self._monitor.note(address, group)
            # Connections in a slot that this app does not have are for any worker.
            for key in group.descriptors:
                if group.slot_of(key) == key and key not in self._steered:
                    self.unowned.vacate(key)

    def trim(self) -> None:
        """Close undeclared addresses: no worker of an earlier revision remains."""
        for address in self._registry.trim():
            self._close_address(address)

    def _opened(self, spec: ListenSpec, listen: tuple[ListenSpec, ...]) -> Address:
        """Bind one address; `listen`: all that the file declares. Raises OSError."""
        address = opened(spec, listen, self.slots, self._group)
        for group in address.groups.values():
            self._monitor.note(address, group)
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
        group.shared = self._app.share == "generations"
        group.steered = self._steered
        group.declared = spec is not None
        return group

    def others_listen(self, own: socket) -> bool:
        """Whether another process, or another app, listens where this socket is bound."""
        from entrypoint.kernel import sockdiag

        form = form_of(own)
        return any(
            each.port == form.port
            and each.family in ("inet", "inet6")
            and self._monitor.assignment_of(each.inode) is None
            and form.overlaps(Form(each.family, each.host, each.port, v6only=each.v6only))
            and (
                addresses.is_any(each.host) or addresses.is_any(form.host) or each.host == form.host
            )
            for each in sockdiag.listeners() or ()
        )

    @property
    def texts(self) -> tuple[str, ...]:
        """The listening addresses, as people write them."""
        return tuple(dict.fromkeys(g.form.text for _, g in self._registry.groups() if g.listening))

    def grow(self, slots: int) -> None:
        """Have at least `slots` sockets on each address. Raises OSError."""
        self.slots = max(self.slots, slots)
        for address, group in self._registry.groups():
            group.grow(self.slots)
            self._monitor.note(address, group)

    def steer(self, slots: tuple[int, ...]) -> None:
        """Route new connections to these slots only; () means all."""
        self._steered = slots
        self._steer()

    def _steer(self) -> None:
        away = self._kept_away.values()
        slots = tuple(slot for slot in self._steered if slot not in away) or self._steered
        for _, group in self._registry.groups():
            group.steer(slots)
        self.unowned.steered(slots)

    def keep_away(self, incarnation: int, queue: int) -> bool:
        """Route new connections to the other queues until `let_in`. False: there is none."""
        away = {queue, *self._kept_away.values()}
        if away.issuperset(self._steered) or any(
            group.single or not group.steers for group in self.tcp_groups()
        ):
            return False
        self._kept_away[incarnation] = queue
        self._steer()
        return True

    def let_in(self, incarnation: int) -> None:
        """End `keep_away`: that worker is gone, or stays for now."""
        if self._kept_away.pop(incarnation, None) is not None:
            self._steer()

    def tcp_groups(self) -> list[Group]:
        """The app's TCP addresses."""
        return [group for _, group in self._registry.groups() if group.form.family != "unix"]

    def queue_length(self, slot: int) -> int:
        """Connections that wait for this slot and that no other slot could accept."""
        return sum(group.queue_length(slot) for _, group in self._registry.groups())

    def depths(self) -> dict[str, tuple[sockets.Depth, ...]]:
        """The accept queues behind each listening address."""
        found: dict[str, tuple[sockets.Depth, ...]] = {}
        for _, group in self._registry.groups():
            text = group.form.text
            found[text] = (*found.get(text, ()), *group.depths())
        return {text: depths for text, depths in found.items() if depths}

    def queue_ages(self) -> dict[str, float]:
        """The longest wait of connections behind each TCP address, seconds."""
        found: dict[str, float] = {}
        for _, group in self._registry.groups():
            if group.listening and self._monitor.stalls.watches(group):
                age = self._monitor.stalls.age(group)
                found[group.form.text] = max(age, found.get(group.form.text, 0.0))
        return found

    def refuse(self) -> None:
        """Take no new connections; queued ones stay."""
        for _, group in self._registry.groups():
            group.refuse()

    def pause(self) -> None:
        """Refuse connections, keep the addresses; `resume` ends this."""
        for _, group in self._registry.groups():
            self._monitor.look_away(group)
            group.pause()

    def resume(self) -> None:
        """Take connections again on addresses that took them before. Raises OSError."""
        for address, group in self._registry.groups():
            self._monitor.look_away(group)
            group.resume()
            self._monitor.note(address, group)

    def close(self) -> None:
        """Close all."""
        self._loop.cancel(("unused", self._app.name))
        self._monitor.close()
        for _, group in self._registry.groups():
            group.close()
        self._registry.clear()
        self.discard()

    def descriptors(self, slot: int) -> tuple[tuple[int, str], ...]:
        """(descriptor, name) of each declared address, for LISTEN_FDS."""
        given = []
        for address in self._registry.declared:
            spec = address.spec
            group = next(iter(address.groups.values()))
            self._repair(group)
            sock = group.socket(slot)
            name = (spec.name if spec is not None else "") or self._app.name
            # The separator of LISTEN_FDNAMES, and what sd_listen_fds(3) says about it.
            given.append((sock.fileno(), name.replace(":", "_") or "unknown"))
        return tuple(given)

    def _repair(self, group: Group) -> None:
        """Make sure that a starting worker has a socket. Raises ListenerDownError."""
        try:
            self._monitor.repair(group)
        except OSError as error:
            reason = bind_errors.reason_of(group.form.family, error)
            number = error.errno or errno.ENOTCONN
            raise ListenerDownError(number, group.form.text, reason) from None
