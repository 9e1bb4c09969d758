"""entrypoint/kernel against Linux: spawn, its channel, signals, reaping, the sweep."""

from __future__ import annotations

import errno
import os
import pwd
import signal
import subprocess
import sys

import pytest

from entrypoint.kernel import child_report, kill, process, reap, signals
from entrypoint.kernel.child_report import Execed, Executing, SpawnFailed
from entrypoint.kernel.process import SpawnRequest
from entrypoint.shell.command import Command, Options
from tests.support.namespace import Init, signal_sets, state
from tests.support.wait import wait_until

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="needs root")


def spawned(*argv, output=True, whole=False, **fields):
    """Run to the end: `(channel's messages, wait status, stdout)`."""
    env = fields.pop("env", dict(os.environ))
    reading, writing = os.pipe()
    try:
        request = SpawnRequest(argv, env, stdout=writing if output else None, **fields)
        child = process.spawn(request)
    finally:
        os.close(writing)
    with open(reading, "rb") as file:
        said = file.read()
    _, status = os.waitpid(child.pid, 0)
    messages = child_report.read_channel(child.channel)
    os.close(child.channel)
    if not whole:
        messages = tuple(each for each in messages if each != Executing())
    return messages, status, said.decode()


def python(program, **fields):
    return spawned(sys.executable, "-S", "-c", program, **fields)


def test_a_program_that_starts_closes_the_channel():
    messages, status, said = spawned("sh", "-c", "echo $0 here; exit 3", whole=True)
    assert messages == (Executing(), Execed())
    assert reap.exit_code(status) == 3
    assert said == "sh here\n"


@pytest.mark.parametrize("how", ["kill", "pending"])
def test_a_child_that_is_killed_on_its_way_to_exec_has_not_executed(monkeypatch, how):
    """SIGTERM is blocked until just before exec: what came meanwhile ends the child there."""
    number = signal.SIGKILL if how == "kill" else signal.SIGTERM
    step = (("killed", lambda: os.kill(os.getpid(), number)),)
    monkeypatch.setattr(process, "_identity", lambda _request: step)
    messages, status, _ = spawned("sh", "-c", "exit 3", whole=True)
    assert messages == (Execed(),)
    assert os.WTERMSIG(status) == number


def test_the_channel_never_blocks():
    child = process.spawn(SpawnRequest(("sleep", "1000"), dict(os.environ)))
    try:
        event: tuple[object, ...] = ()
        while Execed() not in event:
            event += child_report.read_channel(child.channel)
        assert event == (Executing(), Execed())
    finally:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        os.close(child.channel)


@pytest.mark.parametrize(
    ("fields", "stage", "number"),
    [
        ({"cwd": "/no/such/folder"}, "chdir", errno.ENOENT),
        ({"cwd": "/etc/passwd"}, "chdir", errno.ENOTDIR),
        ({"stdin": 999}, "descriptors", errno.EBADF),
        ({"keep_fds": ((999, 3),)}, "descriptors", errno.EBADF),
    ],
)
def test_what_fails_is_told_by_its_stage(fields, stage, number):
    (event,), _, _ = spawned("true", **fields)
    assert isinstance(event, SpawnFailed)
    assert (event.stage, event.errno) == (stage, number)
    assert event.text.startswith(f"{stage}: {os.strerror(number)}")


def test_exec_fails_with_a_shells_exit_code(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("x")
    for command, number, code in (
        ("no-such-command", errno.ENOENT, 127),
        (str(plain), errno.EACCES, 126),
        (str(tmp_path), errno.EACCES, 126),
        ("", errno.ENOENT, 127),
    ):
        (event,), _, _ = spawned(command)
        assert (event.stage, event.errno, event.exit_code) == ("exec", number, code)


def test_a_nul_in_an_argument_is_an_error_and_no_crash():
    (event,), _, _ = spawned("echo", "a\0b")
    assert (event.stage, event.errno) == ("exec", errno.EINVAL)
    assert "null" in event.detail


def test_the_path_is_that_of_the_child(tmp_path):
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho found\n")
    tool.chmod(0o755)
    assert spawned("tool", env={"PATH": str(tmp_path)})[2] == "found\n"
    # Relative to its own working directory, and the system's folders without a PATH.
    assert spawned("./tool", cwd=str(tmp_path))[2] == "found\n"
    assert spawned("echo", "x", env={})[2] == "x\n"


def test_two_descriptors_for_one_number_are_refused_before_the_fork():
    with pytest.raises(ValueError, match="number 3"):
        process.spawn(SpawnRequest(("true",), {}, keep_fds=((0, 3), (1, 3))))


def test_descriptors_arrive_at_their_numbers_and_nothing_else_does(tmp_path):
    """Targets that are others' sources, in both directions and in a ring."""
    files = {}
    leaks = []
    try:
        for name in "abcde":
            path = tmp_path / name
            path.write_text(name)
            files[name] = os.open(path, os.O_RDONLY)
        leaks = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
        for fd in leaks:
            os.set_inheritable(fd, True)
        a, b, c, d, e = files.values()
        # A ring of three, one in place, one on to the source of nobody.
        keep = ((a, b), (b, c), (c, a), (d, d), (e, e + 40))
        program = (
            "import os\n"
            "for fd in sorted(int(n) for n in os.listdir('/proc/self/fd')):\n"
            "    if fd > 2:\n"
            "        try: print(fd, os.read(fd, 9).decode())\n"
            "        except OSError: pass\n"
        )
        _, status, said = python(program, keep_fds=keep)
        assert status == 0
        expected = {b: "a", c: "b", a: "c", d: "d", e + 40: "e"}
        assert {int(n): v for n, v in map(str.split, said.splitlines())} == expected
    finally:
        for fd in (*files.values(), *leaks):
            os.close(fd)


def test_the_channels_own_number_may_be_a_target(tmp_path):
    """LISTEN_FDS begin at 3 whatever is open there."""
    path = tmp_path / "f"
    path.write_text("kept")
    with open(path, "rb") as file:
        keep = tuple((file.fileno(), number) for number in range(3, 40))
        messages, _, said = python(
            "import os; print(sum(os.fstat(n).st_size for n in range(3, 40)))", keep_fds=keep
        )
        assert (messages, said) == ((Execed(),), f"{4 * 37}\n")
        (event,), _, _ = spawned("no-such-command", keep_fds=keep)
        assert event.errno == errno.ENOENT


def test_standard_streams_may_be_swapped():
    _, status, said = python("import os; os.write(2, b'x')", output=False, stderr=1, stdin=1)
    assert status == 0, said


def test_signals_are_as_at_the_beginning_of_a_program():
    before = {n: signal.getsignal(n) for n in (signal.SIGUSR1, signal.SIGHUP)}
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        _, _, said = spawned("cat", "/proc/self/status")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    sets = signal_sets(said)
    assert sets["SigBlk"] == sets["SigIgn"] == sets["SigCgt"] == set()


def test_mask_and_handlers_of_the_caller_stay():
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    handlers = {n: signal.getsignal(n) for n in signals.ALL}
    spawned("true")
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    assert {n: signal.getsignal(n) for n in signals.ALL} == handlers


def test_it_leads_a_group_or_a_session():
    program = "import os; print(os.getpid() == os.getpgrp(), os.getpid() == os.getsid(0))"
    assert python(program)[2] == "True False\n"
    assert python(program, new_session=True)[2] == "True True\n"
    assert python(program, new_group=False)[2] == "False False\n"


def test_a_signal_right_after_spawn_reaches_the_group():
    for _ in range(20):
        child = process.spawn(SpawnRequest(("sleep", "1000"), dict(os.environ)))
        assert kill.send_signal(child.pid, signal.SIGTERM, group=True)
        _, status = os.waitpid(child.pid, 0)
        assert os.WTERMSIG(status) == signal.SIGTERM
        os.close(child.channel)


def test_listen_pid_is_the_childs_own():
    program = "import os; print(os.environ['LISTEN_PID'] == str(os.getpid()))"
    assert python(program, own_pid=("LISTEN_PID",))[2] == "True\n"
    assert "LISTEN_PID" not in spawned("env", env={"PATH": os.environ["PATH"]})[2]


def test_umask_and_nice():
    said = python("import os; print(os.umask(0), os.nice(0))", umask=0o027, nice=5)[2]
    assert said == f"{0o027} {os.nice(0) + 5}\n"


@needs_root
def test_user_and_groups_are_those_asked_for():
    nobody = pwd.getpwnam("nobody")
    u, g = nobody.pw_uid, nobody.pw_gid

    def who(**fields):
        # Not Python's: the interpreter may be in a folder that is closed to others.
        said = spawned("cat", "/proc/self/status", uid=u, gid=g, **fields)[2]
        lines = dict(line.split(":", 1) for line in said.splitlines())
        assert lines["Uid"].split() == [str(u)] * 4
        assert lines["Gid"].split() == [str(g)] * 4
        return [int(group) for group in lines["Groups"].split()]

    assert who() == [g]
    assert who(groups=(5, 6)) == [5, 6]
    assert who(user="nobody") == [g]


@needs_root
def test_the_folder_is_entered_as_the_worker(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (event,), _, _ = spawned("true", cwd=str(closed), uid=12345, gid=12345)
    assert (event.stage, event.errno) == ("chdir", errno.EACCES)


@needs_root
def test_without_privilege_the_change_of_user_is_refused_by_name():
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(())
            os.setresgid(12345, 12345, 12345)
            os.setresuid(12345, 12345, 12345)
            (event,), _, _ = spawned("true", uid=1, gid=1)
            same, _, _ = spawned("true", uid=12345, gid=12345)
            ok = event.stage == "setgid" and event.errno == errno.EPERM and same == (Execed(),)
            os._exit(0 if ok else 1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_worker_dies_with_its_parent(tmp_path):
    program = """
import os
from entrypoint.kernel import child_report, process
child = process.spawn(process.SpawnRequest(
    ("sleep", "1000"), dict(os.environ), parent_death_signal=9))
while child_report.Execed() not in child_report.read_channel(child.channel):
    pass
print(child.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    parent = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert parent.returncode == -9, parent.stderr
    wait_until(lambda: state(int(parent.stdout)) in {"", "Z"})


def test_everybody_is_never_a_worker():
    for pid in (1, 0, -1):
        with pytest.raises(ValueError, match="pid"):
            kill.send_signal(pid, 0)


def test_a_group_is_there_until_it_is_reaped():
    child = process.spawn(SpawnRequest(("true",), dict(os.environ)))
    os.close(child.channel)
    assert kill.group_exists(child.pid)
    os.waitpid(child.pid, 0)
    assert not kill.group_exists(child.pid)
    assert not kill.send_signal(child.pid, signal.SIGTERM)


# -- the sweep -------------------------------------------------------------------------------


def test_the_sweep_is_refused_outside_pid_1():
    """kill(-1) here would end the tests, and outside a namespace the machine."""
    called = []
    with pytest.raises(kill.NotInitError):
        kill.sweep(signal.SIGKILL, kill=lambda *args: called.append(args))
    assert called == []


@pytest.mark.parametrize(
    ("pid", "parent", "inner"),
    [
        (1, 0, (2,)),  # /proc says that we are not
        (1, 0, (1, 7)),
        (1, 5, (1,)),  # init has no parent
        (2, 0, (1,)),
        (4711, 1, (4711,)),
    ],
)
def test_the_sweep_believes_nobody_alone(monkeypatch, pid, parent, inner):
    monkeypatch.setattr(os, "getpid", lambda: pid)
    monkeypatch.setattr(os, "getppid", lambda: parent)
    monkeypatch.setattr("entrypoint.kernel.proc.namespace_pids", lambda: inner)
    called = []
    with pytest.raises(kill.NotInitError):
        kill.sweep(signal.SIGKILL, kill=lambda *args: called.append(args))
    assert called == []


SWEEP = """
import os, signal, sys
sys.path.insert(0, {root!r})
from entrypoint.kernel import kill
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    children.append(pid)
assert kill.sweep(signal.SIGKILL)
for pid in children:
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
assert not kill.sweep(signal.SIGKILL)
print("swept", flush=True)
"""


@pytest.mark.pid1
def test_as_pid_1_it_reaches_everything_in_its_namespace_and_nothing_else():
    with Init(["sleep", "1000"], pid1=False) as outside:
        with Init([sys.executable, "-c", SWEEP.format(root=os.getcwd())]) as run:
            assert run.wait() == 0, run.story()
            assert run.out == "swept\n"
        assert state(outside.pid) == "S"


# -- reaping and signals -----------------------------------------------------------------------


def test_reap_takes_all_that_have_ended_and_never_waits():
    assert reap.reap() == ([], 0)
    pids = set()
    for _ in range(50):
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        pids.add(pid)
    ended = {}
    wait_until(lambda: ended.update(reap.reap()[0]) or len(ended) == 50)
    assert set(ended) == pids
    assert {reap.exit_code(status) for status in ended.values()} == {7}


def test_reap_tells_those_that_are_known_and_counts_the_others():
    pids = []
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            os._exit(7)
        pids.append(pid)
    known, event, others = frozenset(pids[:3]), [], []

    def all_ended():
        ended, orphans = reap.reap(known)
        event.extend(pid for pid, _ in ended)
        others.append(orphans)
        return len(event) + sum(others) == 20

    wait_until(all_ended)
    assert set(event) == known


def test_one_call_of_reap_is_bounded(monkeypatch):
    monkeypatch.setattr(reap, "BATCH", 10)
    for _ in range(25):
        if os.fork() == 0:
            os._exit(0)
    counts = []
    wait_until(lambda: counts.append(len(reap.reap()[0])) or sum(counts) == 25)
    assert max(counts) <= 10


def test_a_command_reaps_all_that_have_ended_however_little_time_a_call_has(monkeypatch):
    """No SIGCHLD may follow for those that one call leaves."""
    monkeypatch.setattr(reap, "TIME", -1.0)
    one = Command(Options({}))
    pids = []
    for _ in range(20):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert one.reap()
    # Other tests of this process may have children, so each of these is asked for by itself.
    for pid in pids:
        with pytest.raises(ChildProcessError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)


def test_signals_come_in_order_and_sigchld_once():
    pid = os.fork()
    if pid == 0:
        try:
            pipe = signals.SignalPipe()
            signals.install_handlers(pipe)
            sent = [signal.SIGUSR2, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP]
            sent += [signal.SIGCHLD, signal.SIGCHLD, signal.SIGRTMIN + 1]
            for number in sent:
                os.kill(os.getpid(), number)
            read = pipe.read()
            wanted = list(dict.fromkeys(int(number) for number in sent))
            os._exit(0 if read == wanted and pipe.read() == [] else 1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_flood_does_not_hide_a_stop():
    pid = os.fork()
    if pid == 0:
        try:
            pipe = signals.SignalPipe()
            signals.install_handlers(pipe)
            for _ in range(70_000):
                os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0 if signal.SIGTERM in pipe.read() else 1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0


def test_the_channel_is_not_for_the_program():
    """It would keep a notifier, and us waiting."""
    _, _, said = spawned("ls", "-l", "/proc/self/fd")
    assert "socket:" not in said
