"""`max_memory_restart` and `cron_restart` in a real run."""

from __future__ import annotations

import sys

import pytest

from tests.process.test_control_commands import ready, server, sleeper
from tests.support.run import Run

pytestmark = [pytest.mark.process, pytest.mark.pid1]

# Grows once `grow` is there, in a child: what counts is the worker's whole process tree.
GROWING = """
import os, signal, subprocess, sys, time
if sys.argv[1:] == ["child"]:
    hold = []
    while True:
        if os.path.exists("grow") and len(hold) < 100:
            hold.append(bytearray(b"x") * (1 << 20))
        time.sleep(0.005)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
subprocess.Popen([sys.executable, "-S", __file__, "child"])
print("up", flush=True)
while True:
    signal.pause()
"""


def test_a_tree_of_processes_that_holds_too_much_is_replaced(tmp_path) -> None:
    (tmp_path / "growing.py").write_text(GROWING)
    app = {"name": "web", "script": "growing.py", "interpreter": sys.executable}
    app |= {"interpreter_args": "-S", "max_memory_restart": "60M", "kill_timeout": "2s"}
    with Run(tmp_path, [app, sleeper()]) as run:
        run.said("up")
        assert not run.events("memory limit exceeded")
        (tmp_path / "grow").touch()
        answer = run.event("memory limit exceeded", app="web", instance=0)
        (tmp_path / "grow").unlink()
        assert answer["rss"] > answer["max_memory_restart"] == 60 << 20
        assert run.event("reload started")["reason"] == "max_memory_restart"
        run.said("up", 2)
        run.event("reload finished")
        # Once for each time, and nobody else.
        assert len(run.events("memory limit exceeded")) == 1
        assert len(run.events("worker started", app="idle")) == 1
        assert not run.events("internal error")
        assert run.stop() == 0


def test_a_cluster_app_is_replaced_worker_by_worker(tmp_path) -> None:
    app = server(tmp_path, max_memory_restart="1M")
    with Run(tmp_path, [app]) as run:
        ready(run, 2)
        # It is too much for it to start at all: one at a time even so.
        run.event("worker exited")
        kinds = [r["event"] for r in run.records if r["event"] in ("worker ready", "worker exited")]
        assert kinds[:4] == ["worker ready"] * 3 + ["worker exited"]
        assert run.stop() == 0


def test_at_its_time_an_app_is_renewed(tmp_path) -> None:
    """Every second, of six fields: a cluster app rolling, a fork app by a restart."""
    web = server(tmp_path, instances=1, cron_restart="* * * * * *")
    job = sleeper("job", cron_restart="*/2 * * * * *")
    with Run(tmp_path, [web, job]) as run:
        ready(run, 1)
        started = run.event("reload started", app="web")
        assert started["reason"] == "cron_restart"
        run.event("reload finished", app="web")
        kinds = [
            record["event"]
            for record in run.records
            if record["event"] in ("worker ready", "worker exited") and record["app"] == "web"
        ]
        assert kinds[:3] == ["worker ready", "worker ready", "worker exited"]
        assert run.event("restart started", 2, app="job")["reason"] == "cron_restart"
        assert not run.events("internal error")
        assert run.stop() == 0


def test_a_cron_pattern_that_is_none_is_an_error_of_the_file(tmp_path) -> None:
    with Run(tmp_path, [sleeper("job", cron_restart="99 * * * *")]) as run:
        assert run.wait() == 2
        assert b"cron_restart: no cron pattern: bad minute" in run.stderr
