"""One address of an app, and what a worker is handed of it."""

from __future__ import annotations

from entrypoint.core.record import Record

from . import addresses
from .group import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.core.spec import ListenSpec

    from .addresses import Form


class Address:
    """One address, with the groups of the forms in which workers wanted it."""

    def __init__(self, spec: ListenSpec | None) -> None:
        self.spec = spec
        # As the file says it; `spec` may be narrowed to what this host can do.
        self.declared: ListenSpec | None = None
        self.groups: dict[Form, Group] = {}
        # A worker bound `::` and we could not see its IPV6_V6ONLY.
        self.assumed_dual = False
        # No file declares it, and it was bound by a worker of an earlier revision, or declared
        # by one.
        self.from_old_revision = False
        # No file declares it, and the kernel chose the port: it was asked for port 0.
        self.chosen = False
        # No file declares it, and its worker served another address already.
        self.late = False

    @property
    def used(self) -> bool:
        """A worker accepts on it."""
        return any(group.users for group in self.groups.values())

    @property
    def identity(self) -> Form:
        """Which address it is, whatever else the file says of it."""
        declared = self.declared
        return addresses.first_form(declared) if declared is not None else next(iter(self.groups))

    @property
    def port(self) -> int:
        """The TCP port, 0 for a unix socket."""
        return next(iter(self.groups)).port

    @property
    def group(self) -> Group:
        """The group that workers use, else the one made first."""
        for group in self.groups.values():
            if group.users:
                return group
        return next(iter(self.groups.values()))

    def deserted(self) -> tuple[Group, ...]:
        """Groups that nobody accepts on beside one that somebody does."""
        return tuple(
            group
            for group in self.groups.values()
            if group.listening
            and not group.users
            and any(
                other.users and other.listening and other.form.overlaps(group.form)
                for other in self.groups.values()
            )
        )


class Assignment(Record):
    """What a worker is handed: the group, and whether its address was bound just now."""

    group: Group
    address: Address
    adopted: bool = False
