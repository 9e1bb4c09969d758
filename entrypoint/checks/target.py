"""Where a check connects, so that this worker answers it and no other.

An app's own port leads to all of its workers. With a socket for each slot the check binds a
source port first, and the group's BPF program directs connections from that port to the worker's
slot (`Group.direct`). That also works while the slot gets no other connections, because its worker
is sick or not ready yet. With one socket for all (`share: one`, a unix path) any worker of the app
answers, with one for each release (`share: generations`) any of the release.
"""

from __future__ import annotations

from entrypoint.core.record import Record
from entrypoint.kernel import clients
from entrypoint.sockets import declared_address
from entrypoint.sockets.address import LOCAL4 as _LOCAL4
from entrypoint.sockets.address import LOCAL6 as _LOCAL6
from entrypoint.sockets.address import landing

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket

    from entrypoint.core.spec import HealthSpec, ListenSpec
    from entrypoint.shell.children import Started
    from entrypoint.sockets.group import Group
    from entrypoint.sockets.ports import Ports

_ANY4, _ANY6, _MAPPED = "0.0.0.0", "::", "::ffff:"  # noqa: S104  compared


class Unreachable(Exception):
    """There is no address to connect to."""


class Endpoint(Record):
    """An address in the form that connect(2) takes. `path`: of a unix socket."""

    family: str
    host: str = ""
    port: int = 0
    path: str = ""


class Target(Record):
    """`endpoints` are tried in their order. `host` and `path` are for HTTP.

    `group`: the app's own sockets, so that `slot` of them is the target.
    """

    endpoints: tuple[Endpoint, ...]
    host: str = "localhost"
    path: str = "/"
    group: Group | None = None
    slot: int = 0

    def connect(self, endpoint: Endpoint) -> tuple[_socket.socket, int]:
        """Start a connection; returns it and the source port that is directed (0: none).

        Raises OSError.
        """
        if endpoint.family == "unix":
            return clients.connect_unix(endpoint.path), 0
        group = self.group
        sock = clients.client(endpoint.family, endpoint.host if group is not None else "")
        port = 0
        try:
            if group is not None:
                source = sock.getsockname()[1]
                if group.direct(source, self.slot):
                    port = source
            clients.begin_connect(sock, endpoint.host, endpoint.port)
        except OSError:
            sock.close()
            if group is not None and port:
                group.undirect(port)
            raise
        return sock, port


def target_of(health: HealthSpec, started: Started, ports: Ports | None) -> Target:
    """The target of a check. Raises Unreachable if the app has no address (yet)."""
    if health.http.startswith("/"):
        group = ports.accepted_by(started.incarnation) if ports is not None else None
        if group is None:
            raise Unreachable("it listens nowhere")
        return Target(
            (_endpoint_of(group, ports),), path=health.http, group=group, slot=started.queue
        )
    host, path = "localhost", "/"
    authority = health.tcp
    if health.http:
        authority, path = declared_address.parse_url(health.http)
        host = authority.removesuffix(":80")
    spec = declared_address.parse(authority, dual_stack=True)
    local = spec.host in (_ANY4, _ANY6) or authority.startswith("localhost:")
    group = _own_group(spec, started, ports, local=local)
    if group is not None:
        return Target((_endpoint_of(group, ports),), host, path, group, started.queue)
    return Target(_endpoints(spec, local=local), host, path)


def _own_group(
    spec: ListenSpec, started: Started, ports: Ports | None, *, local: bool
) -> Group | None:
    """The app's own sockets, if the address belongs to them."""
    if ports is None or spec.family == "unix":
        return None
    group = ports.accepted_by(started.incarnation, spec.port)
    if group is None or group.form.family == "unix":
        return None
    bound = group.form.host.removeprefix(_MAPPED)
    if spec.host == bound or (local and bound in (_LOCAL4, _LOCAL6)):
        return group
    here = local or spec.host.startswith("127.") or spec.host == _LOCAL6
    return group if here and bound in (_ANY4, _ANY6) else None


def _endpoint_of(group: Group, ports: Ports | None) -> Endpoint:
    form = group.form
    if form.family == "unix":
        return Endpoint("unix", path=form.path)
    family, host = landing(group, ports.listeners.tcp_groups() if ports is not None else ())
    return Endpoint(family, host, form.port)


def _endpoints(spec: ListenSpec, *, local: bool) -> tuple[Endpoint, ...]:
    if spec.family == "unix":
        return (Endpoint("unix", path=spec.path),)
    # To a server `localhost` means one of the two, seldom both.
    if local:
        return (Endpoint("inet", _LOCAL4, spec.port), Endpoint("inet6", _LOCAL6, spec.port))
    return (Endpoint(spec.family, spec.host, spec.port),)
