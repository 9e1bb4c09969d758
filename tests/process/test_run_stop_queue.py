"""A stop by hand of an app with one queue for all: who waits there is answered first."""

from __future__ import annotations

import contextlib
import shutil
import socket
import sys
import threading

import pytest

from tests.support import commands
from tests.support.ports import free_port
from tests.support.run import Run

# One connection at a time, each takes a while; it ends at its signal, whoever still waits.
SLOW = """
import socket, sys, time
where = sys.argv[1]
if where.isdigit():
    s = socket.create_server(("127.0.0.1", int(where)), backlog=100)
else:
    s = socket.socket(socket.AF_UNIX)
    s.bind(where)
    s.listen(100)
while True:
    c, _ = s.accept()
    if c.recv(100):
        time.sleep(0.15)
        c.sendall(b"yes")
    c.close()
"""
WITHOUT_FILTERS = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")


def connect(where):
    if isinstance(where, int):
        return socket.create_connection(("127.0.0.1", where), timeout=20)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    try:
        sock.connect(where)
    except OSError:
        sock.close()
        raise
    return sock


@pytest.mark.parametrize("words", [("stop", "web"), ("scale", "web", "0")], ids=["stop", "scale"])
@pytest.mark.parametrize("where", ["tcp", "tcp without CAP_NET_ADMIN", "unix"])
def test_one_queue_for_all_is_emptied_and_clients_are_refused(tmp_path, where, words) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    wrap = ()
    if where == "tcp without CAP_NET_ADMIN":
        if not shutil.which("setpriv"):
            pytest.skip("setpriv is not installed")
        wrap = WITHOUT_FILTERS
    address = str(tmp_path / "s") if where == "unix" else free_port()
    listen = f"unix:{address}" if where == "unix" else f"127.0.0.1:{address}"
    app = {"name": "web", "script": f"{sys.executable} slow.py {address}", "share": "one"}
    app |= {"exec_mode": "cluster", "instances": 2, "listen": listen, "kill_timeout": "20s"}
    with Run(tmp_path, [app], wrap=wrap) as run, contextlib.ExitStack() as stack:
        run.event("app ready")
        clients = [stack.enter_context(connect(address)) for _ in range(12)]
        for client in clients:
            client.sendall(b"hi")
        said = []
        stops = threading.Thread(target=lambda: said.append(commands.pyinit(run, *words)))
        stops.start()
        assert [client.recv(10) for client in clients] == [b"yes"] * 12
        stops.join()
        assert said[0].returncode == 0, said[0]
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            connect(address).close()
        assert not run.events("worker killed")
        again = ("start", "web") if words[0] == "stop" else ("scale", "web", "2")
        assert commands.pyinit(run, *again).returncode == 0
        for _ in range(4):
            with connect(address) as client:
                client.sendall(b"hi")
                assert client.recv(10) == b"yes"
        assert run.stop() == 0
