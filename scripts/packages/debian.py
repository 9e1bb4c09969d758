"""A deb: `apt-get install ./pyinit_….deb`. It depends on nothing."""

from __future__ import annotations

import hashlib

from . import contents
from .tree import File, Tree, compressed, tar

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: pyinit
Comment: One static program. The licence texts of all that is linked into it are in
 /usr/share/doc/pyinit/licenses, names and versions in /usr/share/doc/pyinit/sbom.cdx.json.

Files: *
Copyright: the authors of pyinit
License: GPL-3.0-or-later
 On Debian systems the text of version 3 is in /usr/share/common-licenses/GPL-3.
"""


def build(runtime: Tree, epoch: int, machine: str) -> dict[str, bytes]:
    """One file. Written here: it is an `ar` archive of two others (deb(5))."""
    doc = "usr/share/doc/pyinit"
    tree = {"usr/bin/pyinit": runtime["bin/pyinit"], f"{doc}/copyright": File(COPYRIGHT.encode())}
    for name, file in runtime.items():
        if name.startswith("share/"):
            tree[f"{doc}/{name.removeprefix('share/')}"] = file
    control = f"""\
Package: pyinit
Version: {contents.version()}
Architecture: {ARCHITECTURES[machine]}
Maintainer: The pyinit project <pyinit@localhost>
Installed-Size: {sum(len(file.data) for file in tree.values()) // 1024 + 1}
Section: admin
Priority: optional
Description: PID 1 of a container: runs, watches and reloads N workers on one port
 One static program without dependencies. It runs a server in N processes on one port, restarts
 them when they crash, reloads them without losing a request, and stops them cleanly. Use it in
 place of pm2-runtime, or of tini with a supervisor behind it.
"""
    sums = "".join(
        f"{hashlib.md5(file.data, usedforsecurity=False).hexdigest()}  {name}\n"
        for name, file in sorted(tree.items())
    )
    controls = {"control": File(control.encode()), "md5sums": File(sums.encode())}
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": compressed(tar(_rooted(controls), epoch)),
        "data.tar.gz": compressed(tar(_rooted(tree), epoch)),
    }
    name = f"pyinit_{contents.version()}_{ARCHITECTURES[machine]}.deb"
    return {name: _ar(members, epoch)}


def _rooted(tree: Tree) -> Tree:
    return {f"./{name}": file for name, file in tree.items()}


def _ar(members: dict[str, bytes], epoch: int) -> bytes:
    out = bytearray(b"!<arch>\n")
    for name, data in members.items():
        out += f"{name:<16}{epoch:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
        out += data + b"\n" * (len(data) % 2)
    return bytes(out)
