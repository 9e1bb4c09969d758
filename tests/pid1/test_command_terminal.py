"""`pyinit -- CMD` on a terminal: foreground, job control, Ctrl-C, Ctrl-Z."""

from __future__ import annotations

import os
import pty
import re
import signal
import sys
import termios

import pytest

from tests.support.inits import inits, words
from tests.support.namespace import children, descendants, own_namespace, state
from tests.support.wait import wait_until

pytestmark = pytest.mark.pid1

EOF = b"\x04"
CTRL_C = b"\x03"
CTRL_Z = b"\x1a"


class Terminal:
    """A program as session leader on a terminal of its own."""

    def __init__(self, command, *, pid1=False):
        in_namespace = own_namespace(*command)
        words_ = in_namespace if pid1 else [str(word) for word in command]
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execvp(words_[0], words_)
            finally:
                os._exit(99)
        attributes = termios.tcgetattr(self.fd)
        attributes[1] &= ~termios.OPOST
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(self.fd, termios.TCSANOW, attributes)
        os.set_blocking(self.fd, False)
        self.shown = b""
        self.code = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.code is None:
            for pid in reversed(descendants(self.pid)):
                os.kill(pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def read(self):
        try:
            self.shown += os.read(self.fd, 65536)
        except (BlockingIOError, OSError):
            pass
        return self.shown

    def shows(self, text):
        wait_until(lambda: text in self.read(), lambda: f"{text!r} in {self.shown!r}")

    def types(self, text):
        os.write(self.fd, text)

    def wait(self):
        def ended():
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            return pid

        wait_until(ended, lambda: repr(self.shown))
        self.read()
        return self.code


@inits("pyinit", "tini", "dumb-init")
@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "beside"])
def test_the_command_reads_and_writes_it(init, pid1):
    with Terminal([*words(init, *quiet(init, pid1)), "tac"], pid1=pid1) as terminal:
        terminal.types(b"1\n2\n3\n" + EOF)
        assert terminal.wait() == 0
        assert b"3\n2\n1\n" in terminal.shown


def quiet(init, pid1):
    return ["-s"] if init != "dumb-init" and not pid1 else []


@inits("pyinit", "tini", "dumb-init")
@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "beside"])
def test_a_shell_has_job_control(init, pid1):
    command = [*words(init, *quiet(init, pid1)), "bash", "--norc", "-m"]
    with Terminal(command, pid1=pid1) as terminal:
        terminal.types(b'echo "flags are: [[$-]]"\n')
        terminal.shows(b"flags are: [[h")
        terminal.types(b"exit 5\n")
        assert terminal.wait() == 5
        found = re.search(rb"flags are: \[\[([a-zA-Z]+)\]\]", terminal.shown)
        assert b"m" in found.group(1)
        assert b"no job control" not in terminal.shown


@inits("pyinit", "tini")
@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "beside"])
def test_ctrl_c_ends_the_command_and_only_that(init, pid1):
    command = [*words(init, *quiet(init, pid1)), "sh", "-c", "echo ready; exec sleep 1000"]
    with Terminal(command, pid1=pid1) as terminal:
        terminal.shows(b"ready")
        terminal.types(CTRL_C)
        assert terminal.wait() == 128 + signal.SIGINT


def test_ctrl_c_is_one_signal_for_the_command():
    """It comes from the terminal: pyinit, outside the foreground group, adds no second one."""
    program = (
        "import signal, os\n"
        "signal.signal(signal.SIGINT, lambda *_: os.write(1, b'one\\n'))\n"
        "signal.signal(signal.SIGUSR1, lambda *_: os._exit(3))\n"
        "os.write(1, b'ready\\n')\n"
        "while True: signal.pause()\n"
    )
    with Terminal([*words("pyinit", "-s"), sys.executable, "-c", program]) as terminal:
        terminal.shows(b"ready")
        terminal.types(CTRL_C)
        terminal.shows(b"one\n")
        os.kill(terminal.pid, signal.SIGUSR1)
        assert terminal.wait() == 3
        assert terminal.shown.count(b"one") == 1


def test_ctrl_z_and_fg_in_a_shell():
    """bash runs pyinit, which runs a command: the whole job stops and goes on."""
    with Terminal(["bash", "--norc", "-m"]) as terminal:
        command = " ".join(str(word) for word in words("pyinit", "-s"))
        program = "echo ready; read line; echo got $line; exit 3"
        terminal.types(f"{command} sh -c '{program}'\n".encode())
        terminal.shows(b"ready\n")
        terminal.types(CTRL_Z)
        terminal.shows(b"Stopped")
        init = children(terminal.pid)[0]
        wait_until(lambda: state(init) == "T")
        terminal.types(b"echo shell works\n")
        terminal.shows(b"shell works\n")
        terminal.types(b"fg\n")
        wait_until(lambda: state(init) == "S", lambda: repr(terminal.shown))
        terminal.types(b"a line\n")
        terminal.shows(b"got a line")
        terminal.types(b"echo code $?\n")
        terminal.shows(b"code 3\n")
        terminal.types(b"exit 0\n")
        assert terminal.wait() == 0


def test_a_script_can_read_the_terminal_after_it():
    script = f"{' '.join(map(str, words('pyinit', '-s')))} true; read line; echo got $line"
    with Terminal(["sh", "-c", script]) as terminal:
        terminal.types(b"a line\n")
        terminal.shows(b"got a line")
        assert terminal.wait() == 0


def test_a_hangup_reaches_the_command():
    with Terminal([*words("pyinit", "-s"), "sh", "-c", "echo ready; exec sleep 1000"]) as terminal:
        terminal.shows(b"ready")
        os.kill(terminal.pid, signal.SIGHUP)
        assert terminal.wait() == 128 + signal.SIGHUP


@pytest.mark.parametrize("stop", [signal.SIGSTOP, signal.SIGTSTP])
def test_a_child_that_is_suspended_and_continued_is_no_stop_of_pyinit(stop):
    """Without a shell that watches, as below a supervisor or a test."""
    program = (
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))\n"
        "os.write(1, b'ready\\n')\n"
        "while True: signal.pause()\n"
    )
    with Terminal([*words("pyinit", "-s"), sys.executable, "-c", program]) as terminal:
        terminal.shows(b"ready")
        (child,) = children(terminal.pid)
        os.kill(child, stop)
        wait_until(lambda: state(child) == "T")
        os.kill(child, signal.SIGCONT)
        wait_until(lambda: state(child) == "S")
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.wait() == 7


@pytest.mark.parametrize("stop", [CTRL_Z, signal.SIGSTOP, signal.SIGTSTP])
def test_a_job_whose_child_is_continued_elsewhere_goes_on(stop):
    with Terminal(["bash", "--norc", "-m"]) as terminal:
        command = " ".join(str(word) for word in words("pyinit", "-s"))
        # No forks: a shell whose child is stopped within vfork(2) cannot be stopped itself.
        program = "echo ready; exec sleep 1000"
        terminal.types(f"{command} sh -c '{program}'\n".encode())
        wait_until(
            lambda: re.search(rb"[\r\n]ready", terminal.read()), lambda: repr(terminal.shown)
        )
        (init,) = children(terminal.pid)
        (child,) = children(init)
        if stop == CTRL_Z:
            terminal.types(stop)
        else:
            os.kill(child, stop)
        terminal.shows(b"Stopped")
        wait_until(lambda: state(init) == "T")
        os.kill(child, signal.SIGCONT)
        wait_until(lambda: state(init) == "S")
        os.kill(init, signal.SIGTERM)
        wait_until(lambda: not children(terminal.pid))
        terminal.types(b"wait; exit 0\n")
        assert terminal.wait() == 0
