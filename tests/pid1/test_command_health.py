"""`pyinit -- CMD` answers `pyinit health` and `pyinit ls`, and hands sockets on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from tests.support.namespace import PYINIT, PYTHON, Init
from tests.support.wait import wait_until

SLEEP = ["sleep", "1000"]


def beside(init, *words):
    target = ["nsenter", "-t", str(init.pid), "-p", "-m", "--", PYTHON, str(PYINIT), *words]
    return subprocess.run(target, capture_output=True, text=True, timeout=60, check=False)


def command_of(init):
    found = f"/proc/{init.pid}/task/{init.pid}/children"
    return int(wait_until(lambda: open(found).read().split(), init.story)[0])


def test_health_and_ls_answer_while_the_command_runs():
    with Init([PYTHON, PYINIT, "-e", "3", "--", *SLEEP]) as init:
        child = command_of(init)
        wait_until(lambda: open(f"/proc/{child}/comm").read() == "sleep\n", init.story)
        for endpoint in ("live", "ready", "startup"):
            found = beside(init, "health", endpoint)
            assert (found.returncode, found.stdout) == (0, "ok\n"), found
        row = json.loads(beside(init, "ls", "--json").stdout)["apps"][0]
        assert (row["name"], row["workers"][0]["status"]) == ("sleep", "online")
        found = beside(init, "reload", "all")
        assert found.returncode == 1
        assert "one command" in found.stderr
        os.kill(child, signal.SIGSTOP)
        wait_until(lambda: beside(init, "health").returncode == 1, init.story)
        os.kill(child, signal.SIGCONT)
        wait_until(lambda: beside(init, "health").returncode == 0, init.story)


def test_one_that_is_not_process_1():
    with Init(["sh", "-c", f"{PYTHON} {PYINIT} -s -- sleep 1000; sleep 1000"]) as init:
        wait_until(lambda: beside(init, "health").returncode == 0, init.story)
        os.kill(command_of(init), signal.SIGKILL)
        wait_until(lambda: beside(init, "health").returncode == 1, init.story)


ACTIVATED = """
import os, socket, sys
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen()
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), WATCHDOG_PID="4242")
os.execvp(sys.argv[1], sys.argv[1:])
"""
SHOW = """
import os, socket
listening = socket.socket(fileno=3).getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
print(os.environ["LISTEN_PID"] == str(os.getpid()), listening, os.environ["WATCHDOG_PID"])
"""


def test_an_activated_socket_is_the_commands():
    init = [PYTHON, "-c", ACTIVATED, PYTHON, PYINIT, "--", sys.executable, "-c", SHOW]
    with Init(init) as process:
        assert process.wait() == 0, process.story()
        assert process.out == "True 1 4242\n"
