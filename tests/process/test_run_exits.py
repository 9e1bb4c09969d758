"""What a real pyinit says of a worker's end, in the log and to Kubernetes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.process.test_run_logs import FLOOD, full, python
from tests.support.ports import free_port
from tests.support.run import Run

pytestmark = [pytest.mark.process, pytest.mark.pid1]

# A /dev of its own with a termination log, as the kubelet mounts one.
WITH_TERMINATION_LOG = """
d=$(mktemp -d) && mount -t tmpfs dev "$d" && mkdir "$d/shm" "$d/pts" && ln -s /proc/self/fd "$d/fd"
for each in null zero full random urandom tty; do
    touch "$d/$each" && mount --bind "/dev/$each" "$d/$each"
done
touch "$d/termination-log" && mount --bind "$0" "$d/termination-log"
mount --move "$d" /dev && rmdir "$d"
exec "$@"
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")


def termination_log(folder: Path) -> tuple[Path, tuple[str, ...]]:
    file = folder / "termination"
    file.touch()
    return file, ("unshare", "--mount", "sh", "-c", WITH_TERMINATION_LOG, str(file))


@as_root
def test_why_an_app_failed_is_the_containers_last_word(tmp_path) -> None:
    file, wrap = termination_log(tmp_path)
    app = python(
        tmp_path, "bad", "raise SystemExit('no database')", autorestart=True, max_restarts=2
    )
    with Run(tmp_path, [app], wrap=wrap) as run:
        assert run.wait() == 1
        [*_, exited] = run.events("worker exited")
        assert exited["reason"] == "exit code 1"
        assert exited["last_lines"] == ["no database"]
    head, line = file.read_text().splitlines()
    assert head.startswith("bad (instance 0): exit code 1, after ")
    assert line == "no database"


@as_root
def test_a_stop_during_a_crash_loop_ends_with_its_code_and_its_last_words(tmp_path) -> None:
    """The startup probe gives up and the kubelet sends SIGTERM: that is no `Completed`."""
    file, wrap = termination_log(tmp_path)
    fails = "import sys; sys.stderr.write('no database'); sys.exit(3)"
    app = python(tmp_path, "bad", fails, autorestart=True, restart_delay="10m")
    with Run(tmp_path, [app], wrap=wrap) as run:
        run.event("restart waits")
        assert run.stop() == 3
        assert run.event("shutdown started")["failing"] == "bad"
    head, line = file.read_text().splitlines()
    assert head.startswith("bad (instance 0): exit code 3, after ")
    assert line == "no database"


@as_root
def test_a_release_that_never_listens_says_so_at_the_end(tmp_path) -> None:
    file, wrap = termination_log(tmp_path)
    app = python(
        *(tmp_path, "deaf", "import time; print('hello', flush=True); time.sleep(1000)"),
        listen=f"127.0.0.1:{free_port()}",
        exec_mode="cluster",
        autorestart=True,
        listen_timeout=300,
        on_listen_timeout="abort",
        restart_delay="10m",
    )
    with Run(tmp_path, [app], wrap=wrap) as run:
        run.event("restart waits")
        assert run.stop() == 1
    assert "deaf (instance 0): not listening on " in file.read_text()


@as_root
def test_lines_that_nobody_took_are_the_last_word_of_a_good_end(tmp_path) -> None:
    file, wrap = termination_log(tmp_path)
    reader, writer = os.pipe()
    with Run(
        tmp_path,
        [python(tmp_path, "flood", FLOOD)],
        stdout=writer,
        wrap=wrap,
        shutdown={"timeout": "500ms"},
    ) as run:
        os.close(writer)
        run.until(lambda: full(reader), "a full pipe")
        assert run.stop() == 0
        lost = json.loads(run.stderr)["lines"]
    assert file.read_text().split()[0] == str(lost)
    os.close(reader)


def test_signals_by_name_and_core_dumps(tmp_path) -> None:
    core = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    apps = [
        python(tmp_path, "aborts", "import os; os.abort()"),
        python(tmp_path, "killed", "import os; os.kill(os.getpid(), 12)"),
    ]
    with Run(tmp_path, apps, wrap=("prlimit", "--core=unlimited")) as run:
        run.wait()
        aborted = run.event("worker exited", app="aborts")
        assert aborted["signal"] == "SIGABRT"
        if not core.startswith("|"):  # a program that takes it may not be in this namespace
            assert aborted["core_dumped"] is True
        killed = run.event("worker exited", app="killed")
        assert (killed["signal"], killed["reason"]) == ("SIGUSR2", "killed by SIGUSR2")
        assert "core_dumped" not in killed


def memory_cgroup() -> Path | None:
    """A new cgroup with a limit of 64 MB, v1 or v2, where one can be made."""
    name = f"pyinit-test-{os.getpid()}"
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            folder, limit = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        elif not controllers and Path("/sys/fs/cgroup/cgroup.controllers").exists():
            folder, limit = Path("/sys/fs/cgroup"), "memory.max"
        else:
            continue
        made = folder / path.strip("/") / name
        try:
            made.mkdir()
            (made / limit).write_text(str(64 << 20))
        except OSError:
            if made.exists():
                made.rmdir()
            continue
        return made
    return None


EATS = """
import os, time
with open("/proc/self/oom_score_adj", "w") as file:
    file.write("1000")
held = []
while True:
    held.append(bytearray(os.urandom(1 << 16)) * 16)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a cgroup")
def test_a_worker_that_the_kernel_killed_for_memory(tmp_path) -> None:
    cgroup = memory_cgroup()
    if cgroup is None:
        pytest.skip("no memory cgroup can be made here")
    procs = str(cgroup / "cgroup.procs")
    wrap = ("sh", "-c", 'echo $$ > "$0" && exec "$@"', procs)
    apps = [
        python(tmp_path, "eats", EATS),
        python(tmp_path, "waits", "import signal\nsignal.pause()"),
    ]
    try:
        with Run(tmp_path, apps, wrap=wrap) as run:
            ended = run.event("worker exited", app="eats")
            assert (ended["signal"], ended["oom_killed"]) == ("SIGKILL", True)
            assert ended["reason"] == "killed by SIGKILL: out of memory"
            # Killed by a person: no memory was short.
            [waits] = run.events("worker started", app="waits")
            os.kill(run.outer_pid(waits["pid"]), signal.SIGKILL)
            assert "oom_killed" not in run.event("worker exited", app="waits")
            run.wait()
    finally:
        remove(cgroup)


def remove(cgroup: Path) -> None:
    from tests.support.wait import wait_until

    def gone() -> bool:
        try:
            cgroup.rmdir()
        except OSError:
            return False
        return True

    wait_until(gone, "the cgroup is empty")
