"""Listening sockets that pyinit was started with: socket activation, sd_listen_fds(3).

Whoever gave them (systemd, podman) holds them too, and may give them to the next container. So
they are neither closed nor shut down, their file is not removed, and their options stay. There is
one socket for each address, which all workers share: it has no slots.
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

# Filled once, at boot. They stay open: a file that is read again may declare another one.
_given: dict[Form, _socket.socket] = {}
_used: set[Form] = set()


def take_over(fds: Sequence[int]) -> tuple[str, ...]:
    """Keep these for `group_for`. What cannot be used, as sentences."""
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
    """A group of the socket that pyinit was given for this address, if it was."""
    found = _given.get(form)
    if found is None and form.host == ANY6 and not form.v6only:
        # "Every address", of a host whose activator means IPv4.
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
    """One socket for all slots, which others hold as well."""

    def __init__(self, form: Form, backlog: int, given: _socket.socket) -> None:
        super().__init__(form, backlog, single=True)
        self._given = given

    def _bind(self) -> _socket.socket:
        return _socket.socket(fileno=os.dup(self._given.fileno()))

    def _listen(self, key: int) -> None:
        # It does already. But a worker may have shut it down.
        if not sockets.is_listening(self._sockets[key]):
            self._sockets[key].listen(self.backlog)
        self._array.append(key)

    def tune(self, backlog: int, mode: int | None) -> None:
        """Backlog and mode are those of its owner."""

    def refuse(self) -> None:
        """What comes now waits for the next one that is given the socket."""

    def quiet(self) -> None:
        """As `refuse`."""
        self.listening = False
        self._array.clear()

    def pause(self) -> None:
        """Others hold it as well: it is not ours to end."""

    def resume(self) -> None:
        """It listens all the time."""

    def steer(self, slots: tuple[int, ...]) -> None:
        """There is one socket."""
        self.steered = slots

    def _depth(self, sock: _socket.socket) -> sockets.Depth | None:  # type: ignore[override]
        if self.form.family == "unix":
            from entrypoint.kernel import sockdiag

            return sockdiag.unix_depth(sock)
        return sockets.depth(sock)
