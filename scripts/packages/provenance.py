"""What the packages were built from and by what: an in-toto statement, SLSA provenance v1.

Unsigned: whoever publishes it signs it with their own identity.
"""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

from . import contents, inputs

TYPE = "urn:pyinit:packages:v1"  # docs/how-to/packages.md


def statement(subjects: dict[str, str], cache: Path) -> bytes:
    """`subjects`: file name to its SHA-256. Nothing in it depends on when it was built."""
    materials: list[dict[str, object]] = [
        {"uri": f"pkg:deb/debian/{name}@{inputs.installed_version(name)}"}
        for name in sorted({*inputs.LINKED, *inputs.TOOLS})
    ]
    materials.append({"uri": inputs.SOURCE, "digest": {"sha256": inputs.SOURCE_SHA256}})
    materials += [
        {"uri": path.name, "digest": {"sha256": inputs.digest(path.read_bytes())}}
        for path in inputs.python_packages(cache)
    ]
    commit = _git("rev-parse", "HEAD")
    if commit:
        materials.append({"uri": "git+.", "digest": {"gitCommit": commit}})
    dirty = bool(_git("status", "--porcelain", "--untracked-files=no"))
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": name, "digest": {"sha256": digest}}
            for name, digest in sorted(subjects.items())
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": TYPE,
                "externalParameters": {
                    "version": contents.version(),
                    "machine": platform.machine(),
                    "uncommittedChanges": dirty,
                },
                "resolvedDependencies": materials,
            },
            "runDetails": {"builder": {"id": "make packages"}},
        },
    }
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _git(*words: str) -> str:
    command = ["git", "-C", str(inputs.ROOT), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()
