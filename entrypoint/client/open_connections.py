"""Open connections of apps and workers, read from /proc by the command itself.

PID 1 does not count them: the kernel would walk the table of the whole host for it. `open`: the
connections of an app's addresses that are established; `busy`: those of them with bytes that the
worker has not read or the client has not taken, as far as one look can tell that a request is in
flight; `queue`: connections that wait to be accepted.
"""

from __future__ import annotations

import os

from entrypoint.core.record import Record
from entrypoint.kernel import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

_ESTABLISHED, _LISTEN = "01", "0A"
_UNIX_CONNECTED = "03"
# Of one process; more are not looked at.
FILES_AT_MOST = 4096


class Found(Record):
    """One socket: `place` is its port, or the path of a unix socket."""

    place: str
    listens: bool
    waiting: int  # bytes; of a listener: connections
    inode: str


def sockets(folder: str = "/proc/net") -> list[Found]:
    """TCP sockets that listen or are connected, and accepted unix sockets."""
    return [
        *(each for name in ("tcp", "tcp6") for each in _tcp(_rows(f"{folder}/{name}"))),
        *_unix(_rows(f"{folder}/unix")),
    ]


def _rows(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()[1:]
    except OSError:
        return []


def _tcp(rows: Iterable[str]) -> Iterator[Found]:
    """proc(5), /proc/net/tcp: local address, state, bytes to send and to read."""
    for row in rows:
        fields = row.split()
        if len(fields) > 9 and fields[3] in {_ESTABLISHED, _LISTEN}:
            port = str(int(fields[1].rpartition(":")[2], 16))
            to_send, _, to_read = fields[4].partition(":")
            listens = fields[3] == _LISTEN
            waiting = int(to_read, 16) + (0 if listens else int(to_send, 16))
            yield Found(port, listens, waiting, fields[9])


def _unix(rows: Iterable[str]) -> Iterator[Found]:
    """An accepted socket has its listener's path."""
    for row in rows:
        fields = row.split(None, 7)
        if len(fields) == 8 and fields[5] == _UNIX_CONNECTED:
            yield Found(fields[7], False, 0, fields[6])


def places(listening: Iterable[str]) -> frozenset[str]:
    """Ports and paths of addresses as `pyinit ls` shows them."""
    return frozenset(
        text.removeprefix("unix:") if text.startswith("unix:") else text.rpartition(":")[2]
        for text in listening
    )


def count(apps: list[dict[str, Any]], found: list[Found] | None = None) -> None:
    """Add `open`, `busy` and `queue` to each app, `open` and `busy` to each worker."""
    found = sockets() if found is None else found
    for app in apps:
        own = places(app["listening"])
        connected = {each.inode: each for each in found if each.place in own and not each.listens}
        app["open"] = len(connected)
        app["busy"] = sum(each.waiting > 0 for each in connected.values())
        app["queue"] = sum(each.waiting for each in found if each.place in own and each.listens)
        for worker in app["workers"]:
            held = _inodes(worker["pid"]) if worker["pid"] and connected else frozenset()
            mine = [connected[inode] for inode in held & connected.keys()]
            worker["open"] = len(mine)
            worker["busy"] = sum(each.waiting > 0 for each in mine)


def _inodes(pid: int) -> frozenset[str]:
    """Sockets that the worker or a descendant holds; what we may not see is left out."""
    held = set()
    for member in proc.tree(pid):
        try:
            names = os.listdir(f"/proc/{member}/fd")
        except OSError:
            continue
        for name in names[:FILES_AT_MOST]:
            try:
                target = os.readlink(f"/proc/{member}/fd/{name}")
            except OSError:
                continue
            if target.startswith("socket:["):
                held.add(target[8:-1])
    return frozenset(held)
