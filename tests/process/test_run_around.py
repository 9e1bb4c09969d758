"""`before_start` and `after_stop` in a real run."""

from __future__ import annotations

import sys

import pytest

from tests.support.commands import pyinit
from tests.support.ports import free_port
from tests.support.run import Run, get

pytestmark = [pytest.mark.process, pytest.mark.pid1]

MAIN = "import sys, time\nprint('main')\ntime.sleep(0.1)\nsys.exit(4)\n"
FDS = """
import os
print("open", sorted(map(int, os.listdir("/proc/self/fd")))[:3], os.environ.get("LISTEN_FDS"))
"""
HOW = 'echo "after $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS in $PYINIT_INSTANCE of $PYINIT_APP"'


def test_commands_around_each_worker(tmp_path) -> None:
    (tmp_path / "app.py").write_text(
        "import sys, time\nprint('main')\ntime.sleep(0.1)\nsys.exit(4)\n"
    )
    app = {
        "name": "web",
        "script": "app.py",
        "interpreter": sys.executable,
        "env": {"WHO": "me"},
        "max_restarts": 1,
        "before_start": ["echo before {instance}", 'echo "by $WHO in slot $PYINIT_SLOT"'],
        "after_stop": ["echo first", HOW],
    }
    with Run(tmp_path, [app]) as run:
        assert run.wait() == 1
        lines = [r["event"] for r in run.records if r.get("stream")]
        one = [
            "before 0",
            "by me in slot 0",
            "main",
            "first",
            "after exit-code exited 4 in 0 of web",
        ]
        assert lines == one * 2
        assert not run.events("after_stop failed")


def test_one_that_fails_is_a_failed_start(tmp_path) -> None:
    script = "sh -c 'echo never'"
    app = {
        "name": "a",
        "script": script,
        "max_restarts": 0,
        "before_start": ["true", "sh -c 'exit 9'"],
    }
    with Run(tmp_path, [app]) as run:
        assert run.event("worker failed to start")["reason"] == "before_start: exit code 9 (sh)"
        assert run.wait() == 1
        assert not [r for r in run.records if r.get("stream")]


def test_one_that_takes_too_long_or_is_not_there(tmp_path) -> None:
    keys = {"script": "sleep 1000", "max_restarts": 0, "on_errored": "keep"}
    apps = [
        {"name": "slow", **keys, "before_start": "sleep 1000", "before_start_timeout": 100},
        {"name": "none", **keys, "before_start": "/no/such/program"},
    ]
    with Run(tmp_path, apps) as run:
        reason = run.event("worker failed to start", app="slow")["reason"]
        assert reason == "before_start: not done in 0.1 s (sleep)"
        reason = run.event("worker failed to start", app="none")["reason"]
        assert reason == "before_start: exit code 127 (/no/such/program)"
        run.said("pyinit: exec: /no/such/program", app="none")
        assert "sleep 1000" not in run.processes()
        run.stop()


def test_a_stop_ends_a_command_that_runs_before(tmp_path) -> None:
    app = {
        "name": "a",
        "script": "sh -c 'echo never'",
        "before_start": "sh -c 'echo on; sleep 1000'",
    }
    with Run(tmp_path, [app]) as run:
        run.said("on")
        assert run.stop() == 0
        assert not [r for r in run.records if r.get("event") == "never"]


def test_a_server_gets_its_sockets_and_the_commands_do_not(tmp_path) -> None:
    port = free_port()
    (tmp_path / "fds.py").write_text(FDS)
    app = {
        "name": "web",
        "script": f"{sys.executable} -m http.server {port} --bind 127.0.0.1",
        "exec_mode": "cluster",
        "instances": 2,
        "listen": f"127.0.0.1:{port}",
        "before_start": f"{sys.executable} fds.py",
        "after_stop": "sh -c 'echo gone'",
    }
    with Run(tmp_path, [app]) as run:
        run.event("app ready")
        assert get(port)[0] == 200
        assert {line["event"] for line in run.said("open", 2)} == {"open [0, 1, 2] None"}
        assert pyinit(run, "reload", "web").returncode == 0
        assert len(run.said("gone", 2)) == 2
        assert run.stop() == 0
        assert len(run.said("gone")) == 4


def test_a_stop_waits_for_the_commands_after_and_kills_them_in_the_end(tmp_path) -> None:
    keys = {"script": "sleep 1000", "kill_timeout": 1000}
    apps = [
        {"name": "good", **keys, "after_stop": "sh -c 'sleep 0.3; echo cleaned'"},
        {"name": "bad", **keys, "after_stop": "sh -c 'echo stuck; sleep 1000'"},
    ]
    with Run(tmp_path, apps) as run:
        run.event("worker started", 2)
        assert run.stop() == 137
        run.said("cleaned")
        run.said("stuck")
        assert run.event("after_stop failed")["app"] == "bad"
