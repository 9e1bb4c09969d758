"""The listening sockets: steering, queues, revival, unix files, errors."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
from collections import Counter

import pytest

from entrypoint.core.spec import AppSpec
from entrypoint.kernel import sockets
from entrypoint.loop import Loop
from entrypoint.sockets.pending_calls import Pending
from entrypoint.sockets.ports import PortErrors, Ports
from tests.support.portlab import Lab, get, spec
from tests.support.ports import free_port
from tests.support.wait import wait_until

PYTHON = sys.executable

SERVER = """
import os, signal, socket, sys
{before}
s = socket.socket({family}, socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind({address})
print("name", s.getsockname(), flush=True)
s.listen(1)
{after}
while True:
    c, _ = s.accept()
    c.recv(4096)
    c.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + os.environ["SLOT"].encode())
    c.close()
"""


def server(tmp_path, address, *, family="socket.AF_INET", before="", after=""):
    path = tmp_path / "server.py"
    path.write_text(SERVER.format(address=repr(address), family=family, before=before, after=after))
    return [PYTHON, str(path)]


@pytest.fixture
def opened():
    made = []

    def make(*listen, slots=4, **fields):
        errors = []
        loop = Loop(lambda _where, error: errors.append(error))
        fields.setdefault("share", "slots")
        app = AppSpec("web", ("true",), "/", exec_mode="cluster", listen=listen, **fields)
        ports = Ports(loop, app, lambda *_: None, lambda *_: None, Pending(loop, lambda *_: None))
        made.append((ports, loop, errors))
        ports.open(slots)
        return ports, loop

    yield make
    for ports, loop, errors in made:
        ports.close()
        loop.close()
        assert not errors


def connect(port, count, host="127.0.0.1"):
    return [socket.create_connection((host, port), timeout=10) for _ in range(count)]


def queues(ports):
    return [ports.queue_length(slot) for slot in range(ports.slots)]


def test_connections_wait_before_any_worker_is_there(opened):
    port = free_port()
    ports, _ = opened(spec(str(port)))
    clients = connect(port, 8) + connect(port, 8, "::1")
    assert sum(queues(ports)) == 16
    for client in clients:
        client.close()


def test_steering_is_exact_and_leaves_queues_alone(opened):
    port = free_port()
    ports, _ = opened(spec(f"127.0.0.1:{port}"))
    ports.steer((1,))
    first = connect(port, 10)
    assert queues(ports) == [0, 10, 0, 0]
    ports.steer((0, 3))
    second = connect(port, 60)
    counted = queues(ports)
    assert counted[1] == 10 and counted[2] == 0
    assert counted[0] + counted[3] == 60 and min(counted[0], counted[3]) > 10
    for client in first + second:
        client.close()


def test_slots_that_are_added_are_steered_to(opened):
    port = free_port()
    ports, _ = opened(spec(f"127.0.0.1:{port}"), slots=2)
    ports.grow(12)
    ports.steer((11,))
    clients = connect(port, 5)
    assert queues(ports) == [0] * 11 + [5]
    for client in clients:
        client.close()


def test_a_listener_that_a_worker_shut_down_is_revived_and_steered_right(opened):
    port = free_port()
    ports, loop = opened(spec(f"127.0.0.1:{port}"))
    for victim in (1, 3, 0, 0):
        fd = os.dup(ports.descriptors(victim)[0][0])
        with socket.socket(fileno=fd) as listener:
            listener.shutdown(socket.SHUT_RDWR)
        loop.turn(1.0)
        for slot in range(4):
            ports.steer((slot,))
            before = queues(ports)
            client = connect(port, 1)[0]
            after = queues(ports)
            assert [b - a for a, b in zip(before, after, strict=True)] == [
                int(slot == at) for at in range(4)
            ]
            client.close()


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (3, 0), (0, 3), (2, 0, 1), (1, 0, 2), (3, 2, 0)])
def test_several_that_fall_in_one_turn_are_steered_right_whatever_their_order(opened, order):
    port = free_port()
    ports, loop = opened(spec(f"127.0.0.1:{port}"), slots=5)
    for victim in order:
        with socket.socket(fileno=os.dup(ports.descriptors(victim)[0][0])) as listener:
            listener.shutdown(socket.SHUT_RDWR)
    loop.turn(1.0)
    for slot in range(5):
        ports.steer((slot,))
        before = queues(ports)
        client = connect(port, 1)[0]
        after = queues(ports)
        client.close()
        assert [b - a for a, b in zip(before, after, strict=True)] == [
            int(slot == at) for at in range(5)
        ]


def test_several_listeners_shut_down_at_once_are_revived(opened):
    port = free_port()
    ports, loop = opened(spec(f"127.0.0.1:{port}"))
    for victim in (0, 1, 2, 3):
        with socket.socket(fileno=os.dup(ports.descriptors(victim)[0][0])) as listener:
            listener.shutdown(socket.SHUT_RDWR)
    for _ in range(4):
        loop.turn(0.2)
    clients = connect(port, 40)
    assert sum(queues(ports)) == 40
    for client in clients:
        client.close()


def test_a_thousand_slots(opened):
    soft = 3000
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < soft:
        pytest.skip("RLIMIT_NOFILE is too low")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, limits[1]))
    try:
        port = free_port()
        ports, _ = opened(spec(f"127.0.0.1:{port}"), slots=1000)
        ports.steer(tuple(range(0, 1000, 2)))
        clients = connect(port, 200)
        assert sum(queues(ports)[1::2]) == 0
        assert sum(queues(ports)) == 200
        for client in clients:
            client.close()
        ports.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "0.0.0.0:{}", "[::]:{}"])
@pytest.mark.parametrize("way", ["filter", "sink"])
def test_refusing_keeps_what_is_queued(opened, monkeypatch, way, address):
    def forbidden(_sock):
        raise PermissionError

    if way == "sink":  # as without CAP_NET_ADMIN, in a container
        monkeypatch.setattr(sockets, "take_no_more", forbidden)
    port = free_port()
    ports, _ = opened(spec(address.format(port)))
    clients = connect(port, 5)
    ports.refuse()
    late = socket.socket()
    late.settimeout(0.3)
    with pytest.raises(OSError):
        late.connect(("127.0.0.1", port))
    late.close()
    assert sum(queues(ports)) == 5
    for client in clients:
        client.close()


def test_share_one_is_one_socket(opened):
    port = free_port()
    ports, _ = opened(spec(f"127.0.0.1:{port}"), share="one")
    assert len({ports.descriptors(slot)[0][0] for slot in range(4)}) == 1
    ports.steer((2,))
    client = connect(port, 1)[0]
    assert queues(ports) == [0, 0, 0, 0]
    client.close()


# -- errors ----------------------------------------------------------------------------


def test_what_a_file_says_anew_of_an_address_counts_on_the_sockets_that_are_there(opened, tmp_path):
    text, path = f"127.0.0.1:{free_port()}", str(tmp_path / "app.sock")
    ports, _ = opened(spec(text), spec(f"unix:{path}"))
    waiting = [*connect(int(text.split(":")[1]), 8), connect_unix(path)]
    before = ports.descriptors(0)
    tcp, unix = spec(text, backlog=100, name="http"), spec(f"unix:{path}", mode=0o600, name="local")
    changed = AppSpec("web", ("true",), "/", exec_mode="cluster", share="slots", listen=(unix, tcp))
    ports.check(changed)
    ports.update(changed)
    assert ports.descriptors(0) == ((before[1][0], "local"), (before[0][0], "http"))
    assert sum(queues(ports)) == 8
    assert {depth.limit for depth in ports.depths()[text]} == {100}
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    for client in waiting:
        client.close()


def test_a_port_of_many_sockets_becomes_one_that_somebody_accepts_on(opened):
    port = free_port()
    ports, _ = opened(spec(f"127.0.0.1:{port}"))
    ports.steer((1, 2))
    before = connect(port, 20)
    two = queues(ports)
    one = AppSpec(
        "web", ("true",), "/", exec_mode="cluster", share="one", listen=(spec(f"127.0.0.1:{port}"),)
    )
    ports.check(one)
    ports.update(one)
    given = {ports.descriptors(slot)[0][0] for slot in range(4)}
    assert len(given) == 1
    with socket.socket(fileno=os.dup(given.pop())) as listener:
        assert sockets.queue_length(listener) == two[1]
        after = connect(port, 20)
        assert sockets.queue_length(listener) == two[1] + 20
    # What waits for a worker of before is still its own to take.
    assert queues(ports) == [0, 0, two[2], 0]
    for client in before + after:
        client.close()


def test_another_host_of_a_port_that_is_held_is_refused(opened):
    port = free_port()
    ports, _ = opened(spec(f"127.0.0.1:{port}"))
    for text in (str(port), f"0.0.0.0:{port}"):
        wider = AppSpec(
            "web", ("true",), "/", exec_mode="cluster", share="slots", listen=(spec(text),)
        )
        with pytest.raises(PortErrors, match=f"127.0.0.1:{port} is held"):
            ports.check(wider)
    assert ports.addresses == (f"127.0.0.1:{port}",)


def test_an_address_that_comes_narrows_by_what_comes_with_it(opened):
    port = free_port()
    ports, _ = opened(spec(f"127.0.0.1:{free_port()}"))
    both = (spec(f"0.0.0.0:{port}"), spec(f"[::]:{port}"))
    changed = AppSpec("web", ("true",), "/", exec_mode="cluster", share="slots", listen=both)
    ports.check(changed)
    ports.update(changed)
    ports.trim()
    assert ports.addresses == (f"0.0.0.0:{port}", f"[::]:{port}")


def test_every_port_in_use_is_told_and_nothing_stays_open(opened):
    taken, other = socket.socket(), socket.socket()
    for sock in (taken, other):
        sock.bind(("127.0.0.1", 0))
        sock.listen()
    free = free_port()
    taken_port, other_port = taken.getsockname()[1], other.getsockname()[1]
    with pytest.raises(PortErrors) as event:
        opened(spec(str(taken_port)), spec(f"127.0.0.1:{free}"), spec(f"0.0.0.0:{other_port}"))
    assert len(event.value.problems) == 2
    assert f"the port is in use by {open('/proc/self/comm').read().strip()}" in str(event.value)
    assert f"(pid {os.getpid()})" in event.value.problems[0]
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", free))
    taken.close()
    other.close()


def test_an_own_address_beside_another(opened):
    port = free_port()
    opened(spec(f"0.0.0.0:{port}"), spec(f"[::]:{port}"))


def test_a_privileged_port_is_a_clear_error(opened):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give root up")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
                limit = int(file.read())
            os.setresuid(65534, 65534, 65534)
            loop = Loop(lambda *_: None)
            ports = Ports(
                loop,
                AppSpec("web", ("x",), "/", share="slots", listen=(spec("127.0.0.1:81"),)),
                lambda *_: None,
                lambda *_: None,
                Pending(loop, lambda *_: None),
            )
            try:
                ports.open(2)
            except PortErrors as error:
                code = 0 if "need root" in str(error) else 2
            else:
                code = 0 if limit <= 81 else 3
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


# -- unix ------------------------------------------------------------------------------


def connect_unix(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(10)
    client.connect(path)
    return client


def test_a_unix_socket_has_its_mode_and_goes_with_the_app(opened, tmp_path):
    path = str(tmp_path / "app.sock")
    ports, _ = opened(spec(f"unix:{path}", mode=0o620))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o620
    connect_unix(path).close()
    ports.close()
    assert os.listdir(tmp_path) == []


def test_a_stale_socket_file_is_replaced_and_a_live_one_is_not(opened, tmp_path):
    path = str(tmp_path / "app.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    opened(spec(f"unix:{path}"))
    with pytest.raises(PortErrors, match="somebody listens there"):
        opened(spec(f"unix:{path}"))
    connect_unix(path).close()


def test_a_file_in_the_place_of_a_socket_is_left_alone(opened, tmp_path):
    path = tmp_path / "app.sock"
    path.write_text("mine")
    with pytest.raises(PortErrors):
        opened(spec(f"unix:{path}"))
    assert path.read_text() == "mine"


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "adopted"])
@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
def test_workers_share_a_unix_socket_that_they_unlink(tmp_path, declared, relative):
    path = str(tmp_path / "app.sock")
    name = "app.sock" if relative else path
    unlink = f"""
try: os.unlink({name!r})
except FileNotFoundError: pass
signal.signal(signal.SIGTERM, lambda *a: (os.unlink({name!r}), os._exit(0)))
"""
    command = server(tmp_path, name, family="socket.AF_UNIX", before=unlink)
    listen = (spec(f"unix:{path}"),) if declared else ()
    with Lab(command, cwd=str(tmp_path), listen=listen) as lab:
        workers = lab.run(3)

        def answer():
            with connect_unix(path) as client:
                client.sendall(b"x")
                return b"".join(iter(lambda: client.recv(100), b""))[-1:]

        assert len({answer() for _ in range(60)}) >= 1
        lab.stop(workers[0])
        lab.stop(workers[1])
        assert {answer() for _ in range(5)} == {b"2"}


def test_an_abstract_name(tmp_path):
    name = f"pyinit-test-{os.getpid()}"
    command = server(tmp_path, f"\0{name}", family="socket.AF_UNIX")
    for listen in ((spec(f"unix:@{name}"),), ()):
        with Lab(command, listen=listen) as lab:
            lab.run(2)
            connect_unix(f"\0{name}").close()


# -- interception ----------------------------------------------------------------------


def test_a_worker_sees_its_own_address_and_cannot_shrink_the_backlog(tmp_path):
    port = free_port()
    command = server(tmp_path, ("0.0.0.0", port), after="signal.pause()")
    with Lab(command) as lab:
        worker = lab.start(0)
        lab.listening(worker)
        lab.steer(0)
        assert f"name ('0.0.0.0', {port})" in lab.text()
        clients = connect(port, 50)
        wait_until(lambda: lab.queue(0) == 50)
        for client in clients:
            client.close()


def test_a_queue_waits_for_the_next_worker_of_the_slot(tmp_path):
    port = free_port()
    command = server(tmp_path, ("0.0.0.0", port), after="")
    with Lab(command, listen=(spec(f"0.0.0.0:{port}"),)) as lab:
        worker = lab.run(1)[0]
        assert get(port) == "0"
        lab.stop(worker, 9)
        clients = connect(port, 5)
        for client in clients:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert lab.queue(0) == 5
        again = lab.start(0)
        lab.listening(again)
        for client in clients:
            assert b"".join(iter(lambda c=client: c.recv(100), b"")).endswith(b"0")
            client.close()


def test_early_connections_survive_a_worker_of_another_family(tmp_path):
    port = free_port()
    command = server(tmp_path, ("0.0.0.0", port))
    with Lab(command, listen=(spec(str(port)),)) as lab:
        lab.steer(0)
        clients = connect(port, 5)
        for client in clients:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        lab.run(1)
        for client in clients:
            assert b"".join(iter(lambda c=client: c.recv(100), b"")).endswith(b"0")
            client.close()


def test_a_worker_that_shuts_its_listener_down_harms_nobody(tmp_path):
    port = free_port()
    after = "signal.signal(signal.SIGUSR1, lambda *a: (s.shutdown(2), os._exit(0)))"
    command = server(tmp_path, ("0.0.0.0", port), after=after)
    with Lab(command) as lab:
        workers = lab.run(2)
        lab.steer(0)
        lab.stop(workers[1], 10)
        wait_until(lambda: [line for line in lab.logged if line[1] == "listener revived"])
        again = lab.start(1)
        lab.listening(again)
        lab.steer(1)
        assert [get(port) for _ in range(5)] == ["1"] * 5
        lab.steer(0, 1)
        assert set(Counter(get(port) for _ in range(60))) == {"0", "1"}


def test_closing_and_binding_again_gives_the_same_socket(tmp_path):
    port = free_port()
    again = f"""
s.close()
s = socket.socket()
s.bind(("0.0.0.0", {port}))
s.listen(5)
t = socket.socket()
t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
t.bind(("0.0.0.0", {port}))
t.listen(5)
"""
    command = server(tmp_path, ("0.0.0.0", port), after=again)
    with Lab(command) as lab:
        workers = lab.run(2)
        for worker in workers:
            wait_until(lambda w=worker: len(lab.happened("listening", w)) == 3, "all are bound")
        lab.steer(1)
        assert [get(port) for _ in range(5)] == ["1"] * 5


def test_a_bind_in_a_thread_and_by_multipath_tcp(tmp_path):
    """Go binds in any thread, and asks for MPTCP."""
    port = free_port()
    before = """
import threading
class Socket(socket.socket):
    def __init__(self, family, kind, proto=0, fileno=None):
        try: super().__init__(family, kind, 0 if fileno else 262, fileno)
        except OSError: super().__init__(family, kind)
    def bind(self, address):
        thread = threading.Thread(target=super().bind, args=(address,))
        thread.start()
        thread.join()
socket.socket = Socket
"""
    command = server(tmp_path, ("0.0.0.0", port), before=before)
    with Lab(command) as lab:
        lab.run(2)
        assert {get(port) for _ in range(60)} == {"0", "1"}


def test_grandchildren_are_intercepted(tmp_path):
    port = free_port()
    command = ["sh", "-c", " ".join([*server(tmp_path, ("0.0.0.0", port)), "& wait"])]
    with Lab(command) as lab:
        lab.run(2)
        assert set(Counter(get(port) for _ in range(60))) == {"0", "1"}


def test_what_is_not_the_apps_goes_through(tmp_path):
    port, other = free_port(), free_port()
    after = f"""
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", {port}))
z = socket.socket(); z.bind(("127.0.0.1", 0)); z.listen()
assert z.getsockname()[1] not in (0, {port})
n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW); n.bind((0, 0))
d = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); d.bind("{tmp_path}/datagram")
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for arguments in ((99, None, 16), (s.fileno(), None, 16), (s.fileno(), ctypes.c_void_p(1), 16)):
    assert libc.bind(*arguments) == -1
assert libc.listen(99, 1) == -1 and ctypes.get_errno() == 9
try: s.bind(("127.0.0.1", {port}))
except OSError as error: assert error.errno == 22, error
o = socket.socket(); o.bind(("127.0.0.1", {other})); o.listen()
print("own", o.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT), flush=True)
"""
    command = server(tmp_path, ("127.0.0.1", port), after=after)
    with Lab(command, listen=(spec(f"127.0.0.1:{port}"),), exec_mode="fork") as lab:
        lab.run(1)
        assert get(port) == "0", lab.text()
        assert "own 0" in lab.text()


def test_a_taken_port_is_the_workers_own_error(tmp_path):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        command = server(tmp_path, ("0.0.0.0", taken.getsockname()[1]))
        with Lab(command) as lab:
            worker = lab.start(0)
            wait_until(lambda: lab._ended(worker))
            assert "Address already in use" in lab.text()


def test_workers_of_another_user_are_intercepted(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not shutil.which("python3"):
        pytest.skip("python3 is not in PATH")
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 1:
            folder.chmod(0o711)
    port = free_port()
    command = ["/usr/bin/env", "-i", "SLOT=0", "PATH=/usr/bin:/bin", "python3"]
    command += server(tmp_path, ("0.0.0.0", port))[1:]
    with Lab(command, uid=65534, gid=65534) as lab:
        lab.run(2)
        assert get(port) == "0"


def test_a_root_pyinit_lends_no_rights(tmp_path):
    if os.geteuid() != 0 or not os.path.exists("/usr/bin/python3"):
        pytest.skip("needs root")
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as file:
        if int(file.read()) <= 1001:
            pytest.skip("every user may bind every port here")
    tmp_path.chmod(0o755)
    code = "import socket; s = socket.socket(); s.bind(('127.0.0.1', 1001))"
    with Lab(["/usr/bin/python3", "-c", code], uid=65534, gid=65534) as lab:
        worker = lab.start(0)
        wait_until(lambda: lab._ended(worker))
        assert "Permission denied" in lab.text()


def test_other_users_without_ptrace_rights(tmp_path):
    """As in a container with Docker's capabilities: root may not look at everything."""
    if os.geteuid() != 0 or not shutil.which("capsh"):
        pytest.skip("needs root and capsh")
    import subprocess

    tmp_path.chmod(0o777)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 1:
            folder.chmod(0o711)
    script = tmp_path / "drive.py"
    script.write_text(
        f"""
import sys
sys.path.insert(0, {os.getcwd()!r})
from tests.support.portlab import Lab, get
from tests.support.ports import free_port
port = free_port()
open("{tmp_path}/s.py", "w").write('''
import http.server, sys
handler = http.server.SimpleHTTPRequestHandler
http.server.HTTPServer(("0.0.0.0", int(sys.argv[1])), handler).serve_forever()
''')
command = ["/usr/bin/python3", "{tmp_path}/s.py", str(port)]
with Lab(command, cwd="/usr/share", uid=65534, gid=65534) as lab:
    lab.run(2)
    assert get(port)
    assert not [l for l in lab.logged if l[0] == "warning"], lab.logged
print("fine")
"""
    )
    docker = (
        "cap_chown,cap_dac_override,cap_fsetid,cap_fowner,cap_mknod,cap_net_raw,cap_setgid,"
        "cap_setuid,cap_setfcap,cap_setpcap,cap_net_bind_service,cap_sys_chroot,cap_kill,"
        "cap_audit_write"
    )
    keep = set(docker.split(","))
    listed = subprocess.run(["capsh", "--print"], capture_output=True, text=True).stdout
    bounding = next(line for line in listed.splitlines() if line.startswith("Bounding"))
    drop = [name for name in bounding.partition("=")[2].split(",") if name and name not in keep]
    done = subprocess.run(
        ["capsh", f"--drop={','.join(drop)}", "--", "-c", f"{PYTHON} {script}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "fine" in done.stdout, done.stderr


def test_what_comes_to_a_vacant_slot_is_passed_on_while_others_are_steered_to(opened):
    port = free_port()
    ports, loop = opened(spec(f"127.0.0.1:{port}"), slots=3)
    ports.steer((0,))
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.sendall(b"question")
        ports.vacate(0)
        # Nobody could take it: it waits, and costs nothing.
        before = loop.wakeups
        loop.turn(0.05)
        assert ports.queue_length(0) == 1
        assert loop.wakeups <= before + 1
        ports.steer((1,))

        def passed_on() -> bool:
            loop.turn(0.01)
            return ports.queue_length(1) == 1

        wait_until(passed_on)
        assert ports.queue_length(0) == 0
        worker = socket.socket(fileno=os.dup(ports.descriptors(1)[0][0]))
        with worker, worker.accept()[0] as taken:
            taken.setblocking(False)

            def asked() -> bool:
                loop.turn(0.01)
                try:
                    return taken.recv(100) == b"question"
                except BlockingIOError:
                    return False

            wait_until(asked)
            taken.sendall(b"answer")
            client.setblocking(False)

            def answered() -> bool:
                loop.turn(0.01)
                try:
                    return client.recv(100) == b"answer"
                except BlockingIOError:
                    return False

            wait_until(answered)
        ports.occupy(0)
    ports.steer((0, 1))
