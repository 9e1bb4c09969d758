"""Whether a process is seen to wait for connections at a socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from entrypoint.kernel import awaiting
from tests.support.wait import wait_until

# What a program does with the listener at descriptor `fd`. `other` is one that is not meant.
WAITS = {
    "accept": "listener.accept()",
    "accept in a thread": "threading.Thread(target=listener.accept).start(); time.sleep(1000)",
    "poll": "p = select.poll(); p.register(other); p.register(listener, select.POLLIN); p.poll()",
    "select": "select.select([other, listener], [], [])",
    "epoll": "e = select.epoll(); e.register(other); e.register(listener); e.poll()",
    "selectors in a child": "os.fork() or select.select([listener], [], []); time.sleep(1000)",
}
WAITS_NOT = {
    "sleeps": "time.sleep(1000)",
    "accepts elsewhere": "other.accept()",
    "polls elsewhere": "p = select.poll(); p.register(other); p.poll()",
    "polls for no connection": "p = select.poll(); p.register(listener, 0); p.poll()",
    "selects to write": "select.select([other], [listener], [])",
    "selects elsewhere": "select.select([other], [], [])",
    "waits at another epoll set": (
        "e = select.epoll(); e.register(listener); f = select.epoll(); f.register(other); f.poll()"
    ),
    "has it in an epoll set": "e = select.epoll(); e.register(listener); time.sleep(1000)",
}


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def started(listener: socket.socket, doing: str) -> subprocess.Popen:
    code = (
        "import os, select, socket, threading, time\n"
        f"listener = socket.socket(fileno={listener.fileno()})\n"
        "other = socket.create_server(('127.0.0.1', 0))\n"
        "print('begins', flush=True)\n"
        f"{doing}\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], pass_fds=[listener.fileno()], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"begins\n"
    return process


def end(process: subprocess.Popen) -> None:
    for pid in tree(process.pid)[::-1]:
        os.kill(pid, 9)
    process.wait()
    process.stdout.close()


def tree(pid: int) -> tuple[int, ...]:
    with open(f"/proc/{pid}/task/{pid}/children") as children:
        return (pid, *map(int, children.read().split()))


def asleep(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(") ")[2][0] == "S"


@pytest.mark.parametrize("doing", WAITS.values(), ids=WAITS)
def test_one_that_waits_for_a_connection_is_seen(listener, doing):
    process = started(listener, doing)
    inodes = (os.fstat(listener.fileno()).st_ino,)
    try:
        wait_until(lambda: awaiting.waits_at(tree(process.pid), inodes), what=doing)
    finally:
        end(process)


@pytest.mark.parametrize("doing", WAITS_NOT.values(), ids=WAITS_NOT)
def test_one_that_only_holds_the_socket_does_not_wait_there(listener, doing):
    process = started(listener, doing)
    inodes = (os.fstat(listener.fileno()).st_ino,)
    try:
        wait_until(lambda: asleep(process.pid), what=doing)
        assert awaiting.waits_at(tree(process.pid), inodes) is False
    finally:
        end(process)


def test_a_process_that_has_ended_waits_nowhere(listener):
    process = started(listener, "pass")
    process.wait()
    process.stdout.close()
    assert awaiting.waits_at((process.pid,), (1,)) is False
