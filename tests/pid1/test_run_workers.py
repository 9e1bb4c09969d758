"""Workers of a run: what they are given, what is reaped, what is restarted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.run import Run

PYTHON = sys.executable
PAUSE = "import signal\nprint('ready', flush=True)\nwhile True: signal.pause()\n"


def python(folder, name: str, code: str, **keys) -> dict:
    path = folder / f"{name}.py"
    path.write_text(code)
    return {"name": name, "script": str(path), "interpreter": PYTHON, **keys}


def test_what_a_worker_inherits(tmp_path) -> None:
    code = """
import json, os, signal
status = dict(l.split(":", 1) for l in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "fds": sorted(int(f) for f in os.listdir("/proc/self/fd")),
    # Signals 32 and 33 are the C library's own: nobody can unblock them who did not
    # block them, and some shells and runners leave one blocked.
    "blocked": int(status["SigBlk"], 16) & ~(3 << 31),
    "ignored": int(status["SigIgn"], 16) & ~((1 << 12) | (1 << 24) | (3 << 31)),
    "group": os.getpgid(0) == os.getpid(),
    "stdin": os.readlink("/proc/self/fd/0"),
    "env": {k: v for k, v in os.environ.items() if k in ("NODE_APP_INSTANCE", "A", "B", "PORT")},
    "cwd": os.getcwd(),
}), flush=True)
signal.pause()
"""
    app = python(
        tmp_path,
        "app",
        code,
        instances=2,
        exec_mode="fork",
        env={"A": 1, "PORT": 3000},
        env_production={"B": True},
        increment_var="PORT",
    )
    with Run(tmp_path, [app], args=("--env", "production")) as run:
        run.until(lambda: len([r for r in run.records if "fds" in r]) == 2, "two workers")
        seen = sorted((r for r in run.records if "fds" in r), key=lambda r: r["instance"])
        for instance, record in enumerate(seen):
            # The fourth is the listing's own.
            assert record["fds"] == [0, 1, 2, 3]
            assert record["blocked"] == 0
            assert record["ignored"] == 0
            assert record["group"] is True
            assert record["stdin"] == "/dev/null"
            assert record["cwd"] == str(tmp_path)
            assert record["env"] == {
                "NODE_APP_INSTANCE": str(instance),
                "A": "1",
                "B": "true",
                "PORT": str(3000 + instance),
            }
        run.stop()


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"script": "/bin/true", "cwd": "gone"}, "chdir: No such file or directory"),
        ({"script": "./broken", "interpreter": "none"}, "exec: "),
    ],
)
def test_a_failed_start_says_stage_and_errno(tmp_path, keys, reason) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\n")
    broken.chmod(0o755)
    (tmp_path / "gone").mkdir()
    app = {"name": "app", "max_restarts": 0, **keys}
    # What is there when the file is checked may be gone when a worker starts.
    breaking = "import os; os.rmdir('gone'); open('broken', 'w').write('#!/nowhere/x\\n')"
    starter = python(tmp_path, "first", breaking, autorestart=False)
    app["depends_on"] = {"first": {"condition": "service_completed_successfully"}}
    with Run(tmp_path, [starter, app]) as run:
        assert run.wait() == 1
        assert reason in run.event("worker failed to start")["reason"]


def test_a_crash_is_restarted_at_once_and_counted(tmp_path) -> None:
    with Run(tmp_path, [python(tmp_path, "app", PAUSE, min_uptime=0)]) as run:
        for n in range(1, 4):
            run.said("ready", n)
            pid = run.event("worker started", n)["pid"]
            os.kill(run.outer_pid(pid), signal.SIGKILL)
            assert run.event("worker exited", n)["signal"] == "SIGKILL"
        run.said("ready", 4)
        assert run.stop() == 0


def test_back_off_grows(tmp_path) -> None:
    app = python(
        tmp_path,
        "app",
        "raise SystemExit(1)",
        exp_backoff_restart_delay=100,
        max_restarts=4,
        min_uptime="1m",  # unstable however slow the machine is
    )
    with Run(tmp_path, [app]) as run:
        assert run.wait() == 1
        waits = [event["delay"] for event in run.events("restart waits")]
        assert waits == [0.1, 0.15, 0.225]


@pytest.mark.parametrize(
    "signum",
    [signal.SIGUSR1, signal.SIGUSR2, signal.SIGURG, signal.SIGALRM, signal.SIGRTMIN + 3],
)
def test_other_signals_go_to_every_worker(tmp_path, signum) -> None:
    code = (
        "import signal\n"
        f"signal.signal({int(signum)}, lambda n, _: print('got', int(n), flush=True))\n" + PAUSE
    )
    with Run(tmp_path, [python(tmp_path, "app", code, instances=2, exec_mode="fork")]) as run:
        run.said("ready", 2)
        run.signal(signum)
        run.said(f"got {int(signum)}", 2)
        assert run.stop() == 0


def test_ten_thousand_orphans_leave_none(tmp_path) -> None:
    source = tmp_path / "storm.c"
    source.write_text(
        """
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    /* Each child leaves an orphan: its own child, which ends after it. */
    for (int i = 0; i < 10000; i++) {
        pid_t child = vfork();
        if (child == 0) {
            if (vfork() == 0) _exit(0);
            _exit(0);
        }
        if (child < 0) { wait(0); i--; continue; }
        waitpid(child, 0, 0);
    }
    puts("done"); fflush(stdout);
    for (;;) pause();
}
"""
    )
    subprocess.run(["gcc", "-O1", "-o", tmp_path / "storm", source], check=True)
    app = {"name": "storm", "script": str(tmp_path / "storm"), "interpreter": "none"}
    with Run(tmp_path, [app]) as run:
        run.said("done")
        run.until(lambda: _zombies(run) == 0, "no zombie is left")
        assert run.stop() == 0


def _zombies(run: Run) -> int:
    count = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.stat(entry / "ns/pid").st_ino == run.namespace:
                    count += (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
    return count


def test_the_last_words_before_a_crash_come_out(tmp_path) -> None:
    code = """
import os, sys
sys.stdout.write("".join(f"line {n}\\n" for n in range(5000)) + "no newline")
sys.stdout.flush()
os.kill(os.getpid(), 9)
"""
    with Run(tmp_path, [python(tmp_path, "app", code, autorestart=False)]) as run:
        assert run.wait() == 137
        lines = [r["event"] for r in run.records if r.get("stream") == "stdout"]
        assert lines == [*(f"line {n}" for n in range(5000)), "no newline"]


def test_user_and_group(tmp_path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can switch users")
    code = "import os; print(os.getresuid(), os.getresgid(), os.getgroups(), flush=True)"
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent.owner() == "root" and str(parent).startswith("/tmp/pytest"):
            parent.chmod(0o755)
    app = python(tmp_path, "app", code, user="nobody", autorestart=False)
    app["interpreter"] = "/usr/bin/python3"
    with Run(tmp_path, [app]) as run:
        assert run.wait() == 0
        assert run.said("(65534, 65534, 65534) (65534, 65534, 65534) [65534]")


def test_what_pid_1_imports(tmp_path) -> None:
    """No threads, no event loop of others, no TLS: memory, start, and fork safety."""
    import_log = tmp_path / "imports"
    app = python(tmp_path, "app", PAUSE, instances=2, exec_mode="cluster", watch=True)
    env = {"PYTHONPROFILEIMPORTTIME": "1"}
    with Run(tmp_path, [app], env=env, probes={"listen": f"unix:{tmp_path}/probes.sock"}) as run:
        run.said("ready", 2)
        assert run.stop() == 0
        imported = {
            line.rpartition("|")[2].strip()
            for line in run.stderr.decode().splitlines()
            if line.startswith("import time:")
        }
    assert "entrypoint.shell.runtime" in imported
    assert imported.isdisjoint({"asyncio", "ssl", "threading", "subprocess", "yaml"})
    assert not import_log.exists()


def test_status_of_a_run(tmp_path) -> None:
    with Run(tmp_path, [python(tmp_path, "app", PAUSE)]) as run:
        run.event("app ready")
        done = subprocess.run(
            [
                "nsenter",
                "-t",
                str(run.pid),
                "-p",
                "-m",
                str(Path(PYTHON).parent / "pyinit"),
                "health",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        assert run.stop() == 0
        assert json.dumps(run.events("shutdown finished")[0]["exit_code"]) == "0"
