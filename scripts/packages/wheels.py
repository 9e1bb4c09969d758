"""Two wheels of one version; pip takes the first that fits the Python it runs on.

- `cp311-abi3`: the import package, for Python 3.11 to 3.13. python-prctl's extension is inside,
  with libcap, so nothing is compiled. It uses the stable ABI and needs no symbol that only one C
  library has, so one file serves three Pythons, glibc and musl.
- `py3-none`: the static program, for images with any other Python.
"""

from __future__ import annotations

import base64
import hashlib
import tomllib
from pathlib import Path
from typing import Any

from . import contents, inputs, program
from .tree import File, Tree, zipped

ROOT = inputs.ROOT
DIST = "pyinit_entrypoint"
# In the wheel as a file, or (inotify) replaced by kernel/inotify_calls.py: it needs build tools.
LEFT_OUT = ("python-prctl", "inotify")


def build(runtime: Tree, prepared: Path, epoch: int, machine: str) -> dict[str, bytes]:
    """File names and bytes of both."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # The static program has no C library to be compatible with. The extension links none.
    platforms = [
        f"manylinux_2_17_{machine}",
        f"manylinux2014_{machine}",
        f"musllinux_1_1_{machine}",
    ]
    files = {}
    for tag, made in (
        ("cp311-abi3", _import_package(runtime, prepared, project)),
        ("py3-none", _program(runtime, project)),
    ):
        name = f"{DIST}-{contents.version()}-{tag}-{'.'.join(platforms)}.whl"
        files[name] = zipped(_with_record(made, tag, platforms), epoch)
    return files


def _program(runtime: Tree, project: dict[str, Any]) -> Tree:
    return {
        f"{_base()}.data/scripts/pyinit": runtime["bin/pyinit"],
        **_licences(runtime, lambda _name: True),
        f"{_info()}/METADATA": _metadata(project, runtime, ">=3.7", [], lambda _name: True),
    }


def _import_package(runtime: Tree, prepared: Path, project: dict[str, Any]) -> Tree:
    package = {
        str(path.relative_to(ROOT)): File(path.read_bytes())
        for path in sorted((ROOT / "entrypoint").rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }
    _, _, script = (ROOT / "scripts" / "pyinit").read_text().partition("\n")
    needs = [each for each in project["dependencies"] if not each.startswith(LEFT_OUT)]

    def inside(name: str) -> bool:
        return name in {"pyinit", "python-prctl", "libcap"}

    return {
        **package,
        "entrypoint/kernel/_prctl.abi3.so": File(program.extension(prepared), program=True),
        # pip writes the interpreter's path into the first line.
        f"{_base()}.data/scripts/pyinit": File(f"#!python\n{script}".encode(), program=True),
        **_licences(runtime, inside),
        f"{_info()}/METADATA": _metadata(
            project, runtime, project["requires-python"], needs, inside
        ),
    }


def _base() -> str:
    return f"{DIST}-{contents.version()}"


def _info() -> str:
    return f"{_base()}.dist-info"


def _licences(runtime: Tree, inside: Any) -> Tree:
    start = "share/licenses/"
    tree = {
        f"{_info()}/licenses/{name.removeprefix(start)}": file
        for name, file in runtime.items()
        if name.startswith(start) and inside(name.split("/")[2])
    }
    if inside("glibc"):
        tree[f"{_info()}/sboms/pyinit.cdx.json"] = runtime["share/sbom.cdx.json"]  # PEP 770
    return tree


def _metadata(
    project: dict[str, Any], runtime: Tree, python: str, needs: list[str], inside: Any
) -> File:
    texts = [name for name in _licences(runtime, inside) if "/licenses/" in name]
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {contents.version()}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        *(f"License-File: {name.partition('/licenses/')[2]}" for name in texts),
        f"Keywords: {','.join(project['keywords'])}",
        *(f"Classifier: {each}" for each in project["classifiers"]),
        f"Requires-Python: {python}",
        *(f"Requires-Dist: {each}" for each in needs),
        "Description-Content-Type: text/markdown",
    ]
    return File(("\n".join(lines) + "\n\n" + (ROOT / "README.md").read_text()).encode())


def _with_record(tree: Tree, tag: str, platforms: list[str]) -> Tree:
    tags = [f"Tag: {tag}-{platform}" for platform in platforms]
    wheel = ["Wheel-Version: 1.0", "Generator: scripts/packages", "Root-Is-Purelib: false", *tags]
    # The metadata come last, as the format advises.
    ordered = dict(sorted(tree.items(), key=lambda item: (".dist-info/" in item[0], item[0])))
    ordered[f"{_info()}/WHEEL"] = File(("\n".join(wheel) + "\n").encode())
    rows = [
        f"{name},sha256={_digest(file.data)},{len(file.data)}" for name, file in ordered.items()
    ]
    rows.append(f"{_info()}/RECORD,,")
    ordered[f"{_info()}/RECORD"] = File(("\n".join(rows) + "\n").encode())
    return ordered


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
