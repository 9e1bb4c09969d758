"""Unix sockets that something refers to before their bind: an epoll set, a duplicate."""

from __future__ import annotations

import os
import select
import socket

import pytest

from entrypoint.kernel import epoll_sets
from tests.process.test_port_faithful import program
from tests.support.portlab import Lab, spec
from tests.support.wait import wait_until

TIED_UNIX = """
path, how = sys.argv[2:4]
s = socket.socket(socket.AF_UNIX)
s.setblocking(False)
e = select.epoll()
e.register(s.fileno(), 0 if how == "later" else select.EPOLLIN | select.EPOLLET)
if how == "twice":
    again = s.dup()
if how == "two":
    second = select.epoll()
    second.register(s.fileno(), select.EPOLLIN)
try:
    s.bind(path)
    s.listen(16)
except OSError as error:
    print("refused", error.errno, flush=True)
    sys.exit(1)
if how == "later":
    e.modify(s.fileno(), select.EPOLLIN)
if how == "two":
    # It is in there by its own number, and only once.
    second.unregister(s.fileno())
    e.modify(s.fileno(), select.EPOLLIN)
    e = (e, second)[0]
print("listens", flush=True)
while True:
    for fd, _ in e.poll():
        assert fd == s.fileno()
        try:
            while True:
                answer(s.accept()[0])
        except BlockingIOError:
            pass
"""


def ask(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(b"x")
        return client.recv(100)[-1:]


@pytest.mark.parametrize("how", ["in", "later", "two"])
@pytest.mark.parametrize("declared", [False, True])
def test_workers_share_a_unix_socket_that_each_has_in_an_epoll_set(tmp_path, declared, how):
    """The shared socket takes the place of the worker's own in its sets."""
    path = tmp_path / "s"
    listen = (spec(f"unix:{path}"),) if declared else ()
    command = program(tmp_path, TIED_UNIX, 0, path, how)
    with Lab(command, listen=listen, handoff="intercept", instances=2) as lab:
        for slot in (0, 1):
            lab.start(slot)
        wait_until(lambda: lab.text().count("listens") == 2, lab.text)
        seen = set()
        wait_until(lambda: seen.add(ask(path)) or seen == {b"0", b"1"})
        # One leaves, and the path stays.
        lab.stop(lab.workers[0])
        assert {ask(path) for _ in range(5)} == {b"1"}
        lab.start(0)
        wait_until(lambda: lab.text().count("listens") == 3, lab.text)
        seen.clear()
        wait_until(lambda: seen.add(ask(path)) or seen == {b"0", b"1"})
        assert not [event for _, event, _ in lab.logged if event == "address not shared"]


@pytest.mark.parametrize("declared", [False, True])
def test_a_duplicated_unix_socket_is_its_only_workers_own(tmp_path, declared):
    """A path leads to one socket: a second worker is refused, and it is said."""
    path = tmp_path / "s"
    listen = (spec(f"unix:{path}"),) if declared else ()
    command = program(tmp_path, TIED_UNIX, 0, path, "twice")
    with Lab(command, listen=listen, handoff="intercept", instances=1) as lab:
        lab.start(0)
        wait_until(lambda: "listens" in lab.text())
        assert ask(path) == b"0"
        answer = [fields for _, event, fields in lab.logged if event == "address not shared"]
        assert [fields["address"] for fields in answer] == [f"unix:{path}"]


def test_several_workers_cannot_share_a_unix_socket_that_each_has_duplicated(tmp_path):
    path = tmp_path / "s"
    command = program(tmp_path, TIED_UNIX, 0, path, "twice")
    listen = (spec(f"unix:{path}"),)
    with Lab(command, listen=listen, handoff="intercept", instances=2) as lab:
        lab.start(0)
        lab.start(1)
        wait_until(lambda: lab.text().count("refused 98") == 2, lab.text)
        levels = [level for level, event, _ in lab.logged if event == "address not shared"]
        assert levels == ["error", "error"]


@pytest.mark.parametrize("there", ["nothing", "a pipe", "an inherited pipe", "the socket"])
def test_what_has_the_number_of_the_workers_socket_here_keeps_it(there):
    """A worker's entry goes by the number that its socket has there."""
    reads, writes = os.pipe()
    own = select.epoll()
    with socket.create_server(("127.0.0.1", 0)) as server, own:
        os.set_inheritable(reads, there == "an inherited pipe")
        number = server.fileno() if there == "the socket" else reads
        if there == "nothing":
            os.close(reads)
        else:
            own.register(number, select.EPOLLIN)
        sets = epoll_sets.EpollSets()
        with select.epoll() as theirs:
            sets.add(os.dup(theirs.fileno()), select.EPOLLIN, 0x123456789ABCDEF0)
            sets.put(server.fileno(), number)
            with open(f"/proc/self/fdinfo/{theirs.fileno()}") as info:
                entry = [line for line in info if line.startswith("tfd:")]
        assert len(entry) == 1 and f"data: {0x123456789ABCDEF0:16x}" in entry[0]
        assert int(entry[0].split()[1]) == number
        if there == "nothing":
            with pytest.raises(OSError, match="Bad file"):
                os.fstat(reads)
        elif there != "the socket":
            assert os.get_inheritable(reads) is (there == "an inherited pipe")
            os.write(writes, b"x")
            # It is the same open file, and its entry in a set of ours is as it was.
            assert own.poll(10) == [(reads, select.EPOLLIN)]
            own.unregister(reads)
            os.close(reads)
    os.close(writes)
