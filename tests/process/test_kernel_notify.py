"""sd_notify(3)'s receiver and the readers of /proc against Linux."""

from __future__ import annotations

import array
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from entrypoint.kernel import notify, proc, rights
from tests.support.wait import wait_until


@pytest.fixture
def position():
    """A folder with a short name: the path of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture(params=["path", "abstract"])
def receiver(request, position):
    folder = notify.NotifyFolder([str(position)] if request.param == "path" else ["/no/such"])
    socket_ = notify.NotifySocket(folder)
    yield socket_
    socket_.close()
    folder.close()


def send(receiver, message, fds=()):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        path = receiver.path
        sender.connect("\0" + path[1:] if path.startswith("@") else path)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sender.sendmsg([message], rights)


def taken(receiver):
    """Sender and assignments of what has come."""
    found = []
    while select.select([receiver.fd], [], [], 0)[0]:
        found += [(message.pid, message.fields) for message in receiver.receive()]
    return found


def test_assignments_and_the_senders_pid(receiver):
    assert taken(receiver) == []
    send(receiver, b"READY=1\nSTATUS=serving = 4\n\nno assignment\n=no key\nREADY=2\n")
    send(receiver, b"STOPPING=1")
    assert select.select([receiver.fd], [], [], 0)[0]
    me = os.getpid()
    assert taken(receiver) == [
        (me, {"READY": "2", "STATUS": "serving = 4"}),
        (me, {"STOPPING": "1"}),
    ]


def test_bytes_that_are_no_text(receiver):
    send(receiver, b"STATUS=\xff\x00x")
    assert taken(receiver) == [(os.getpid(), {"STATUS": "\ufffd\x00x"})]
    send(receiver, b"")
    assert taken(receiver) == [(os.getpid(), {})]


def test_too_long_a_message_is_dropped_and_the_next_is_not(receiver):
    send(receiver, b"READY=1\nX=" + b"x" * 5000)
    send(receiver, b"READY=1")
    assert taken(receiver) == [(os.getpid(), {"READY": "1"})]


def test_descriptors_that_come_along_are_closed(receiver):
    """BARRIER=1 waits for exactly that (sd_notify_barrier(3))."""
    reading, writing = os.pipe()
    before = len(os.listdir("/proc/self/fd"))
    send(receiver, b"BARRIER=1", [writing])
    os.close(writing)
    send(receiver, b"FDSTORE=1", [reading] * 200)
    assert not select.select([reading], [], [], 0)[0]
    assert [fields for _, fields in taken(receiver)] == [
        {"BARRIER": "1"},
        {"FDSTORE": "1"},
    ]
    assert os.read(reading, 1) == b""
    assert len(os.listdir("/proc/self/fd")) == before - 1
    os.close(reading)


@pytest.fixture
def interruptible():
    """As PID 1 has it (signals.install_handlers)."""
    before = signal.signal(signal.SIGXFSZ, lambda *_: None)
    yield
    signal.signal(signal.SIGXFSZ, before)


def lingering():
    """A TCP socket whose last close waits for an hour: its peer takes nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        sender = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    sender.setblocking(False)
    try:
        while True:
            sender.send(b"x" * 65536)
    except BlockingIOError:
        return sender, peer


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("when", ["received", "closed"])
def test_a_descriptor_whose_close_waits_holds_up_nobody(receiver, when):
    sender, peer = lingering()
    send(receiver, b"FDSTORE=1", [sender.fileno()])
    sender.close()  # now the message has the last reference
    began = time.monotonic()
    if when == "received":
        assert [fields for _, fields in taken(receiver)] == [{"FDSTORE": "1"}]
    else:
        receiver.close()
    assert time.monotonic() - began < 5
    peer.close()


@pytest.mark.usefixtures("interruptible")
def test_descriptors_on_a_stream_are_dropped_and_no_byte_is_lost():
    ours, theirs = socket.socketpair()
    sender, peer = lingering()
    theirs.send(b"one ")
    rights_ = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sender.fileno()]))]
    theirs.sendmsg([b"two "], rights_)
    sender.close()
    theirs.send(b"three")
    theirs.close()
    before = len(os.listdir("/proc/self/fd"))
    began = time.monotonic()
    got = b""
    while data := rights.receive(ours, 7):
        got += data
    assert got == b"one two three"
    assert time.monotonic() - began < 5
    assert len(os.listdir("/proc/self/fd")) == before
    ours.close()
    peer.close()


def test_descriptors_can_be_refused():
    ours, theirs = socket.socketpair()
    if not rights.refuse(ours):
        pytest.skip("needs Linux 6.16")
    with pytest.raises(PermissionError):
        theirs.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]))])
    theirs.send(b"y")
    assert rights.receive(ours, 10) == b"y"
    ours.close()
    theirs.close()


def test_any_user_may_write(receiver):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(12345, 12345, 12345)
            send(receiver, b"READY=1")
            os._exit(0)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    (message,) = receiver.receive()
    assert (message.pid, message.uid, message.fields) == (pid, 12345, {"READY": "1"})


def test_their_files_are_removed(position):
    folder = notify.NotifyFolder([str(position)])
    receivers = [notify.NotifySocket(folder) for _ in range(3)]
    assert len({receiver.path for receiver in receivers}) == 3
    (made,) = position.iterdir()
    assert len(list(made.iterdir())) == 3
    for receiver in receivers:
        receiver.close()
    folder.close()
    assert not os.listdir(position)


def test_others_cannot_list_the_sockets(position):
    folder = notify.NotifyFolder([str(position)])
    assert os.stat(folder.path).st_mode & 0o777 == 0o711
    receiver = notify.NotifySocket(folder)
    assert os.stat(receiver.path).st_mode & 0o777 == 0o666
    receiver.close()
    folder.close()


def test_a_folder_that_is_gone_leaves_an_abstract_socket(position):
    folder = notify.NotifyFolder([str(position)])
    os.rmdir(folder.path)
    receiver = notify.NotifySocket(folder)
    assert receiver.path.startswith("@")
    send(receiver, b"READY=1")
    assert taken(receiver) == [(os.getpid(), {"READY": "1"})]
    receiver.close()
    folder.close()


def test_systemds_own_sender(receiver):
    """With its barrier: it waits until the message has been taken."""
    if shutil.which("systemd-notify") is None:
        pytest.skip("systemd-notify is not installed")
    child = subprocess.Popen(
        ["systemd-notify", "--ready", "--status=fine"],
        env={**os.environ, "NOTIFY_SOCKET": receiver.path},
    )
    got = {}

    def done():
        for _, fields in taken(receiver):
            got.update(fields)
        return child.poll() is not None

    wait_until(done)
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
