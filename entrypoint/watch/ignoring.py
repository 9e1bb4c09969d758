"""`ignore_watch` as PM2 understands it, which hands it to chokidar 3.

- A text without glob characters is a path, relative to the app's `cwd`: it and all that
  is below it are ignored (`node_modules`, `public/uploads`, `/tmp/cache`).
- A text with `*`, `?`, `[…]` or `{a,b}` is a glob for the whole path, relative to `cwd`:
  `*` and `?` stay within a folder, `**` does not. Unlike in a shell a dot at the
  beginning of a name is matched like any other character (anymatch's `dot: true`).
- A text between slashes with optional flags `i`, `/…/i`, is a regular expression that
  is searched in the absolute path; YAML has no literal for what JavaScript writes so.
- Nothing given: PM2's default, names that begin with a dot, and `node_modules`.

`..data`, the link that Kubernetes swaps when a ConfigMap changes, is never ignored.
"""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CONFIGMAP_LINK = b"..data"

_DEFAULT = re.compile(rb"/\.|/node_modules(?:/|$)")
_GLOB = re.compile(r"[*?\[{]")
_BETWEEN_SLASHES = re.compile(r"^/(.+)/([i]*)$", re.DOTALL)


def ignorer(patterns: tuple[str, ...], cwd: str) -> Callable[[bytes], bool]:
    """Whether an absolute path is ignored. Raises ValueError for a wrong expression."""
    if not patterns:
        return lambda path: not _is_swap(path) and _DEFAULT.search(path) is not None
    expressions = [
        re.compile(_expression(p, cwd).encode("utf-8", "surrogateescape"))
        for p in patterns
        if not _is_regular(p)
    ]
    searched = [_regular(p) for p in patterns if _is_regular(p)]

    def ignored(path: bytes) -> bool:
        if _is_swap(path):
            return False
        return any(e.match(path) for e in expressions) or any(e.search(path) for e in searched)

    return ignored


def _is_swap(path: bytes) -> bool:
    return path.endswith(b"/" + CONFIGMAP_LINK)


def _is_regular(pattern: str) -> bool:
    # "/srv/data/" is a folder and "/\.log$/" an expression: what can be a path is one.
    found = _BETWEEN_SLASHES.match(pattern)
    return found is not None and bool(re.search(r"[\\^$|()+*?\[]", found[1]))


def _regular(pattern: str) -> re.Pattern[bytes]:
    found = _BETWEEN_SLASHES.match(pattern)
    if found is None:
        raise ValueError(f"not a regular expression: {pattern}")
    flags = re.IGNORECASE if "i" in found[2] else 0
    try:
        return re.compile(found[1].encode("utf-8", "surrogateescape"), flags)
    except re.error as error:
        raise ValueError(f"{pattern} is no regular expression: {error}") from None


def _expression(pattern: str, cwd: str) -> str:
    absolute = os.path.normpath(os.path.join(cwd, pattern))
    if not _GLOB.search(pattern):
        return re.escape(absolute) + r"(?:/.*)?\Z"
    return _glob(absolute) + r"\Z"


def _glob(pattern: str) -> str:
    """The regular expression of a glob, by micromatch's rules with `dot: true`."""
    out = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if pattern.startswith("**/", at):
            out.append("(?:[^/]*/)*")
            at += 3
        elif pattern.startswith("**", at):
            out.append(".*")
            at += 2
        elif character == "*":
            out.append("[^/]*")
            at += 1
        elif character == "?":
            out.append("[^/]")
            at += 1
        elif character == "[" and (end := pattern.find("]", at + 2)) > 0:
            inside = pattern[at + 1 : end].replace("\\", "\\\\")
            out.append("[^" + inside[1:] + "]" if inside[0] in "!^" else "[" + inside + "]")
            at = end + 1
        elif character == "{" and (end := pattern.find("}", at)) > 0:
            choices = pattern[at + 1 : end].split(",")
            out.append("(?:" + "|".join(_glob(choice) for choice in choices) + ")")
            at = end + 1
        else:
            out.append(re.escape(character))
            at += 1
    return "".join(out)
