"""Files of other supervisors, converted and run: their programs do what they did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.namespace import Init
from tests.support.wait import wait_until

PYINIT = Path(sys.executable).parent / "pyinit"
pytestmark = pytest.mark.process


def said(init):
    """The lines of the programs: (app, text)."""
    found = [json.loads(line) for line in init.lines]
    return [(r["app"], r["event"]) for r in found if r.get("stream") == "stdout"]


def converted(folder, name, text):
    (folder / name).write_text(text)
    done = subprocess.run([PYINIT, "convert", name], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder / "made.yaml").write_text(done.stdout)
    env = {name: value for name, value in os.environ.items() if name != "PORT"}
    return ["env", "-i", *(f"{k}={v}" for k, v in env.items()), PYINIT, "-c", "made.yaml"]


def test_a_procfile(tmp_path):
    text = (
        "web: sh -c 'echo on $PORT; exec sleep 1000'\n"
        "worker: echo ${PORT} and ${NAME:-none}; sleep 1000\n"
        "release: echo first\n"
    )
    with Init(converted(tmp_path, "Procfile", text), cwd=tmp_path) as init:
        wait_until(lambda: len(said(init)) == 3, init.story)
        lines = said(init)
        assert lines[0] == ("release", "first")
        assert sorted(lines[1:]) == [("web", "on 5000"), ("worker", "5100 and none")]


def test_a_supervisord_conf(tmp_path):
    text = (
        '[supervisord]\nenvironment=A="x,y"\n'
        "[program:one]\ncommand=sh -c 'echo $A %%; exec sleep 1000'\npriority=1\n"
        '[program:two]\ncommand=echo "a  b" | $A %(program_name)s\nautorestart=false\n'
    )
    with Init(converted(tmp_path, "supervisord.conf", text), cwd=tmp_path) as init:
        wait_until(lambda: len(said(init)) == 2, init.story)
        # They start in order; which is the first to write is the machine's matter.
        assert sorted(said(init)) == [("one", "x,y %"), ("two", "a  b | $A two")]
        init.signal(15)
        assert init.wait() == 0


def test_a_crontab(tmp_path):
    text = "WHO=me\n* * * * * * echo it is $WHO\n"
    with Init(converted(tmp_path, "crontab", text), cwd=tmp_path) as init:
        wait_until(lambda: len(said(init)) >= 2, init.story)
        assert said(init)[:2] == [("echo", "it is me")] * 2
