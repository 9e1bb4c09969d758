"""Folders of files in memory, and archives of them whose bytes depend on nothing else."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from datetime import UTC, datetime
from typing import NamedTuple


class File(NamedTuple):
    """A file's bytes, and whether it is a program; or what a symbolic link points to."""

    data: bytes = b""
    program: bool = False
    link: str = ""


Tree = dict[str, File]


def below(folder: str, tree: Tree) -> Tree:
    """The same files in a folder."""
    return {f"{folder}/{name}": file for name, file in tree.items()}


def tar(tree: Tree, epoch: int, *, folders: bool = True) -> bytes:
    """A tar archive, sorted, owned by root, all times `epoch`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        made: set[str] = set()
        for name in sorted(tree):
            for place in [n for n, sign in enumerate(name) if sign == "/"] if folders else []:
                if name[:place] not in made:
                    made.add(name[:place])
                    archive.addfile(_member(name[:place], epoch, tarfile.DIRTYPE, 0o755))
            file = tree[name]
            if file.link:
                member = _member(name, epoch, tarfile.SYMTYPE, 0o777)
                member.linkname = file.link
                archive.addfile(member)
            else:
                member = _member(name, epoch, tarfile.REGTYPE, 0o755 if file.program else 0o644)
                member.size = len(file.data)
                archive.addfile(member, io.BytesIO(file.data))
    return out.getvalue()


def _member(name: str, epoch: int, kind: bytes, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.mtime = kind, mode, epoch
    member.uname = member.gname = "root"
    return member


def compressed(data: bytes) -> bytes:
    """By gzip, without a name or a time."""
    return gzip.compress(data, compresslevel=9, mtime=0)


def zipped(tree: Tree, epoch: int) -> bytes:
    """A zip archive in the order of `tree`; its times are `epoch` or 1980."""
    when = max(datetime.fromtimestamp(epoch, UTC), datetime(1980, 1, 1, tzinfo=UTC))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, file in tree.items():
            member = zipfile.ZipInfo(name, when.timetuple()[:6])
            member.create_system = 3  # Unix: the permissions count
            member.external_attr = (0o100755 if file.program else 0o100644) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, file.data)
    return out.getvalue()
