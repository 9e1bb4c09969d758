"""`uid`/`user` and `gid`/`group`: names and numbers → what setuid(2) needs."""

from __future__ import annotations

import os

from entrypoint.core.record import Record

from .errors import quoted

_HIGHEST = 2**32 - 2  # 2**32 - 1 means "unchanged" to setuid(2)


class UserError(ValueError):
    """Why the identity is impossible; `key` is `uid` or `gid`."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class Identity(Record):
    """The user and group of a worker; None: pyinit's. `home` and `name` are empty if unknown."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None
    home: str = ""
    name: str = ""


def resolve(user: str | None, group: str | None) -> Identity:
    """The identity for the names or numbers of the file. Raises UserError."""
    if user is None and group is None:
        return Identity()
    import grp
    import pwd

    gid = None if group is None else _group(grp, group)
    if user is None:
        return _allowed(Identity(gid=gid, groups=None if gid is None else (gid,)))
    number = _number(user)
    try:
        entry = pwd.getpwnam(user) if number is None else pwd.getpwuid(number)
    except (KeyError, ValueError):
        if number is None:
            raise UserError("uid", f"there is no user {quoted(user)}") from None
        if gid is None:
            raise UserError(
                "uid", f"{number} is not in /etc/passwd, so its group must be given: `gid`"
            ) from None
        return _allowed(Identity(number, gid, (gid,)))
    gid = entry.pw_gid if gid is None else gid
    groups = tuple(sorted(set(os.getgrouplist(entry.pw_name, gid))))
    return _allowed(Identity(entry.pw_uid, gid, groups, entry.pw_dir, entry.pw_name))


def _number(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _HIGHEST:
        return int(text)
    return None


def _group(grp: object, group: str) -> int:
    number = _number(group)
    if number is not None:
        return number
    try:
        return int(grp.getgrnam(group).gr_gid)  # type: ignore[attr-defined]
    except (KeyError, ValueError):
        raise UserError("gid", f"there is no group {quoted(group)}") from None


def _allowed(wanted: Identity) -> Identity:
    """Raise unless root: only root may change the user. Requesting the current user is a no-op."""
    if os.geteuid() == 0:
        return wanted
    if wanted.uid not in {None, os.geteuid()}:
        raise UserError("uid", f"pyinit runs as uid {os.geteuid()}; only root may change it")
    if wanted.gid not in {None, os.getegid()}:
        raise UserError("gid", f"pyinit runs as gid {os.getegid()}; only root may change it")
    return Identity(home=wanted.home, name=wanted.name)
