r"""`ignore_watch` as PM2 understands it, which hands it to chokidar 3.

- A text without glob characters is a path, relative to the app's `cwd`: it and all that
  is below it are ignored (`node_modules`, `public/uploads`, `/tmp/cache`).
- A text with `*`, `?`, `[…]` or `{a,b}` is a glob for the whole path, relative to `cwd`:
  `*` and `?` stay within a folder, `**` as a whole name does not. `[!…]` is the complement,
  as in a shell (for chokidar only `[^…]` is). Unlike in a shell a dot at the
  beginning of a name is matched like any other character (anymatch's `dot: true`).
  A backslash takes the next character as it is. Not supported: `!(…)` and its kind,
  `{1..9}`, `[[:alpha:]]`.
- A text between slashes with optional flags `i`, `/…/i`, is a regular expression that
  is searched in the absolute path; YAML has no literal for what JavaScript writes so.
  So is a text with `[\/\\]` in it, as PM2's documentation writes "a slash": it is
  no sensible glob.
- Nothing given: PM2's default, names that begin with a dot, and `node_modules`, below
  what is watched. PM2 looks at the whole path: it never sees a change in `/srv/.app`.

As chokidar by its `atomic`, which PM2 leaves on, what editors write beside a file while
they save it is ignored in any case: `.a.js.swp`, `a.js~`, `.subl*.tmp`. `..data`, the
link that Kubernetes swaps when a ConfigMap changes, is never ignored.
"""

from __future__ import annotations

import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CONFIGMAP_LINK = b"..data"

_DEFAULT = re.compile(rb"/\.|/node_modules(?:/|$)")
# chokidar's DOT_RE.
_EDITORS = re.compile(rb"\..*\.sw[px]$|~$|\.subl.*\.tmp")
_GLOB = re.compile(r"[*?\[{\\]")
_PM2_SLASH = r"[\/\\]"
_BETWEEN_SLASHES = re.compile(r"^/(.+)/([i]*)$", re.DOTALL)


def ignorer(
    patterns: tuple[str, ...], cwd: str, roots: tuple[str, ...] = ()
) -> Callable[[bytes], bool]:
    """Whether an absolute path is ignored. Raises ValueError for a wrong pattern.

    `roots`: what is watched, where names below it count; `cwd` by default.
    """
    if not patterns:
        tops = sorted((os.fsencode(root) for root in roots or (cwd,)), key=len, reverse=True)

        def by_default(path: bytes) -> bool:
            if _is_swap(path):
                return False
            below = next((path[len(top) :] for top in tops if path.startswith(top + b"/")), path)
            return _DEFAULT.search(below) is not None or _EDITORS.search(below) is not None

        return by_default
    expressions = [
        _compiled(p, _expression(p, cwd), re.DOTALL) for p in patterns if not _is_regular(p)
    ]
    searched = [_regular(p) for p in patterns if _is_regular(p)]

    def ignored(path: bytes) -> bool:
        if _is_swap(path):
            return False
        if _EDITORS.search(path):
            return True
        # As text, for `?` is one character and not one byte of it.
        text = os.fsdecode(path)
        return any(e.match(text) for e in expressions) or any(e.search(text) for e in searched)

    return ignored


def _is_swap(path: bytes) -> bool:
    return path.endswith(b"/" + CONFIGMAP_LINK)


def _is_regular(pattern: str) -> bool:
    if _PM2_SLASH in pattern:
        return True
    # "/srv/data/" is a folder and "/\.log$/" an expression: what can be a path is one.
    found = _BETWEEN_SLASHES.match(pattern)
    return found is not None and bool(re.search(r"[\\^$|()+*?\[]", found[1]))


def regular(pattern: str) -> str:
    """The regular expression that a text of `ignore_watch` is; empty for a path or a glob."""
    if not _is_regular(pattern):
        return ""
    found = _BETWEEN_SLASHES.match(pattern)
    # PM2's documentation has lost the first slash of its expression and kept the last.
    return found[1] if found is not None else pattern.removesuffix("/")


def _regular(pattern: str) -> re.Pattern[str]:
    found = _BETWEEN_SLASHES.match(pattern)
    ignoring_case = found is not None and "i" in found[2]
    return _compiled(pattern, regular(pattern), re.IGNORECASE if ignoring_case else 0)


def _compiled(pattern: str, expression: str, flags: int = 0) -> re.Pattern[str]:
    try:
        return re.compile(expression, flags)
    except (re.error, OverflowError, RecursionError) as error:
        kind = "regular expression" if _is_regular(pattern) else "glob"
        # Not where: the place would be one in the expression that a glob becomes.
        raise ValueError(f"is no {kind}: {getattr(error, 'msg', error)}") from None


def _expression(pattern: str, cwd: str) -> str:
    if not _GLOB.search(pattern):
        absolute = os.path.normpath(os.path.join(cwd, pattern))
        return re.escape(absolute) + r"(?:/.*)?\Z"
    # What is special in the name of `cwd` is not.
    here = _GLOB.sub(r"\\\g<0>", cwd)
    return _glob(os.path.normpath(os.path.join(here, pattern))) + r"\Z"


def _glob(pattern: str) -> str:
    """The regular expression of a glob, by micromatch's rules with `dot: true`."""
    out = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        # `**` that is not a whole name is no more than `*`.
        first = at == 0 or pattern[at - 1] == "/"
        if first and pattern.startswith("**/", at):
            out.append("(?:[^/]*/)*")
            at += 3
        elif first and pattern[at:] == "**":
            out.append(".*")
            at += 2
        elif character == "\\" and at + 1 < len(pattern):
            out.append(re.escape(pattern[at + 1]))
            at += 2
        elif character == "*":
            out.append("[^/]*")
            at += 1
        elif character == "?":
            out.append("[^/]")
            at += 1
        elif character == "[" and (end := _class_end(pattern, at)) > 0:
            out.append(_class(pattern[at + 1 : end]))
            at = end + 1
        elif character == "{" and len(choices := _choices(pattern, at)) > 1:
            out.append("(?:" + "|".join(_glob(choice) for choice in choices) + ")")
            at += sum(len(choice) + 1 for choice in choices) + 1
        else:
            out.append(re.escape(character))
            at += 1
    return "".join(out)


def _choices(pattern: str, at: int) -> list[str]:
    """What is between the commas of the braces that open at `at`; none if they never close."""
    found = [""]
    depth = 0
    for character in pattern[at + 1 :]:
        if character == "}" and not depth:
            return found
        if character == "," and not depth:
            found.append("")
            continue
        depth += {"{": 1, "}": -1}.get(character, 0)
        found[-1] += character
    return []


def _class_end(pattern: str, at: int) -> int:
    """Where the class that begins at `at` ends: a `]` that comes first is one of it."""
    return pattern.find("]", at + (3 if pattern[at + 1 : at + 2] in ("!", "^") else 2))


def _class(inside: str) -> str:
    negated = inside[0] in "!^"
    members = inside[1:] if negated else inside
    # All that Python knows in a class, or may one day, but the range.
    escaped = "".join("\\" + c if c in r"\[]^&|~" else c for c in members)
    return f"[{'^/' if negated else ''}{escaped}]"
