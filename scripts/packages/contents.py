"""What the program contains: licence texts and the bill of materials (CycloneDX 1.6).

One table for both, so that neither can name what the other forgets. The facts behind it are in
docs/reference/licences.md.
"""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import NamedTuple

from . import inputs

ROOT = inputs.ROOT


class Part(NamedTuple):
    """A component of the program. `licence`: an SPDX expression."""

    name: str
    version: str
    licence: str
    purl: str
    texts: tuple[Path, ...]
    why: str
    cpe: str = ""


# Debian package: its component's name, SPDX expression, what it is here for.
_DEBIAN = {
    f"lib{inputs.PYTHON}-dev": ("cpython", "Python-2.0.1", "the interpreter, standard library"),
    "libc6-dev": ("glibc", "LGPL-2.1-or-later", "the C library"),
    "libcap-dev": ("libcap", "BSD-3-Clause OR GPL-2.0-only", "capabilities, for python-prctl"),
    "libffi-dev": ("libffi", "MIT", "for ctypes"),
    "libgcc-12-dev": (
        "libgcc",
        "GPL-3.0-or-later WITH GCC-exception-3.1",
        "the compiler's runtime library",
    ),
    "libyaml-dev": ("libyaml", "MIT", "for PyYAML"),
    "zlib1g-dev": ("zlib", "Zlib", "for the interpreter"),
}
# Python package: SPDX expression. PyYAML's and cronsim's metadata say the same in other words;
# python-prctl's says only "GPL": its COPYING, which is not in the archive, says which.
_PYTHON = {
    "cronsim": "BSD-3-Clause",
    "python-prctl": "GPL-3.0-or-later",
    "pyyaml": "MIT",
    "structlog": "MIT OR Apache-2.0",
}
_TOOLS = {"cython"}  # in `requirements.txt`, not in the program


def version() -> str:
    """The version of this checkout."""
    text = (ROOT / "entrypoint" / "__init__.py").read_text()
    found = re.search(r'^__version__ = "(.+)"', text, re.MULTILINE)
    assert found, "entrypoint/__init__.py has no __version__"
    return found[1]


def parts(site: Path, archives: list[Path], source: Path) -> list[Part]:
    """All that the program is made of, but this checkout."""
    return [*_debian_parts(source), *_python_parts(site, archives)]


def _debian_parts(source: Path) -> list[Part]:
    found = []
    for package in inputs.LINKED:
        name, licence, why = _DEBIAN[package]
        number = inputs.installed_version(package)
        upstream, _ = inputs.source_package(package)
        texts = [Path("/usr/share/doc", package, "copyright")]
        cpe = ""
        if name == "cpython":
            texts.append(source / "LICENSE")
            release = number.partition("-")[0]
            cpe = f"cpe:2.3:a:python:python:{release}:*:*:*:*:*:*:*"
        missing = [str(text) for text in texts if not text.exists()]
        if missing:
            raise inputs.InputError(f"licence texts are missing: {', '.join(missing)}")
        purl = f"pkg:deb/debian/{package}@{_quoted(number)}?distro=debian-12&upstream={upstream}"
        found.append(Part(name, number, licence, purl, tuple(texts), why, cpe))
    return found


def _python_parts(site: Path, archives: list[Path]) -> list[Part]:
    found = []
    for path in archives:
        match = re.match(r"(.+?)-(\d[\w.]*?)(-py3-none-any\.whl|\.tar\.gz)$", path.name)
        assert match, path.name
        name, number = match[1].lower().replace("_", "-"), match[2]
        if name in _TOOLS:
            continue
        folders = [
            *site.glob(f"{match[1]}-{number}.dist-info/licenses"),
            site / f"{match[1]}-{number}",
        ]
        texts = [text for folder in folders for text in sorted(folder.glob("LICENSE*"))]
        texts += [text for folder in folders for text in sorted(folder.glob("NOTICE*"))]
        if name == "python-prctl":
            texts = [Path(__file__).with_name("python-prctl.txt"), ROOT / "LICENSE"]
        assert texts, f"no licence text in {path.name}"
        purl = f"pkg:pypi/{name}@{number}"
        found.append(Part(name, number, _PYTHON[name], purl, tuple(texts), "a Python package"))
    return found


def licence_files(found: list[Part]) -> dict[str, bytes]:
    """Path below `share/licenses`: text. Ours is there too."""
    files = {"pyinit/LICENSE": (ROOT / "LICENSE").read_bytes()}
    for part in found:
        for text in part.texts:
            files[f"{part.name}/{text.name}"] = text.read_bytes()
    return files


def bill(found: list[Part]) -> bytes:
    """The bill of materials, as JSON. The same parts give the same bytes."""
    own = {
        "type": "application",
        "bom-ref": "pyinit",
        "name": "pyinit-entrypoint",
        "version": version(),
        "licenses": [{"license": {"id": "GPL-3.0-or-later"}}],
        "purl": f"pkg:pypi/pyinit-entrypoint@{version()}",
    }
    components = []
    for part in sorted(found):
        component: dict[str, object] = {
            "type": "platform" if part.name == "cpython" else "library",
            "bom-ref": part.purl,
            "name": part.name,
            "version": part.version,
            "description": part.why,
            "licenses": [
                {"expression": part.licence}
                if " " in part.licence
                else {"license": {"id": part.licence}}
            ],
            "purl": part.purl,
        }
        if part.cpe:
            component["cpe"] = part.cpe
        components.append(component)
    refs = [component["bom-ref"] for component in components]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": own},
        "components": components,
        "dependencies": [
            {"ref": "pyinit", "dependsOn": refs},
            *({"ref": ref} for ref in refs),
        ],
    }
    # A serial number that follows from the contents: the build can be repeated.
    text = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _quoted(number: str) -> str:
    return number.replace(":", "%3A").replace("+", "%2B")
