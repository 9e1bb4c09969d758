"""The app's shared addresses: declared by the file, or first bound by a worker.

What a worker gets when it binds, and what happens when it listens.
"""

from __future__ import annotations

import errno
import os

from . import addresses
from .address import Address, Assignment
from .addresses import Form
from .app_sockets import Sharing
from .claims import UNUSED_AFTER, Claim
from .opened import adopted, form_of
from .unix_group import UnixGroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket

    from .app_sockets import Wanted
    from .group import Group
    from .sockaddr import Asked

# The most ports that pyinit binds for workers.
MAX_ADOPTED = 64
# Lengths of paths that, with or without their NUL, make an address of 16 or 28 bytes.
_AMBIGUOUS = frozenset((13, 14, 25, 26))


class Listeners(Sharing):
    """The sockets of one app, handed to its workers."""

    def first_port(self) -> int:
        """The first TCP port, declared or adopted; 0 for none."""
        for address in self._registry.lasting:
            if address.port:
                return address.port
        return 0

    def group_at(self, text: str, incarnation: int, *, declared: bool) -> Group | None:
        """The listening group of this address; one that the worker uses, if possible."""
        found = [
            group
            for address, group in self._registry.groups()
            if group.listening
            and (self._declared_text(address) if declared else group.form.text) == text
        ]
        used = [group for group in found if incarnation in group.users]
        shared = [group for group in found if group.users]
        return next(iter((*used, *shared, *found)), None)

    def declared_as(self, text: str) -> str:
        """The file's text for this address; "" if it declares none."""
        for address, group in self._registry.groups():
            if group.form.text == text:
                return self._declared_text(address)
        return ""

    def _declared_text(self, address: Address) -> str:
        for spec in self._app.listen:
            if addresses.first_form(spec) == address.identity:
                return spec.text
        return ""

    def declares(self, port: int) -> bool:
        """Whether the file declares this port."""
        return any(address.port == port for address in self._registry.declared)

    def unix_groups(self) -> list[UnixGroup]:
        """The app's unix sockets, all that there are."""
        return [group for _, group in self._registry.groups() if isinstance(group, UnixGroup)]

    def unseen_before_bind(self, incarnation: int) -> bool:
        """Record that this worker has ended without binding the app's unix path.

        It may have connected there first and reached pyinit. Its filter omits addresses that
        are as long as IPv4's and IPv6's: this path may be one.
        """
        return any(
            incarnation not in group.users and len(os.fsencode(group.form.path)) in _AMBIGUOUS
            for group in self.unix_groups()
        )

    def has_bound(self, incarnation: int) -> bool:
        """Whether this worker has a TCP address of the app."""
        return any(incarnation in group.users for group in self.tcp_groups())

    def unix_names(self, incarnation: int) -> tuple[str, ...]:
        """The unix sockets of this worker, as the kernel names them (`@name`)."""
        return tuple(
            group.kernel_name
            for group in self.unix_groups()
            if group.listening and (incarnation in group.users or group.declared)
        )

    def declares_path(self, path: str | None) -> bool:
        """Whether the file declares this unix socket."""
        specs = (address.spec for address in self._registry.declared)
        return any(spec is not None and bool(path) and spec.path == path for spec in specs)

    def assign(
        self,
        incarnation: int,
        asked: Asked,
        *,
        wanted: Wanted,
        v6only: bool | None = None,
    ) -> Assignment | None:
        """The sockets that this bind means, bound now if necessary; None: leave it to the kernel.

        `v6only` None: not known.
        """
        self.claims.look_at_worker(incarnation)
        only6 = self._deduce(incarnation, asked) if v6only is None else v6only
        # In fork mode workers bind undeclared addresses by themselves.
        adopts = self._app.exec_mode == "cluster"
        if self._meant(asked, v6only=only6) is None and (
            not adopts or self._is_private(incarnation, asked, wanted, v6only=v6only)
        ):
            return None
        try:
            return self.obtain(incarnation, asked, wanted=wanted, v6only=v6only)
        except OSError as error:
            # The worker's own bind continues and reports the same error.
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

    def _is_private(
        self, incarnation: int, asked: Asked, wanted: Wanted, *, v6only: bool | None
    ) -> bool:
        """Whether the address is left to the kernel: it is the worker's own, or in use for it."""
        if asked.family == "unix" or not self.serves(incarnation):
            return False
        form = addresses.form_as_asked(asked, v6only=bool(v6only))
        if self._adopted_as(form, certain=v6only is not None) is not None:
            # Addresses that siblings have closed meanwhile show what kind of ports these are.
            for address in tuple(self._registry.adopted.values()):
                if address.late:
                    self.claims.look_at_address(address)
        known = self._adopted_as(form, certain=v6only is not None)
        if known is None:
            return self._one_time
        from .late_binds import is_taken

        return is_taken(
            self.claims,
            known,
            incarnation,
            one_time=self._one_time,
            reuses=wanted.reuses,
            now=self._loop.now(),
        )

    def _meant(self, asked: Asked, *, v6only: bool) -> tuple[int, Form] | None:
        specs = tuple(a.spec for a in self._registry.declared if a.spec is not None)
        return addresses.meant(specs, asked, v6only=v6only)

    def obtain(
        self,
        incarnation: int,
        asked: Asked,
        *,
        wanted: Wanted,
        v6only: bool | None = None,
    ) -> Assignment:
        """As `assignment`, but binds any requested address. Raises OSError.

        Declared addresses were bound by pyinit and are for any of the app's processes. Others
        are only for a process that could have bound them itself (EACCES).
        """
        only6 = self._deduce(incarnation, asked) if v6only is None else v6only
        found = self._meant(asked, v6only=only6)
        adopted = False
        if found is not None:
            address, form = self._registry.declared[found[0]], found[1]
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
            self._monitor.note(address, group)
        self._repair(group)
        group.users.add(incarnation)
        if group.mend():
            self._restored(group)
        return Assignment(group, address, adopted)

    def _deduce(self, incarnation: int, asked: Asked) -> bool:
        """Whether `::` without IPv4 is meant, judging by what this worker already has.

        Linux would refuse dual-stack `::` beside its own 0.0.0.0.
        """
        return asked.host == addresses.ANY6 and any(
            incarnation in group.users
            and group.form.family == "inet"
            and group.form.port == asked.port
            for _, group in self._registry.groups()
        )

    def _adopted_as(self, form: Form, *, certain: bool) -> Address | None:
        address = self._registry.adopted.get(form)
        if address is None and not certain and form.family == "inet6":
            address = self._registry.adopted.get(form.replace(v6only=not form.v6only))
        return address

    def _inherited(self, form: Form) -> Address | None:
        """An address of an app that is no longer in the file: it may only have a new name."""
        address = self._heir_of(form)
        if address is not None:
            self._registry.adopted[form] = address
            self._welcome(address)
        return address

    def _adopt(self, incarnation: int, form: Form, wanted: Wanted) -> Address:
        again = Address(None)
        if self._registry.take_back(form, again):
            self._monitor.note(again, again.groups[form])
            return again
        inherited = self._inherited(form)
        if inherited is not None:
            return inherited
        if len(self._registry.adopted) >= MAX_ADOPTED:
            for address in tuple(self._registry.adopted.values()):
                self.claims.look_at_address(address)
            if len(self._registry.adopted) >= MAX_ADOPTED:
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
        address.late = self.serves(incarnation)
        for bound, group in address.groups.items():
            self._registry.adopted[bound] = address
            self._monitor.note(address, group)
        return address

    def _beside_assumed(self, incarnation: int, form: Form) -> bool:
        """Handle 0.0.0.0 after `::`: the latter was IPv6 only, so the two do not conflict."""
        return form.family == "inet" and any(
            address.assumed_dual and group.form.port == form.port and incarnation in group.users
            for address, group in self._registry.groups()
        )

    def _beside_sibling(self, incarnation: int, form: Form) -> bool:
        """Whether only siblings have an address that overlaps it.

        Without them the worker would find the port free.
        """
        near = [
            group
            for _, group in self._registry.groups()
            if group.form.port == form.port and form.port and group.form.overlaps(form)
        ]
        return bool(near) and not any(incarnation in group.users for group in near)

    def assign_port(self, incarnation: int, ports: tuple[int, ...] = ()) -> Assignment | None:
        """A TCP address of the app that this worker does not have yet.

        One of `ports` if possible, in that order. For a worker that asks for
        port 0 and means the app's (`addresses.means_serve`).
        """
        candidates = [a for a in self._registry.lasting if a.port]
        for port in (*ports, *(a.port for a in candidates)):
            for address in candidates:
                used = any(incarnation in group.users for group in address.groups.values())
                if address.port == port and not used:
                    group = address.group
                    group.users.add(incarnation)
                    return Assignment(group, address)
        return None

    def of_descriptor(self, fd: int) -> Assignment | None:
        """The assignment of this descriptor of pyinit's."""
        return self._monitor.assignment_of(os.fstat(fd).st_ino)

    def of_inode(self, inode: int) -> Assignment | None:
        """The assignment of the socket of that inode."""
        return self._monitor.assignment_of(inode)

    def accepted_by(self, incarnation: int, port: int = 0) -> Group | None:
        """Sockets on which this worker accepts: of its first address, or of TCP port `port`."""
        listening = [
            group
            for _, group in self._registry.groups()
            if group.listening and (not port or group.form.port == port)
        ]
        own = [group for group in listening if incarnation in group.users]
        return next(iter((*own, *listening)), None)

    def hold(self, incarnation: int, slot: int, assignment: Assignment, inode: int) -> Claim:
        """Record that the worker now has this socket of `assignment`."""
        self._monitor.note(assignment.address, assignment.group)
        group = assignment.group
        claim = self.claims.add(Claim(incarnation, slot, assignment.address, group, inode))
        claim.since = self._loop.now()
        sock = group.of_inode(inode)
        if sock is not None and group.form.family != "unix" and not group.listens_at(inode):
            self._monitor.await_connect(sock, lambda: self.dropped(claim))
        self._monitor.refresh(group, (slot,))
        return claim

    def claimed_by(self, incarnation: int, inode: int) -> Claim | None:
        """This worker's claim to that socket."""
        return self.claims.find(incarnation, inode)

    def assign_bound(self, incarnation: int, slot: int, own: socket) -> Assignment:
        """The claim to an address that the kernel has bound `own` to; `own` joins its group."""
        form = form_of(own)
        found = self._meant(form.as_asked(), v6only=form.v6only)
        address = self._registry.declared[found[0]] if found else self._registry.adopted.get(form)
        adopted = address is None
        if address is None:
            address = Address(None)
            address.late = self.serves(incarnation)
            self._registry.adopted[form] = address
        group = address.groups.get(form)
        if group is None:
            group = address.groups[form] = self._group(address, form)
            group.on_demand = True
        group.users.add(incarnation)
        group.join(slot, incarnation, own)
        self._monitor.note(address, group)
        return Assignment(group, address, adopted)

    def give_back(self, incarnation: int, assignment: Assignment) -> None:
        """Undo an assignment: the worker does not get it."""
        assignment.group.users.discard(incarnation)

    def step_aside(self, assignment: Assignment, *, lasting: bool) -> bool:
        """Close an address that no worker uses, so that a worker can bind it itself.

        A declared one only if `lasting`: no other worker will ask for it. Waiting connections
        are reset. False: it is kept.
        """
        if not assignment.group.declared:
            self._forget_address(assignment.address)
            return True
        if lasting:
            self._registry.declared = [
                e for e in self._registry.declared if e is not assignment.address
            ]
            self._close_address(assignment.address)
        return lasting

    def abandon(self, assignment: Assignment) -> None:
        """Remove an address that has no socket after a failure."""
        if assignment.group.empty and not assignment.group.declared:
            self._forget_address(assignment.address)

    def begin(self, assignment: Assignment, inode: int) -> None:
        """Make the group listen, as a worker listens on that socket. Raises OSError."""
        group = assignment.group
        if not group.listening and not group.on_demand:
            group.listen()
        replaced = group.begins(inode)
        for claim in self.claims.of_inode(inode):
            claim.listens = True
            claim.since = self._loop.now()
            if claim.address.late and claim.slot in self._steered:
                self._prefer(claim)
        self._monitor.note(assignment.address, group)
        if replaced is not None:
            self._drop_later(assignment.address, group, replaced)
        self._end_deserted(assignment.address)
        if not all(address.used for address in self._registry.lasting):
            key = ("unused", self._app.name)
            self._loop.call_at(key, self._loop.now() + UNUSED_AFTER, self._tell_unused)

    def asked_about(self, inode: int) -> None:
        """A program asks whether this socket listens: it knows one that was passed to it."""
        found = self.of_inode(inode)
        if found is not None:
            found.group.in_use = True

    def _prefer(self, claim: Claim) -> None:
        """Prefer a ready worker that listens beside siblings: its clients connect first."""
        from .late_binds import NEWEST_FIRST, rivals

        if not rivals(self.claims, claim.address, claim.slot):
            return
        group = claim.group
        group.prefer(claim.slot)
        self._loop.call_at(
            ("newest", id(group)), self._loop.now() + NEWEST_FIRST, lambda: group.prefer(None)
        )

    def node_closed(self, incarnation: int, group: Group) -> None:
        """Handle a Node worker's report that it has closed its server on this address."""
        for claim in self.claims.of(incarnation):
            if claim.group is group:
                self.claims.end(claim)

    def _tell_unused(self) -> None:
        """Report once each declared address on which no worker listens: its clients hang.

        An undeclared one is released: its worker has ended, and the slot's next worker
        serves without it.
        """
        serving = {claim.slot for claim in self.claims if claim.listens}
        for bound in tuple(self._registry.adopted.values()):
            group = bound.group
            if not bound.used and group.awaited and serving.issuperset(group.awaited):
                self._forget_address(bound)
        used = [group.form.text for _, group in self._registry.groups() if group.users]
        for address in self._registry.declared:
            served = address.used or any(each.in_use for each in address.groups.values())
            if used and not served and address not in self._unused:
                self._unused.append(address)
                fields = {"app": self._app.name, "address": address.group.form.text}
                self._log("warning", "no worker listens there", {**fields, "but_on": used})
