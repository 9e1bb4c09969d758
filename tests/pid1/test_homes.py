"""Odd homes: limits, missing mounts, other users, no PID 1; each as it is met in the field."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import subprocess
import sys

import pytest

from tests.support.commands import answering, pyinit
from tests.support.namespace import Init, children, state
from tests.support.run import PYINIT, Run
from tests.support.wait import wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and other users need root")

SLEEP = {"script": "sleep 1000", "name": "web"}
# Another user, who may still read the interpreter where this checkout lies.
STRANGER = (
    *("setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"),
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
    *("--bounding-set", "-all,+dac_read_search"),
)


def shell(script):
    """Words that run `script` and become the command after it."""
    return ("sh", "-c", f'{script}; exec "$@"', "sh")


def reason(run, **fields):
    return run.event("worker failed to start", **fields)["reason"]


# -- limits -----------------------------------------------------------------------------


def test_few_descriptors_are_named_and_end_nothing(tmp_path):
    """Some workers have what they need, others have not."""
    apps = [{**SLEEP, "instances": 4, "exec_mode": "fork", "max_restarts": 1000}]
    for limit in range(12, 40, 2):
        with Run(tmp_path, apps, wrap=shell(f"ulimit -n {limit}")) as run:

            def tried(run=run):
                failed = run.events("worker failed to start")
                return len(run.events("worker ready")) + len(failed) >= 4

            run.until(tried, "each worker tried once")
            failed = run.events("worker failed to start")
            assert all(f"pyinit may open {limit} files" in e["reason"] for e in failed)
            both = failed and run.events("worker ready")
            # 127: some of the app were never ready, for they could not start.
            assert run.stop() == (127 if failed else 0)
            if both:
                return
    raise AssertionError("no limit at which some workers run and some do not")


def test_no_descriptor_at_all_ends_nothing(tmp_path):
    """Not even a module can be imported: then the message itself must not raise."""
    apps = [{**SLEEP, "max_restarts": 1000}]
    survived = 0
    # From what is too few to read the file, one by one, to where a run begins.
    for limit in range(7, 20):
        with Run(tmp_path, apps, wrap=shell(f"ulimit -n {limit}")) as run:
            run.until(lambda r=run: r.process.poll() is not None or r.lines, "an end or a line")
            if run.process.poll() is not None:
                assert run.wait() == 2
                assert b"Too many open files" in run.stderr
                continue
            assert f"pyinit may open {limit} files" in reason(run)
            assert run.stop() == 127
            survived += 1
            if survived == 2:
                return
    raise AssertionError("no limit at which a run begins and a worker does not")


def test_the_soft_limit_is_raised_for_pid_1_and_the_workers_get_what_it_was(tmp_path):
    app = {**SLEEP, "script": "echo $(ulimit -Sn) of $(ulimit -Hn); exec sleep 1000"}
    with Run(tmp_path, [app], wrap=shell("ulimit -Sn 64; ulimit -Hn 4096")) as run:
        run.said("64 of 4096")
        assert resource.prlimit(run.pid, resource.RLIMIT_NOFILE) == (4096, 4096)
        assert run.stop() == 0


@needs_root
def test_a_limit_of_processes_is_named_and_waited_for(tmp_path):
    apps = [{**SLEEP, "instances": 3, "exec_mode": "fork", "max_restarts": 1000}]
    # The limit counts the user's processes in all namespaces: a user of this test alone.
    loner = [word.replace("12345", "12346") for word in STRANGER]
    # One for pyinit, one for a worker.
    with Run(tmp_path, apps, wrap=(*loner, "prlimit", "--nproc=2")) as run:
        run.event("worker ready")
        assert "user 12346 may have 2 processes" in reason(run)
        # SIGHUP needs a process too: said, and nothing changes.
        run.signal(signal.SIGHUP)
        assert "user 12346 may have 2 processes" in run.event("config rejected")["reason"]
        assert run.stop() == 127


# -- mounts and users ---------------------------------------------------------------------


@needs_root
def test_nothing_writable_and_no_dev_shm(tmp_path):
    # /tmp as it is, for the checkout and the folder of the test may lie in it.
    script = (
        "for folder in /run /dev/shm /var/tmp; do mount -t tmpfs -o ro none $folder; done; "
        "mount --bind /tmp /tmp && mount -o remount,bind,ro /tmp"
    )
    with Run(tmp_path, [SLEEP], wrap=shell(script)) as run:
        run.event("worker ready")
        # Its private socket is abstract then.
        assert [app["name"] for app in answering(run)["apps"]] == ["web"]
        assert pyinit(run, "health").returncode == 0
        assert run.stop() == 0


@needs_root
@pytest.mark.parametrize("how", ["umount -l /proc", "mount --bind {outer} /proc"])
def test_without_a_proc_of_its_own(tmp_path, how):
    """It is said; what stands in another namespace's /proc is not taken for ours."""
    outer = tmp_path / "outer"
    outer.mkdir()
    script = how.format(outer=outer)
    apps = [{**SLEEP, "max_memory_restart": "1M"}]
    if "outer" in how:
        # This namespace's /proc, seen from within another.
        subprocess.run(["mount", "--rbind", "/proc", outer], check=True)
    try:
        with Run(tmp_path, apps, wrap=shell(script)) as run:
            run.event("worker ready")
            assert "/proc" in run.event("environment warning")["reason"]
            run.signal(signal.SIGTERM)
            assert run.wait() == 0
            assert not run.events("memory limit exceeded")
            assert not run.events("internal error")
    finally:
        if "outer" in how:
            subprocess.run(["umount", "-l", outer], check=True)


@needs_root
def test_a_user_that_nobody_has_named(tmp_path):
    tmp_path.chmod(0o755)
    script = 'echo "$(id -u) $HOME"; exec sleep 1000'
    with Run(tmp_path, [{**SLEEP, "script": script}], wrap=STRANGER, env={"HOME": "/"}) as run:
        run.said("12345 /")
        assert not run.events("environment warning")
        assert answering(run)
        assert run.stop() == 0


@needs_root
def test_root_that_may_not_signal_its_workers_says_so(tmp_path):
    drop = ("setpriv", "--bounding-set", "-all,+setuid,+setgid,+dac_read_search")
    app = {**SLEEP, "uid": 12345, "gid": 12345, "cwd": "/", "kill_timeout": 100}
    with Run(tmp_path, [app], wrap=drop) as run:
        run.event("worker ready")
        assert run.stop() == 137
        assert "CAP_KILL" in run.event("signal refused", signal="SIGTERM")["reason"]
        assert not run.events("internal error")


@needs_root
def test_rootless_in_a_user_namespace(tmp_path):
    wrap = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc")
    with Run(tmp_path, [SLEEP], wrap=wrap) as run:
        run.event("worker ready")
        # The outer unshare forwards nothing: the innermost is pyinit.
        pid = run.until(lambda: children(run.pid), "the inner PID 1")[0]
        os.kill(pid, signal.SIGTERM)
        assert run.wait() == 0


# -- not PID 1 ----------------------------------------------------------------------------

# A worker that leaves a daemon behind, deaf and in a session of its own.
DAEMON = """
setsid -f sh -c 'trap "" TERM INT; echo daemon; while :; do sleep 1; done'
exec sleep 1000
"""


def beside(folder, app, **popen):
    """pyinit as any process, as with `shareProcessNamespace` or `--pid=host`."""
    run = Run.__new__(Run)
    run.folder, run.path = folder, folder / "ecosystem.yaml"
    run.write(json.dumps({"apps": [app]}))
    return Init([PYINIT, "-c", run.path], pid1=False, cwd=folder, **popen)


def test_beside_others_it_ends_its_own_and_nobody_else(tmp_path):
    (tmp_path / "daemon.sh").write_text(DAEMON)
    other = os.spawnvp(os.P_NOWAIT, "sleep", ["sleep", "1000"])
    try:
        app = {**SLEEP, "script": "daemon.sh", "kill_timeout": 300}
        with beside(tmp_path, app) as init:
            init.says('"event":"daemon"')
            mine = [pid for pid in _descendants(init.pid) if pid != init.pid]
            assert len(mine) >= 2
            init.signal(signal.SIGTERM)
            assert init.wait() == 0
            assert [pid for pid in mine if state(pid) not in ("", "Z")] == []
            assert state(other) not in ("", "Z")
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


def _descendants(pid):
    found = [pid]
    for member in found:
        found.extend(children(member))
    return found


def test_behind_a_shell_that_stays_it_says_so(tmp_path):
    # `; true`: else the shell replaces itself.
    wrap = ("sh", "-c", '"$@"; true', "sh")
    with Run(tmp_path, [SLEEP], wrap=wrap) as run:
        assert "PID 1 is a shell (sh)" in run.event("environment warning")["reason"]


def test_behind_an_init_nothing_is_said(tmp_path):
    with Run(tmp_path, [SLEEP], wrap=("tini", "--")) as run:
        run.event("worker ready")
        assert not run.events("environment warning")
        # tini passes the signal on, and the exit code back.
        assert run.stop() == 0


# -- signals, terminals -------------------------------------------------------------------


def test_a_suspended_worker_hears_its_stop(tmp_path):
    with Run(tmp_path, [{**SLEEP, "kill_timeout": "10m"}]) as run:
        worker = run.outer_pid(run.event("worker ready")["pid"])
        os.kill(worker, signal.SIGSTOP)
        wait_until(lambda: state(worker) == "T", "a suspended worker")
        assert run.stop() == 0


FORWARDED = [signal.SIGUSR1, signal.SIGUSR2, signal.SIGURG, signal.SIGRTMIN, signal.SIGALRM]
IGNORED = [signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGPIPE, signal.SIGCHLD]
PRINT_SIGNALS = """
import os, signal
for each in signal.valid_signals() - {9, 17, 19}:
    signal.signal(each, lambda number, _frame: os.write(1, b"got %d\\n" % number))
os.write(1, b"ready\\n")
while True:
    signal.pause()
"""


def test_docker_kill_of_each_kind(tmp_path):
    (tmp_path / "show.py").write_text(PRINT_SIGNALS)
    app = {"name": "web", "script": "show.py", "interpreter": sys.executable}
    with Run(tmp_path, [{**app, "kill_timeout": 100}]) as run:
        run.said("ready")
        for number in (*IGNORED, *FORWARDED):
            run.signal(number)
        for number in FORWARDED:
            run.said(f"got {int(number)}")
        got = {record["event"] for record in run.records}
        assert got.isdisjoint(f"got {int(number)}" for number in IGNORED)
        assert run.stop() == 137


def on_a_terminal(folder):
    """pyinit as a shell in a terminal starts it: pid and the terminal's other end."""
    beside(folder, SLEEP, stdin=None).__exit__()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execv(PYINIT, ["pyinit", "-c", "ecosystem.yaml"])
    return pid, terminal


@pytest.mark.parametrize("how", ["ctrl-c", "closed"])
def test_the_end_of_a_terminal_is_a_stop(tmp_path, how):
    """A closed terminal sends SIGHUP, which else means a reload."""
    pid, terminal = on_a_terminal(tmp_path)
    try:
        said = b""
        while b"worker ready" not in said:
            said += os.read(terminal, 65536)
        worker = next(child for child in children(pid) if state(child) != "Z")
        if how == "ctrl-c":
            # Ctrl-Z is nobody's here: the workers are not the terminal's.
            os.write(terminal, b"\x1a\x03")
        else:
            os.close(terminal)
        wait_until(lambda: _ended(pid), "its end")
        assert os.waitpid(pid, 0)[1] == 0
        assert state(worker) in ("", "Z")
    finally:
        if how == "ctrl-c":
            os.close(terminal)


def _ended(pid):
    return state(pid) in ("", "Z")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(tmp_path, closed):
    """The numbers 0 to 2 must not go to a socket, which a worker would then write to."""
    (tmp_path / "out").touch()
    script = f"ls -l /proc/self/fd > {tmp_path}/out; exec sleep 1000"
    wrap = ("sh", "-c", f'exec "$@" {closed}', "sh")
    with Run(tmp_path, [{**SLEEP, "script": script}], wrap=wrap) as run:
        wait_until(lambda: "2 -> pipe" in (tmp_path / "out").read_text(), "the worker's files")
        assert "socket" not in "".join(os.readlink(f"/proc/{run.pid}/fd/{n}") for n in range(3))
        assert run.stop() == 0
