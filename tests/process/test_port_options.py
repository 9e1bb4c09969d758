"""Options that a worker sets on its socket before bind, where the socket cannot be had."""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from pathlib import Path

import pytest

from entrypoint.kernel import borrow
from entrypoint.sockets.setoptions import LEAST
from tests.process.test_port_faithful import (
    ANSWER,
    OPTIONS,
    bare_options,
    refused,
    seen_options,
)
from tests.support.portlab import Lab, get, spec
from tests.support.ports import free_port
from tests.support.run import Run
from tests.support.wait import wait_until

REFUSE = Path(__file__).parents[1] / "support" / "refuse_getfd.py"


@pytest.fixture
def no_duplicates(monkeypatch):
    """As in Docker's default seccomp profile, where pidfd_getfd(2) is refused."""
    monkeypatch.setattr(borrow, "socket_of", lambda _pid, _fd: None)
    monkeypatch.setattr(borrow, "is_sure", lambda: False)


def program(tmp_path, text, *words):
    path = tmp_path / "program.py"
    path.write_text(ANSWER + text)
    return [sys.executable, str(path), *map(str, words)]


@pytest.mark.parametrize("declared", [False, True])
def test_options_hold_and_go_with_their_worker(tmp_path, no_duplicates, declared):
    port = free_port()
    listen = (spec(f"127.0.0.1:{port}"),) if declared else ()
    unset, set_ = bare_options()
    # The second life of the program sets them, the third does not.
    flag = tmp_path / "flag"
    with Lab(program(tmp_path, OPTIONS, port, flag), listen=listen, handoff="intercept") as lab:
        first = lab.start(0)
        assert seen_options(lab, 1) == unset
        lab.stop(first)
        second = lab.start(0)
        assert seen_options(lab, 2) == set_
        assert not lab.happened("unfit")
        lab.stop(second)
        flag.unlink()
        lab.start(0)
        assert seen_options(lab, 3) == unset


@pytest.mark.parametrize("refused", ["pidfd_open", "pidfd_getfd", "CAP_SYS_PTRACE"])
def test_what_may_be_refused_is_not_relied_on(monkeypatch, refused):
    def refuse(*_):
        raise PermissionError(1, "as a seccomp profile does")

    if os.geteuid() == 0 and borrow.own().capabilities & 1 << 19:
        assert borrow.is_sure()
    if refused == "pidfd_open":
        monkeypatch.setattr(os, "pidfd_open", refuse)
    elif refused == "pidfd_getfd":
        monkeypatch.setattr(borrow, "_get", lambda *_: -1)
    else:
        mine = borrow.own()
        without = mine.replace(uid=0, capabilities=mine.capabilities & ~(1 << 19))
        monkeypatch.setattr(borrow, "own", lambda: without)
    before = len(os.listdir("/proc/self/fd"))
    assert not borrow.is_sure()
    assert len(os.listdir("/proc/self/fd")) == before


EVERY = """
S = socket
options = [
    (S.SOL_SOCKET, S.SO_KEEPALIVE, 1), (S.SOL_SOCKET, S.SO_OOBINLINE, 1),
    (S.SOL_SOCKET, S.SO_PRIORITY, 5), (S.SOL_SOCKET, S.SO_RCVBUF, 50000),
    (S.SOL_SOCKET, S.SO_SNDBUF, 40000), (S.SOL_SOCKET, S.SO_RCVLOWAT, 3),
    (S.SOL_SOCKET, S.SO_LINGER, struct.pack("ii", 1, 5)),
    (S.SOL_SOCKET, S.SO_RCVTIMEO, struct.pack("ll", 77, 0)),
    (S.SOL_SOCKET, S.SO_SNDTIMEO, struct.pack("ll", 66, 0)),
    (S.IPPROTO_TCP, S.TCP_NODELAY, 1), (S.IPPROTO_TCP, S.TCP_MAXSEG, 1000),
    (S.IPPROTO_TCP, S.TCP_KEEPIDLE, 31), (S.IPPROTO_TCP, S.TCP_KEEPINTVL, 32),
    (S.IPPROTO_TCP, S.TCP_KEEPCNT, 7), (S.IPPROTO_TCP, S.TCP_SYNCNT, 4),
    (S.IPPROTO_TCP, S.TCP_LINGER2, 9), (S.IPPROTO_TCP, S.TCP_DEFER_ACCEPT, 3),
    (S.IPPROTO_TCP, S.TCP_USER_TIMEOUT, 12345), (S.IPPROTO_TCP, S.TCP_FASTOPEN, 8),
    (S.IPPROTO_TCP, S.TCP_NOTSENT_LOWAT, 4096), (S.IPPROTO_TCP, S.TCP_SAVE_SYN, 1)
    if hasattr(S, "TCP_SAVE_SYN") else (S.IPPROTO_TCP, 27, 1),
    (S.IPPROTO_TCP, S.TCP_CONGESTION, b"reno"),
    (S.IPPROTO_IP, S.IP_TOS, 8), (S.IPPROTO_IP, S.IP_TTL, 33),
]
if six:
    options += [(S.IPPROTO_IPV6, S.IPV6_TCLASS, 24), (S.IPPROTO_IPV6, S.IPV6_UNICAST_HOPS, 44),
                (S.IPPROTO_IPV6, S.IPV6_V6ONLY, 1)]
def set_all(s):
    for level, name, value in options:
        s.setsockopt(level, name, value)
def shown(s):
    return {f"{l}:{n}": (s.getsockopt(l, n, 16).hex() if isinstance(v, bytes)
                         else s.getsockopt(l, n)) for l, n, v in options}
"""
SHOWS_EVERY = (
    "import struct\nsix = len(sys.argv) > 2\n"
    + EVERY
    + """
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
set_all(s)
s.bind(("::" if six else host, port))
s.listen()
print(json.dumps(shown(s)), flush=True)
serve(s)
"""
)


@pytest.mark.parametrize("six", [False, True])
def test_every_option_holds_as_in_a_bare_run(tmp_path, no_duplicates, six):
    space = {"socket": socket, "struct": struct, "six": six}
    exec(EVERY, space)
    with socket.socket(socket.AF_INET6 if six else socket.AF_INET) as bare:
        space["set_all"](bare)
        wanted = space["shown"](bare)
    port = free_port()
    with Lab(program(tmp_path, SHOWS_EVERY, port, *["six"] * six)) as lab:
        lab.run(2)
        for line in lab.text().splitlines():
            assert json.loads(line) == wanted
        if six:
            assert refused(port)  # IPV6_V6ONLY was seen, too
            assert get(port, "::1") in "01"


LATE = """
import resource
fill = [os.open("/dev/null", 0) for _ in range(40)]
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 60000)
s.bind((host, port))
s.listen(5)
print(s.fileno(), s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
      s.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), flush=True)
serve(s)
"""


def test_a_high_descriptor_is_known_from_the_second_start_on(tmp_path, no_duplicates):
    """Options that connections have too are reported of low descriptors alone."""
    port = free_port()
    with Lab(program(tmp_path, LATE, port)) as lab:
        first = lab.start(0)
        lab.listening(first)
        wait_until(lambda: lab.text().count("\n") == 1)
        number, keepalive, buffer = map(int, lab.text().split())
        assert number > LEAST
        assert (keepalive, buffer) == (0, 120000)
        assert not lab.logged
        second = lab.start(1)
        lab.listening(second)
        wait_until(lambda: lab.text().count("\n") == 2)
        assert lab.text().splitlines()[1] == f"{number} 1 120000"
        (answer,) = (fields for _, event, fields in lab.logged if event == "options lost")
        assert answer["app"] == "app"


PASSES = """
s = socket.socket(socket.AF_UNIX)
s.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
s.bind(sys.argv[2])
s.listen(5)
while True:
    c, _ = s.accept()
    _, ancillary, _, _ = c.recvmsg(10, 200)
    c.sendall(b"%d" % any(kind == socket.SCM_CREDENTIALS for _, kind, _ in ancillary))
    c.close()
"""


@pytest.mark.parametrize("had", ["a duplicate", "no duplicate"])
@pytest.mark.parametrize("declared", [False, True])
def test_a_unix_listener_passes_the_credentials_that_its_worker_asked_for(
    tmp_path, request, had, declared
):
    if had == "no duplicate":
        request.getfixturevalue("no_duplicates")
    path = str(tmp_path / "s")
    listen = (spec(f"unix:{path}"),) if declared else ()
    with Lab(program(tmp_path, PASSES, 1, path), listen=listen, handoff="intercept") as lab:
        lab.run(2)
        for _ in range(6):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(10)
                client.connect(path)
                client.sendall(b"hi")
                assert client.recv(10) == b"1"


HOSTILE = """
import mmap
libc = ctypes.CDLL(None, use_errno=True)
def raw(fd, level, name, value, size):
    return libc.setsockopt(fd, level, name, ctypes.c_void_p(value), ctypes.c_uint(size))
s = socket.socket()
box = mmap.mmap(-1, 4096)
where = ctypes.addressof(ctypes.c_char.from_buffer(box))
# Wrong pointers, sizes, descriptors.
for value in (0, 1, 0x7fffffffffff, 1 << 63, (1 << 64) - 1, where):
    for size in (0, 1, 3, 4, 255, 4096, 1 << 31, (1 << 32) - 1):
        raw(s.fileno(), 1, 8, value, size)
        raw(s.fileno(), 6, 23, value, size)
        raw(9999, 1, 8, value, size)
        raw(0, 1, 8, value, size)
# More options than anybody needs, on more sockets.
for n in range(200):
    t = socket.socket()
    t.setsockopt(1, 8, 5000 + n)
    t.close()
# What is refused here is not granted by PID 1.
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
libc.prctl(4, 1, 0, 0, 0)
for level, name, value in ((1, 36, 7), (1, 33, 1 << 28), (1, 25, b"lo")):
    try:
        s.setsockopt(level, name, value)
    except OSError as error:
        print("refused", name, error.errno, flush=True)
# The memory changes while it is read.
box[:4] = (60000).to_bytes(4, "little")
stop = False
def flip():
    n = 0
    while not stop:
        n += 1
        box[:4] = (40000 + n % 30000).to_bytes(4, "little")
racer = threading.Thread(target=flip, daemon=True)
racer.start()
for _ in range(50):
    raw(s.fileno(), 1, 8, where, 4)
stop = True
racer.join()
s.bind((host, port))
s.listen()
print("mark", s.getsockopt(1, 36), "buffer", s.getsockopt(1, 8) <= 2 * 212992, flush=True)
serve(s)
"""


def test_a_hostile_worker_gets_no_more_than_it_could_set_itself(tmp_path, no_duplicates):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give root up")
    port = free_port()
    before = set(os.listdir("/proc/self/fd"))
    with Lab(program(tmp_path, HOSTILE, port)) as lab:
        lab.listening(lab.start(0))
        assert get(port) == "0"
        assert "mark 0 buffer True" in lab.text()
    assert set(os.listdir("/proc/self/fd")) == before


def test_the_program_itself_where_the_runtime_refuses_duplicates(tmp_path):
    """The whole of pyinit under a filter that answers EPERM to pidfd_getfd."""
    port = free_port()
    (tmp_path / "server.py").write_text(ANSWER + OPTIONS)
    app = {"name": "web", "script": f"{sys.executable} server.py {port}", "exec_mode": "cluster"}
    app |= {"env": {"SLOT": "{slot}"}, "instances": 2, "listen": f"127.0.0.1:{port}"}
    _, set_ = bare_options()
    wrap = (sys.executable, str(REFUSE))
    with Run(tmp_path, [app], wrap=wrap) as run:
        run.event("app ready")
        seen = run.until(lambda: [r for r in run.records if "keepalive" in r][1:2])
        assert {key: seen[0][key] for key in set_} == set_
        assert get(port) in "01"
        assert not run.events("worker exited")
        assert run.stop() == 0
