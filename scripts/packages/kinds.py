"""Every kind of package, from one runtime."""

from __future__ import annotations

import platform
from pathlib import Path

from . import contents, debian, npm, oci, wheels
from .tree import Tree, below, compressed, tar


def all_kinds(runtime: Tree, prepared: Path, epoch: int) -> dict[str, bytes]:
    """Name and bytes of every file of `dist/`, but checksums and provenance."""
    machine = platform.machine()
    return {
        **archive(runtime, epoch, machine),
        **npm.build(runtime, epoch, machine),
        **wheels.build(runtime, prepared, epoch, machine),
        **debian.build(runtime, epoch, machine),
        **oci.build(runtime, epoch, machine),
    }


def archive(runtime: Tree, epoch: int, machine: str) -> dict[str, bytes]:
    """A tar.gz of one folder, which may lie anywhere."""
    name = f"pyinit-{contents.version()}-linux-{machine}"
    return {f"{name}.tar.gz": compressed(tar(below(name, runtime), epoch))}
