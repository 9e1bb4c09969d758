"""Which addresses an app has: declared by the file, or first bound by a worker.

While the file is read again it also has the addresses of the new file, which are bound but not
in force yet, and those that workers of the old file still use.
"""

from __future__ import annotations

from . import addresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from entrypoint.core.spec import AppSpec, ListenSpec

    from .address import Address
    from .addresses import Form
    from .group import Group


class ListenerRegistry:
    """Registry of an app's listen addresses. Owns no sockets."""

    def __init__(self) -> None:
        self.declared: list[Address] = []
        self.adopted: dict[Form, Address] = {}
        # From a file read again: bound, not yet in force; and no longer declared.
        self.coming: list[Address] = []
        self.leaving: list[Address] = []

    @property
    def lasting(self) -> tuple[Address, ...]:
        """Addresses that workers starting now may get."""
        return (*self.declared, *self.adopted.values())

    def groups(self) -> Iterator[tuple[Address, Group]]:
        """All groups that may be listened on, with their addresses."""
        for address in (*self.lasting, *self.leaving):
            for group in address.groups.values():
                yield address, group

    @property
    def declared_forms(self) -> frozenset[Form]:
        """The addresses that this file, or an earlier one, declares."""
        return frozenset(address.identity for address in (*self.declared, *self.leaving))

    def knows(self, form: Form) -> bool:
        """Whether it is already bound, as this address."""
        return form in self.adopted or form in self.declared_forms

    def change(self, app: AppSpec, *, other: bool) -> list[tuple[Address, ListenSpec]]:
        """Apply this revision: its addresses, and its settings for each.

        Addresses that it no longer declares are leaving. `other`: it is another revision.
        """
        for bound in self.adopted.values():
            bound.from_old_revision = bound.from_old_revision or other
        if app.exec_mode != "cluster":
            # Workers bind undeclared addresses by themselves.
            self.leaving += self.adopted.values()
            self.adopted.clear()
        here = {a.identity: a for a in (*self.declared, *self.leaving, *self.coming)}
        found = []
        for spec in app.listen:
            form = addresses.first_form(spec)
            address = here.pop(form, None) or self.adopted.pop(form, None)
            if address is not None:
                found.append((address, spec))
        self.declared = [address for address, _ in found]
        self.leaving = list(here.values())
        self.coming = []
        return found

    def give(self, form: Form) -> Address | None:
        """Remove this address; None: it is not here."""
        known = (*self.declared, *self.leaving, *self.adopted.values())
        address = next((each for each in known if each.identity == form), None)
        if address is not None:
            self.declared = [each for each in self.declared if each is not address]
            self.leaving = [each for each in self.leaving if each is not address]
            self.adopted = {f: each for f, each in self.adopted.items() if each is not address}
        return address

    def take_back(self, form: Form, again: Address) -> bool:
        """Keep an address that the file no longer declares, because a worker binds it.

        `again`, an undeclared address, gets its group of that form; False: there is none.
        Its worker may be of an earlier file: `trim` closes it when that is gone.
        """
        for address in self.leaving:
            group = address.groups.pop(form, None)
            if group is not None:
                if not address.groups:
                    self.leaving.remove(address)
                again.groups[form] = group
                again.from_old_revision = True
                self.adopted[form] = again
                return True
        return False

    def trim(self) -> list[Address]:
        """Remove unneeded addresses: no worker of an earlier revision remains."""
        unneeded, self.leaving = self.leaving, []
        # While no worker has bound anything they may be slow; then they may still need it.
        if any(address.used for address in self.lasting):
            for form, address in tuple(self.adopted.items()):
                if address.from_old_revision and not address.used:
                    unneeded.append(self.adopted.pop(form))
        return unneeded

    def clear(self) -> None:
        """Remove all that are closed, except those of a prepared file."""
        self.declared.clear()
        self.adopted.clear()
        self.leaving.clear()


# -- addresses that change their app -----------------------------------------------------
# When an app is renamed in the file, one app goes and another comes, but the address stays. Closing
# and binding it again would reset its queue, and it could not be bound while workers of the old app
# have it. So the new app gets the sockets, and the old workers accept on them until they are
# stopped.


def moves(
    declared: Mapping[str, frozenset[Form]], apps: tuple[AppSpec, ...]
) -> dict[str, dict[Form, str]]:
    """Which address an app of the new file takes over, and from which app: `{app: {form: giver}}`.

    `declared`: the declared addresses of each present app. Nothing is taken from an app
    that declares it in the new file too.
    """
    wanted = {app.name: {addresses.first_form(spec) for spec in app.listen} for app in apps}
    givers = {
        form: name
        for name, forms in declared.items()
        for form in forms
        if form not in wanted.get(name, ())
    }
    found = {}
    for name, forms in wanted.items():
        missing = forms - declared.get(name, frozenset())
        found[name] = {form: givers[form] for form in missing if form in givers}
    return {name: forms for name, forms in found.items() if forms}
