"""Process numbers that come again: no signal goes to who has the number next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import inside
from tests.support.namespace import state
from tests.support.run import Run

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="ns_last_pid is root's"),
    pytest.mark.skipif(
        not Path("/proc/sys/kernel/ns_last_pid").exists(), reason="the kernel has no ns_last_pid"
    ),
]

# Leaves a process in its group whose parent has left the group and reaps it: PID 1 is not
# told when the group is empty. The parent says so, and lives on.
GROUP = """
import os, signal, sys, time
for each in (signal.SIGTERM, signal.SIGINT):
    signal.signal(each, signal.SIG_IGN)
if os.fork():
    time.sleep(0.2)
    os._exit(0)
if os.fork():
    os.setsid()
    os.wait()
    os.write(1, b"group is empty\\n")
    while True:
        signal.pause()
while not os.path.exists("go"):
    time.sleep(0.01)
"""


def next_pid(run, pid):
    """The next process of the namespace gets this number."""
    write = f"echo {pid - 1} > /proc/sys/kernel/ns_last_pid"
    subprocess.run(inside(run, "sh", "-c", write), check=True)


def test_the_number_of_a_group_that_is_gone(tmp_path) -> None:
    (tmp_path / "group.py").write_text(GROUP)
    group = {"name": "group", "script": "group.py", "interpreter": sys.executable}
    apps = [
        # Its group gets 3 s from the end of its leader to SIGKILL.
        {**group, "kill_timeout": 3000, "autorestart": False},
        {"name": "other", "script": "sleep 1000", "kill_timeout": 3000},
    ]
    with Run(tmp_path, apps) as run:
        number = run.event("worker exited", app="group")["pid"]
        victim = run.outer_pid(run.event("worker ready", app="other")["pid"])
        (tmp_path / "go").touch()
        run.said("group is empty")
        next_pid(run, number)
        os.kill(victim, signal.SIGKILL)
        again = run.event("worker ready", 2, app="other")
        assert again["pid"] == number, "somebody else took the number"
        worker = run.outer_pid(number)
        run.event("worker finished", app="group")
        assert state(worker) == "S"
        assert run.stop() == 0
