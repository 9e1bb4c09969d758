"""Connections that outlive a reload: their workers keep them (`drain`)."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys

from tests.support.ports import free_port
from tests.support.run import Run, get

ECHO = """
import os, selectors, signal, socket, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
sock = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1000)
watched = selectors.DefaultSelector()
watched.register(sock, selectors.EVENT_READ)
while True:
    for key, _ in watched.select():
        if key.fileobj is sock:
            watched.register(sock.accept()[0], selectors.EVENT_READ)
        elif data := key.fileobj.recv(1000):
            key.fileobj.sendall(data + b" %d" % os.getpid())
        else:
            watched.unregister(key.fileobj)
            key.fileobj.close()
"""


def test_a_reload_leaves_connections_to_the_workers_that_have_them(tmp_path) -> None:
    (tmp_path / "echo.py").write_text(ECHO)
    port, probes = free_port(), free_port()
    app = {"name": "web", "script": f"{sys.executable} echo.py {port}", "exec_mode": "cluster"}
    app |= {"instances": 2, "listen": f"127.0.0.1:{port}", "drain": "1h"}
    top = {"probes": {"listen": f"127.0.0.1:{probes}"}}

    def ask(client: socket.socket) -> bytes:
        client.sendall(b"hello")
        return client.recv(100)

    with Run(tmp_path, [app], **top) as run, contextlib.ExitStack() as stack:

        def states() -> list[str]:
            workers = json.loads(get(probes, "/status")[1])["apps"][0]["workers"]
            return sorted(each["state"] for each in workers)

        def connect() -> socket.socket:
            return stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))

        run.event("app ready")
        clients = [connect() for _ in range(40)]
        before = [ask(client) for client in clients]
        assert len(set(before)) == 2
        run.signal(signal.SIGHUP)
        run.event("reload finished")
        assert [ask(client) for client in clients] == before
        assert states() == ["draining", "draining", "online", "online"]
        with connect() as fresh:
            assert ask(fresh) not in before

        for client in clients:
            client.close()
        run.until(lambda: states() == ["online", "online"], "both have ended")
        assert len(run.events("worker exited", expected=True)) == 2
        assert not run.events("worker drain over")
        assert not run.events("requests in hand not seen")

        again = connect()
        ask(again)
        run.signal(signal.SIGHUP)
        run.event("reload finished", 2)
        run.signal(signal.SIGTERM)
        assert run.process.wait(30) == 0
