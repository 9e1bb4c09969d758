"""The process tree against Linux: descendants, marks of reparented processes, identity."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from entrypoint.kernel import prctl, proc, tree
from tests.support.wait import wait_until

ROOT = os.geteuid() == 0

# A child in its own session, with a child in its own group, and a thread with a child.
_BRANCHES = """
import os, subprocess, sys, threading, time
subprocess.Popen(["sh", "-c", "sleep 1000 & exec sleep 1001"], start_new_session=True)
t = threading.Thread(target=lambda: (subprocess.Popen(["sleep", "1002"]), time.sleep(1000)))
t.start()
"""

# `setsid`, a second fork, and the parents end: a daemon. Its pid comes on stdout.
_DAEMON = """
import os, sys, time
if os.fork(): time.sleep(float(sys.argv[1])); os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
print(os.getpid(), flush=True)
time.sleep(1000)
"""


@pytest.fixture(autouse=True)
def _reaper():
    """What a test leaves behind comes to this process, as to PID 1."""
    prctl.set_child_subreaper()
    yield
    for pid in tree.descendants(os.getpid()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    try:
        while True:
            os.waitpid(-1, 0)
    except ChildProcessError:
        pass


def _sleepers(pids):
    return sorted(
        proc.command(pid)[1] for pid in pids if proc.command(pid)[:1] in (("sleep",), ("exec",))
    )


@pytest.mark.parametrize("how", ["children files", "one pass"])
def test_descendants_are_found_in_any_session_group_or_thread(how, monkeypatch):
    if how == "one pass":
        monkeypatch.setattr(tree, "_children", lambda _pid: ([], -1))
    worker = subprocess.Popen([sys.executable, "-c", _BRANCHES])
    expected = ["1000", "1001", "1002"]
    wait_until(lambda: _sleepers(tree.descendants(worker.pid)) == expected)
    assert worker.pid not in tree.descendants(worker.pid)
    assert set(tree.descendants(worker.pid)) <= set(tree.descendants(os.getpid()))


def test_the_number_of_descendants_is_bounded():
    worker = subprocess.Popen(["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; wait"])
    wait_until(lambda: len(tree.descendants(worker.pid)) == 8)
    assert len(tree.descendants(worker.pid, limit=3)) == 3
    assert tree.descendants(worker.pid, limit=0) == ()


def test_a_process_that_is_gone_has_no_descendants():
    worker = subprocess.Popen(["true"])
    worker.wait()
    assert tree.descendants(worker.pid) == ()


def _daemon(mark):
    env = {**os.environ, **({tree.VARIABLE: mark} if mark else {})}
    worker = subprocess.Popen(
        [sys.executable, "-c", _DAEMON, "0"], env=env, stdout=subprocess.PIPE, text=True
    )
    pid = int(worker.stdout.readline())
    worker.wait()
    worker.stdout.close()
    wait_until(lambda: proc.stat(pid).parent == os.getpid())
    return pid


def test_the_mark_tells_whose_a_reparented_process_is():
    ours = _daemon(tree.mark(7, "a:b c"))
    other = _daemon(tree.mark(71, "d"))
    unmarked = _daemon("")
    foreign = _daemon("0011223344556677:7:a")  # another run's
    assert tree.mark_of(ours) == tree.Mark(7, "a:b c")
    assert tree.mark_of(other) == tree.Mark(71, "d")
    assert tree.mark_of(unmarked) is tree.mark_of(foreign) is None
    assert tree.marked(7) == (ours,)
    assert set(tree.reparented()) == {ours, other, unmarked, foreign}
    assert set(tree.reparented((ours, other))) == {unmarked, foreign}


def test_the_living_worker_and_what_it_started_are_marked_too():
    env = {**os.environ, tree.VARIABLE: tree.mark(8, "a")}
    worker = subprocess.Popen(["sh", "-c", "env -i sleep 1000 & wait"], env=env)
    wait_until(lambda: len(tree.marked(8)) == 2)
    assert tree.marked(8)[0] == worker.pid


@pytest.mark.skipif(not ROOT, reason="needs root")
def test_the_mark_of_another_users_process_is_read_as_that_user():
    worker = subprocess.Popen(
        ["setsid", "sleep", "1000"],
        env={**os.environ, tree.VARIABLE: tree.mark(9, "a")},
        user=12345,
        group=12345,
        extra_groups=[],
    )
    pid = worker.pid
    wait_until(lambda: proc.command(pid)[:1] == ("sleep",))
    assert tree.mark_of(pid) == tree.Mark(9, "a")
    assert (os.geteuid(), os.getegid()) == (0, 0)


@pytest.mark.parametrize("value", ["", "x", ":", "9" * 40, "-1:a", "\udcff:a"])
def test_a_forged_mark_is_no_mark(value):
    worker = subprocess.Popen(
        ["sleep", "1000"], env={tree.VARIABLE: tree.mark(0, "").replace(":0:", f":{value}")}
    )
    wait_until(lambda: proc.command(worker.pid)[:1] == ("sleep",))
    assert tree.mark_of(worker.pid) is None


def test_a_signal_reaches_only_the_process_that_was_identified():
    worker = subprocess.Popen(["sleep", "1000"])
    process = tree.identify(worker.pid)
    another = process.replace(started=process.started - 1)
    assert not tree.signal(another, signal.SIGKILL)
    assert tree.lives(process)
    assert not tree.lives(another)
    assert tree.signal(process, signal.SIGTERM)
    wait_until(lambda: not tree.lives(process))
    # A zombie has its pid still, and nothing reaches it.
    assert tree.identify(worker.pid) is None
    assert not tree.signal(process, signal.SIGTERM)
    assert worker.wait() == -signal.SIGTERM
    assert not tree.signal(process, signal.SIGTERM)


def test_five_hundred_descendants_are_found_in_little_time():
    script = "for i in $(seq 500); do sleep 1000 & done; wait"
    worker = subprocess.Popen(["sh", "-c", script])
    wait_until(lambda: len(tree.descendants(worker.pid)) == 500)
    shortest = min(_timed(lambda: tree.descendants(worker.pid)) for _ in range(5))
    assert shortest < 0.2


def _timed(call):
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


# As nginx, after its start: the environment is overwritten by a title.
_TITLE = """
import ctypes, os, sys
size = len(open("/proc/self/environ", "rb").read())
start = int(open("/proc/self/stat").read().rpartition(") ")[2].split()[47])
ctypes.memset(start, 0, size)
print("up", flush=True)
os.read(0, 1)
"""


@pytest.mark.parametrize("how", ["env -i", "title"])
def test_a_process_without_its_environment_is_known_by_its_limit(how):
    from entrypoint.kernel import limits

    number = tree.limit_mark(12, "a b:c")
    program = ["env", "-i", sys.executable, "-c", "print('up', flush=True); input()"]
    if how == "title":
        program = [sys.executable, "-c", _TITLE]
    env = {**os.environ, tree.VARIABLE: tree.mark(12, "a b:c")}
    with subprocess.Popen(
        program,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: limits.mark(number),
    ) as worker:
        assert worker.stdout.readline() == b"up\n"
        assert b"PYINIT_WORKER" not in proc.read(f"/proc/{worker.pid}/environ")
        assert tree.mark_of(worker.pid) == tree.Mark(12, "a b:c")
        worker.kill()


def test_the_limits_of_others_are_no_mark():
    number = tree.limit_mark(13, "a")
    assert number < 1 << 62
    worker = subprocess.Popen(["sleep", "1000"], preexec_fn=lambda: _set_locks(number ^ 1 << 40))
    unknown = subprocess.Popen(["sleep", "1000"], preexec_fn=lambda: _set_locks(number + 1))
    wait_until(lambda: all(proc.command(p.pid)[:1] == ("sleep",) for p in (worker, unknown)))
    assert tree.mark_of(worker.pid) is tree.mark_of(unknown.pid) is None


def _set_locks(value):
    import resource

    resource.setrlimit(tree.RLIMIT_LOCKS, (value, resource.getrlimit(tree.RLIMIT_LOCKS)[1]))
