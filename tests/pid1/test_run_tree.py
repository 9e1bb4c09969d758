"""What ends with a worker, and what is left of it, on real processes (`treekill`)."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.commands import pyinit
from tests.support.run import Run

PYTHON = sys.executable
LONG = {"kill_timeout": "10m"}  # whoever needs SIGKILL makes the test fail

OTHER = {"name": "other", "script": "sleep 1000"}

# Children in all positions: their numbers are what they sleep.
CHILDREN = """
import os, subprocess, sys, threading, time
DEVNULL = subprocess.DEVNULL
def start(*words, **how):
    subprocess.Popen(words, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, **how)
start("sleep", "2001")                                                # its own group
start("sleep", "2002", start_new_session=True)                        # a session
start("sh", "-c", "setsid sleep 2003 & exec sleep 2004", process_group=0)
thread = threading.Thread(target=lambda: (start("sleep", "2005", start_new_session=True),
                                          time.sleep(1000)), daemon=True)
thread.start()
start("env", "-i", "/bin/sh", "-c", "exec setsid /bin/sleep 2006")    # no mark
print("up", flush=True)
time.sleep(1000)
"""
ALL = {2001, 2002, 2003, 2004, 2005, 2006}

# A daemon by the book; its parents have ended when the app says `up`.
DAEMON = """
import os, sys, time
def daemon(*words):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.execvp(words[0], words)
    os.wait()
daemon("sleep", "3001")
print("up", flush=True)
time.sleep(1000)
"""


def python(folder, name, code, **keys):
    (folder / f"{name}.py").write_text(code)
    return {"name": name, "script": f"{name}.py", "interpreter": PYTHON, **keys}


def sleeping(run) -> set[int]:
    """What the `sleep` processes of the container sleep, those of more than 1000 s."""
    try:
        space = os.stat(f"/proc/{run.pid}/ns/pid").st_ino
    except OSError:
        return set()
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "ns/pid").stat().st_ino == space:
                name, _, number = (entry / "cmdline").read_bytes().rstrip(b"\0").rpartition(b"\0")
                if name.endswith(b"sleep"):
                    found.add(int(number))
        except (OSError, ValueError):
            continue
    return {number for number in found if number > 1000}


@pytest.mark.parametrize("command", ["stop", "restart"])
def test_a_stop_takes_the_tree_in_whatever_group_or_session(tmp_path, command) -> None:
    with Run(tmp_path, [python(tmp_path, "app", CHILDREN, **LONG), OTHER]) as run:
        run.said("up")
        run.until(lambda: sleeping(run) == ALL, "all children")
        run.until(lambda: len(run.events("worker started")) == 2, "both starts in the log")
        assert pyinit(run, command, "app").returncode == 0
        if command == "stop":
            run.until(lambda: not sleeping(run), "an end of all children")
        else:
            run.said("up", 2)
            run.until(lambda: sleeping(run) == ALL, "the new children alone")
        assert len(run.events("worker exited", app="other")) == 0
        assert run.stop() == 0


def test_the_group_alone_or_nothing_where_the_file_says_so(tmp_path) -> None:
    apps = [
        python(tmp_path, "group", CHILDREN, treekill="group", **LONG),
        {"name": "none", "script": "sh -c 'sleep 4001 & exec sleep 1000'", "treekill": False},
    ]
    with Run(tmp_path, [*apps, OTHER]) as run:
        run.said("up")
        run.until(lambda: sleeping(run) == {*ALL, 4001}, "all children")
        assert pyinit(run, "stop", "all").returncode == 0
        run.until(lambda: sleeping(run) == {*ALL, 4001} - {2001}, "an end of the group")
        # The end of the container stops them all.
        assert run.stop() == 0
        assert {name.split()[0] for e in run.events("processes left") for name in e["processes"]}


def test_a_daemon_outlives_a_restart_is_named_and_ends_with_the_container(tmp_path) -> None:
    with Run(tmp_path, [python(tmp_path, "app", DAEMON, **LONG), OTHER]) as run:
        run.said("up")
        run.until(lambda: sleeping(run) == {3001}, "the daemon")
        (app,) = json.loads(pyinit(run, "describe", "app", "--json").stdout)
        assert [each["name"] for each in app["left_behind"]] == ["sleep"]
        assert "sleep (pid" in pyinit(run, "describe", "app").stdout
        assert pyinit(run, "stop", "app").returncode == 0
        assert sleeping(run) == {3001}
        assert run.stop() == 0
        (left,) = run.events("processes left")
        assert left["signal"] == "SIGTERM"
        assert left["processes"] == [f"sleep (pid {app['left_behind'][0]['pid']}, of app)"]


def test_treekill_all_takes_daemons_too(tmp_path) -> None:
    with Run(tmp_path, [python(tmp_path, "app", DAEMON, treekill="all", **LONG), OTHER]) as run:
        run.said("up")
        run.until(lambda: sleeping(run) == {3001}, "the daemon")
        assert pyinit(run, "stop", "app").returncode == 0
        run.until(lambda: not sleeping(run), "an end of the daemon")
        assert run.stop() == 0


def test_a_crash_leaves_nothing_for_the_next_worker_to_meet(tmp_path) -> None:
    with Run(tmp_path, [python(tmp_path, "app", CHILDREN + DAEMON, **LONG), OTHER]) as run:
        run.said("up")
        run.until(lambda: sleeping(run) >= ALL, "all children")
        os.kill(run.outer_pid(run.event("worker started", app="app")["pid"]), signal.SIGKILL)
        run.said("up", 2)
        run.until(lambda: sleeping(run) == ALL, "the new children alone")
        _, second = run.events("worker started", app="app")
        run.event("worker ready", pid=second["pid"])
        assert run.stop() == 0


def test_a_one_shot_keeps_its_daemons(tmp_path) -> None:
    code = DAEMON.replace("time.sleep(1000)\n", "")
    apps = [python(tmp_path, "once", code, autorestart=False), OTHER]
    with Run(tmp_path, apps) as run:
        run.event("worker finished", app="once")
        run.until(lambda: sleeping(run) == {3001}, "the daemon")  # it may have yet to exec
        assert run.stop() == 0
        assert run.events("processes left")


# Starts a child in a session of its own when it is told to stop, and takes its time.
LATE = """
import os, signal, subprocess, sys, time
def stop(*_):
    subprocess.Popen(["sleep", "5001"], start_new_session=True)
    time.sleep(0.2)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
while True:
    signal.pause()
"""


def test_what_starts_during_the_stop_ends_with_it(tmp_path) -> None:
    with Run(tmp_path, [python(tmp_path, "app", LATE, **LONG), OTHER]) as run:
        run.said("up")
        assert pyinit(run, "stop", "app").returncode == 0
        run.until(lambda: not sleeping(run), "an end of the child")
        assert run.stop() == 0


# A bomb within bounds: every process starts another one in a session of its own and lives on.
BOMB = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
left = 300
print("up", flush=True)
while left:
    left -= 1
    if os.fork() == 0:
        os.setsid()
    else:
        while True:
            time.sleep(1000)
time.sleep(1000)
"""


def test_a_chain_of_300_sessions_that_ignore_the_signal_is_killed(tmp_path) -> None:
    with Run(tmp_path, [python(tmp_path, "bomb", BOMB, kill_timeout=200), OTHER]) as run:
        run.said("up")

        def living():
            space = os.stat(f"/proc/{run.pid}/ns/pid").st_ino
            return sum(_in_space(pid, space) for pid in os.listdir("/proc") if pid.isdigit())

        run.until(lambda: living() > 250, "a bomb")
        assert pyinit(run, "stop", "bomb").returncode == 0
        run.until(lambda: living() == 2, "an end of the bomb")
        assert not run.events("processes of the worker do not die")
        assert run.stop() == 0


def _in_space(pid, space):
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino == space
    except OSError:
        return False


def test_a_suspended_descendant_in_its_own_session_hears_the_signal(tmp_path) -> None:
    code = CHILDREN.replace(
        'print("up"', 'os.system("pkill -STOP -f \'^sleep 200[0-9]\'")\nprint("up"'
    )
    with Run(tmp_path, [python(tmp_path, "app", code, **LONG), OTHER]) as run:
        run.said("up")
        run.until(lambda: sleeping(run) == ALL, "all children")
        assert pyinit(run, "stop", "app").returncode == 0
        run.until(lambda: not sleeping(run), "an end of all children")
        assert run.stop() == 0


# Ignores the stop signals and tries to hide in another app's process group.
MOVES = """
import os, signal, time
for each in (signal.SIGTERM, signal.SIGINT):
    signal.signal(each, signal.SIG_IGN)
for entry in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
    try:
        if open(f"/proc/{entry}/comm").read() == "sleep\\n":
            os.setpgid(0, int(entry))
    except OSError:
        pass
print("up", flush=True)
time.sleep(1000)
"""


def test_a_worker_cannot_hide_in_another_apps_group(tmp_path) -> None:
    apps = [OTHER, python(tmp_path, "moves", MOVES, kill_timeout=200, depends_on=["other"])]
    with Run(tmp_path, apps) as run:
        run.said("up")
        assert pyinit(run, "restart", "other").returncode == 0
        assert not run.events("worker exited", app="moves")
        assert pyinit(run, "restart", "moves").returncode == 0
        assert len(run.events("worker killed", app="moves")) == 1
        assert len(run.events("worker exited", app="other")) == 1


# They are in a session of their own before this ends: what is still in its group ends with it.
# Of the second SIGINT is ignored, as a shell does for what it starts with `&`.
STARTS = """
import signal, subprocess, sys
if sys.argv[1] == "b":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
subprocess.Popen([sys.executable, "says.py", sys.argv[1]], start_new_session=True)
"""

# Daemons that say what they get.
SAYS = """
import os, signal, sys, time
def term(number, _frame):
    os.write(1, f"{sys.argv[1]} got {signal.Signals(number).name}\\n".encode())
    time.sleep(0.3)
    os.write(1, f"{sys.argv[1]} saved\\n".encode())
    os._exit(0)
signal.signal(signal.SIGTERM, term)
if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, term)
os.write(1, b"up\\n")
while True:
    signal.pause()
"""


def test_what_is_left_gets_its_signal_and_its_time_at_the_end(tmp_path) -> None:
    (tmp_path / "says.py").write_text(SAYS)
    (tmp_path / "starts.py").write_text(STARTS)
    start = f"{PYTHON} starts.py"
    apps = [
        {"name": "int", "script": f"{start} a", "kill_signal": "SIGINT"},
        {"name": "bg", "script": f"{start} b", "kill_signal": "SIGINT"},
        {"name": "term", "script": f"{start} c"},
    ]
    apps = [{**app, "autorestart": False} for app in apps]
    with Run(tmp_path, [*apps, OTHER]) as run:
        run.said("up", 3)
        run.until(lambda: len(run.events("worker finished")) == 3)
        assert run.stop() == 0
        run.said("a got SIGINT")
        run.said("b got SIGTERM")
        run.said("c got SIGTERM")
        assert {line["event"][0] for line in run.records if "saved" in line["event"]} == set("abc")


# A daemon that ignores SIGTERM, in a session of its own before its starter ends.
DEAF = """
import signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(["sh", "-c", "sleep 1001; sleep 6001"], start_new_session=True)
"""


def test_what_does_not_end_in_time_is_killed_and_named(tmp_path) -> None:
    deaf = python(tmp_path, "once", DEAF, autorestart=False, kill_timeout=300)
    with Run(tmp_path, [deaf, {**OTHER, "kill_timeout": 300}]) as run:
        run.event("worker finished")
        assert run.stop() == 0
        (killed,) = run.events("processes killed")
        assert killed["count"] == 1
        assert killed["processes"][0].startswith("sh (pid ")
