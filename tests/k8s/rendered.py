"""The objects that the kustomizations of k8s/ make, rendered by kubectl's own kustomize."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"

# What people apply, and what is in it.
KUSTOMIZATIONS = ("base", "overlays/node", "overlays/python")


def kubectl() -> str:
    """The one of tests/requirements-images.txt; else any. No kubectl, no test: it says so."""
    beside = Path(sys.executable).with_name("kubectl")
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if not found:
        pytest.fail("no kubectl here, nothing of k8s/ was rendered: run make setup")
    return found


@functools.cache
def _rendered(folder: str) -> str:
    done = subprocess.run(
        [kubectl(), "kustomize", folder],
        capture_output=True,
        text=True,
        env={"PATH": os.environ.get("PATH", ""), "HOME": "/nonexistent"},
    )
    assert done.returncode == 0, done.stderr
    # Deprecated fields are told as warnings.
    assert done.stderr == ""
    return done.stdout


def with_components(kustomization: str, folder: Path, *components: str) -> str:
    """A kustomization in `folder` that adds these components, as a person's own would."""
    made = folder / "own" / kustomization.replace("/", "-") / "-".join(components)
    made.mkdir(parents=True)
    parts = {
        "resources": [os.path.relpath(K8S / kustomization, made)],
        "components": [os.path.relpath(K8S / "components" / each, made) for each in components],
    }
    (made / "kustomization.yaml").write_text(yaml.safe_dump(parts))
    return str(made)


def objects(kustomization: str) -> list[dict[str, Any]]:
    """All objects of a kustomization below k8s/."""
    return list(yaml.safe_load_all(_rendered(str(K8S / kustomization))))


def one(kustomization: str, kind: str) -> dict[str, Any]:
    """Its only object of that kind."""
    [found] = [each for each in objects(kustomization) if each["kind"] == kind]
    return found


def pod(kustomization: str) -> dict[str, Any]:
    """The pod template of its Deployment."""
    return one(kustomization, "Deployment")["spec"]["template"]


def container(kustomization: str) -> dict[str, Any]:
    """The only container of its pods."""
    [found] = pod(kustomization)["spec"]["containers"]
    return found


def ecosystem(kustomization: str) -> str:
    """The text of the file that its pods run."""
    return one(kustomization, "ConfigMap")["data"]["ecosystem.yaml"]
