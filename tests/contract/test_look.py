"""What is seen of real processes: their sockets, their listeners, their CPU time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap

import pytest

from entrypoint.kernel import calling_process, credentials, look, proc, sockdiag
from tests.support.wait import wait_until

HOLDS = """
    import os, socket, sys, time
    sock = socket.socket({family})
    sock.bind({address!r})
    {listen}
    {more}
    print(os.fstat(sock.fileno()).st_ino, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def python():
    """Starts Python programs that live until their stdin is closed."""
    started = []

    def start(program: str):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def holding(start, family="socket.AF_INET", address=("127.0.0.1", 0), *, listen=True, more=""):
    process = start(
        HOLDS.format(
            family=family, address=address, listen="sock.listen(7)" if listen else "", more=more
        )
    )
    return process, int(process.stdout.readline())


def listening(pid):
    answer = look.listening(look.tree(pid))
    assert answer is not None
    return answer[0]


def test_a_listener_is_seen_with_its_address(python):
    process, inode = holding(python)
    (seen,) = listening(process.pid)
    assert (seen.inode, seen.family, seen.host) == (inode, "inet", "127.0.0.1")
    assert seen.port > 0
    assert (seen.waiting, seen.backlog) == (0, 7)
    with socket.create_connection(("127.0.0.1", seen.port)):
        assert listening(process.pid)[0].waiting == 1


@pytest.mark.parametrize("only", [0, 1])
def test_an_ipv6_listener_is_seen_with_its_v6only(python, only):
    program = HOLDS.replace(
        "sock.bind",
        f"sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, {only})\n    sock.bind",
    )
    process = python(
        program.format(family="socket.AF_INET6", address=("::", 0), listen="sock.listen()", more="")
    )
    inode = int(process.stdout.readline())
    (seen,) = listening(process.pid)
    assert (seen.inode, seen.family, seen.host, seen.v6only) == (inode, "inet6", "::", bool(only))


@pytest.mark.parametrize("name", ["/sock of mine", "\0pyinit-test-look"])
def test_a_unix_listener_is_seen_with_its_path(python, tmp_path, name):
    address = name if name[0] == "\0" else str(tmp_path) + name
    process, inode = holding(python, "socket.AF_UNIX", address)
    (seen,) = listening(process.pid)
    assert (seen.inode, seen.family) == (inode, "unix")
    assert seen.path == address.replace("\0", "@")
    assert (seen.waiting, seen.backlog) == (0, 7)


def test_a_bound_socket_that_does_not_listen_is_held_but_no_listener(python):
    process, inode = holding(python, listen=False)
    assert listening(process.pid) == ()
    assert look.sockets(look.tree(process.pid)).holds(inode) is True


def test_a_descendant_that_holds_the_socket_counts(python):
    more = """
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.setsid()
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    inode = os.fstat(sock.fileno()).st_ino
    sock.close()
    print(inode, child, flush=True)
    sys.stdin.read()
    """
    process = python(
        HOLDS.format(family="", address=("127.0.0.1", 0), listen="sock.listen()", more=more)
    )
    inode, child = map(int, process.stdout.readline().split())
    assert look.tree(process.pid) == (process.pid, child)
    seen = look.sockets(look.tree(process.pid), [inode])
    assert seen.holders == {inode: (child,)}
    assert not seen.unknown


def test_a_closed_socket_is_not_held(python):
    process, inode = holding(python, more="held = os.fstat(sock.fileno()).st_ino")
    other = python(
        """
        import os, socket, sys
        sock = socket.socket()
        print(os.fstat(sock.fileno()).st_ino, flush=True)
        sys.stdin.readline()
        sock.close()
        print("closed", flush=True)
        sys.stdin.read()
        """
    )
    gone = int(other.stdout.readline())
    assert look.sockets([other.pid], [gone]).holds(gone) is True
    other.stdin.write("\n")
    other.stdin.flush()
    assert other.stdout.readline() == "closed\n"
    seen = look.sockets([other.pid, process.pid], [gone, inode])
    assert seen.holds(gone) is False
    assert seen.holds(inode) is True


def test_a_process_that_is_gone_holds_nothing(python):
    process, inode = holding(python)
    process.kill()
    process.wait()
    seen = look.sockets([process.pid], [inode])
    assert seen.holds(inode) is False
    assert look.cpu_seconds([process.pid]) == 0


def test_more_descriptors_than_the_bound_are_unknown_unless_found_before(python, monkeypatch):
    more = """
    more = [socket.socket() for _ in range(40)]
    print(os.fstat(more[-1].fileno()).st_ino, flush=True)
    """
    process, last = holding(python, more=more)
    first = int(process.stdout.readline())
    monkeypatch.setattr(look, "DESCRIPTORS", 20)
    assert look.sockets([process.pid], [first]).holds(first) is True
    seen = look.sockets([process.pid], [last])
    assert seen.cut
    assert seen.holds(last) is None
    monkeypatch.undo()
    assert look.sockets([process.pid], [last]).holds(last) is True


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_refused_look_is_unknown(python):
    process, inode = holding(python)
    reading, writing = os.pipe()
    credentials.own()  # what it imports may be closed to another user
    child = os.fork()
    if child == 0:
        answer = b"raised"
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            credentials._own = None  # of the process that this one was forked from
            seen = look.sockets([process.pid], [inode])
            answer = repr((seen.holds(inode), seen.refused, seen.unknown)).encode()
        finally:
            os.write(writing, answer)
            os._exit(0)
    os.waitpid(child, 0)
    shown = os.read(reading, 1000).decode()
    os.close(reading)
    os.close(writing)
    assert shown == repr((None, (process.pid,), True))


def test_the_tables_of_proc_say_the_same_as_sock_diag(python, tmp_path):
    held = [
        holding(python),
        holding(python, "socket.AF_INET6", ("::1", 0)),
        holding(python, "socket.AF_UNIX", str(tmp_path / "a b")),
        holding(python, "socket.AF_UNIX", "\0pyinit-test-tables"),
    ]
    inodes = {inode for _, inode in held}

    def where(found):
        return {(e.inode, e.family, e.host, e.port, e.path) for e in found if e.inode in inodes}

    assert len(where(sockdiag.listeners())) == 4
    assert where(sockdiag._of_tables()) == where(sockdiag.listeners())


def test_many_listeners_come_in_several_answers(python):
    more = """
    more = [socket.socket() for _ in range(700)]
    for each in more:
        each.bind(("127.0.0.1", 0))
        each.listen()
    """
    process, _ = holding(python, more=more)
    assert len(listening(process.pid)) == 701


def test_cpu_time_of_a_tree_grows_with_its_work_and_rests_with_it(python):
    program = """
        import subprocess, sys
        print("up", flush=True)
        sys.stdin.readline()
        work = "while sum(__import__('os').times()[:2]) < 0.3: pass"
        subprocess.run([sys.executable, "-c", work])
        print("done", flush=True)
        sys.stdin.read()
        """
    process = python(program)
    process.stdout.readline()
    before = look.cpu_seconds(look.tree(process.pid))
    process.stdin.write("\n")
    process.stdin.flush()
    wait_until(lambda: look.cpu_seconds(look.tree(process.pid)) > before)
    assert process.stdout.readline() == "done\n"
    after = look.cpu_seconds(look.tree(process.pid))
    assert after - before >= 0.25


@pytest.mark.parametrize("kind", ["inet", "inet6", "mapped", "unix"])
def test_a_connection_has_an_inode_once_it_is_accepted(kind, tmp_path):
    if kind == "unix":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "s"))
        listener.listen()
    elif kind == "inet":
        listener = socket.create_server(("127.0.0.1", 0))
    else:
        listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    family = {"unix": socket.AF_UNIX, "inet6": socket.AF_INET6}.get(kind, socket.AF_INET)
    host = {"inet6": "::1"}.get(kind, "127.0.0.1")
    where = str(tmp_path / "s") if kind == "unix" else (host, listener.getsockname()[1])
    with listener, socket.socket(family) as client:
        client.connect(where)
        assert sockdiag.accepted_as(client) == 0
        client.shutdown(socket.SHUT_WR)
        assert sockdiag.accepted_as(client) == 0
        with listener.accept()[0] as server:
            assert sockdiag.accepted_as(client) == os.fstat(server.fileno()).st_ino


def test_who_waits_for_a_port_is_of_this_host():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            assert sockdiag.waits_from_here(port)


def test_of_a_killed_process_that_is_not_reaped_it_is_unknown_what_it_holds(python):
    process, inode = holding(python)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    seen = look.sockets([process.pid], [inode])
    assert seen.holds(inode) is None
    assert seen.ending == (process.pid,)
    process.wait()
    assert look.sockets([process.pid], [inode]).holds(inode) is False


def test_in_the_proc_of_another_namespace_nothing_is_known(monkeypatch):
    """A worker's number is somebody else's there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        inode = os.fstat(server.fileno()).st_ino
        assert look.sockets([os.getpid()], [inode]).holds(inode) is True
        monkeypatch.setattr(proc, "_ours", False)
        seen = look.sockets([os.getpid()], [inode])
        assert seen.refused == (os.getpid(),) and seen.holds(inode) is None
        listeners, seen = look.listening([os.getpid()])
        assert listeners == () and seen.unknown
        with pytest.raises(PermissionError):
            credentials.caller(os.getpid())
        # It may be one that never rests.
        assert look.cpu_seconds([os.getpid()]) == 0
        assert proc.open_files(os.getpid()) is None and proc.proportional(os.getpid()) is None
        assert proc.name(os.getpid()) == "" and not proc.scheduled(os.getpid())
        assert calling_process.command_line(os.getpid()) == ()
        assert not calling_process.same_network(os.getpid())
        assert proc.process_of(os.getpid()) == 0
        # Whatever it is called there, that is we.
        assert proc.usage("self") is not None and proc.open_files("self")
