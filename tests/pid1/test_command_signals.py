"""`pyinit -- CMD`: every signal reaches the command, and job control works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support.inits import PRINT_SIGNALS, inits, words
from tests.support.namespace import Init, children, descendants, signal_sets, state
from tests.support.wait import wait_until

pytestmark = pytest.mark.pid1

SUSPENDS = [signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU]
STANDARD = [n for n in range(1, 32) if n not in {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}]
REAL_TIME = [signal.SIGRTMIN, signal.SIGRTMIN + 7, signal.SIGRTMAX]
FAULTS = {
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGABRT,
    signal.SIGTRAP,
    signal.SIGSYS,
}


def received(run):
    return [int(line) for line in run.lines[1:]]


@inits("pyinit", "tini", "dumb-init")
def test_each_signal_reaches_the_command_once_and_in_order(init):
    wanted = [n for n in STANDARD if n not in SUSPENDS]
    if init == "tini":
        # It leaves faults to the kernel, which drops them for PID 1.
        wanted = [n for n in wanted if n not in FAULTS]
    if init != "dumb-init":
        wanted += REAL_TIME
    with Init([*words(init), *PRINT_SIGNALS]) as run:
        run.says("ready")
        for count, number in enumerate(wanted, 1):
            run.signal(number)
            wait_until(lambda: len(received(run)) >= count, lambda: f"{number}: {run.story()}")  # noqa: B023
        assert received(run) == [int(number) for number in wanted]


def test_suspending_signals_reach_the_command_under_pid_1_too():
    with Init([*words("pyinit"), *PRINT_SIGNALS]) as run:
        run.says("ready")
        for number in SUSPENDS:
            run.signal(number)
            run.says(f"\n{int(number)}\n")
        assert state(run.pid) == "S"


@inits("pyinit", "dumb-init")
@pytest.mark.parametrize("number", SUSPENDS)
def test_outside_pid_1_it_suspends_with_the_command_and_wakes_with_it(init, number):
    with Init([*words(init), *PRINT_SIGNALS], pid1=False) as run:
        run.says("ready")
        run.signal(number)
        run.says(f"\n{int(number)}\n")
        wait_until(lambda: state(run.pid) == "T", run.story)
        run.signal(signal.SIGCONT)
        run.says(f"\n{int(signal.SIGCONT)}\n")
        wait_until(lambda: state(run.pid) == "S", run.story)


def test_a_command_that_really_stops_is_continued():
    with Init([*words("pyinit"), "sleep", "1000"], pid1=False) as run:
        child = wait_until(lambda: children(run.pid))[0]
        wait_until(lambda: state(child) == "S")
        run.signal(signal.SIGTSTP)
        wait_until(lambda: state(child) == "T" and state(run.pid) == "T", run.story)
        run.signal(signal.SIGCONT)
        wait_until(lambda: state(child) == "S" and state(run.pid) == "S", run.story)
        run.signal(signal.SIGTERM)
        assert run.wait() == 128 + signal.SIGTERM


# The leader ignores SIGUSR1, its child does not.
IGNORING = 'trap \'\' USR1; python3 -c \'import signal, os; signal.signal(10, signal.SIG_DFL); \
print("ready", flush=True); os.execvp("sleep", ["sleep", "1000"])\'; exit 5'


@pytest.mark.parametrize(
    ("init", "options", "env"),
    [
        ("pyinit", ["-g"], {}),
        ("pyinit", [], {"TINI_KILL_PROCESS_GROUP": "1"}),
        ("tini", ["-g"], {}),
        ("tini", [], {"TINI_KILL_PROCESS_GROUP": "1"}),
    ],
)
def test_with_g_the_whole_group_is_signalled(init, options, env):
    with Init([*words(init, *options), "sh", "-c", IGNORING], env=env) as run:
        run.says("ready")
        run.signal(signal.SIGUSR1)
        assert run.wait() == 5


@inits("pyinit", "tini", "dumb-init")
def test_without_g_only_the_command_is_signalled(init):
    script = "trap 'echo got it; exit 7' USR1; sleep 1000 & echo ready; wait"
    with Init([*words(init), "sh", "-c", script], pid1=False) as run:
        run.says("ready")
        # Of the group that is to be spared: the shell and `sleep`.
        shell, sleep = wait_until(
            lambda: len(found := descendants(run.pid)) == 3 and found[1:], run.story
        )
        run.signal(signal.SIGUSR1)
        assert run.wait() == 7
        assert not state(shell)
        wait_until(lambda: state(sleep) == "S", run.story)
        os.kill(sleep, signal.SIGKILL)


def test_a_group_may_finish_after_its_leader():
    """What dumb-init does for a session: SIGTERM to all, and it waits for them."""
    member = "trap 'sleep 0.2; echo finished; exit' TERM; echo ready; while :; do sleep 0.05; done"
    script = f"sh -c '{member.replace(chr(39), chr(34))}' & while :; do sleep 0.05; done"
    with Init([*words("pyinit", "-g"), "sh", "-c", script]) as run:
        run.says("ready")
        run.signal(signal.SIGTERM)
        assert run.wait() == 128 + signal.SIGTERM
        assert "finished" in run.out


def test_sigterm_again_leaves_a_group_its_time_and_ctrl_c_ends_it():
    script = "(trap '' TERM; echo ready; while :; do sleep 0.05; done) & wait"
    with Init([*words("pyinit", "-g"), "sh", "-c", script]) as run:
        run.says("ready")
        leader = children(run.pid)[0]
        run.signal(signal.SIGTERM)
        wait_until(lambda: not state(leader), run.story)
        run.signal(signal.SIGTERM)
        time.sleep(0.6)  # the rule is about time
        assert state(run.pid) == "S"
        run.signal(signal.SIGINT)
        assert run.wait() == 128 + signal.SIGTERM


def test_a_sigterm_during_boot_ends_it_at_once():
    """As soon as PID 1 has a handler at all, before its imports are done."""
    for _ in range(10):
        with Init([*words("pyinit"), sys.executable, "-c", "while True: pass"]) as run:
            pid = run.pid

            def listens(pid=pid):
                try:
                    with open(f"/proc/{pid}/status", encoding="ascii") as file:
                        sets = signal_sets(file.read())
                except (OSError, UnicodeDecodeError):
                    return True
                return signal.SIGTERM in sets["SigCgt"]

            wait_until(listens, run.story)
            run.signal(signal.SIGTERM)
            assert run.wait() == 128 + signal.SIGTERM


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM"])
@inits("pyinit", "tini")
def test_p_is_the_parents_death_signal(init, name):
    """The parent of the init ends; the init gets the signal and forwards it."""
    parent = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
while b"ready" not in (line := child.stdout.readline()):
    pass
os.write(1, line)
os.set_blocking(0, True)
os.read(0, 1)
"""
    program = f"""
import signal, os
def got(number, frame):
    os.write(2, b"got %d" % number)
    os._exit(0)
signal.signal(signal.{name}, got)
os.write(1, b"ready\\n")
while True:
    signal.pause()
"""
    command = [*words(init, "-p", name), sys.executable, "-c", program]
    with Init([sys.executable, "-c", parent, *command], pid1=False, stdin=subprocess.PIPE) as run:
        run.says("ready")
        run.process.stdin.close()
        run.wait()
        wanted = f"got {int(getattr(signal, name))}"
        wait_until(lambda: wanted in run.err, run.story)


# Says that its signals are ignored, makes an orphan at its word, and ends a little later.
ORPHAN_THEN_EXIT = """
import os, signal, sys, time
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
print("ready", flush=True)
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(0.2)
    os._exit(0)
os.wait()
time.sleep(0.5)
sys.exit(7)
"""


# So long that no pause of a loaded machine is as long.
GATHERING = """
import sys
import time
from entrypoint.shell import command
command.GATHER = 0.5
sys.exit(command.main(sys.argv[1:]))
"""
FLOOD = """
import os, sys, time
while True:
    os.kill(int(sys.argv[1]), int(sys.argv[2]))
    time.sleep(0.005)
"""


def test_signals_that_keep_coming_put_off_no_reaping():
    pyinit = [sys.executable, "-c", GATHERING, "--"]
    with Init([*pyinit, sys.executable, "-c", ORPHAN_THEN_EXIT]) as run:
        run.says("ready")
        flood = [sys.executable, "-c", FLOOD, str(run.pid), str(int(signal.SIGUSR1))]
        with subprocess.Popen(flood, stderr=subprocess.DEVNULL) as sender:
            try:
                assert run.wait() == 7
            finally:
                sender.kill()
