"""Workers that race pyinit: memory that changes, descriptors that go, floods of sockets.

Nothing of it may be served wrongly to another worker, stay behind in PID 1, or make it fail.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time

import pytest

from entrypoint.kernel import borrow
from tests.process.test_port_faithful import ANSWER
from tests.support.portlab import Lab, get, spec
from tests.support.ports import free_port
from tests.support.wait import wait_until

# For some seconds, from several threads and children: argv 1 port, 2 seconds.
RACES = """
import mmap, random, struct
seconds = float(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
until = time.monotonic() + seconds
ports = [port, port + 1, port + 2, 1, 0]
box = mmap.mmap(-1, 4096)
base = ctypes.addressof(ctypes.c_char.from_buffer(box))
def flip():
    while time.monotonic() < until:
        family = random.choice((2, 2, 2, 10, 1, 77))
        host = socket.inet_aton(random.choice(("127.0.0.1", "0.0.0.0", "10.9.8.7")))
        box[:16] = struct.pack("=HH4s8x", family, socket.htons(random.choice(ports)), host)
        box[64:68] = random.randbytes(4)
fds = [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
def close():
    while time.monotonic() < until:
        fd = random.choice(fds)
        libc.close(fd)
        if random.random() < 0.5:
            libc.dup2(random.choice(fds), fd)
        time.sleep(0.0003)
e = select.epoll()
def race():
    while time.monotonic() < until:
        s = libc.socket(random.choice((2, 2, 10, 1)), 1 | random.choice((0, 0x800)), 0)
        if s < 0:
            continue
        try:
            if random.random() < 0.3:
                e.register(s, 1)
        except (OSError, ValueError):
            pass
        for _ in range(random.randrange(3)):
            libc.setsockopt(s, random.choice((1, 6, 41)), random.randrange(40),
                            ctypes.c_void_p(base + 64), random.choice((4, 8, 16, 2000)))
        libc.bind(s, ctypes.c_void_p(base), random.choice((16, 16, 28, 110, 3)))
        if random.random() < 0.5:
            libc.listen(s, 5)
        if random.random() < 0.3:
            libc.connect(s, ctypes.c_void_p(base), 16)
        libc.close(s)
def fork():
    while time.monotonic() < until:
        pid = os.fork()
        if pid == 0:
            s = libc.socket(2, 1, 0)
            libc.bind(s, ctypes.c_void_p(base), 16)
            libc.listen(s, 5)
            os._exit(0)
        time.sleep(0.02)
        os.kill(pid, random.choice((0, 9, 19)))
        os.kill(pid, 9)
        os.waitpid(pid, 0)
threads = [threading.Thread(target=f) for f in (flip, close, race, race, fork)]
for t in threads:
    t.start()
for t in threads:
    t.join()
print("raced", flush=True)
os._exit(0)
"""

FLOOD = """
s = socket.socket()
e = select.epoll()
e.register(s)
kept = []
for _ in range(3000):
    try:
        kept.append(socket.socket())
    except OSError:
        kept.clear()
    socket.socket().close()
def flood():
    for _ in range(1500):
        socket.socket(socket.AF_INET6).close()
threads = [threading.Thread(target=flood) for _ in range(4)]
for t in threads:
    t.start()
for t in threads:
    t.join()
kept.clear()
s.bind((host, port))
s.listen()
print("listens", flush=True)
serve(s)
"""

GOOD = """
e = select.epoll()
s = socket.socket()
e.register(s)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 60000)
s.bind((host, port))
s.listen()
serve(s)
"""


@pytest.fixture(params=["duplicates", "no duplicates"])
def duplicates(request, monkeypatch):
    """With pidfd_getfd(2), and where it is refused."""
    if request.param == "no duplicates":
        monkeypatch.setattr(borrow, "socket_of", lambda _pid, _fd: None)
        monkeypatch.setattr(borrow, "is_sure", lambda: False)
    return request.param


def descriptors():
    # What earlier tests of this process have left to the garbage collector does not count.
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def program(tmp_path, text, *words):
    path = tmp_path / "program.py"
    path.write_text(ANSWER + text)
    return [sys.executable, str(path), *map(str, words)]


@pytest.mark.parametrize("declared", [False, True])
def test_races_leave_nothing_behind_and_harm_no_sibling(tmp_path, duplicates, declared):
    port = free_port()
    listen = (spec(f"127.0.0.1:{port}"),) if declared else ()
    # Slot 0 races, slot 1 serves.
    text = f"if os.environ['SLOT'] == '1':\n    exec({GOOD!r})\nelse:\n    exec({RACES!r})\n"
    before = descriptors()
    with Lab(program(tmp_path, text, port, 4), listen=listen, handoff="intercept") as lab:
        lab.start(0)
        good = lab.start(1)
        if duplicates == "no duplicates":
            wait_until(lambda: lab.happened("unfit", good), "it is found out")
            lab.stop(good, signal.SIGKILL)
            good = lab.start(1)
        lab.listening(good)
        lab.steer(1)
        asked = 0
        while lab.text().count("raced") < 1:
            assert get(port) == "1"
            asked += 1
            time.sleep(0.02)
        assert asked
        for worker in lab.workers:
            if worker is not good:
                lab.stop(worker, signal.SIGKILL)
        for _ in range(5):
            assert get(port) == "1"
        assert not lab.errors
    wait_until(lambda: descriptors() <= before, "its descriptors are back")


def test_a_flood_of_sockets_keeps_within_the_budget(tmp_path, duplicates):
    del duplicates
    port = free_port()
    before = descriptors()
    most = before
    with Lab(program(tmp_path, FLOOD, port)) as lab:
        worker = lab.start(0)

        def listens():
            nonlocal most
            most = max(most, len(os.listdir("/proc/self/fd")))
            return "listens" in lab.text() or lab.happened("unfit", worker)

        wait_until(listens, timeout=60)
        if lab.happened("unfit", worker):
            lab.stop(worker, signal.SIGKILL)
            worker = lab.start(0)
            wait_until(lambda: listens() and lab.happened("listening", worker), timeout=60)
        assert get(port) == "0"
        assert most - before < 600
    wait_until(lambda: descriptors() <= before, "its descriptors are back")
