"""Where the private socket lies, and what it does with what others planted there."""

from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import tempfile

import pytest

from entrypoint.api import socket_path


@pytest.fixture
def parents(monkeypatch):
    # Short, for the path of a socket has at most 107 bytes (`unix(7)`).
    with tempfile.TemporaryDirectory(prefix="p") as made:
        above = pathlib.Path(made)
        (above / "a").mkdir()
        (above / "b").mkdir()
        monkeypatch.setattr(socket_path, "PARENTS", (str(above / "a"), str(above / "b")))
        yield above


def folder(parent):
    return parent / f"pyinit-{os.geteuid()}"


def test_the_first_place_that_works(parents):
    sock, address = socket_path.bind({})
    with contextlib.closing(sock):
        assert address.startswith(str(folder(parents / "a")))
        assert folder(parents / "a").stat().st_mode & 0o777 == 0o700
        assert not os.get_inheritable(sock.fileno())
        assert list(socket_path.find({})) == [(os.getpid(), address)]
    socket_path.leave(address)
    assert list(socket_path.find({})) == []


def test_the_chosen_place_comes_first(parents):
    chosen = {"PYINIT_RUN_DIR": str(parents / "chosen")}
    sock, address = socket_path.bind(chosen)
    with contextlib.closing(sock):
        assert address.startswith(str(parents / "chosen"))
        assert [found for _, found in socket_path.find(chosen)] == [address]
        assert list(socket_path.find({})) == []


def test_a_planted_link_is_passed_over(parents):
    (parents / "elsewhere").mkdir()
    folder(parents / "a").symlink_to(parents / "elsewhere")
    sock, address = socket_path.bind({})
    with contextlib.closing(sock):
        assert address.startswith(str(parents / "b"))
    assert list((parents / "elsewhere").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make others' folders")
def test_a_folder_of_somebody_else_is_passed_over(parents):
    folder(parents / "a").mkdir()
    os.chown(folder(parents / "a"), 65534, 65534)
    sock, address = socket_path.bind({})
    with contextlib.closing(sock):
        assert address.startswith(str(parents / "b"))


def test_a_folder_that_was_open_to_others_is_closed(parents):
    folder(parents / "a").mkdir()
    folder(parents / "a").chmod(0o777)
    sock, _ = socket_path.bind({})
    with contextlib.closing(sock):
        assert folder(parents / "a").stat().st_mode & 0o777 == 0o700


def test_an_abstract_name_when_no_folder_can_be_written(parents, monkeypatch):
    monkeypatch.setattr(socket_path, "PARENTS", (str(parents / "none" / "none"),))
    sock, address = socket_path.bind({})
    with contextlib.closing(sock):
        assert address.startswith("\0pyinit-")
        assert socket_path.printable(address).startswith("@pyinit-")
        assert (os.getpid(), address) in list(socket_path.find({}))


def test_a_path_that_is_too_long_for_a_socket_is_passed_over(parents):
    deep = parents / ("d" * 100)
    deep.mkdir()
    sock, address = socket_path.bind({"PYINIT_RUN_DIR": str(deep)})
    with contextlib.closing(sock):
        assert address.startswith(str(parents / "a"))
    assert list(folder(deep).iterdir()) == []


def test_dead_sockets_are_removed_and_live_ones_kept(parents):
    alive, address = socket_path.bind({})
    with contextlib.closing(alive):
        ours = folder(parents / "a")
        dead = ours / "1-2-3.sock"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(dead))
        other = ours / "4-5-6.sock"
        os.rename(address, other)
        again, _ = socket_path.bind({})
        with contextlib.closing(again):
            assert not dead.exists()
            assert other.exists()


def test_sockets_of_other_namespaces_are_not_found(parents):
    folder(parents / "a").mkdir()
    (folder(parents / "a") / "1-2-1.sock").touch()
    (folder(parents / "a") / f"{socket_path.key()}-x.sock").touch()
    assert list(socket_path.find({})) == []


def test_peers():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = socket_path.Peer(ours)
        assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.geteuid(), os.getegid())
        assert socket_path.trusted(peer)
        assert socket_path.allowed(peer)
        peer.uid = 54321
        assert not socket_path.trusted(peer)
        assert not socket_path.allowed(peer)
