"""The path of a running pyinit's private unix socket.

`pyinit health` and the commands must find the pyinit of *their* container without
reading the file, when the root is read-only, as any user, and when several pyinits share
what containers may share:

- The socket lies in `pyinit-<uid>` below the first of `$PYINIT_RUN_DIR`, `/run`,
  `/dev/shm` and `/tmp` that lets it; `/dev/shm` stays writable under a read-only root.
  When all refuse it has an abstract name (`unix(7)`), which needs no file at all.
- Its name is `<mount namespace>-<pid namespace>-<pid>`. The containers of a Kubernetes
  pod share `/dev/shm` and the abstract names, with `shareProcessNamespace` the pids too,
  but never the mount namespace, which `docker exec` and the kubelet enter.
- `/dev/shm` and `/tmp` are writable for every user. The creator of the folder or the socket
  is determined by the kernel, not the file system: both ends compare `SO_PEERCRED` (`unix(7)`)
  with the user they expect, so a planted folder, link or socket is at most skipped.
- A dead pyinit leaves a socket that refuses connections; clients skip it and the
  next pyinit there removes it.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

from entrypoint.kernel import socket_file, unixpath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PARENTS = ("/run", "/dev/shm", "/tmp")  # noqa: S108  why that is safe: see above
SUFFIX = ".sock"
ABSTRACT = "\0pyinit-"
BACKLOG = 64
# A folder that a user has filled must not hold up the boot.
SWEEP_LIMIT = 64


# By address: the folders of the sockets that we listen on.
_folders: dict[str, unixpath.Folder] = {}


class PlaceError(OSError):
    """No path is usable for the socket; the text says why for each."""


class Peer:
    """Who is at the other end: `SO_PEERCRED`; `pid` is 0 outside of our pid namespace."""

    __slots__ = ("gid", "pid", "uid")

    def __init__(self, sock: _socket.socket) -> None:
        """Raises OSError for anything but a connected unix socket."""
        raw = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
        self.pid, self.uid, self.gid = struct.unpack("iii", raw)


def key() -> str:
    """The prefix of a socket's name here; zeros if `/proc` does not show it."""
    return "-".join(str(_namespace(kind)) for kind in ("mnt", "pid"))


def _namespace(kind: str) -> int:
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino
    except OSError:
        return 0


def _parents(environ: Mapping[str, str]) -> tuple[str, ...]:
    chosen = environ.get("PYINIT_RUN_DIR", "")
    return (chosen, *PARENTS) if chosen.startswith("/") else PARENTS


def printable(address: str) -> str:
    """An address for people: abstract names begin with `@`, as in `ss` and `/proc`."""
    return "@" + address[1:] if address.startswith("\0") else address


# -- the server's side --------------------------------------------------------------


def bind(environ: Mapping[str, str]) -> tuple[_socket.socket, str]:
    """A listening, non-blocking, close-on-exec socket at the first path that works.

    Returns it with its address, for `leave`. Raises PlaceError when there is none.
    """
    name = f"{key()}-{os.getpid()}"
    refusals = []
    for parent in _parents(environ):
        path = os.path.join(parent, f"pyinit-{os.geteuid()}")
        try:
            folder = unixpath.private_folder(parent, os.path.basename(path))
        except OSError as error:
            refusals.append(f"{path}: {error.strerror or error}")
            continue
        address = os.path.join(path, name + SUFFIX)
        try:
            sock = _listen(folder, name, address)
        except OSError as error:
            folder.close()
            refusals.append(f"{path}: {error.strerror or error}")
            continue
        _sweep(folder, keep=name + SUFFIX)
        _folders[address] = folder
        return sock, address
    try:
        return _listen_abstract(ABSTRACT + name)
    except OSError as error:
        refusals.append(f"abstract name: {error.strerror or error}")
    raise PlaceError(errno.EACCES, "; ".join(refusals))


def leave(address: str) -> None:
    """Remove the socket file; a no-op if it is gone."""
    folder = _folders.pop(address, None)
    if folder is not None:
        _unlink(folder, os.path.basename(address))
        folder.close()


def _unlink(folder: unixpath.Folder, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder.fd)
    except OSError:
        return


def _listen(folder: unixpath.Folder, name: str, address: str) -> _socket.socket:
    # Bound under one name, listening, then renamed: a socket that refuses connections
    # under its last name is a dead pyinit's for sure, and `_sweep` may remove it.
    if len(os.fsencode(address)) > unixpath.PATH_MAX:
        raise PlaceError(errno.ENAMETOOLONG, "the path is too long for a socket")
    draft = name + SUFFIX + "~"
    sock = _stream_socket()
    try:
        _unlink(folder, draft)
        socket_file.bind_with_mode(sock, folder.by_descriptor(draft), 0o600)
        sock.listen(BACKLOG)
        os.rename(draft, name + SUFFIX, src_dir_fd=folder.fd, dst_dir_fd=folder.fd)
    except BaseException:
        sock.close()
        raise
    return sock


def _listen_abstract(name: str) -> tuple[_socket.socket, str]:
    sock = _stream_socket()
    try:
        sock.bind(name)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock, name


def _stream_socket() -> _socket.socket:
    kind = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
    return _socket.socket(_socket.AF_UNIX, kind)


def _sweep(folder: unixpath.Folder, keep: str) -> None:
    """Remove sockets of dead pyinits: a container that restarts keeps its files."""
    try:
        names = os.listdir(folder.fd)[:SWEEP_LIMIT]
    except OSError:
        return
    for name in names:
        if name != keep and name.endswith(SUFFIX):
            try:
                socket_file.remove_stale(folder, name)
            except OSError:
                continue  # gone meanwhile


# -- the client's side --------------------------------------------------------------


def find(environ: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """`(pid, address)` of each socket of this mount and pid namespace, dead ones too."""
    prefix = key() + "-"
    seen = set()
    for parent in _parents(environ):
        for uid in users():
            folder = os.path.join(parent, f"pyinit-{uid}")
            try:
                names = os.listdir(folder)
            except OSError:
                continue
            for name in names:
                pid = name.removeprefix(prefix).removesuffix(SUFFIX)
                if name == f"{prefix}{pid}{SUFFIX}" and pid.isdigit():
                    path = os.path.join(folder, name)
                    if path not in seen:
                        seen.add(path)
                        yield int(pid), path
    for name in _abstract_names():
        pid = name.removeprefix(ABSTRACT + prefix)
        if pid != name and pid.isdigit() and name not in seen:
            seen.add(name)
            yield int(pid), name


def closed_folders(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Folders that may contain the socket of another user and are not readable."""
    folders = [os.path.join(p, f"pyinit-{uid}") for p in _parents(environ) for uid in users()]
    return tuple(f for f in folders if os.path.isdir(f) and not os.access(f, os.R_OK | os.X_OK))


def users() -> tuple[int, ...]:
    """Users whose pyinit may be this container's: the own user, the owner of process 1, root."""
    own = os.geteuid()
    try:
        first = os.stat("/proc/1").st_uid
    except OSError:
        first = own
    return tuple(dict.fromkeys((own, first, 0)))


def _abstract_names() -> list[str]:
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
            rows = table.read().splitlines()
    except OSError:
        return []
    # Num RefCount Protocol Flags Type St Inode Path (`proc(5)`)
    last = [row.rpartition(" ")[2] for row in rows]
    return ["\0" + name[1:] for name in last if name.startswith("@" + ABSTRACT[1:])]


def trusted(peer: Peer) -> bool:
    """Whether `peer` is trusted: it is the own user, root, or of the user of process 1."""
    return peer.uid in users()


def allowed(peer: Peer) -> bool:
    """Whether a client may use the private socket: root, or pyinit's own user."""
    return peer.uid in {0, os.geteuid()}
