"""Explains why an address cannot be bound, and which process uses it."""

from __future__ import annotations

import errno
import os

INODE_TYPE = "socket:["


def sentence(family: str, port: int, error: OSError) -> str:
    """The reason, and the process that has the port if /proc shows it."""
    why = reason_of(family, error)
    if error.errno == errno.EADDRINUSE and port and family != "unix":
        holder = holder_of(port)
        return f"{why} by {holder}" if holder else why
    return why


def reason_of(family: str, error: OSError) -> str:
    """Why an address of that family cannot be bound."""
    number = error.errno or 0
    if number == errno.EADDRINUSE:
        return "the port is in use" if family != "unix" else "somebody listens there"
    if number == errno.EACCES and family != "unix":
        return "ports below 1024 need root or CAP_NET_BIND_SERVICE"
    if number == errno.EACCES:
        return "not permitted to make a socket there"
    if number == errno.EPERM and error.strerror:
        return error.strerror
    known = {
        errno.EADDRNOTAVAIL: "this host does not have the address",
        errno.EAFNOSUPPORT: "this host does not have this kind of address",
        errno.ENOENT: "the folder does not exist",
        errno.EROFS: "the file system is read-only",
        errno.ESTALE: "another process replaces the file",
    }
    return known.get(number) or (os.strerror(number) if number else str(error))


def holder_of(port: int) -> str:
    """`nginx (pid 42)`, the listener of a TCP port; "" if /proc does not show it."""
    inodes: set[str] = set()
    for table in ("tcp", "tcp6"):
        inodes |= _listening_inodes(f"/proc/net/{table}", port)
    if not inodes:
        return ""
    wanted = {f"{INODE_TYPE}{inode}]" for inode in inodes}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            for fd in os.listdir(f"/proc/{entry}/fd"):
                if os.readlink(f"/proc/{entry}/fd/{fd}") in wanted:
                    with open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as comm:
                        return f"{comm.read().strip()} (pid {entry})"
        except OSError:
            continue  # it has ended, or belongs to another user
    return ""


def _listening_inodes(table: str, port: int) -> set[str]:
    found: set[str] = set()
    try:
        with open(table, encoding="ascii") as lines:
            next(lines, None)
            for line in lines:
                columns = line.split()
                local, state, inode = columns[1], columns[3], columns[9]
                if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                    found.add(inode)
    except (OSError, IndexError, ValueError):
        pass
    return found
