"""Binds an address: one of the file, as far as this host supports it, or one a worker asks for."""

from __future__ import annotations

import errno

from entrypoint.kernel import sockets

from . import addresses, inherited
from .address import Address
from .addresses import Form

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from socket import socket

    from entrypoint.core.spec import ListenSpec
    from entrypoint.kernel.credentials import Credentials

    from .group import Group

    # The group of an address in a form, not bound yet.
    GroupOf = Callable[[Address, Form], Group]

# Errors of bind(2) on a host without IPv6.
NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def opened(
    spec: ListenSpec, listen: tuple[ListenSpec, ...], slots: int, group_of: GroupOf
) -> Address:
    """`spec`, one of the file's addresses (`listen`), bound and listening.

    Raises OSError with nothing open.
    """
    narrowed = _beside_others(spec, listen)
    try:
        address = _opened_as(narrowed, slots, group_of)
    except OSError as error:
        # A host without IPv6 uses the IPv4 half of "every address".
        if narrowed.host != addresses.ANY6 or narrowed.v6only or error.errno not in NO_IPV6:
            raise
        narrowed = narrowed.replace(family="inet", host=addresses.ANY4)
        address = _opened_as(narrowed, slots, group_of)
    address.declared = spec
    return address


def _beside_others(spec: ListenSpec, listen: tuple[ListenSpec, ...]) -> ListenSpec:
    """Whether `[::]:80` next to `0.0.0.0:80` means only the IPv6 half."""
    if spec.family != "inet6" or spec.v6only or spec.host != addresses.ANY6:
        return spec
    both = any(o.family == "inet" and o.port == spec.port for o in listen)
    return spec.replace(v6only=True) if both else spec


def _opened_as(spec: ListenSpec, slots: int, group_of: GroupOf) -> Address:
    address = Address(spec)
    form = addresses.first_form(spec)
    given = inherited.group_for(form, spec.backlog)
    group = given or group_of(address, form)
    if given is None and form.family != "unix":
        sockets.probe(form.family, form.host, form.port, v6only=form.v6only)
    form = group.form
    group.open(slots)
    try:
        group.listen()
    except OSError:
        group.close()
        raise
    address.groups[form] = group
    return address


def adopted(
    form: Form,
    slots: int,
    group_of: GroupOf,
    *,
    probed: bool,
    credentials: Credentials | None = None,
) -> Address:
    """An undeclared address, if it is available. Raises OSError.

    A unix socket is bound; for TCP each slot's socket is bound when its worker asks for it.
    Port 0 becomes a free port. `probed`: no other process may use it. `credentials`: for
    whom it is bound.
    """
    address = Address(None)
    if form.family != "unix" and form.port == 0:
        address.chosen = True
        port = sockets.free_port(form.family, form.host, v6only=form.v6only)
        form = form.replace(port=port)
    group = group_of(address, form)
    if form.family != "unix" and probed:
        sockets.probe(
            form.family,
            form.host,
            form.port,
            v6only=form.v6only,
            scope=form.scope,
            credentials=credentials,
        )
    group.open(slots)
    address.groups[form] = group
    return address


def form_of(sock: socket) -> Form:
    """The form of a TCP socket: what it is bound to."""
    host, port, *rest = sock.getsockname()
    family = "inet6" if rest else "inet"
    v6only = family == "inet6" and sockets.is_v6only(sock)
    return Form(family, host=host, port=port, v6only=v6only)
