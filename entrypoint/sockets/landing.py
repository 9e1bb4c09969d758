"""Where a connection of this host to one of an app's groups of sockets has to go.

Several groups may listen on one port: a server that takes the inherited `[::]` socket and binds
0.0.0.0 besides (Unicorn) has both. The kernel then gives IPv4 connections to the sockets of IPv4
(`__inet_lookup_listener`: the family scores higher), so the dual-stack group is reached by IPv6.
"""

from __future__ import annotations

from .sockaddr import MAPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .group import Group

_ANY4, _ANY6 = "0.0.0.0", "::"  # noqa: S104  compared
LOCAL4, LOCAL6 = "127.0.0.1", "::1"


def local(host: str) -> str:
    """The address by which this host reaches one that means all."""
    return {_ANY4: LOCAL4, _ANY6: LOCAL6}.get(host, host)


def landing(group: Group, groups: Iterable[Group]) -> tuple[str, str]:
    """Family and host to connect to, of a TCP group; `groups` are all of the app."""
    form = group.form
    if not form.takes4:
        return "inet6", local(form.host)
    # A dual-stack `::` takes IPv4 as well.
    dual = form.host == _ANY6
    if dual and any(_captures(other, form.port) for other in groups if other is not group):
        return "inet6", LOCAL6
    return "inet", local(_ANY4 if dual else form.host.removeprefix(MAPPED))


def _captures(group: Group, port: int) -> bool:
    form = group.form
    here = form.host in (_ANY4, LOCAL4)
    return form.family == "inet" and form.port == port and here and group.listening
