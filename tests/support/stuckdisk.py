"""A file system that answers no read until it is told to: a dead network file system."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest

from tests.chaos.slowdisk import READ, SlowDisk

# Longer than a test waits for anything (s).
AT_MOST = 60.0


class StuckDisk(SlowDisk):
    """Reads wait until `answers_now` is set, but not for ever: else a test could not fail."""

    def __init__(self, folder: Path, mount: Path) -> None:
        self.answers_now = threading.Event()
        super().__init__(folder, mount)

    def _content(self, opcode: int, path: str, data: bytes) -> bytes:
        if opcode == READ:
            self.answers_now.wait(AT_MOST)
        return super()._content(opcode, path, data)


@contextlib.contextmanager
def stuck_file(folder: Path, content: bytes):
    """(path of a file with this content that cannot be read yet, its StuckDisk)."""
    below, mount = folder / "below", folder / "mount"
    below.mkdir()
    mount.mkdir()
    (below / "page").write_bytes(content)
    try:
        disk = StuckDisk(below, mount)
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield mount / "page", disk
    finally:
        disk.answers_now.set()
        disk.close()
