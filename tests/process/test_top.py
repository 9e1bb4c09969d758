"""`pyinit top` on a terminal, beside a real pyinit."""

from __future__ import annotations

import signal
import subprocess
import sys
import termios

import pytest

from tests.support.commands import PYINIT, answering, inside, workers
from tests.support.ports import free_port
from tests.support.run import Run
from tests.support.vt import Terminal

pytestmark = [pytest.mark.process, pytest.mark.pid1]

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
"""


@pytest.fixture
def run(tmp_path):
    port = free_port()
    (tmp_path / "server.py").write_text(SERVER.format(port=port))
    apps = [
        {
            "name": "web",
            "script": "server.py",
            "interpreter": sys.executable,
            "exec_mode": "cluster",
            "listen": f"127.0.0.1:{port}",
        },
        {"name": "loop", "script": "sh -c 'while :; do printf \"\\033[2Jtick\\n\"; sleep 1; done'"},
    ]
    with Run(tmp_path, apps) as run:
        run.port = port
        run.event("app ready", app="web")
        answering(run)
        yield run


def lines_with(terminal, word):
    return [line for line in terminal.screen.lines if word in line]


def test_it_shows_and_acts_after_a_question(run) -> None:
    import socket

    with (
        socket.create_connection(("127.0.0.1", run.port)),
        Terminal(inside(run, PYINIT, "top", "--interval", "0.3")) as terminal,
    ):
        terminal.shows("q quit")
        terminal.shows("2 of 2 apps ready")
        assert terminal.screen.alternate
        assert not terminal.screen.cursor
        assert len(terminal.screen.lines) == 24
        # One open connection, of the app and of its worker.
        rows = [line.split() for line in terminal.screen.lines[2:4]]
        assert rows[0][:4] == [">", "web", "ready", "1/1"]
        assert rows[0][-3] == "1"
        assert rows[1][-2] == "1"

        terminal.press("r")
        terminal.shows("reload web? [y/N]")
        before = workers(run, "web")[0]["pid"]
        terminal.press("n")
        terminal.shows("nothing was done")
        assert workers(run, "web")[0]["pid"] == before
        terminal.press("ry")
        terminal.shows("web: reloaded")
        assert workers(run, "web")[0]["pid"] != before

        terminal.press("c2\r")
        terminal.shows("scale web to 2? [y/N]")
        terminal.press("y")
        terminal.shows("2/2")
        terminal.press("gusr9\ry")
        terminal.shows("SIGUSR")  # no such signal: which one was meant
        # The log of another app, without what would clear the screen.
        terminal.press("\x1b[B\x1b[B\x1b[B")
        terminal.shows("-- log of loop")
        terminal.shows("| tick")
        terminal.press("sy")
        terminal.shows("stopped")
        run.until(lambda: not workers(run, "loop")[0]["pid"], "loop is stopped")
        terminal.press("?")
        terminal.shows("Each of them asks first")
        terminal.press("?")

        terminal.resize(120, 40)
        terminal.shows("q quit")
        run.until(lambda: terminal.read() or terminal.screen.lines[39].startswith(("r ", "loop")))
        terminal.resize(40, 10)
        terminal.shows("web")
        terminal.press("q")
        assert terminal.ended() == 0
        assert not terminal.screen.alternate
        assert terminal.screen.cursor
        assert termios.tcgetattr(terminal.slave) == terminal.before


def test_without_colours_and_the_ends(run) -> None:
    with Terminal(inside(run, PYINIT, "top"), env={"NO_COLOR": "1"}) as terminal:
        terminal.shows("q quit")
        assert terminal.screen.colours <= {"0"}
        assert lines_with(terminal, "> web")
        terminal.press("\x03")  # Ctrl-C
        assert terminal.ended() == 130
        assert terminal.screen.cursor
        assert termios.tcgetattr(terminal.slave) == terminal.before
    with Terminal(inside(run, PYINIT, "monit")) as terminal:
        terminal.shows("q quit")
        assert run.stop(signal.SIGTERM) == 0


def test_without_a_terminal_it_says_what_works(tmp_path) -> None:
    done = subprocess.run([PYINIT, "top"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 1
    assert "pyinit ls --watch" in done.stderr
