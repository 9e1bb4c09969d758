"""Listening sockets passed to pyinit at its start: socket activation, sd_listen_fds(3).

The process that passed them (systemd, podman) keeps them, and may pass them to the next container.
So they are neither closed nor shut down, their file is not removed, and their options stay. There
is one socket for each address, which all workers share: it has no slots.
"""

from __future__ import annotations

import os

from entrypoint.kernel import sockets

from .addresses import ANY4, ANY6, Form
from .group import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as _socket
    from collections.abc import Sequence
else:
    import _socket

# Filled once, at boot. They stay open: a later version of the file may declare another one.
_given: dict[Form, _socket.socket] = {}
_used: set[Form] = set()


def take_over(fds: Sequence[int]) -> tuple[str, ...]:
    """Keep these for `group_for`. Returns sentences about what cannot be used."""
    refused = []
    for fd in fds:
        try:
            form = _form_of(fd)
        except (OSError, ValueError) as error:
            refused.append(f"LISTEN_FDS: descriptor {fd} is not used: {error}")
            continue
        _given[form] = _socket.socket(fileno=fd)
    return tuple(refused)


def unused() -> tuple[str, ...]:
    """Sockets that no app declares, as sentences."""
    return tuple(
        f"LISTEN_FDS: nobody accepts on {form.text}: no app has it in `listen`"
        for form in _given
        if form not in _used
    )


def group_for(form: Form, backlog: int) -> Group | None:
    """A group with the socket passed for this address, if there is one."""
    found = _given.get(form)
    if found is None and form.host == ANY6 and not form.v6only:
        # "Every address", if the host's activator means IPv4.
        form = form.replace(family="inet", host=ANY4)
        found = _given.get(form)
    if found is None:
        return None
    _used.add(form)
    return InheritedGroup(form, backlog, found)


def _form_of(fd: int) -> Form:
    sock = _socket.socket(fileno=os.dup(fd))
    try:
        if sock.type != _socket.SOCK_STREAM or not sockets.is_listening(sock):
            raise ValueError("it is no listening stream socket (Accept=no, ListenStream=)")
        name = sock.getsockname()
        if sock.family == _socket.AF_UNIX:
            path = os.fsdecode(name)
            return Form("unix", path="@" + path[1:] if path.startswith("\0") else path)
        if sock.family == _socket.AF_INET:
            return Form("inet", host=name[0], port=name[1])
        if sock.family != _socket.AF_INET6:
            raise ValueError(f"its address family is {sock.family}")
        only6 = bool(sock.getsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY))
        host = name[0].partition("%")[0]
        return Form("inet6", host=host, port=name[1], v6only=only6 and host == ANY6)
    finally:
        sock.close()


class InheritedGroup(Group):
    """One socket for all slots, which other processes hold as well."""

    def __init__(self, form: Form, backlog: int, given: _socket.socket) -> None:
        super().__init__(form, backlog, single=True)
        self._given = given

    def _bind(self) -> _socket.socket:
        return _socket.socket(fileno=os.dup(self._given.fileno()))

    def _listen(self, key: int) -> None:
        # It already listens, unless a worker has shut it down.
        if not sockets.is_listening(self._sockets[key]):
            self._sockets[key].listen(self.backlog)
        self._array.append(key)

    def tune(self, backlog: int, mode: int | None) -> None:
        """Does nothing: backlog and mode belong to the owner."""

    def refuse(self) -> None:
        """Leaves new connections to the next container that gets the socket."""

    def quiet(self) -> None:
        """Same as `refuse`."""
        self.listening = False
        self._array.clear()

    def pause(self) -> None:
        """Does nothing: others hold it as well, so it must not be shut down."""

    def resume(self) -> None:
        """Does nothing: it always listens."""

    def steer(self, slots: tuple[int, ...]) -> None:
        """Does nothing: there is one socket."""
        self.steered = slots

    def _depth(self, sock: _socket.socket) -> sockets.Depth | None:  # type: ignore[override]
        if self.form.family == "unix":
            from entrypoint.kernel import sockdiag

            return sockdiag.unix_depth(sock)
        return sockets.depth(sock)
