"""Signals in the first milliseconds, when PID 1 is not what it will be yet."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from tests.support.namespace import PYINIT, Init, signal_sets
from tests.support.wait import wait_until

pytestmark = pytest.mark.pid1


def handles(pid, number):
    """It has a handler, or has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            return number in signal_sets(file.read())["SigCgt"]
    except (OSError, KeyError):
        return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_while_a_run_begins_ends_it(tmp_path, number):
    """Whatever it was doing: importing, reading the file, starting the worker."""
    file = tmp_path / "ecosystem.json"
    file.write_text(json.dumps({"apps": [{"name": "a", "script": "/bin/sleep 1000"}]}))
    for _ in range(3):
        with Init([sys.executable, PYINIT, "-c", file]) as run:
            # Python itself handles SIGINT a little earlier; the launcher handles all.
            wait_until(lambda: handles(run.pid, signal.SIGTERM), run.story)
            run.signal(number)
            assert run.wait() == 0, run.story()


def test_a_stop_while_the_file_cannot_be_read_ends_it(tmp_path):
    fifo = tmp_path / "ecosystem.yaml"
    os.mkfifo(fifo)
    with Init([sys.executable, PYINIT, "-c", fifo]) as run:
        wait_until(lambda: handles(run.pid, signal.SIGTERM), run.story)
        run.signal(signal.SIGTERM)
        assert run.wait() in {0, 2}, run.story()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_no_init_can_be_stopped_as_pid_1(tmp_path, number):
    """`docker run IMAGE check`: by default PID 1 would not even notice."""
    fifo = tmp_path / "ecosystem.yaml"
    os.mkfifo(fifo)
    with Init([sys.executable, PYINIT, "check", "-c", fifo]) as run:
        wait_until(lambda: handles(run.pid, signal.SIGTERM), run.story)
        run.signal(number)
        # 2: a file that is none was refused before.
        assert run.wait() in {128 + number, 2}, run.story()
