"""`pyinit:runtime` as a file: for `docker load`, and for whatever reads OCI image layouts.

It is both an OCI layout (index.json) and Docker's own archive (manifest.json); the layer and the
configuration are shared. What it contains is what the Dockerfile's target `runtime` contains.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

from . import contents
from .tree import File, Tree, below, compressed, tar

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
TAG = "pyinit:runtime"


def build(runtime: Tree, epoch: int, machine: str) -> dict[str, bytes]:
    """One file."""
    tree = below("opt/pyinit", runtime)
    tree["usr/local/bin/pyinit"] = File(link="/opt/pyinit/bin/pyinit")
    plain = tar(tree, epoch)
    layer = compressed(plain)
    config = _json(
        {
            "architecture": ARCHITECTURES[machine],
            "os": "linux",
            "created": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "config": {
                "Entrypoint": ["/opt/pyinit/bin/pyinit"],
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Labels": _labels(),
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(plain)}"]},
            "history": [{"created_by": "scripts/packages"}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _described("application/vnd.oci.image.config.v1+json", config),
            "layers": [_described("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
        }
    )
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                **_described("application/vnd.oci.image.manifest.v1+json", manifest),
                "platform": {"architecture": ARCHITECTURES[machine], "os": "linux"},
                "annotations": {
                    "io.containerd.image.name": f"{TAG}",
                    "org.opencontainers.image.ref.name": "runtime",
                },
            }
        ],
    }
    docker = [{"Config": _path(config), "RepoTags": [TAG], "Layers": [_path(layer)]}]
    files = {
        "oci-layout": File(_json({"imageLayoutVersion": "1.0.0"})),
        "index.json": File(_json(index)),
        "manifest.json": File(_json(docker)),
        **{_path(data): File(data) for data in (config, manifest, layer)},
    }
    name = f"pyinit-{contents.version()}-oci-{ARCHITECTURES[machine]}.tar"
    return {name: tar(files, epoch)}


def _labels() -> dict[str, str]:
    return {
        "org.opencontainers.image.title": "pyinit",
        "org.opencontainers.image.description": (
            "PID 1 that runs, watches and reloads N workers on one port"
        ),
        "org.opencontainers.image.licenses": "GPL-3.0-or-later",
        "org.opencontainers.image.version": contents.version(),
    }


def _described(kind: str, data: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": f"sha256:{_digest(data)}", "size": len(data)}


def _path(data: bytes) -> str:
    return f"blobs/sha256/{_digest(data)}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True).encode()
