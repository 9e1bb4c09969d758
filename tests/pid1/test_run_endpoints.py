"""The end of a pod under load, as Kubernetes does it: endpoints are removed late.

SIGTERM and the removal of the endpoint begin at the same moment and know nothing of each
other: for seconds, new connections still come to a pod that is told to stop. Readiness
goes off at once, the workers serve on for `shutdown.drain_delay`, then they are told.
"""

from __future__ import annotations

import http.client
import os
import signal
import sys
import threading

import pytest

from tests.support.ports import answers, free_port
from tests.support.run import Run, get

# Dies of SIGTERM in the middle of whatever it does.
RUDE = """
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(0.2)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""

# Finishes what it has, closes idle connections, and ends by itself.
POLITE = """
const http = require('http');
const server = http.createServer((request, answer) => {
    setTimeout(() => answer.end('ok'), request.url === '/slow' ? 1500 : 0);
});
server.listen(Number(process.argv[2]), '127.0.0.1');
process.on('SIGTERM', () => { server.close(); server.closeIdleConnections(); });
"""


def app(folder, kind, port):
    shape = {"exec_mode": "cluster", "instances": 2, "listen_timeout": 20000}
    if kind == "rude":
        (folder / "server.py").write_text(RUDE)
        script = {"script": "server.py", "interpreter": sys.executable}
    else:
        (folder / "server.js").write_text(POLITE)
        script = {"script": "server.js"}
    return {"name": "web", **script, "args": [str(port)], **shape}


# A proxy in the same container, which is stopped before what it asks.
PROXY = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    upstream web {{ server 127.0.0.1:{web}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        location / {{ proxy_pass http://web; }}
    }}
}}
"""


def apps(folder, kind, port):
    if kind != "behind a proxy":
        return [app(folder, kind, port)]
    web = free_port()
    (folder / "nginx.conf").write_text(PROXY.format(folder=folder, port=port, web=web))
    proxy = {"name": "proxy", "script": f"nginx -c {folder}/nginx.conf", "kill_signal": "SIGQUIT"}
    return [{**proxy, "depends_on": {"web": "service_healthy"}}, app(folder, "polite", web)]


class Service:
    """Clients of a Service, and what removes its endpoint `late` seconds after /readyz says no."""

    def __init__(self, port, probes, late):
        self.port = port
        self.answered = 0
        self.failed = []
        self.unready = threading.Event()
        self._removed = threading.Event()
        self._lock = threading.Lock()
        jobs = [
            *[lambda: self._connections("/")] * 2,
            *[lambda: self._connections("/slow")] * 2,
            *[self._keep_alive] * 2,
            lambda: self._endpoint(probes, late),
        ]
        self._threads = [threading.Thread(target=job, daemon=True) for job in jobs]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._removed.set()
        self.ended()

    def ended(self):
        """The endpoint is removed and every client has had its last answer."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _endpoint(self, probes, late):
        while not self._removed.wait(0.05):
            if get(probes, "/readyz")[0] == 503:
                self.unready.set()
                self._removed.wait(late)
                self._removed.set()

    def _connections(self, path):
        while not self._removed.is_set():
            self._count(lambda: get(self.port, path))

    def _keep_alive(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

        def ask():
            connection.request("GET", "/")
            answer = connection.getresponse()
            return answer.status, answer.read()

        while not self._removed.wait(0.01):
            self._count(ask)
        connection.close()

    def _count(self, ask):
        try:
            status, _ = ask()
        except (OSError, http.client.HTTPException) as error:
            status = repr(error)
        with self._lock:
            if status == 200:
                self.answered += 1
            else:
                self.failed.append(status)


@pytest.mark.parametrize("kind", ["rude", "polite", "behind a proxy"])
def test_no_request_is_lost_though_the_endpoint_is_removed_late(tmp_path, kind) -> None:
    port, probes = free_port(), free_port()
    top = {
        "probes": {"listen": f"127.0.0.1:{probes}"},
        "shutdown": {"drain_delay": "2500", "timeout": "25s", "grace": "30s"},
    }
    with Run(tmp_path, apps(tmp_path, kind, port), **top) as run:
        run.event("app ready")
        run.until(lambda: answers(port), "an open port")
        with Service(port, probes, late=1.2) as service:
            run.until(lambda: service.answered > 100, "answers")
            run.signal(signal.SIGTERM)
            assert service.unready.wait(2.5), run.story()
            # Nobody has been told yet.
            assert not run.events("worker exited")
            before = service.answered
            service.ended()
            assert service.answered > before
        assert run.wait() == 0
        assert service.failed == []
        assert not run.events("config warning")
        ended = [event["app"] for event in run.events("worker exited", expected=True)]
        assert ended == ["web", "web"] if kind != "behind a proxy" else ["proxy", "web", "web"]


def test_the_reason_is_said_and_probes_live_on_until_the_end(tmp_path) -> None:
    port, probes = free_port(), free_port()
    with Run(
        tmp_path,
        [app(tmp_path, "rude", port)],
        probes={"listen": f"127.0.0.1:{probes}"},
        shutdown={"drain_delay": "10m"},
    ) as run:
        run.event("app ready")
        run.signal(signal.SIGTERM)
        run.event("shutdown started")
        assert get(probes, "/readyz")[0] == 503
        assert "draining" in get(probes, "/readyz?verbose")[1]
        # Alive: a liveness probe that failed now would cut the drain short.
        assert get(probes, "/livez")[0] == 200
        assert get(port)[0] == 200
        # SIGINT ends the drain; what was requested is still done.
        assert run.stop(signal.SIGINT) == 0


def test_an_app_that_dies_while_draining_is_started_again(tmp_path) -> None:
    port = free_port()
    with Run(tmp_path, [app(tmp_path, "rude", port)], shutdown={"drain_delay": "10m"}) as run:
        run.event("app ready")
        run.signal(signal.SIGTERM)
        run.event("shutdown started")
        os.kill(run.outer_pid(run.event("worker ready")["pid"]), signal.SIGKILL)
        run.event("worker ready", 3)
        assert get(port)[0] == 200
        assert run.stop(signal.SIGINT) == 0
