"""Servers to reload: polite ones, which finish what they have, and rude ones, which leave.

Each answers `GET /N` with `ok /N`. `{port}` in a command is the port; a way of handing
over that needs another command has its own.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .arena import BIN, tool

if TYPE_CHECKING:
    from pathlib import Path

NODE = """
const server = require('http').createServer((q, r) => r.end('ok ' + q.url));
const where = process.env.PORT || process.argv[2];
server.listen(where === 'fd' ? {fd: 3} : {port: +where, host: '127.0.0.1'});
const leave = () => process.exit(0);
const manner = process.env.MANNER || process.argv[3];
process.on('SIGINT', manner === 'polite' ? () => server.close(leave) : leave);
"""

WSGI = """
def app(environ, start):
    body = b"ok " + environ["PATH_INFO"].encode()
    start("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""

WAITRESS_FD = """
import socket, waitress, wsgi
waitress.serve(wsgi.app, sockets=[socket.socket(fileno=3)])
"""

ASGI = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b"ok " + scope["path"].encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""

FLASK = """
import logging, sys
import flask
app = flask.Flask("x")
logging.getLogger("werkzeug").setLevel(logging.ERROR)
@app.route("/<number>")
def index(number):
    return "ok /" + number
if sys.argv[1] == "fd":
    from werkzeug.serving import make_server
    make_server("127.0.0.1", 0, app, threaded=True, fd=3).serve_forever()
else:
    app.run(host="127.0.0.1", port=int(sys.argv[1]))
"""

# As Go's net/http: an MPTCP socket, a thread for each connection; Shutdown() closes the
# listener, closes the idle connections, lets the others answer, and returns.
GO_LIKE = """
import signal, socket, sys, threading
if sys.argv[1] == "fd":
    listener = socket.socket(fileno=3)
else:
    try:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
    except OSError:
        listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.setblocking(False)
listener.listen(4096)
lock = threading.Lock()
idle, busy, leaving = set(), set(), threading.Event()
def serve(conn):
    with conn:
        while True:
            data = b""
            while b"\\r\\n\\r\\n" not in data:
                try:
                    more = conn.recv(4096)
                except OSError:
                    more = b""
                if not more:
                    with lock:
                        idle.discard(conn)
                        busy.discard(conn)
                    return
                with lock:
                    idle.discard(conn)
                    busy.add(conn)
                data += more
            body = b"ok " + data.split()[1]
            last = leaving.is_set() or b"Connection: close" in data
            end = b"Connection: close\\r\\n" if last else b""
            size = str(len(body)).encode()
            head = b"HTTP/1.1 200 OK\\r\\nContent-Length: " + size + b"\\r\\n" + end
            try:
                conn.sendall(head + b"\\r\\n" + body)
            except OSError:
                last = True
            with lock:
                busy.discard(conn)
                if last or leaving.is_set():
                    return
                idle.add(conn)
def shutdown(*_):
    leaving.set()
signal.signal(signal.SIGTERM, shutdown)
import selectors
waiting = selectors.DefaultSelector()
waiting.register(listener, selectors.EVENT_READ)
while not leaving.is_set():
    if not waiting.select(0.05):
        continue
    try:
        conn, _ = listener.accept()
    except BlockingIOError:
        continue
    conn.setblocking(True)
    with lock:
        busy.add(conn)
    threading.Thread(target=serve, args=(conn,), daemon=True).start()
listener.close()
import time
while True:
    with lock:
        for conn in idle:
            conn.shutdown(socket.SHUT_RDWR)
        idle.clear()
        if not busy:
            break
    time.sleep(0.005)
"""

NGINX = """
daemon off; pid {folder}/nginx.pid; error_log /dev/null; worker_processes 1;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{ listen 127.0.0.1:{port}; default_type text/plain; return 200 "ok $uri"; }}
}}
"""


@dataclass
class Server:
    """`commands` by way of handing over (`intercept`, `fds`, `node`, `auto`)."""

    name: str
    polite: bool
    commands: dict[str, str]
    keys: dict[str, object] = field(default_factory=dict)  # of the app


def servers() -> list[Server]:
    """All of them. Raises Missing."""
    python = sys.executable
    node = {
        way: f"server.js {'fd' if way == 'fds' else '{port}'} "
        for way in ("intercept", "fds", "node", "auto")
    }
    gunicorn = f"{BIN}/gunicorn -k gthread --threads 4 wsgi:app"
    port = " 127.0.0.1:{port}"
    return [
        Server("node server.close", True, {k: f"{v}polite" for k, v in node.items()}),
        Server(
            "gunicorn",
            True,
            {"intercept": f"{gunicorn} -b{port}", "fds": gunicorn, "auto": f"{gunicorn} -b{port}"},
            {"kill_signal": "SIGTERM"},
        ),
        Server(
            "nginx",
            True,
            {"intercept": f"{tool('nginx')} -c {{folder}}/nginx.conf -p {{folder}}"},
            {"kill_signal": "SIGQUIT"},
        ),
        Server(
            "like Go's Shutdown",
            True,
            {"intercept": f"{python} golike.py {{port}}", "fds": f"{python} golike.py fd"},
            {"kill_signal": "SIGTERM"},
        ),
        Server("node process.exit", False, {k: f"{v}rude" for k, v in node.items()}),
        Server(
            "waitress",
            False,
            {
                "intercept": f"{BIN}/waitress-serve --host 127.0.0.1 --port {{port}} wsgi:app",
                "fds": f"{python} waitressfd.py",
            },
        ),
        Server(
            "uvicorn",
            False,
            {
                "intercept": f"{BIN}/uvicorn asgi:app --log-level warning --port {{port}}",
                "fds": f"{BIN}/uvicorn asgi:app --log-level warning --fd 3",
            },
        ),
        Server(
            "Flask's",
            False,
            {"intercept": f"{python} flaskapp.py {{port}}", "fds": f"{python} flaskapp.py fd"},
        ),
    ]


def write(folder: Path, port: int) -> None:
    """Their files."""
    files = {
        "server.js": NODE,
        "wsgi.py": WSGI,
        "waitressfd.py": WAITRESS_FD,
        "asgi.py": ASGI,
        "flaskapp.py": FLASK,
        "golike.py": GO_LIKE,
        "nginx.conf": NGINX.format(folder=folder, port=port),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
