"""Where symbolic links lead (`path_resolution(7)`): each name whose change moves their end."""

from __future__ import annotations

import os

# The kernel's own bound (ELOOP).
LINKS_LIMIT = 40


def hops(path: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """`(folder, name)` of each link on the way of an absolute path, and of its end.

    The folders are real ones that exist: the way is followed up to what is missing. ()
    for a circle.
    """
    found: list[tuple[bytes, bytes]] = []
    todo = path.split(b"/")[::-1]
    at = b""
    links = 0
    while todo:
        name = todo.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            at = os.path.dirname(at).rstrip(b"/")
            continue
        here = at + b"/" + name
        try:
            target = os.readlink(here)
        except OSError:
            if not any(todo) or not os.path.lexists(here):
                found.append((at or b"/", name))
                break
            at = here
            continue
        found.append((at or b"/", name))
        links += 1
        if links > LINKS_LIMIT:
            return ()
        if target.startswith(b"/"):
            at = b""
        todo += target.split(b"/")[::-1]
    return tuple(found)
