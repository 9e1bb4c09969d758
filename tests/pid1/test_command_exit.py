"""`pyinit -- CMD`: exit codes, reasons, warnings, zombies, what the command is given."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys

import pytest

from tests.support.inits import inits, words
from tests.support.namespace import PYINIT, Init, children, signal_sets, state
from tests.support.wait import wait_until

pytestmark = pytest.mark.pid1


def run_to_end(command, **options):
    with Init(command, **options) as run:
        code = run.wait()
        return code, run.out, run.err


# -- exit codes ------------------------------------------------------------------------------


@inits("pyinit", "tini", "dumb-init")
@pytest.mark.parametrize("code", [0, 1, 2, 32, 64, 127, 254, 255])
def test_the_commands_exit_code_is_passed_on(init, code):
    assert run_to_end([*words(init), "sh", "-c", f"exit {code}"])[0] == code


@inits("pyinit", "tini", "dumb-init")
@pytest.mark.parametrize("number", [1, 2, 3, 6, 9, 11, 15])
def test_128_plus_the_signal_that_ended_it(init, number):
    assert run_to_end([*words(init), "sh", "-c", f"kill -{number} $$"])[0] == 128 + number


@inits("pyinit", "tini")
@pytest.mark.parametrize("code", [0, 1, 143, 255])
def test_e_makes_an_exit_code_0_and_leaves_others(init, code):
    assert run_to_end([*words(init, "-e", str(code)), "sh", "-c", f"exit {code}"])[0] == 0
    others = [word for other in range(256) if other != code for word in ("-e", str(other))]
    assert run_to_end([*words(init, *others), "sh", "-c", f"exit {code}"])[0] == code


@inits("pyinit", "tini")
def test_e_counts_for_a_signal_too(init):
    assert run_to_end([*words(init, "-e143"), "sh", "-c", "kill -TERM $$"])[0] == 0


def test_a_wrong_command_line_is_exit_code_2_with_the_reason(tmp_path):
    for wrong, said in (
        (["--"], "no command"),
        (["-e", "256", "--", "true"], "not an exit code"),
        (["-e", "x", "--", "true"], "not an exit code"),
        (["-p", "SIGNOTHING", "--", "true"], "SIGNOTHING"),
        (["-gx", "--", "true"], "-x"),
        (["-p"], "needs a value"),
    ):
        code, out, err = run_to_end([sys.executable, PYINIT, *wrong])
        assert (code, out) == (2, ""), wrong
        assert said in err


def test_options_may_stand_together_and_without_dashes_after_them():
    command = [sys.executable, PYINIT, "-gswe7", "sh", "-c", "exit 7"]
    assert run_to_end(command)[0] == 0


# -- 126 and 127 -----------------------------------------------------------------------------


@inits("pyinit", "tini")
def test_127_when_there_is_no_such_command(init):
    for name in ("no-such-command", "/no/such/file"):
        code, out, err = run_to_end([*words(init), name])
        assert (code, out) == (127, "")
        assert name in err
        assert os.strerror(2) in err


@inits("pyinit", "tini")
def test_126_when_it_cannot_be_executed(init, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("#!/bin/sh\n")
    code, _, err = run_to_end([*words(init), plain])
    assert code == 126
    assert os.strerror(13) in err


def make(path, text):
    path.write_bytes(text)
    path.chmod(0o755)
    return path


def test_a_missing_interpreter_is_named(tmp_path):
    crlf = make(tmp_path / "crlf", b"#!/bin/sh\r\necho\r\n")
    gone = make(tmp_path / "gone", b"#!/no/such/shell -e\n")
    for path, said in ((crlf, "CR LF"), (gone, "/no/such/shell")):
        code, _, err = run_to_end([*words("pyinit"), path])
        assert code == 127
        assert said in err


@inits("pyinit", "tini")
def test_a_script_without_a_first_line_is_the_shells(init, tmp_path):
    bare = make(tmp_path / "bare", b"echo from the shell: $1\n")
    assert run_to_end([*words(init), bare, "x"])[:2] == (0, "from the shell: x\n")


def test_a_file_that_may_not_run_does_not_hide_a_later_one(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    (first / "tool").write_text("")
    make(second / "tool", b"#!/bin/sh\necho second\n")
    path = f"{first}:{second}:{os.environ['PATH']}"
    assert run_to_end([*words("pyinit"), "tool"], env={"PATH": path})[:2] == (0, "second\n")


# -- zombies ---------------------------------------------------------------------------------

# Leaves an orphan that ends; waits until nothing but itself is below its parent.
ORPHAN = [
    sys.executable,
    "-c",
    """
import os, sys, time
for _ in range(3):
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.05)
        os._exit(0)
    os.wait()
deadline = time.monotonic() + 10
path = f"/proc/{os.getppid()}/task/{os.getppid()}/children"
while time.monotonic() < deadline:
    with open(path) as file:
        found = file.read().split()
    if orphans := set(found) - {str(os.getpid())}:
        seen = True
    elif "seen" in globals():
        sys.exit(0)
    time.sleep(0.001)
sys.exit(1 if "seen" in globals() else 2)
""",
]
NOT_REAPED = 2


@inits("pyinit", "tini", "dumb-init")
def test_orphans_are_reaped(init):
    code, _, err = run_to_end([*words(init), *ORPHAN])
    assert code == 0, err
    assert "zombie" not in err


@pytest.mark.parametrize(
    ("options", "env"), [(["-s"], {}), ([], {"TINI_SUBREAPER": ""})], ids=["-s", "env"]
)
@inits("pyinit", "tini")
def test_as_a_subreaper_it_reaps_outside_pid_1(init, options, env):
    code, _, err = run_to_end([*words(init, *options), *ORPHAN], pid1=False, env=env)
    assert code == 0, err
    assert "zombie" not in err
    code, _, err = run_to_end([*words(init, *options, "-w"), *ORPHAN], pid1=False, env=env)
    assert code == 0, err
    assert "Reaped zombie process with pid=" in err


@inits("pyinit", "tini")
def test_a_subreaper_that_somebody_else_has_made_is_enough(init):
    proxy = (
        "import prctl, os, sys; prctl.set_child_subreaper(1); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    pytest.importorskip("prctl")
    command = [sys.executable, "-c", proxy, *words(init), *ORPHAN]
    code, _, err = run_to_end(command, pid1=False)
    assert (code, err) == (0, "")


@inits("pyinit", "tini")
def test_it_warns_where_it_cannot_reap(init):
    code, _, err = run_to_end([*words(init), *ORPHAN], pid1=False)
    assert code == NOT_REAPED
    assert "zombie reaping won't work" in err
    quiet = run_to_end([*words(init), "true"], pid1=False, env={"TINI_VERBOSITY": "0"})
    assert quiet == (0, "", "")


@inits("pyinit", "tini", "dumb-init")
def test_a_storm_of_orphans_leaves_none(init):
    storm = """
import os, sys
for _ in range(20):
    if os.fork() == 0:
        for _ in range(100):
            if os.fork() == 0:
                os._exit(0)
        os._exit(0)
for _ in range(20):
    os.wait()
os.write(1, b"done\\n")
os.read(0, 1)
"""
    with Init([*words(init), sys.executable, "-c", storm], stdin=subprocess.PIPE) as run:
        run.says("done", timeout=60)
        wait_until(lambda: len(run.processes()) == 1, run.story)


@inits("pyinit", "tini")
def test_the_end_of_the_command_is_the_end_of_the_rest(init):
    with Init([*words(init), "sh", "-c", "sleep 1000 & echo $!; exit 4"]) as run:
        assert run.wait() == 4


# -- what the command is given -----------------------------------------------------------------


@inits("pyinit", "tini", "dumb-init")
def test_nothing_is_blocked_or_ignored(init):
    _, out, _ = run_to_end([*words(init), "cat", "/proc/self/status"])
    sets = signal_sets(out)
    assert sets["SigBlk"] == sets["SigIgn"] == sets["SigCgt"] == set()


@inits("pyinit", "tini")
def test_what_was_ignored_and_blocked_before_is_so_again(init):
    """tini's sigconf-test: `nohup pyinit -- CMD` must work."""
    ignored = {signal.SIGTTOU, signal.SIGSEGV, signal.SIGINT, signal.SIGHUP}
    blocked = {signal.SIGTTIN, signal.SIGILL, signal.SIGTERM}

    def before_exec():
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)

    _, out, _ = run_to_end(
        [*words(init), "cat", "/proc/self/status"], pid1=False, preexec_fn=before_exec
    )
    sets = signal_sets(out)
    assert sets["SigIgn"] == ignored
    assert sets["SigBlk"] == blocked


def test_stdin_environment_and_folder_are_the_callers(tmp_path):
    with Init(
        [*words("pyinit"), "sh", "-c", "pwd; echo $WORD; cat"],
        stdin=subprocess.PIPE,
        env={"WORD": "passed on"},
        cwd=tmp_path,
    ) as run:
        run.process.stdin.write(b"from stdin\n")
        run.process.stdin.close()
        assert run.wait() == 0
        assert run.out == f"{tmp_path}\npassed on\nfrom stdin\n"


@inits("pyinit", "tini")
def test_descriptors_go_through_and_none_is_added(init, tmp_path):
    with open(tmp_path / "file", "w+b") as file:
        fd = file.fileno()
        code, out, err = run_to_end(
            [*words(init), sys.executable, "-c", "import os; print(*os.listdir('/proc/self/fd'))"],
            pass_fds=(fd,),
            pid1=False,
        )
    assert code == 0, err
    # One more for the listing itself.
    assert len(set(out.split()) - {"0", "1", "2", str(fd)}) == 1
    assert str(fd) in out.split()


def test_it_goes_on_without_standard_streams():
    program = "import os, sys; os.closerange(0, 3); os.execv(sys.argv[1], sys.argv[1:])"
    command = [*words("pyinit"), "sh", "-c", "exit 9"]
    assert run_to_end([sys.executable, "-c", program, *command])[0] == 9


# -- the interpreter's own surroundings ----------------------------------------------------------


def test_modules_of_the_app_do_not_stand_in_for_ours(tmp_path):
    for name in ("select", "yaml", "time", "entrypoint", "_socket", "gc", "heapq", "stat"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    for path in (str(tmp_path), ".", f"/nowhere:{tmp_path}", ""):
        code, out, err = run_to_end(
            [*words("pyinit"), "sh", "-c", "echo $PYTHONPATH"],
            env={"PYTHONPATH": path},
            cwd=tmp_path,
        )
        assert (code, out, err) == (0, f"{path}\n", "")


def test_nor_do_files_beside_the_script(tmp_path):
    """Someone copies pyinit into a folder of scripts."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    copy = scripts / "pyinit"
    copy.write_bytes(PYINIT.read_bytes())
    copy.chmod(copy.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "entrypoint").symlink_to(PYINIT.parents[1] / "entrypoint")
    (scripts / "time.py").write_text("raise SystemExit('the wrong module')\n")
    (scripts / "entrypoint.py").write_text("raise SystemExit('the wrong module')\n")
    assert run_to_end([sys.executable, copy, "--", "sh", "-c", "exit 6"])[0] == 6


def test_a_tracers_sitecustomize_is_kept_out_of_pid_1(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys; os.write(2, b'loaded by %s\\n' % sys.argv[0].encode())\n"
        "import threading\nthreading.Thread(target=lambda: __import__('time').sleep(60), "
        "daemon=True).start()\n"
    )
    program = "import os, threading; print(threading.active_count())"
    command = [*words("pyinit"), sys.executable, "-c", program]
    with Init([*words("pyinit"), "sleep", "1000"], env={"PYTHONPATH": str(tmp_path)}) as run:
        wait_until(lambda: children(run.pid), run.story)
        assert len(os.listdir(f"/proc/{run.pid}/task")) == 1
        run.signal(signal.SIGTERM)
        assert run.wait() == 128 + signal.SIGTERM
    # The worker has it still.
    assert run_to_end(command, env={"PYTHONPATH": str(tmp_path)})[:2] == (0, "2\n")


def test_the_interpreters_variables_do_not_keep_it(tmp_path):
    for name in ("PYTHONINSPECT", "PYTHONUNBUFFERED", "PYTHONDEVMODE", "PYTHONPROFILEIMPORTTIME"):
        assert run_to_end([*words("pyinit"), "sh", "-c", "exit 8"], env={name: "1"})[0] == 8


def test_as_a_module_it_is_the_same():
    root = PYINIT.parents[1]
    command = [sys.executable, "-m", "entrypoint", "--", "sh", "-c", "exit 12"]
    assert run_to_end(command, cwd=root)[0] == 12


def test_it_ends_while_its_child_is_in_uninterruptible_company(tmp_path):
    """Other children that still run do not hold up its end."""
    go = tmp_path / "go"
    script = f"(trap '' TERM; sleep 1000) & until [ -e {go} ]; do sleep 0.01; done; exit 0"
    with Init([*words("pyinit"), "sh", "-c", script]) as run:
        pid = run.pid
        go.touch()
        assert run.wait() == 0
        assert not state(pid)
