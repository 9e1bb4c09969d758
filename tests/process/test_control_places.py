"""Where the commands find pyinit: any user, read-only roots, a path of the file's own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.process.test_control_commands import sleeper
from tests.support.commands import PYINIT, answering, pyinit
from tests.support.run import Run

pytestmark = [pytest.mark.process, pytest.mark.pid1]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")


def test_a_path_of_the_file_works_beside_the_usual_place(tmp_path) -> None:
    path = str(tmp_path / "control.sock")
    with Run(tmp_path, [sleeper()], control={"path": path}) as run:
        answering(run)
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert pyinit(run, "ls", "--socket", path).returncode == 0
        assert run.stop() == 0
    assert not os.path.exists(path)


def test_a_path_that_cannot_be_used_ends_the_boot_with_a_sentence(tmp_path) -> None:
    path = str(tmp_path / "no" / "such" / "folder.sock")
    with Run(tmp_path, [sleeper()], control={"path": path}) as run:
        assert run.wait() == 2
        assert b"control.path" in run.stderr
        assert path.encode() in run.stderr
        assert not run.events("worker started")


def test_commands_can_be_switched_off_and_health_stays(tmp_path) -> None:
    with Run(tmp_path, [sleeper()], control={"enabled": False}) as run:
        run.event("worker ready")
        run.until(lambda: pyinit(run, "health").returncode == 0, "health")
        done = pyinit(run, "stop", "idle")
        assert done.returncode == 1
        assert "control.enabled is false" in done.stderr


@pytest.fixture
def visible():
    """A folder that anybody may enter, outside of /tmp."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def as_user(run: Run, user: int, *words: str) -> subprocess.CompletedProcess[str]:
    enter = ["nsenter", "--target", str(run.pid), "--pid", "--mount"]
    become = ["setpriv", "--reuid", str(user), "--regid", str(user), "--clear-groups"]
    return subprocess.run([*enter, *become, PYINIT, *words], capture_output=True, text=True)


@as_root
def test_as_another_user_with_nothing_writable(visible) -> None:
    # Whatever could hold a socket is read-only, as with `docker run --read-only`, and
    # /dev/shm too: what is left is an abstract name, which anybody may connect to.
    # By a read-only bind, for the checkout itself may lie in /tmp.
    hide = (
        "for d in /run /dev/shm /tmp; do "
        "mount --bind $d $d && mount -o remount,ro,bind $d || exit 1; done"
    )
    become = "exec setpriv --reuid 65534 --regid 65534 --clear-groups"
    wrap = ("sh", "-c", f'{hide}; {become} "$@"', "sh")
    with Run(visible, [sleeper()], wrap=wrap) as run:
        run.event("worker ready")
        run.until(lambda: as_user(run, 65534, "ls").returncode == 0, "an answer to its own user")
        assert "idle" in as_user(run, 65534, "ls").stdout
        assert as_user(run, 0, "restart", "idle").returncode == 0
        refused = as_user(run, 1234, "stop", "idle")
        assert refused.returncode == 1
        assert "only root and user 65534 may ask here" in refused.stderr
        assert not run.events("command received", command="stop")
        # Who changes its user loses the death signal that `unshare --kill-child` set.
        assert run.stop() == 0
