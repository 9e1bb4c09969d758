"""`tty: true`: a terminal for each worker, and the keys of pyinit's own."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.support.namespace import own_namespace
from tests.support.run import DEADLINE, PYINIT, Run
from tests.support.wait import wait_until

pytestmark = [pytest.mark.process, pytest.mark.pid1]

SHOW = """
import os, signal, sys
print("terminals", [os.isatty(fd) for fd in (0, 1, 2)], os.environ["TERM"])
print("size", *os.get_terminal_size())
os.close(os.open("/dev/tty", os.O_RDWR))
print("foreground", os.tcgetpgrp(0) == os.getpgrp() == os.getsid(0))
print("to stderr", file=sys.stderr)
# It may interrupt a print, which cannot be entered twice.
signal.signal(
    signal.SIGWINCH, lambda *_: os.write(1, b"size %d %d\\n" % tuple(os.get_terminal_size()))
)
while True:
    name = input("Name? ")
    print("hello", name, flush=True)
    if name == "end":
        break
"""


def app(tmp_path: Path, **keys) -> dict:
    (tmp_path / "show.py").write_text(SHOW)
    base = {"name": "repl", "script": "show.py", "interpreter": sys.executable, "tty": True}
    return {**base, **keys}


def test_a_worker_has_a_terminal(tmp_path) -> None:
    env = {"TERM": ""}
    apps = [
        app(tmp_path, env={"TERM": "xterm"}),
        app(tmp_path, name="none", tty=False, autorestart=False),
    ]
    with Run(tmp_path, apps, env=env) as run:
        run.said("terminals [True, True, True] xterm", app="repl")
        run.said("size 80 24", app="repl")
        run.said("foreground True", app="repl")
        run.said("to stderr", app="repl")
        # Without a newline, and nobody who types.
        assert run.said("Name? ", app="repl")[0]["partial"]
        run.event("worker exited", app="none")
        assert all(not line["event"].endswith("\r") for line in run.said("", app="repl"))
        assert run.stop() == 0


def test_the_end_of_a_worker_with_a_terminal(tmp_path) -> None:
    script = "sh -c 'echo last words; printf half; exit 3'"
    apps = [{"name": "a", "script": script, "tty": True, "max_restarts": 0}]
    with Run(tmp_path, apps) as run:
        assert run.wait() == 1
        assert [r["event"] for r in run.records if r.get("stream")] == ["last words", "half"]
        assert run.event("worker exited")["last_lines"] == ["last words", "half"]
        assert not run.events("internal error")


# A process of another session holds the terminal until the end of the container kills it.
HOLDS = """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("held", flush=True)
    time.sleep(1000)
signal.pause()
"""


def test_a_terminal_that_is_held_until_the_end(tmp_path) -> None:
    (tmp_path / "holds.py").write_text(HOLDS)
    keys = {"tty": True, "treekill": False, "kill_timeout": 200}
    apps = [{"name": "a", "script": f"{sys.executable} holds.py", **keys}]
    with Run(tmp_path, apps) as run:
        run.said("held")
        assert run.stop() == 0
        assert run.events("processes killed")
        assert not run.events("internal error")


class Terminal:
    """pyinit on a terminal, as `docker run -it` has it."""

    def __init__(self, folder: Path, *apps: dict, **top) -> None:
        (folder / "ecosystem.yaml").write_text(json.dumps({"apps": apps, **top}))
        self.ours, theirs = pty.openpty()
        self.attributes = termios.tcgetattr(theirs)
        self.theirs = theirs
        self.resize(30, 100)
        self.seen = b""
        os.set_blocking(self.ours, False)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *own_namespace(PYINIT, "-c", "ecosystem.yaml")],
            cwd=folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "NO_COLOR": "1"},
        )

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, text: bytes, after: bytes = b"") -> None:
        def seen() -> bool:
            with contextlib.suppress(BlockingIOError):
                self.seen += os.read(self.ours, 65536)
            return text in self.seen.partition(after)[2] if after else text in self.seen

        wait_until(seen, self.seen.decode)

    def rest(self) -> str:
        with contextlib.suppress(OSError):
            while data := os.read(self.ours, 65536):
                self.seen += data
        return self.seen.decode()

    def type(self, text: bytes) -> None:
        os.write(self.ours, text)


@pytest.mark.parametrize("log", ["console", "raw"])
def test_what_is_typed_reaches_the_first_worker(tmp_path, log) -> None:
    other = {"name": "other", "script": "sleep 1000", "tty": True}
    terminal = Terminal(tmp_path, app(tmp_path), other, log=log)
    try:
        terminal.until(b"size 100 30")
        terminal.until(b"Name? ")
        terminal.type(b"Bob\r")
        terminal.until(b"hello Bob")
        if log == "console":
            # One line, as on any terminal.
            assert b"Name? Bob\r\n" in terminal.seen
        terminal.until(b"Name? ", after=b"hello Bob")
        terminal.resize(40, 120)
        terminal.until(b"size 120 40")
        # Ctrl-C is pyinit's.
        terminal.type(b"\x03")
        assert terminal.process.wait(DEADLINE) == 0, terminal.rest()
        assert termios.tcgetattr(terminal.theirs) == terminal.attributes
    finally:
        terminal.process.send_signal(signal.SIGKILL)
        terminal.process.wait()
        os.close(terminal.ours)
        os.close(terminal.theirs)
