"""`pyinit dev` at a terminal: a file that is wrong, saves, programs that break, Ctrl-C."""

from __future__ import annotations

import pytest

from tests.support.namespace import own_namespace
from tests.support.run import PYINIT
from tests.support.vt import Transcript

pytestmark = [pytest.mark.process, pytest.mark.pid1]

WRONG = "apps:\n  - name: web\n    script: python3 web.py\n    instancez: 2\n"
RIGHT = "apps:\n  - name: web\n    script: python3 web.py\n"
PROGRAM = """
import signal, sys, time
print("up", {number}, sys.stdout.isatty(), flush=True)
{more}
time.sleep(1000)
"""


def test_from_a_wrong_file_to_a_second_ctrl_c(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    file, program = tmp_path / "ecosystem.yaml", tmp_path / "web.py"
    file.write_text(WRONG)
    program.write_text(PROGRAM.format(number=1, more=""))
    command = own_namespace(PYINIT, "dev")
    with Transcript(command, env={"NO_COLOR": "1"}) as terminal:
        terminal.shows("ecosystem.yaml:4:5: error: apps[0].instancez")
        terminal.shows("|     ^^^^^^^^^\n")
        terminal.shows("read again when it is saved")
        file.write_text(RIGHT)
        # A terminal of its own, under the name of its worker.
        terminal.shows("web:0  | up 1 True")

        # Wrong again while it runs: the apps stay, and a caret says where.
        file.write_text(RIGHT + "    instances: x\n")
        terminal.shows("ecosystem.yaml:4:16: error: apps[0].instances: cannot be 'x'")
        terminal.shows("^\n")
        file.write_text(RIGHT)

        # Broken by a save: it waits for the next one, however it fails.
        program.write_text("1/0\n")
        terminal.shows("ZeroDivisionError")
        terminal.shows("app errored")
        ignore = "[signal.signal(n, signal.SIG_IGN) for n in (2, 15)]"
        program.write_text(PROGRAM.format(number=2, more=ignore))
        terminal.shows("up 2 True")

        terminal.press("\x03")
        terminal.shows("shutdown started")
        terminal.press("\x03")
        terminal.shows("stop hurried")
        terminal.shows("shutdown finished")
        assert terminal.ended() == 137


def test_a_stop_while_the_file_is_wrong(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ecosystem.yaml").write_text(WRONG)
    with Transcript(own_namespace(PYINIT, "dev"), env={"NO_COLOR": "1"}) as terminal:
        terminal.shows("read again when it is saved")
        terminal.press("\x03")
        assert terminal.ended() == 0
