"""A file system that answers late: a folder below another path, through fuse(4).

Only for reading; what is written goes to the folder itself. `delay` is how long each answer
takes (s). Protocol: include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

LOOKUP, FORGET, GETATTR, READLINK, OPEN, READ, STATFS, RELEASE = 1, 2, 3, 5, 14, 15, 17, 18
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, ACCESS, DESTROY = 25, 26, 27, 28, 29, 34, 38
INTERRUPT, BATCH_FORGET = 36, 42
_UNANSWERED = frozenset((FORGET, BATCH_FORGET, INTERRUPT))
_MINOR = 31
_BUFFER = 1 << 18
_MOST_WRITE = 1 << 16
_MS_NOSUID, _MS_NODEV = 2, 4
_MNT_DETACH = 2
# Requests that wait at once: one that is late must not make those after it later.
THREADS = 8


class SlowDisk:
    """`folder` is seen below `mount`. Raises OSError where nothing can be mounted."""

    def __init__(self, folder: Path, mount: Path) -> None:
        self._folder = folder
        self._mount = mount
        self.delay = 0.0
        self.answers = 0
        self._lock = threading.Lock()
        self._paths = {1: "."}
        self._numbers = {".": 1}
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0,allow_other"
        flags = _MS_NOSUID | _MS_NODEV
        done = self._libc.mount(b"slow", bytes(mount), b"fuse", flags, options.encode())
        if done:
            os.close(self._fd)
            raise OSError(ctypes.get_errno(), "mount of fuse")
        for _ in range(THREADS):
            threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self.delay = 0.0
        self._libc.umount2(bytes(self._mount), _MNT_DETACH)

    # -- the protocol -------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            try:
                data = os.read(self._fd, _BUFFER)
            except OSError as error:
                if error.errno in {errno.EINTR, errno.EAGAIN, errno.ENOENT}:
                    continue
                return  # ENODEV: unmounted
            _, opcode, unique, node = struct.unpack_from("=IIQQ", data)
            if opcode in _UNANSWERED:
                continue
            if opcode != INIT and self.delay:
                time.sleep(self.delay)
            code, answer = 0, b""
            try:
                answer = self._answer(opcode, node, data[40:])
            except OSError as error:
                code = -(error.errno or errno.EIO)
            try:
                os.write(self._fd, struct.pack("=IiQ", 16 + len(answer), code, unique) + answer)
            except OSError:
                continue  # whoever asked was killed
            self.answers += 1

    def _answer(self, opcode: int, node: int, data: bytes) -> bytes:
        if opcode == INIT:
            _, _, ahead, _ = struct.unpack_from("=IIII", data)
            return struct.pack("=IIIIHHIIHH28x", 7, _MINOR, ahead, 0, 16, 12, _MOST_WRITE, 1, 0, 0)
        path = self._paths[node]
        if opcode in {OPEN, OPENDIR, READ, READDIR}:
            return self._content(opcode, path, data)
        if opcode == LOOKUP:
            name = data.rstrip(b"\0").decode()
            below = os.path.normpath(f"{path}/{name}")
            attributes = self._attributes(below)
            return struct.pack("=QQQQII", self._number(below), 0, 0, 0, 0, 0) + attributes
        if opcode == GETATTR:
            return struct.pack("=QII", 0, 0, 0) + self._attributes(path)
        if opcode == READLINK:
            return os.fsencode(os.readlink(self._folder / path))
        if opcode == STATFS:
            return struct.pack("=QQQQQIIII24x", 1, 0, 0, 1, 0, 512, 255, 512, 0)
        if opcode in {RELEASE, RELEASEDIR, FLUSH, ACCESS, DESTROY}:
            return b""
        raise OSError(errno.ENOSYS, f"opcode {opcode}")

    def _content(self, opcode: int, path: str, data: bytes) -> bytes:
        real = self._folder / path
        if opcode in {OPEN, OPENDIR}:
            os.stat(real)
            return struct.pack("=QII", 0, 1, 0)  # FOPEN_DIRECT_IO: nothing is cached
        _, offset, size = struct.unpack_from("=QQI", data)
        if opcode == READDIR:
            return self._entries(path, offset, size)
        with real.open("rb") as file:
            return os.pread(file.fileno(), size, offset)

    def _number(self, path: str) -> int:
        with self._lock:
            number = self._numbers.setdefault(path, len(self._numbers) + 1)
            self._paths[number] = path
        return number

    def _attributes(self, path: str) -> bytes:
        found = os.lstat(self._folder / path)
        times = [int(each) for each in (found.st_atime, found.st_mtime, found.st_ctime)]
        return struct.pack(
            "=QQQQQQIIIIIIIIII",
            *(self._number(path), found.st_size, found.st_blocks, *times, 0, 0, 0),
            *(found.st_mode, found.st_nlink, found.st_uid, found.st_gid, 0, 4096, 0),
        )

    def _entries(self, path: str, offset: int, size: int) -> bytes:
        answer = b""
        for position, name in enumerate(sorted(os.listdir(self._folder / path)), 1):
            if position <= offset:
                continue
            mode = os.lstat(self._folder / path / name).st_mode
            text = os.fsencode(name)
            number = self._number(os.path.normpath(f"{path}/{name}"))
            entry = (
                struct.pack("=QQII", number, position, len(text), stat.S_IFMT(mode) >> 12) + text
            )
            entry += b"\0" * (-len(entry) % 8)
            if len(answer) + len(entry) > size:
                break
            answer += entry
        return answer
