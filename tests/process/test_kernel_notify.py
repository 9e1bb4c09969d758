"""sd_notify(3)'s receiver and the readers of /proc against Linux."""

from __future__ import annotations

import array
import os
import select
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from entrypoint.kernel import notify, proc
from tests.support.wait import wait_until


@pytest.fixture(params=["path", "abstract"])
def receiver(request, tmp_path):
    socket_ = notify.NotifySocket([str(tmp_path)] if request.param == "path" else ["/no/such"])
    yield socket_
    socket_.close()


def send(receiver, message, fds=()):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        path = receiver.path
        sender.connect("\0" + path[1:] if path.startswith("@") else path)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sender.sendmsg([message], rights)


def test_assignments_and_the_senders_pid(receiver):
    assert list(receiver.receive()) == []
    send(receiver, b"READY=1\nSTATUS=serving = 4\n\nno assignment\n=no key\nREADY=2\n")
    send(receiver, b"STOPPING=1")
    assert select.select([receiver.fd], [], [], 0)[0]
    me = os.getpid()
    assert list(receiver.receive()) == [
        (me, {"READY": "2", "STATUS": "serving = 4"}),
        (me, {"STOPPING": "1"}),
    ]


def test_bytes_that_are_no_text(receiver):
    send(receiver, b"STATUS=\xff\x00x")
    assert list(receiver.receive()) == [(os.getpid(), {"STATUS": "\ufffd\x00x"})]
    send(receiver, b"")
    assert list(receiver.receive()) == [(os.getpid(), {})]


def test_too_long_a_message_is_dropped_and_the_next_is_not(receiver):
    send(receiver, b"READY=1\nX=" + b"x" * 5000)
    send(receiver, b"READY=1")
    assert list(receiver.receive()) == [(os.getpid(), {"READY": "1"})]


def test_descriptors_that_come_along_are_closed(receiver):
    """BARRIER=1 waits for exactly that (sd_notify_barrier(3))."""
    reading, writing = os.pipe()
    before = len(os.listdir("/proc/self/fd"))
    send(receiver, b"BARRIER=1", [writing])
    os.close(writing)
    send(receiver, b"FDSTORE=1", [reading] * 200)
    assert not select.select([reading], [], [], 0)[0]
    assert [fields for _, fields in list(receiver.receive())] == [
        {"BARRIER": "1"},
        {"FDSTORE": "1"},
    ]
    assert os.read(reading, 1) == b""
    assert len(os.listdir("/proc/self/fd")) == before - 1
    os.close(reading)


def test_any_user_may_write(receiver):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    pid = os.fork()
    if pid == 0:
        try:
            if receiver.path.startswith("/"):
                os.chmod(os.path.dirname(receiver.path), 0o755)
                os.stat(receiver.path)
            os.setresuid(12345, 12345, 12345)
            try:
                send(receiver, b"READY=1")
            except PermissionError:
                # pytest's own folders are closed to others.
                os._exit(5 if "pytest" in receiver.path else 1)
            os._exit(0)
        finally:
            os._exit(2)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in {0, 5}
    if code == 0:
        assert list(receiver.receive()) == [(pid, {"READY": "1"})]


def test_its_file_is_removed(tmp_path):
    receiver = notify.NotifySocket([str(tmp_path)])
    assert os.listdir(tmp_path)
    receiver.close()
    assert not os.listdir(tmp_path)


def test_systemds_own_sender(receiver):
    """With its barrier: it waits until the message has been taken."""
    if shutil.which("systemd-notify") is None:
        pytest.skip("systemd-notify is not installed")
    child = subprocess.Popen(
        ["systemd-notify", "--ready", "--status=fine"],
        env={**os.environ, "NOTIFY_SOCKET": receiver.path},
    )
    got = {}

    def taken():
        for _, fields in list(receiver.receive()):
            got.update(fields)
        return child.poll() is not None

    wait_until(taken)
    assert child.returncode == 0
    assert got["READY"] == "1"
    assert got["STATUS"] == "fine"


# -- /proc -------------------------------------------------------------------------------------


def test_a_process_and_one_that_is_not():
    me = proc.stat(os.getpid())
    assert (me.parent, me.group, me.session) == (os.getppid(), os.getpgrp(), os.getsid(0))
    assert me.state == "R"
    assert me.rss > 1_000_000
    assert proc.rss(os.getpid()) > 1_000_000
    assert proc.alive(os.getpid())
    assert proc.stat(2**22 + 5) is None
    assert not proc.alive(2**22 + 5)
    assert proc.rss(2**22 + 5) == 0
    assert proc.command(2**22 + 5) == ()
    assert proc.namespace_pids()[-1] == os.getpid()


def test_a_name_with_spaces_and_parentheses(tmp_path):
    odd = tmp_path / "a) R 1 (b"
    shutil.copy(shutil.which("sleep"), odd)
    child = subprocess.Popen([odd, "1000"])
    try:
        wait_until(lambda: proc.command(child.pid)[:1] == (str(odd),))
        assert proc.stat(child.pid).parent == os.getpid()
    finally:
        child.kill()
        child.wait()
    assert proc.stat(child.pid) is None


FAMILY = """
import os, signal, sys
reading, writing = os.pipe()
if os.fork() == 0:                       # the child of the worker
    if os.fork() == 0:                   # its child, soon an orphan when told so
        os.write(writing, b"%d\\n" % os.getpid())
        signal.pause()
    if sys.argv[1] == "orphan":
        os._exit(0)
    signal.pause()
if sys.argv[1] == "orphan":
    os.wait()
os.write(1, os.read(reading, 100))
signal.pause()
"""


@pytest.mark.parametrize("kind", ["below", "orphan"])
def test_a_grandchild_belongs_to_its_worker(kind):
    worker = subprocess.Popen(
        [sys.executable, "-c", FAMILY, kind], stdout=subprocess.PIPE, start_new_session=True
    )
    other = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        grandchild = int(worker.stdout.readline())
        workers = {worker.pid, other.pid}
        assert proc.owner(worker.pid, workers) == worker.pid
        assert proc.owner(grandchild, workers) == worker.pid
        assert proc.owner(os.getpid(), workers) == 0
        assert proc.owner(2**22 + 5, workers) == 0
        if kind == "below":
            assert proc.tree(worker.pid)[0] == worker.pid
            assert grandchild in proc.tree(worker.pid)
            assert proc.tree_rss(worker.pid) > proc.rss(worker.pid)
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        other.kill()
        worker.wait()
        other.wait()
        worker.stdout.close()
