"""One address of an app, what a worker gets for it, and how this host connects to it."""

from __future__ import annotations

from entrypoint.core.record import Record

from . import addresses
from .group import Group
from .sockaddr import MAPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from entrypoint.core.spec import ListenSpec

    from .addresses import Form
    from .group import Group


class Address:
    """One address, with the groups of the forms that workers asked for."""

    def __init__(self, spec: ListenSpec | None) -> None:
        self.spec = spec
        # The file's spec; `spec` may be narrowed to what this host supports.
        self.declared: ListenSpec | None = None
        self.groups: dict[Form, Group] = {}
        # A worker bound `::` and its IPV6_V6ONLY could not be read.
        self.assumed_dual = False
        # The file does not declare it; a worker of an earlier revision bound it, or an earlier
        # file declared it.
        self.from_old_revision = False
        # The file does not declare it, and the kernel chose the port: the worker asked for port 0.
        self.chosen = False
        # The file does not declare it, and its worker already served another address.
        self.late = False

    @property
    def used(self) -> bool:
        """Whether a worker accepts on it."""
        return any(group.users for group in self.groups.values())

    @property
    def identity(self) -> Form:
        """The key of the address, whatever else the file says of it."""
        declared = self.declared
        return addresses.first_form(declared) if declared is not None else next(iter(self.groups))

    @property
    def port(self) -> int:
        """The TCP port, 0 for a unix socket."""
        return next(iter(self.groups)).port

    @property
    def group(self) -> Group:
        """The group that workers use, else the oldest."""
        for group in self.groups.values():
            if group.users:
                return group
        return next(iter(self.groups.values()))

    def deserted(self) -> tuple[Group, ...]:
        """Groups without accepting workers beside a group that has one."""
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
    """What a worker gets: the group, and whether its address was bound just now."""

    group: Group
    address: Address
    adopted: bool = False


# -- where a connection from this host has to go -----------------------------------------
# Several groups may listen on one port: a server that takes the inherited `[::]` socket and also
# binds 0.0.0.0 (Unicorn) has both. The kernel then gives IPv4 connections to the sockets of IPv4
# (`__inet_lookup_listener`: the family scores higher), so the dual-stack group is reached by IPv6.

_ANY4, _ANY6 = "0.0.0.0", "::"  # noqa: S104  compared
LOCAL4, LOCAL6 = "127.0.0.1", "::1"


def local(host: str) -> str:
    """The address by which this host reaches a wildcard address."""
    return {_ANY4: LOCAL4, _ANY6: LOCAL6}.get(host, host)


def landing(group: Group, groups: Iterable[Group]) -> tuple[str, str]:
    """Family and host to connect to, for a TCP group; `groups` are all of the app."""
    form = group.form
    if not form.takes4:
        return "inet6", local(form.host)
    # A dual-stack `::` accepts IPv4 as well.
    dual = form.host == _ANY6
    if dual and any(_captures(other, form.port) for other in groups if other is not group):
        return "inet6", LOCAL6
    return "inet", local(_ANY4 if dual else form.host.removeprefix(MAPPED))


def _captures(group: Group, port: int) -> bool:
    form = group.form
    here = form.host in (_ANY4, LOCAL4)
    return form.family == "inet" and form.port == port and here and group.listening
