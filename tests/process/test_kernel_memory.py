"""Reading the memory of a process never waits for a page that is not there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from entrypoint.kernel import calling_process, memory, proc, tree
from entrypoint.kernel.proc import PAGE
from tests.support.stuckdisk import stuck_file
from tests.support.wait import wait_until

TEXT = b"a path\0"

# Maps a file (argv 1), touches nothing of it, prints where it is. Then a page of its own,
# with `TEXT` at its end, below one that cannot be read.
MAPS = """
import ctypes, mmap, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
page = mmap.PAGESIZE
size = os.stat(sys.argv[1]).st_size
theirs = libc.mmap(None, size, 3, mmap.MAP_PRIVATE, os.open(sys.argv[1], os.O_RDONLY), 0)
own = libc.mmap(None, 2 * page, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
ctypes.memmove(own + page - 7, b"a path\\0", 7)
libc.munmap(ctypes.c_void_p(own + page), ctypes.c_size_t(page))
print(theirs, own, flush=True)
time.sleep(1000)
"""


class Mapping:
    def __init__(self, path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", MAPS, str(path)], stdout=subprocess.PIPE
        )
        self.pid = self._process.pid
        self.theirs, self.own = map(int, self._process.stdout.readline().split())

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


@pytest.fixture
def mapping():
    made = []

    def make(path):
        made.append(Mapping(path))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content".ljust(PAGE, b"x"))
    return path


def fetched(missing):
    """What a child found, which has ended."""
    fetch = memory.Fetch(missing)
    fetch.ended(os.waitpid(fetch.pid, 0)[1])
    return fetch.found


def missing_at(pid, address, size=8):
    with pytest.raises(memory.NotPresentError) as caught:
        memory.read(pid, address, size)
    return caught.value


def test_a_page_that_is_not_there_is_read_by_a_child(mapping, file):
    found = mapping(file)
    missing = missing_at(found.pid, found.theirs)
    assert missing.pages == (found.theirs,)
    with pytest.raises(memory.NotPresentError):
        memory.Memory().read(found.pid, found.theirs, 8)
    assert fetched(missing) is True
    assert memory.read(found.pid, found.theirs, 7) == b"content"
    assert memory.Memory().read(found.pid, found.theirs, 7) == b"content"


def test_a_page_that_does_not_exist_is_not_found(mapping, file):
    found = mapping(file)
    missing = missing_at(found.pid, found.own + PAGE - 4)
    assert missing.pages == (found.own + PAGE,)
    assert fetched(missing) is False


def test_a_string_ends_before_a_page_that_does_not_exist(mapping, file):
    found = mapping(file)
    assert memory.Memory().text(found.pid, found.own + PAGE - len(TEXT)) == TEXT[:-1]
    # One without an end goes on there.
    memory.write(found.pid, found.own + PAGE - 1, b"x")
    with pytest.raises(memory.NotPresentError):
        memory.Memory().text(found.pid, found.own + PAGE - len(TEXT))


def test_memory_of_its_own_is_written_and_no_file(mapping, file):
    found = mapping(file)
    memory.write(found.pid, found.own + 8, b"written")
    assert memory.read(found.pid, found.own + 8, 7) == b"written"
    with pytest.raises(memory.NotPresentError):
        memory.write(found.pid, found.theirs, b"written")
    assert fetched(missing_at(found.pid, found.theirs)) is True
    with pytest.raises(OSError, match="Bad address"):
        memory.write(found.pid, found.theirs, b"written")


def test_no_memory_is_looked_at_while_a_child_waits_for_its_file_system(mapping, tmp_path):
    with stuck_file(tmp_path, b"content".ljust(PAGE)) as (path, disk):
        found = mapping(path)
        fetch = memory.Fetch(missing_at(found.pid, found.theirs))
        wait_until(lambda: (known := proc.stat(fetch.pid)) and known.state in "DS", what="it waits")
        # It holds the lock of the address space, for which these would wait.
        assert missing_at(found.pid, found.own).pages == ()
        assert calling_process.command_line(found.pid) == ()
        assert tree.mark_of(found.pid) is None
        disk.answers_now.set()
        fetch.ended(os.waitpid(fetch.pid, 0)[1])
        assert fetch.found
        assert memory.read(found.pid, found.theirs, 7) == b"content"
        assert calling_process.command_line(found.pid)[0] == sys.executable


def test_a_child_that_is_given_up_counts_until_it_is_reaped(mapping, tmp_path):
    with stuck_file(tmp_path, b"content".ljust(PAGE)) as (path, disk):
        found = mapping(path)
        fetch = memory.Fetch(missing_at(found.pid, found.theirs))
        fetch.abandon()
        assert proc.is_fetched(found.pid)
        disk.answers_now.set()
        fetch.ended(os.waitpid(fetch.pid, 0)[1])
        assert not proc.is_fetched(found.pid)
        assert fetch.found is None


def test_no_look_at_memory_waits_for_userfaultfd():
    """It is refused instead: nothing of that file has to be bounded for it."""
    numbers = {"x86_64": 323, "aarch64": 282}
    code = f"""
import ctypes, fcntl, os, struct, time
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
fd = libc.syscall(ctypes.c_long({numbers[os.uname().machine]}), ctypes.c_long(os.O_CLOEXEC))
at = libc.mmap(None, {PAGE}, 3, 0x22, -1, 0)
if fd >= 0:
    fcntl.ioctl(fd, 0xC018AA3F, bytearray(struct.pack("=QQQ", 0xAA, 0, 0)))
    fcntl.ioctl(fd, 0xC020AA00, bytearray(struct.pack("=QQQQ", at, {PAGE}, 1, 0)))
print(fd, at, flush=True)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            fd, address = map(int, process.stdout.readline().split())
            if fd < 0:
                pytest.skip("userfaultfd(2) is refused here")
            assert fetched(missing_at(process.pid, address)) is False
        finally:
            process.kill()
