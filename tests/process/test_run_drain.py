"""Workers that are told when the drain begins (`shutdown.notify`)."""

from __future__ import annotations

import http.client
import signal
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.run import Run

pytestmark = [pytest.mark.process, pytest.mark.pid1]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "node-http" / "server.js"


@pytest.mark.node
@pytest.mark.parametrize("notify", ["SIGUSR2", "message"])
def test_a_server_that_knows_of_the_drain_ends_keep_alive_connections(tmp_path, notify) -> None:
    port = free_port()
    server = EXAMPLE.read_text()
    if notify == "message":
        server = server.replace("process.on('SIGUSR2', () =>", "process.on('message', () =>")
    (tmp_path / "server.js").write_text(server)
    app = {"name": "web", "script": "server.js", "exec_mode": "cluster", "instances": 2}
    app |= {"listen": port, "env": {"PORT": str(port)}}
    shutdown = {"drain_delay": "10m", "notify": notify}
    with Run(tmp_path, [app], shutdown=shutdown) as run:
        run.event("app ready")
        clients = [http.client.HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(4)]

        def ask(client) -> str:
            client.request("GET", "/")
            answer = client.getresponse()
            answer.read()
            assert answer.status == 200
            return answer.headers["connection"]

        assert {ask(client) for client in clients} == {"keep-alive"}
        run.signal(signal.SIGTERM)
        run.event("drain announced", 2)
        run.until(lambda: ask(clients[0]) == "close", "the server knows")
        for client in clients[1:]:
            run.until(lambda client=client: ask(client) == "close", "the server knows")
        assert run.stop(signal.SIGINT) == 0
