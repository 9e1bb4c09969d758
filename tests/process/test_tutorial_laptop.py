"""The tutorial for a laptop, executed as it stands: a run in one terminal, commands in another."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from contextlib import ExitStack

import pytest

from tests.support.commands import answering, inside
from tests.support.pages import Page
from tests.support.run import BIN, Run

pytestmark = pytest.mark.process


def test_on_a_laptop(tmp_path):
    run = None
    said = ""
    with ExitStack() as stack:
        for kind, name, text in Page("laptop").steps:
            words = shlex.split(text) if kind == "run" else []
            if kind == "write":
                (tmp_path / name).write_text(text)
            elif words[:2] == ["pyinit", "-c"]:
                run = stack.enter_context(Run(tmp_path, command=tuple(words[1:])))
                run.event("worker ready", app="web")
                run.event("worker started", app="mail")
                answering(run)
            elif words and words[0] not in {"make", "export"}:
                said += done(tmp_path, run, words)
                if words[0] == "sed":
                    # Somebody has saved the file.
                    run.event("reload finished")
        assert run is not None
        assert run.stop(signal.SIGINT) == 0
    assert "dev.yaml: ok" in said
    assert "hello from" in said
    assert "good morning from" in said


def done(folder, run, words):
    """What a command of the page says."""
    command = [str(BIN / words[0]), *words[1:]] if words[0] == "pyinit" else words
    if run is not None and words[0] == "pyinit":
        command = inside(run, *command)
    found = subprocess.run(
        command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=60
    )
    assert found.returncode == 0, (words, found.stdout, found.stderr)
    return found.stdout + found.stderr
