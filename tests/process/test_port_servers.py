"""Unmodified servers, several of each on one port."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.portlab import NODE_MODULES, Lab, get, spec
from tests.support.ports import free_port

BIN = Path(sys.executable).parent
PYTHON = sys.executable

WSGI = """
import os
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["SLOT"].encode()]
"""
ASGI = """
import os
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": os.environ["SLOT"].encode()})
"""
FLASK = """
import os, sys
from flask import Flask
app = Flask("x")
@app.route("/")
def index():
    return os.environ["SLOT"]
app.run(host=sys.argv[1], port=int(sys.argv[2]))
"""
HTTP_SERVER = """
import os, sys, http.server
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["SLOT"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), H).serve_forever()
"""
# The plainest server there is: a blocking accept, one connection after the other.
BLOCKING = """
import os, socket, sys
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], int(sys.argv[2])))
s.listen(1)
while True:
    c, _ = s.accept()
    c.recv(4096)
    body = os.environ["SLOT"].encode()
    c.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + body)
    c.close()
"""
NGINX = """
daemon off; pid {tmp}/nginx.pid$SLOT; error_log stderr; env SLOT;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {tmp}/a; proxy_temp_path {tmp}/b; fastcgi_temp_path {tmp}/c;
  uwsgi_temp_path {tmp}/d; scgi_temp_path {tmp}/e;
  server {{ listen 0.0.0.0:{port}{more}; listen [::]:{port}{more}; return 200 "nginx"; }}
}}
"""


@pytest.fixture
def modules(tmp_path):
    (tmp_path / "wsgi.py").write_text(WSGI)
    (tmp_path / "asgi.py").write_text(ASGI)
    (tmp_path / "flaskapp.py").write_text(FLASK)
    (tmp_path / "httpserver.py").write_text(HTTP_SERVER)
    (tmp_path / "blocking.py").write_text(BLOCKING)
    return tmp_path


def answers(port: int, host: str = "127.0.0.1", count: int = 60) -> Counter:
    return Counter(get(port, host) for _ in range(count))


def evenly(counted: Counter, slots: int = 2) -> bool:
    """All slots answer, none nearly always (60 fair coins: 1 in 10 millions else)."""
    return len(counted) == slots and min(counted.values()) >= sum(counted.values()) // (slots * 5)


COMMANDS = {
    "uvicorn": "{bin}/uvicorn asgi:app --host {host} --port {port}",
    "hypercorn": "{bin}/hypercorn asgi:app --bind {host}:{port}",
    "granian": "{bin}/granian --interface asgi asgi:app --host {host} --port {port}",
    "gunicorn": "{bin}/gunicorn wsgi:app -b {host}:{port} -w 2",
    "gunicorn-reuse-port": "{bin}/gunicorn wsgi:app -b {host}:{port} --reuse-port",
    "waitress": "{bin}/waitress-serve --host {host} --port {port} wsgi:app",
    "flask": "{python} flaskapp.py {host} {port}",
    "http.server": "{python} httpserver.py {host} {port}",
    "blocking-accept": "{python} blocking.py {host} {port}",
}


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "adopted"])
@pytest.mark.parametrize("name", COMMANDS)
def test_python_servers_share_a_port(modules, name, declared):
    port = free_port()
    command = COMMANDS[name].format(bin=BIN, python=PYTHON, host="0.0.0.0", port=port).split()
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    listen = (spec(f"0.0.0.0:{port}"),) if declared else ()
    # Gunicorn takes LISTEN_FDS by itself; here its own bind is asked for.
    with Lab(command, cwd=str(modules), listen=listen, handoff="intercept") as lab:
        lab.run(2)
        assert evenly(answers(port)), lab.text()
        assert lab.bound() == {port}


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn"])
def test_servers_take_descriptors(modules, name):
    port = free_port()
    commands = {
        "uvicorn": [f"{BIN}/uvicorn", "asgi:app", "--fd", "{fd}"],
        "gunicorn": [f"{BIN}/gunicorn", "wsgi:app"],
    }
    if not shutil.which(commands[name][0]):
        pytest.skip("not installed")
    listen = (spec(str(port)),)
    with Lab(commands[name], cwd=str(modules), listen=listen, handoff="fds") as lab:
        workers = [lab.start(0), lab.start(1)]
        lab.steer(0, 1)
        assert evenly(answers(port))
        assert workers[0].failure == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_a_bare_port_serves_whatever_family_the_worker_asks_for(modules, host):
    port = free_port()
    command = [f"{BIN}/uvicorn", "asgi:app", "--host", host, "--port", str(port)]
    if not shutil.which(command[0]):
        pytest.skip("not installed")
    with Lab(command, cwd=str(modules), listen=(spec(str(port)),)) as lab:
        lab.run(2)
        assert evenly(answers(port, "::1" if ":" in host else "127.0.0.1"))
        if ":" not in host:
            # Nobody accepts IPv6: refused, as the program alone would, and no hanging.
            with pytest.raises(OSError, match="refused"):
                get(port, "::1")


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "adopted"])
@pytest.mark.parametrize("more", ["", " reuseport"], ids=["plain", "reuseport"])
def test_nginx(tmp_path, more, declared):
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed")
    port = free_port()
    tmp_path.chmod(0o755)
    conf = tmp_path / "nginx.conf"
    conf.write_text(
        NGINX.format(tmp=tmp_path, port=port, more=more).replace("$SLOT", "")
        + "worker_processes 2;"
    )
    command = ["nginx", "-c", str(conf), "-p", str(tmp_path)]
    listen = (spec(str(port)),) if declared else ()
    with Lab(command, cwd=str(tmp_path), listen=listen) as lab:
        lab.run(2)
        for host in ("127.0.0.1", "::1"):
            assert answers(port, host, 20) == {"nginx": 20}
        assert lab.bound() == {port}


NODE_HTTP = """
require('http').createServer((q, s) => s.end(process.env.SLOT)).listen(+process.argv[2]);
"""
NODE_EXPRESS = """
const app = require('express')();
app.get('/', (q, s) => s.send(process.env.SLOT));
app.listen(+process.argv[2]);
"""
NODE_FASTIFY = """
const app = require('fastify')();
app.get('/', async () => process.env.SLOT);
app.listen({port: +process.argv[2], host: '0.0.0.0'});
"""
NODE_CLUSTER = """
const cluster = require('cluster');
if (cluster.isPrimary) { cluster.fork(); cluster.fork(); } else {
require('http').createServer((q, s) => s.end(process.env.SLOT)).listen(+process.argv[2]); }
"""


@pytest.mark.parametrize("handoff", ["auto", "node", "intercept"])
@pytest.mark.parametrize("program", ["http", "express", "fastify", "cluster"])
def test_node_servers_share_a_port(tmp_path, program, handoff):
    source = {
        "http": NODE_HTTP, "express": NODE_EXPRESS,
        "fastify": NODE_FASTIFY, "cluster": NODE_CLUSTER,
    }[program]  # fmt: skip
    if not shutil.which("node") or not NODE_MODULES.is_dir():
        pytest.skip("node or its modules are not installed")
    (tmp_path / "app.js").write_text(source)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    port = free_port()
    for listen in ((spec(str(port)),), ()):
        command = ["node", "app.js", str(port)]
        with Lab(command, cwd=str(tmp_path), listen=listen, node=True, handoff=handoff) as lab:
            lab.run(2)
            assert evenly(answers(port)), lab.text()
            assert lab.bound() == {port}


def serve_commands(tmp_path: Path, port: int) -> dict[str, list[str]]:
    flags = ["-s", "build", "-l", str(port)]
    scripts = {"start": f"serve {' '.join(flags)}"}
    (tmp_path / "package.json").write_text(json.dumps({"name": "x", "scripts": scripts}))
    return {
        "serve-14": [str(NODE_MODULES / ".bin" / "serve"), *flags],
        "serve-13": ["node", str(NODE_MODULES / "serve-13" / "bin" / "serve.js"), *flags],
        "serve-11": ["node", str(NODE_MODULES / "serve-11" / "bin" / "serve.js"), *flags],
        "npx": ["npx", "serve", *flags],
        "npm-start": ["npm", "start"],
    }


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "adopted"])
@pytest.mark.parametrize("how", ["serve-14", "serve-13", "serve-11", "npx", "npm-start"])
def test_serve(tmp_path, how, declared):
    if not shutil.which("node") or not NODE_MODULES.is_dir():
        pytest.skip("node or its modules are not installed")
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "index.html").write_text("the app")
    port = free_port()
    command = serve_commands(tmp_path, port)[how]
    listen = (spec(str(port)),) if declared else ()
    with Lab(command, slots=5, cwd=str(tmp_path), listen=listen, node=True) as lab:
        workers = lab.run(4)
        assert lab.bound() == {port}, lab.text()
        for slot in range(4):
            lab.steer(slot)
            assert get(port) == "the app"
        # A crash and a restart end on the same port.
        lab.stop(workers[1], 9)
        again = lab.start(1)
        lab.listening(again)
        lab.steer(1)
        assert get(port) == "the app"
        assert lab.bound() == {port}
