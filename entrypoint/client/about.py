"""`pyinit --version --verbose`: the installed version and what this kernel supports.

For bug reports, and to find out which of several installations runs. It asks the kernel
what a run asks, changes nothing, and needs no running pyinit.
"""

from __future__ import annotations

import os
import sys

from entrypoint import __version__
from entrypoint.kernel.features import features


def lines() -> list[str]:
    """The report, a line each."""
    machine = os.uname()
    python = ".".join(map(str, sys.version_info[:3]))
    rows = [
        ("installed from", installed_from()),
        ("program", _program()),
        ("Python", f"{python} ({sys.implementation.name}), {_libc()}"),
        ("kernel", f"{machine.sysname} {machine.release} {machine.machine}"),
        *features(),
    ]
    width = max(len(name) for name, _ in rows) + 2
    return [f"pyinit {__version__}", *(f"{name + ':':<{width}}{text}" for name, text in rows)]


def installed_from() -> str:
    """What kind of package this is, told by where it lies."""
    if not is_static():
        return _python_package()
    program = _program()
    folder = os.path.dirname(os.path.dirname(program))
    if "/node_modules/" in program:
        return "npm"
    if program == "/usr/bin/pyinit" and os.path.exists("/var/lib/dpkg/info/pyinit.list"):
        return "deb"
    if _distributions(f"{folder}/lib"):
        return "wheel with the static program"
    if os.path.exists(f"{folder}/share/sbom.cdx.json"):
        kind = "image pyinit:runtime" if folder == "/opt/pyinit" else "tar.gz"
        return f"{kind} ({folder})"
    return "static program, copied alone"


def is_static() -> bool:
    """Whether this is the packages' program: Python and all modules in one file."""
    return "_pyinit" in sys.builtin_module_names


def _program() -> str:
    try:
        return os.readlink("/proc/self/exe") if is_static() else sys.argv[0]
    except OSError:
        return sys.argv[0]


def _python_package() -> str:
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    folder = os.path.dirname(here)
    if os.path.exists(f"{folder}/pyproject.toml"):
        return f"a checkout ({folder})"
    kind = "wheel" if os.path.exists(f"{here}/kernel/_prctl.abi3.so") else "source"
    return f"{kind} ({folder})"


def _distributions(folder: str) -> bool:
    """Whether pip's record of pyinit is in a `site-packages` below it."""
    import glob

    return bool(glob.glob(f"{folder}/python3*/*-packages/pyinit_entrypoint-*.dist-info"))


def _libc() -> str:
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):
        name = "musl"
    return f"{name}, static" if is_static() else name
