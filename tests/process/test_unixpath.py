"""Unix sockets at paths that others may change: bound, restored, removed by descriptors."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from entrypoint.kernel import credentials, socket_file, sockets, unixpath

NOBODY = 65534
# Other users may not be let into the folder of ours.
PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable


@pytest.fixture
def top():
    """A folder that nobody but root can replace."""
    found = Path(tempfile.mkdtemp(prefix="unixpath-", dir="/tmp"))
    found.chmod(0o755)
    yield found
    shutil.rmtree(found)


@pytest.fixture
def bind():
    made = []

    def make(path, **keys):
        sock = sockets.unix_stream()
        made.append(sock)
        file = socket_file.bind(sock, str(path), **keys)
        if file is not None:
            made.append(file)
        return sock, file

    yield make
    for each in made:
        each.close()


def given_to_nobody(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    os.chown(folder, NOBODY, NOBODY)
    return folder


root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be misled")


@pytest.mark.parametrize("umask", [0o022, 0o777])
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_mode_is_exact_from_the_beginning(top, bind, mode, umask):
    before = os.umask(umask)
    try:
        bind(top / "a.sock", mode=mode)
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert stat.S_IMODE((top / "a.sock").stat().st_mode) == mode


def test_an_abstract_name_has_no_file(bind):
    sock, file = bind(f"@pyinit-test-{os.getpid()}")
    assert file is None
    assert sock.getsockname() == b"\0" + f"pyinit-test-{os.getpid()}".encode()


def test_the_path_is_what_programs_see(top, bind):
    sock, _ = bind(top / "a.sock")
    assert sock.getsockname() == str(top / "a.sock")


def test_a_dead_socket_is_replaced_and_nothing_else(top, bind):
    path = top / "a.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(OSError, match="in use"):
        bind(path)
    _, file = bind(path, replace_stale=True)
    assert file.is_there
    for other in ("file", "link", "folder"):
        path = top / other
        if other == "file":
            path.write_text("kept")
        elif other == "link":
            path.symlink_to("file")
        else:
            path.mkdir()
        with pytest.raises(OSError, match="in use"):
            bind(path, replace_stale=True)
    assert (top / "link").read_text() == "kept"


def test_a_socket_that_somebody_listens_on_is_kept(top, bind):
    sock, _ = bind(top / "a.sock")
    sock.listen()
    with pytest.raises(OSError, match="in use"):
        bind(top / "a.sock", replace_stale=True)


def test_a_path_is_restored_by_its_file_whatever_is_done_to_its_names(top, bind):
    path = top / "a.sock"
    sock, file = bind(path)
    sock.listen()
    path.unlink()
    assert file.restore() and not file.restore()
    (top / ".a.sock.pyinit").unlink()
    path.rename(top / "elsewhere")
    (top / ".a.sock.pyinit").symlink_to("/etc/passwd")
    assert file.restore() and file.is_there
    assert file.is_at(file.hidden)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_file_that_somebody_put_there_is_left_alone(top, bind):
    path = top / "a.sock"
    _, file = bind(path)
    path.unlink()
    path.write_text("theirs")
    assert not file.restore() and not file.is_there
    file.remove()
    assert path.read_text() == "theirs"
    assert not (top / ".a.sock.pyinit").exists()


def test_without_any_name_it_is_lost(top, bind):
    folder = top / "run"
    folder.mkdir()
    _, file = bind(folder / "a.sock")
    assert not file.is_lost
    shutil.rmtree(folder)
    folder.mkdir()
    assert file.is_lost and not file.restore()


@root_only
def test_a_mode_is_that_of_our_socket_whatever_has_its_name(top, bind):
    secret = top / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    folder = given_to_nobody(top / "sock")
    _, file = bind(folder / "a.sock", mode=0o600)
    (folder / "a.sock").unlink()
    (folder / "a.sock").symlink_to(secret)
    file.set_mode(0o666)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


@root_only
def test_where_others_write_the_last_folder_alone_root_binds(top, bind):
    folder = given_to_nobody(top / "sock")
    bind(folder / "a.sock", mode=0o666)
    assert (folder / "a.sock").stat().st_uid == 0


@root_only
def test_where_one_user_can_replace_the_folder_it_is_bound_as_that_user(top, bind):
    outer = given_to_nobody(top / "app")
    inner = given_to_nobody(outer / "run")
    sock, file = bind(inner / "a.sock", mode=0o640)
    found = (inner / "a.sock").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (NOBODY, 0o640)
    assert sock.getsockname() == str(inner / "a.sock")
    (inner / "a.sock").unlink()
    assert file.restore()
    file.set_mode(0o600)
    assert stat.S_IMODE((inner / "a.sock").stat().st_mode) == 0o600


@root_only
def test_root_follows_no_link_that_others_can_replace(top, bind):
    root = top / "root"
    root.mkdir(mode=0o700)
    app = given_to_nobody(top / "app")
    (app / "run").symlink_to(root)
    with pytest.raises(PermissionError, match="lead elsewhere"):
        bind(app / "run" / "a.sock")
    assert not list(root.iterdir())
    # A link of that user to a folder of that user is followed, as that user.
    given_to_nobody(app / "releases")
    (app / "current").symlink_to("releases")
    bind(app / "current" / "a.sock")
    assert (app / "releases" / "a.sock").stat().st_uid == NOBODY


@root_only
def test_where_anybody_can_replace_the_folder_its_descriptor_counts(top, bind):
    shared = top / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / "run").mkdir()
    _, file = bind(shared / "run" / "a.sock")
    assert file.is_there and (shared / "run" / "a.sock").is_socket()


def test_a_link_of_root_is_followed(top, bind):
    (top / "run").mkdir()
    (top / "var").symlink_to("run")
    _, file = bind(top / "var" / "a.sock")
    assert file.folder.path == str(top / "run") and file.is_there


def test_links_in_a_circle_end(top, bind):
    (top / "a").symlink_to("b")
    (top / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        bind(top / "a" / "x.sock")


def test_a_link_of_the_kernel_is_read_and_not_jumped_through(top, bind):
    with pytest.raises(OSError):
        unixpath.open_folder(f"/proc/{os.getpid()}/fd/0")
    assert unixpath.open_folder("/proc/1/root").path == "/"


@root_only
def test_a_private_folder_is_not_somebody_elses(top):
    top.chmod(0o777)
    made = unixpath.private_folder(str(top), "mine")
    assert stat.S_IMODE((top / "mine").stat().st_mode) == 0o700
    made.close()
    given_to_nobody(top / "theirs")
    (top / "link").symlink_to("mine")
    for name in ("theirs", "link"):
        with pytest.raises(OSError):
            unixpath.private_folder(str(top), name)


# -- attacked -------------------------------------------------------------------------------

ATTACK = """
import ctypes, os, random, sys
app, secret, root = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
run = app + "/run"

def exchange(one, other):
    libc.renameat2(-100, one.encode(), -100, other.encode(), 2)

def quietly(call, *args):
    try:
        call(*args)
    except OSError:
        pass

quietly(os.symlink, secret, app + "/to-secret")
quietly(os.symlink, root, app + "/to-root")
while os.getppid() != 1:
    for name in ("a.sock", ".a.sock.pyinit"):
        path = run + "/" + name
        quietly(os.symlink, secret, run + "/link")
        exchange(run + "/link", path)
        quietly(os.unlink, path)
        quietly(os.link, secret, path)
        quietly(os.rename, path, run + "/away")
        quietly(os.unlink, path)
        quietly(os.unlink, run + "/link")
    exchange(app + "/to-root", run)
    exchange(app + "/to-root", run)
"""


@root_only
@pytest.mark.parametrize("owned", ["the last folder", "the folder above as well"])
def test_a_user_who_swaps_everything_all_the_time_gets_nothing(top, owned):
    """As root, in that user's folder: bind, restore, change the mode, remove, again and again."""
    secret, root = top / "secret", top / "root"
    secret.write_text("x")
    secret.chmod(0o600)
    root.mkdir(mode=0o755)
    app = top / "app"
    app.mkdir()
    if owned != "the last folder":
        given_to_nobody(app)
    given_to_nobody(app / "run")
    attacker = subprocess.Popen([PYTHON, "-c", ATTACK, str(app), str(secret), str(root)])
    counted = {"bound": 0, "refused": 0}
    try:
        until = time.monotonic() + 2.0
        while time.monotonic() < until or not all(counted.values()):
            assert time.monotonic() < until + 30, counted
            sock = sockets.unix_stream()
            try:
                path = str(app / "run" / "a.sock")
                file = socket_file.bind(sock, path, mode=0o666, replace_stale=True)
                counted["bound"] += 1
                for _ in range(3):
                    file.restore()
                    file.set_mode(0o622)
                file.remove()
                file.close()
            except OSError:
                counted["refused"] += 1
            finally:
                sock.close()
            found = secret.stat()
            assert (stat.S_IMODE(found.st_mode), found.st_nlink) == (0o600, 1)
            assert not list(root.iterdir())
    finally:
        attacker.kill()
        attacker.wait()
    assert secret.read_text() == "x"
    assert credentials.own().uid == os.geteuid() == 0


@root_only
def test_binding_for_a_worker_makes_nothing_that_it_could_not_make(top):
    """The same attack on what is bound with the attacker's own credentials."""
    root = top / "root"
    root.mkdir()
    root.chmod(0o775)  # root's group may write: PID 1 has it, the worker has not
    app = given_to_nobody(top / "app")
    given_to_nobody(app / "run")
    secret = top / "secret"
    secret.write_text("x")
    attacker = subprocess.Popen([PYTHON, "-c", ATTACK, str(app), str(secret), str(root)])
    nobody = credentials.Credentials(NOBODY, NOBODY, (), 0)
    bound = 0
    try:
        until = time.monotonic() + 1.0
        while time.monotonic() < until or not bound:
            assert time.monotonic() < until + 30
            sock = sockets.unix_stream()
            try:
                path = str(app / "run" / "a.sock")
                file = socket_file.bind(sock, path, mode=0o666, credentials=nobody)
                bound += 1
                file.remove()
                file.close()
            except OSError:
                pass
            finally:
                sock.close()
            assert not list(root.iterdir())
    finally:
        attacker.kill()
        attacker.wait()
