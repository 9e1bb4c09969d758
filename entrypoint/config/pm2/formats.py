"""Decides which files are PM2's.

`.config.js`, `.config.cjs`, `.config.mjs` and `.json` are, and the YAML files that PM2's
documentation and public projects use: `process.yml`, `pm2.yml`, `NAME.config.yml`. Every
other YAML file is pyinit's own. A file that says `pyinit: 1` at its top level is
pyinit's, whatever its name.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.config.tree import Node

SCRIPTS = (".js", ".cjs", ".mjs")
_YAML = (".yml", ".yaml")


def is_pm2(file: str, tree: Node) -> bool:
    """Whether PM2's rules apply to the file with these nodes."""
    if is_native(tree):
        return False
    if file.endswith((*SCRIPTS, ".json")):
        return True
    stem, extension = os.path.splitext(os.path.basename(file))
    if extension not in _YAML:
        return False
    if stem in {"process", "pm2"} or stem.startswith("pm2."):
        return True
    return stem.endswith((".config", ".pm2"))


def is_native(tree: Node) -> bool:
    """Whether the file has `pyinit: 1`."""
    said = tree.get("pyinit") if tree.kind == "map" else None
    return said is not None and said.kind == "scalar" and said.text == "1"


def is_config_file(word: str) -> bool:
    """Whether PM2 takes a word of its command line for a file of apps."""
    return any(
        extension in os.path.basename(word)
        for extension in (".json", *_YAML, ".config.js", ".config.cjs", ".config.mjs")
    )
