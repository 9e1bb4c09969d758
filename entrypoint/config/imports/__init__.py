"""Files of other supervisors as pyinit's YAML: `pyinit convert Procfile` and others.

Each module reads one format and makes `App`s; lines that it cannot convert are reported.
"""

from __future__ import annotations

import os

from entrypoint.config.tree import decode, parse_yaml

from . import common, compose, crontab, procfile, s6, supervisord, systemd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.config.errors import Problems

    Read = Callable[[str, Problems], bytes]


def imported(paths: tuple[str, ...], read: Read, problems: Problems) -> str | None:
    """The YAML of these files, or None if they are not another supervisor's.

    Raises ConfigErrors when a file cannot be read or taken.
    """
    path = paths[0]
    if os.path.isdir(path):
        return _of_folder(path, read, problems)
    base = os.path.basename(path)
    if base.endswith(".service"):
        texts = {each: decode(read(each, problems), problems) for each in paths}
        return _yaml(" ".join(paths), systemd.read(texts, problems), problems)
    if base.endswith((".js", ".cjs", ".mjs", ".json")):
        return None
    text = decode(read(path, problems), problems)
    if base.endswith((".yml", ".yaml")):
        if "services:" not in text:
            return None
        tree = parse_yaml(text, problems)
        if not compose.looks_like(tree):
            return None
        return _yaml(path, compose.read(tree, problems), problems)
    if base.startswith("Procfile"):
        return _yaml(path, procfile.read(text, path, problems), problems)
    if supervisord.looks_like(text):
        return _yaml(path, supervisord.read(text, path, problems), problems)
    if crontab.looks_like(text):
        return _yaml(path, crontab.read(text, path, problems), problems)
    return None


def _of_folder(path: str, read: Read, problems: Problems) -> str:
    units = sorted(name for name in os.listdir(path) if name.endswith(".service"))
    if units:
        texts = {
            os.path.join(path, name): decode(read(os.path.join(path, name), problems), problems)
            for name in units
        }
        return _yaml(path, systemd.read(texts, problems), problems)
    for folder in (path, os.path.join(path, "s6-rc.d"), os.path.join(path, "services.d")):
        if s6.looks_like(folder):
            return _yaml(folder, s6.read(folder, problems), problems)
    raise problems.stop(None, "", "is a folder without services of s6 and units of systemd")


def _yaml(source: str, found: common.Found, problems: Problems) -> str:
    if not found.apps and not problems.errors:
        raise problems.stop(None, "", "has no program that could be an app")
    common.hide_secrets(found, problems)
    return common.yaml(source, found)
