"""The end of a run: signals, deadlines, exit codes, what is left."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

import pytest

from tests.support.run import Run

PYTHON = sys.executable

# Says `ready`, then which stop signal came; ends with code 0.
POLITE = """
import signal, sys
def stop(number, _frame):
    print("stopped by", signal.Signals(number).name, flush=True)
    sys.exit(0)
for each in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1):
    signal.signal(each, stop)
print("ready", flush=True)
while True:
    signal.pause()
"""

# For any signal that may be the image's STOPSIGNAL.
POLITE_TO_ALL = """
import signal, sys
def stop(number, _frame):
    print("stopped by", str(number), flush=True)
    sys.exit(0)
for each in (signal.SIGTERM, signal.SIGUSR1, signal.SIGRTMIN + 3, signal.SIGWINCH):
    signal.signal(each, stop)
print("ready", flush=True)
while True:
    signal.pause()
"""

SLOW_TO_STOP = """
import signal, sys, time
def stop(number, _frame):
    print("told", flush=True)
    time.sleep(1.5)
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
while True:
    signal.pause()
"""

TELLS = 'signal.signal(signal.SIGUSR2, lambda *_: print("drains", flush=True))'

DEAF = """
import signal
for each in (signal.SIGTERM, signal.SIGINT):
    signal.signal(each, lambda *_: print("ignored", flush=True))
print("ready", flush=True)
while True:
    signal.pause()
"""


# A line in one write(2): those of two processes on one pipe must not mix, and whether
# Python's own print() does so depends on its buffering.
PRINT = """
import os
def print(*words, flush=True):
    os.write(1, (" ".join(words) + chr(10)).encode())
"""


def python(folder, name: str, code: str, **keys) -> dict:
    """An app that runs `code`."""
    path = folder / f"{name}.py"
    path.write_text(PRINT + code)
    return {"name": name, "script": str(path), "interpreter": PYTHON, **keys}


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_the_stop_signal_is_forwarded_as_it_is(tmp_path, signum) -> None:
    with Run(tmp_path, [python(tmp_path, "app", POLITE)]) as run:
        run.said("ready")
        assert run.stop(signum) == 0
        assert run.said("stopped by")[0]["event"] == f"stopped by {signum.name}"


def test_kill_signal_of_the_file_goes_before_it(tmp_path) -> None:
    with Run(tmp_path, [python(tmp_path, "app", POLITE, kill_signal="SIGUSR1")]) as run:
        run.said("ready")
        assert run.stop() == 0
        run.said("stopped by SIGUSR1")


def test_sigkill_after_kill_timeout_and_137(tmp_path) -> None:
    with Run(tmp_path, [python(tmp_path, "app", DEAF, kill_timeout=300)]) as run:
        run.said("ready")
        assert run.stop() == 137
        run.said("ignored")
        assert run.events("worker exited", signal="SIGKILL")


def test_ctrl_c_three_times_does_not_wait_for_kill_timeout(tmp_path) -> None:
    with Run(tmp_path, [python(tmp_path, "app", DEAF, kill_timeout="10m")]) as run:
        run.said("ready")
        run.signal(signal.SIGINT)
        run.said("ignored")
        run.signal(signal.SIGINT)
        run.event("signal received", 2)
        time.sleep(0.6)  # the rule is about time
        assert run.stop(signal.SIGINT) == 137


@pytest.mark.parametrize("gap", [0.0, 0.6])
def test_sigterm_twice_is_one_stop(tmp_path, gap) -> None:
    with Run(tmp_path, [python(tmp_path, "app", SLOW_TO_STOP)]) as run:
        run.said("ready")
        run.signal(signal.SIGTERM)
        run.said("told")
        time.sleep(gap)
        run.signal(signal.SIGTERM)
        run.event("stop signal ignored")
        assert run.wait() == 0
        assert len(run.said("told")) == 1
        assert run.said("saved")


@pytest.mark.parametrize("signum", [signal.SIGUSR1, signal.SIGRTMIN + 3, signal.SIGWINCH])
def test_the_stopsignal_of_an_image_stops_and_is_passed_on(tmp_path, signum) -> None:
    apps = [python(tmp_path, "app", POLITE_TO_ALL)]
    shutdown = {"signals": ["SIGUSR1", "rtmin+3"]}
    # SIGWINCH is one where PID 1 has no terminal.
    with Run(tmp_path, apps, shutdown=shutdown, wrap=("setsid",)) as run:
        run.said("ready")
        assert run.stop(signum) == 0
        assert run.said(f"stopped by {int(signum)}")


def test_a_worker_that_would_not_notice_sigwinch_gets_sigterm(tmp_path) -> None:
    with Run(tmp_path, [python(tmp_path, "app", POLITE)], wrap=("setsid",)) as run:
        run.said("ready")
        assert run.stop(signal.SIGWINCH) == 0
        assert run.said("stopped by SIGTERM")
        assert run.event("stop signal replaced")["signal"] == "SIGWINCH"


@pytest.mark.parametrize(
    ("end", "code"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137), ("sys.exit(0)", 0)]
)
def test_the_container_ends_with_its_main_app(tmp_path, end, code) -> None:
    # Not before the helper has its handlers.
    text = f"import os, sys, time\nwhile not os.path.exists('up'): time.sleep(0.01)\n{end}"
    helper = python(tmp_path, "helper", POLITE.replace("while", "open('up', 'w')\nwhile"))
    with Run(tmp_path, [helper, python(tmp_path, "main", text, main=True)]) as run:
        assert run.wait() == code
        assert [each["exit_code"] for each in run.events("worker exited", app="helper")]


def test_shutdown_timeout_bounds_everything(tmp_path) -> None:
    apps = [python(tmp_path, "app", DEAF, kill_timeout="10m")]
    with Run(tmp_path, apps, shutdown={"timeout": 300}) as run:
        run.said("ready")
        assert run.stop() == 137


def test_all_instances_of_all_apps_are_stopped(tmp_path) -> None:
    apps = [python(tmp_path, name, POLITE, instances=2, exec_mode="fork") for name in ("a", "b")]
    with Run(tmp_path, apps) as run:
        run.said("ready", 4)
        assert run.stop() == 0
        assert len(run.said("stopped by SIGTERM", 4)) == 4


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (7, 7)])
def test_the_exit_code_of_the_last_app_that_finished(tmp_path, code, expected) -> None:
    app = python(tmp_path, "app", f"raise SystemExit({code})", autorestart=False)
    with Run(tmp_path, [app]) as run:
        assert run.wait() == expected


def test_killed_by_a_signal_is_128_and_its_number(tmp_path) -> None:
    code = "import os; os.kill(os.getpid(), 10)"
    with Run(tmp_path, [python(tmp_path, "app", code, autorestart=False)]) as run:
        assert run.wait() == 138


def test_waiting_for_a_restart_is_not_finished(tmp_path) -> None:
    apps = [
        python(tmp_path, "once", "", autorestart=False),
        python(tmp_path, "again", "raise SystemExit(3)", restart_delay=200, max_restarts=2),
    ]
    with Run(tmp_path, apps) as run:
        assert run.wait() == 1
        assert len(run.events("worker exited", app="again")) == 3


def test_stop_exit_codes_are_not_restarted(tmp_path) -> None:
    app = python(tmp_path, "app", "raise SystemExit(9)", stop_exit_codes=[9])
    with Run(tmp_path, [app]) as run:
        assert run.wait() == 9
        assert len(run.events("worker started")) == 1


def test_an_errored_app_ends_the_container_with_1(tmp_path) -> None:
    apps = [
        python(tmp_path, "bad", "import sys; sys.exit('no database')", max_restarts=2),
        python(tmp_path, "good", POLITE),
    ]
    with Run(tmp_path, apps) as run:
        assert run.wait() == 1
        assert len(run.events("worker started", app="bad")) == 3
        assert run.events("worker exited", app="bad")[-1]["last_lines"] == ["no database"]
        run.said("stopped by SIGTERM")


def test_on_errored_keep_leaves_the_others(tmp_path) -> None:
    apps = [
        python(tmp_path, "bad", "raise SystemExit(1)", max_restarts=1, on_errored="keep"),
        python(tmp_path, "good", POLITE),
    ]
    with Run(tmp_path, apps) as run:
        run.event("app errored")
        run.said("ready")
        # What was kept from ending the container still failed.
        assert run.stop() == 1


def test_the_whole_group_is_stopped_and_killed(tmp_path) -> None:
    code = DEAF.replace("import signal", "import os, signal; os.fork()")
    with Run(tmp_path, [python(tmp_path, "app", code, kill_timeout=300)]) as run:
        run.said("ready", 2)
        assert run.stop() == 137
        run.said("ignored", 2)


def test_a_group_whose_leader_has_gone_gets_its_time(tmp_path) -> None:
    # As `npm start`: the leader ends at the signal, the server below it drains.
    code = """
import os, signal, sys, time
leader = os.fork()
def stop(*_):
    if leader == 0:
        time.sleep(0.3)
        print("drained", flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
print("ready", flush=True)
while True:
    signal.pause()
"""
    with Run(tmp_path, [python(tmp_path, "app", code)]) as run:
        run.said("ready", 2)
        assert run.stop() == 0
        run.said("drained")


def test_what_left_its_group_is_stopped_too(tmp_path) -> None:
    code = "import os\nif os.fork() == 0: os.setsid()\n" + POLITE
    with Run(tmp_path, [python(tmp_path, "app", code, kill_timeout="10m")]) as run:
        run.said("ready", 2)
        assert run.stop() == 0
        run.said("stopped by SIGTERM", 2)


def test_a_worker_that_crashes_during_the_shutdown_is_not_started_again(tmp_path) -> None:
    code = POLITE.replace("sys.exit(0)", "sys.exit(5)")
    with Run(tmp_path, [python(tmp_path, "app", code)]) as run:
        run.said("ready")
        assert run.stop() == 0
        assert len(run.events("worker started")) == 1


def test_the_times_of_a_stop_are_cut_to_the_grace(tmp_path) -> None:
    """The last words of a worker and of pyinit come before the SIGKILL of the orchestrator."""
    app = python(tmp_path, "app", DEAF, kill_timeout="60s")
    env = {"PYINIT_GRACE": "2s"}
    with Run(tmp_path, [app], shutdown={"drain_delay": "30s"}, env=env) as run:
        run.said("ready")
        assert run.stop() == 137
        assert run.event("shutdown started")["drain_delay"] == 0.75
        run.said("ignored")
        assert run.event("worker killed")["kill_timeout"] == 0.75
        run.event("shutdown finished")


def test_workers_with_a_handler_are_told_that_the_drain_begins(tmp_path) -> None:
    """USR2 would end the one that has none."""
    tells = POLITE.replace('print("ready"', f'{TELLS}\nprint("ready"')
    apps = [python(tmp_path, "hears", tells), python(tmp_path, "deaf", POLITE)]
    with Run(tmp_path, apps, shutdown={"drain_delay": "10m", "notify": "SIGUSR2"}) as run:
        run.said("ready", 2)
        run.signal(signal.SIGTERM)
        run.said("drains", app="hears")
        assert run.event("drain announced", app="hears")["count"] == 1
        assert run.event("drain announced", app="deaf")["count"] == 0
        assert not run.events("worker exited")
        assert run.stop(signal.SIGINT) == 0


def test_a_stop_while_a_restart_waits(tmp_path) -> None:
    app = python(tmp_path, "app", "raise SystemExit(1)", restart_delay="10m")
    with Run(tmp_path, [app]) as run:
        run.event("restart waits")
        assert run.stop() == 1


def test_a_stop_at_any_moment_of_the_boot_ends_it(tmp_path) -> None:
    app = python(tmp_path, "app", POLITE)
    for delay in (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08):
        with Run(tmp_path, [app]) as run:
            run.until(lambda r=run: b"pyinit" in _command_of(r), "exec of pyinit")
            pid = run.pid
            time.sleep(delay)  # the moment is the test's parameter, not a wait
            # A signal during the interpreter's own start finds no handler in PID 1.
            while run.process.poll() is None:
                with contextlib.suppress(ProcessLookupError):  # it may have ended just now
                    os.kill(pid, signal.SIGTERM)
                time.sleep(0.05)
            assert run.wait() in {0, 137, 143}


def _command_of(run: Run) -> bytes:
    try:
        with open(f"/proc/{run.pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""
