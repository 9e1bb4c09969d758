"""Keys that say how a worker's process is set up, seen from inside that process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.support.commands import pyinit
from tests.support.ports import free_port
from tests.support.run import Run

LOCKED = """
import http.server, os, sys
name = sys.argv[2]
try:
    os.kill(int(open(name).read()), 0)
    sys.exit(f"already running: {name}")
except (OSError, ValueError):
    pass
open(name, "w").write(str(os.getpid()))
print("numbers", sys.argv[3], os.environ["PYINIT_SLOT"], os.environ["NODE_APP_INSTANCE"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), None).serve_forever()
"""


def test_two_living_workers_never_share_a_slot_or_a_number(tmp_path) -> None:
    path = tmp_path / "server.py"
    path.write_text(LOCKED)
    app = {
        "name": "web",
        "script": f"{sys.executable} {path} {free_port()} {tmp_path}/app-{{instance}}.pid {{slot}}",
        "exec_mode": "cluster",
        "instances": 2,
        "retire_delay": 50,
    }
    with Run(tmp_path, [app]) as run:
        run.event("app ready")
        for turn in (1, 2):
            found = pyinit(run, "reload", "web")
            assert found.returncode == 0, run.story()
            run.event("reload finished", turn)
        numbers = [line["event"].split()[1:] for line in run.said("numbers", 6)]
        assert all(argument == variable for argument, variable, _ in numbers)
        assert sorted(instance for *_, instance in numbers) == ["0"] * 3 + ["1"] * 3
        assert run.stop() == 0


SHOW = """
import os, resource, sys
print("nofile", *resource.getrlimit(resource.RLIMIT_NOFILE))
print("core", *resource.getrlimit(resource.RLIMIT_CORE))
print("umask %o" % os.umask(0))
print("nice", os.nice(0))
print("oom", open("/proc/self/oom_score_adj").read())
print("user", os.environ.get("USER"), os.environ.get("LOGNAME"), os.getuid())
print("input", os.fstat(0).st_rdev and "device" or "pipe")
sys.stdout.flush()
sys.stdin.read()
print("input ended")
"""


def test_a_process_is_as_the_file_says(tmp_path) -> None:
    app = {
        "name": "open",
        "script": "/usr/bin/python3",
        "args": ["-c", SHOW],
        "cwd": "/",
        "user": "nobody",
        "rlimits": {"nofile": "100:200", "core": 0},
        "umask": "0027",
        "nice": 7,
        "oom_score_adj": 900,
        "stdin": "open",
    }
    plain = {**app, "name": "null", "stdin": "null", "autorestart": False}
    with Run(tmp_path, [app, plain]) as run:
        run.said("input pipe", app="open")
        run.said("input ended", app="null")
        said = [r["event"] for r in run.records if r.get("stream") and r["app"] == "open"]
        assert said[:7] == [
            "nofile 100 200",
            "core 0 0",
            "umask 27",
            f"nice {min(19, os.nice(0) + 7)}",
            "oom 900",
            "",
            "user nobody nobody 65534",
        ]
        assert "input ended" not in said
        assert run.stop() == 0


def test_a_limit_that_is_refused_says_what_may_be(tmp_path) -> None:
    wrap = ("setpriv", "--bounding-set", "-sys_resource", "--inh-caps", "-sys_resource", "--")
    limit = ("prlimit", "--nofile=1024:2048", "--")
    app = {"name": "a", "script": "sleep 1000", "max_restarts": 0, "rlimits": {"nofile": 4096}}
    with Run(tmp_path, [app], wrap=(*limit, *wrap)) as run:
        reason = run.event("worker failed to start")["reason"]
        assert "nofile may be at most 2048" in reason
        assert run.wait() == 1


def test_a_worker_counts_for_more_than_pid_1_when_memory_is_short(tmp_path) -> None:
    with Run(tmp_path, [{"name": "a", "script": "sleep 1000"}]) as run:
        worker = run.outer_pid(run.event("worker ready")["pid"])
        worker_score, own = (
            int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (worker, run.pid)
        )
        assert own < worker_score <= own + 100 or own == 1000
        assert run.stop() == 0
