"""Paths of unix sockets that workers treat as theirs: removed, moved, asked before bind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import pytest

from entrypoint.kernel import credentials, proc
from tests.support.portlab import Lab, spec
from tests.support.wait import wait_until

PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable
USERS = [None, 65534] if os.geteuid() == 0 else [None]

PROGRAM = """
import ctypes, errno, json, os, shutil, signal, socket, sys, time
folder, path = sys.argv[1:3]
libc = ctypes.CDLL(None, use_errno=True)
said = {}

def tries(name, action):
    try:
        action()
        said[name] = "done"
    except OSError as error:
        said[name] = errno.errorcode[error.errno]

def exchange(one, other):
    if libc.renameat2(-100, one.encode(), -100, other.encode(), 2):
        raise OSError(ctypes.get_errno(), "renameat2")

def connect():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)

tries("connect before", connect)
s = socket.socket(socket.AF_UNIX)
s.bind(path)
s.listen()
tries("connect after", connect)
if "removes" in sys.argv:
    here = os.open(folder, os.O_RDONLY)
    open(folder + "/other", "w").close()
    open(folder + "/third", "w").close()
    os.symlink(folder, folder + "/link")
    os.chdir(folder)
    name = os.path.basename(path)
    tries("unlink", lambda: os.unlink(path))
    tries("unlink relative", lambda: os.unlink(name))
    tries("unlinkat", lambda: os.unlink(name, dir_fd=here))
    tries("unlink by a link", lambda: os.unlink(f"{folder}/link/./{name}"))
    tries("rename away", lambda: os.rename(path, folder + "/away"))
    tries("renameat", lambda: os.rename(name, "away", src_dir_fd=here, dst_dir_fd=here))
    tries("exchange", lambda: exchange(folder + "/third", path))
    tries("unlink hidden", lambda: os.unlink(f".{name}.pyinit"))
    tries("unlink other", lambda: os.unlink("other"))
    tries("unlink nothing", lambda: os.unlink("nothing"))
    tries("rmdir", lambda: os.rmdir("nothing"))
    tries("stays", lambda: os.stat(path))
print("said", json.dumps(said), flush=True)
if "forks" in sys.argv and os.fork() == 0:
    os.setsid()
    os.read(0, 1)
    tries("left behind", lambda: os.unlink(folder + "/third"))
    open(folder + "/left", "w").write(said["left behind"])
    os._exit(0)
signal.pause()
"""


@pytest.fixture
def top(tmp_path):
    found = Path(tempfile.mkdtemp(prefix="unix-", dir="/tmp"))
    found.chmod(0o777)
    (tmp_path / "program.py").write_text(PROGRAM)
    shutil.copy(tmp_path / "program.py", found / "program.py")
    yield found
    shutil.rmtree(found)


def command(top, path, *words):
    return [PYTHON, str(top / "program.py"), str(top), str(path), *words]


def said(lab):
    lines = [line[5:] for line in lab.text().splitlines() if line.startswith("said ")]
    return [json.loads(line) for line in lines]


def user(uid):
    return {} if uid is None else {"uid": uid, "gid": uid, "groups": (uid,)}


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("uid", USERS)
def test_a_worker_cannot_remove_the_path_of_our_socket(top, uid, declared):
    # In all 25 bytes: the size of the address is that of an IPv6 address.
    path = top / "a.sock"
    assert len(str(path)) == 25
    keys = {"listen": (spec(f"unix:{path}", mode=0o666),)} if declared else {}
    with Lab(command(top, path, "removes"), **keys, **user(uid)) as lab:
        lab.run(1)
        wait_until(lambda: said(lab), what="all was tried")
        assert said(lab) == [
            {
                "connect before": "ECONNREFUSED" if declared else "ENOENT",
                "connect after": "done",
                "unlink": "done",
                "unlink relative": "done",
                "unlinkat": "done",
                "unlink by a link": "done",
                "rename away": "done",
                "renameat": "done",
                "exchange": "done",
                "unlink hidden": "done",
                "unlink other": "done",
                "unlink nothing": "ENOENT",
                "rmdir": "ENOENT",
                "stays": "done",
            }
        ]
        assert not (top / "other").exists() and not (top / "away").exists()
        assert (top / "third").is_file() and path.is_socket()


@pytest.mark.parametrize("uid", USERS)
def test_a_second_worker_finds_nobody_and_shares_the_path(top, uid):
    """As php-fpm asks whether another one serves already; by another name of the folder too."""
    path = top / "run" / "a.sock"
    (top / "run").mkdir()
    (top / "run").chmod(0o777)
    (top / "var").symlink_to("run")
    with Lab(command(top, path), **user(uid)) as lab:
        lab.run(1)
        lab.app = lab.app.replace(command=tuple(command(top, top / "var" / "a.sock")))
        second = lab.start(1)
        lab.listening(second)
        wait_until(lambda: len(said(lab)) == 2, what="both have tried")
        assert said(lab)[1] == {"connect before": "ECONNREFUSED", "connect after": "done"}
        assert lab.happened("listening", second)[0]["address"] == f"unix:{path}"


def test_what_a_worker_leaves_behind_goes_on_after_the_end_of_its_app(top):
    """Without a notifier every unlink of theirs would fail."""
    reading, writing = os.pipe()
    with Lab(command(top, top / "a.sock", "forks")) as lab:
        stdin = os.dup(0)
        os.dup2(reading, 0)
        try:
            (worker,) = lab.run(1)
        finally:
            os.dup2(stdin, 0)
            os.close(stdin)
        (top / "third").write_text("")
        wait_until(lambda: said(lab), what="it serves")
        wait_until(lambda: Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text())
        os.kill(worker.pid, 9)
        wait_until(lambda: lab._ended(worker))
        with lab.lock:
            lab.ports.forget(worker.incarnation)
            lab.ports.close()
        os.write(writing, b"x")
        wait_until(lambda: (top / "left").exists() and (top / "left").read_text())
        assert (top / "left").read_text() == "done" and not (top / "third").exists()
    os.close(reading)
    os.close(writing)


def test_an_undeclared_socket_shows_the_user_of_its_worker_to_clients(top):
    if os.geteuid() != 0:
        pytest.skip("only root has workers of other users")
    path = top / "a.sock"
    with Lab(command(top, path), **user(65534)) as lab:
        lab.run(1)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            peer = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        assert int.from_bytes(peer[4:8], sys.byteorder) == 65534
        assert path.stat().st_uid == 65534
    assert credentials.own().uid == 0


def test_without_a_filter_the_path_is_linked_again(top):
    path = top / "a.sock"
    accepts = """
import os, signal, socket
s = socket.socket(fileno=3)
s.setblocking(True)
print("serves", flush=True)
while True:
    c, _ = s.accept()
    c.sendall(b"ok")
    c.close()
"""
    (top / "accepts.py").write_text(accepts)
    command = [PYTHON, str(top / "accepts.py")]
    with Lab(command, listen=(spec(f"unix:{path}"),), handoff="fds", filtered=False) as lab:
        lab.start(0)
        wait_until(lambda: "serves" in lab.text())
        for remove in (path.unlink, lambda: path.rename(top / "away")):
            remove()
            wait_until(path.is_socket, what="the path is there again")
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(10)
                client.connect(str(path))
                assert client.recv(10) == b"ok"
        # A file of somebody else's is left where it is.
        path.unlink()
        (top / "other").write_text("theirs")
        (top / "other").rename(path)
        with lab.lock:
            lab.ports._listeners.unix_groups()[0].mend()
        assert path.is_socket() or path.read_text() == "theirs"


def test_a_socket_file_that_changes_all_the_time_costs_little(top):
    path = top / "a.sock"
    with Lab(["sleep", "60"], listen=(spec(f"unix:{path}"),), handoff="fds") as lab:
        before = lab.loop.wakeups
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            path.chmod(0o600)
            path.chmod(0o666)
        # The lab's own turns come every 11 ms.
        assert lab.loop.wakeups - before < 200
        path.unlink()
        wait_until(path.is_socket, what="the path is there again")


def test_a_connect_that_looks_like_one_to_a_port_is_seen_the_second_time(top):
    path = f"/tmp/{os.urandom(2).hex()}sock"
    assert len(path) == 13
    program = f"""
import signal, socket, sys
with socket.socket(socket.AF_UNIX) as client:
    try:
        client.connect({path!r})
        sys.exit("another instance serves")
    except OSError:
        pass
s = socket.socket(socket.AF_UNIX)
s.bind({path!r})
s.listen()
signal.pause()
"""
    (top / "asks.py").write_text(program)
    with Lab([PYTHON, str(top / "asks.py")]) as lab:
        lab.run(1)
        second = lab.start(1)
        wait_until(lambda: lab._ended(second), what="it has found us")
        lab.stop(second)
        third = lab.start(1)
        lab.listening(third)
    assert not os.path.exists(path)


def test_a_process_that_has_died_and_is_not_reaped_is_ending():
    pid = os.fork()
    if pid == 0:
        signal.pause()
    assert not proc.is_ending(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert proc.is_ending(pid)
    os.waitpid(pid, 0)
    assert proc.is_ending(pid)


SHUTS_DOWN = """
import os, signal, socket, sys
path = sys.argv[1]
s = socket.socket(socket.AF_UNIX)
s.bind(path)
s.listen()
mine, other = socket.socketpair()

def leave(*_):
    s.shutdown(socket.SHUT_RDWR)
    # One that is not ours ends as ever.
    mine.shutdown(socket.SHUT_RDWR)
    print("said", "ended" if other.recv(1) == b"" else "goes on", flush=True)
    s.close()
    os._exit(0)

signal.signal(signal.SIGTERM, leave)
while True:
    conn, _ = s.accept()
    conn.sendall(b"%d" % os.getpid())
    conn.close()
"""


def test_a_worker_that_leaves_cannot_shut_down_the_socket_of_its_successor(top):
    path = top / "a.sock"
    (top / "shuts.py").write_text(SHUTS_DOWN)
    listen = (spec(f"unix:{path}"),)
    with Lab([PYTHON, str(top / "shuts.py"), str(path)], listen=listen) as lab:
        old, new = lab.run(2)
        inode = path.stat().st_ino
        assert lab.stop(old) == 0
        assert "said ended" in lab.text()
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(path))
            assert int(client.recv(100)) == new.pid
        # It is the same socket, not one that was made anew and that nobody accepts from.
        assert path.stat().st_ino == inode
        assert not lab.happened("closed")


# As haproxy: a path of its own first, with the mode that clients need, then in one step.
RENAMES = """
import os, socket, sys
path, how = sys.argv[1:]
temporary = f"{path}.{os.getpid()}.tmp"
s = socket.socket(socket.AF_UNIX)
s.bind(temporary)
os.chmod(temporary, 0o640)
if how == "listens first":
    s.listen()
os.link(path, path + ".bak")
os.rename(temporary, path)
os.unlink(path + ".bak")
if how == "listens later":
    s.listen()
print("left", [name for name in os.listdir(os.path.dirname(path)) if "tmp" in name], flush=True)
while True:
    conn, _ = s.accept()
    conn.sendall(b"%d" % os.getpid())
    conn.close()
"""


@pytest.mark.parametrize("how", ["listens first", "listens later"])
def test_a_socket_that_a_worker_renames_to_the_path_is_the_apps(top, how):
    path = top / "a.sock"
    (top / "renames.py").write_text(RENAMES)
    listen = (spec(f"unix:{path}"),)
    with Lab([PYTHON, str(top / "renames.py"), str(path), how], listen=listen) as lab:
        inode = path.stat().st_ino
        workers = [lab.start(0)]
        lab.listening(*workers)
        workers.append(lab.start(1))
        lab.listening(*workers)
        lab.steer(0, 1)
        assert path.stat().st_ino == inode
        assert path.stat().st_mode & 0o777 == 0o640
        wait_until(lambda: lab.text().count("left []") == 2, what=lab.text)
        assert lab.happened("listening", workers[1])[-1]["address"] == f"unix:{path}"

        def answer() -> int:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(10)
                client.connect(str(path))
                return int(client.recv(100))

        pids = {worker.pid for worker in workers}
        seen: set[int] = set()
        wait_until(lambda: seen.add(answer()) or seen == pids, what="both serve")
        lab.stop(workers[0])
        assert answer() == workers[1].pid
