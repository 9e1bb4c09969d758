"""Kubernetes' termination message: a file in the container that the kubelet reads.

`terminationMessagePath` names it and the kubelet mounts it, an empty file, into each
container; its content when the container ends is shown as the reason
(`kubectl describe pod`), at most 4096 bytes of it. Elsewhere there is no such file.
"""

from __future__ import annotations

import os

PATH = "/dev/termination-log"
LIMIT = 4096


def write(text: bytes, path: str = PATH) -> bool:
    """Replace the content of the file; returns whether there is a writable one.

    Never creates it and never waits: if it is missing or not writable, the log
    has the same text.
    """
    try:
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return False
    try:
        os.write(fd, text[:LIMIT])
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
