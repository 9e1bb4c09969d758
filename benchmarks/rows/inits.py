"""How each peer is told to run a program: N copies of a command, or of a node server."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from ..arena import PYINIT, ecosystem, tool

NODE_SERVER = (
    "require('http').createServer((q,r)=>r.end('ok')).listen(+process.env.PORT,'127.0.0.1')"
)


def node_server(folder: str) -> None:
    Path(folder, "server.js").write_text(NODE_SERVER)


def pyinit(folder: str, command: list[str], workers: int = 1, **app: object) -> list[str]:
    app = {"interpreter": "none", "exec_mode": "fork", "instances": workers, **app}
    return [PYINIT, "-c", ecosystem(folder, script=shlex.join(command), **app)]


def pyinit_node(folder: str, workers: int = 1) -> list[str]:
    app = {"script": "server.js", "exec_mode": "cluster", "instances": workers}
    return [PYINIT, "-c", ecosystem(folder, **app)]


def pm2(folder: str, command: list[str], workers: int = 1, *flags: str, **app: object) -> list[str]:
    path = Path(folder) / "ecosystem.json"
    app = {
        "name": "app",
        "script": command[0],
        "args": command[1:],
        "interpreter": "none",
        "exec_mode": "fork",
        "instances": workers,
        **app,
    }
    path.write_text(json.dumps({"apps": [app]}))
    return [tool("pm2-runtime"), "start", str(path), *flags]


def pm2_node(folder: str, workers: int = 1) -> list[str]:
    path = Path(folder) / "ecosystem.json"
    app = {"name": "app", "script": "server.js", "exec_mode": "cluster", "instances": workers}
    path.write_text(json.dumps({"apps": [app]}))
    return [tool("pm2-runtime"), "start", str(path)]


def supervisor(folder: str, command: list[str], workers: int = 1, extra: str = "") -> list[str]:
    path = Path(folder) / "supervisord.conf"
    path.write_text(
        "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\n"
        f"pidfile={folder}/pid\nuser=root\nminfds=4096\n"
        f"[program:app]\ncommand={shlex.join(command)}\nstartsecs=0\n"
        f"numprocs={workers}\nprocess_name=%(program_name)s-%(process_num)s\n{extra}"
    )
    return [tool("supervisord"), "-n", "-c", str(path)]


def circus(folder: str, command: list[str], workers: int = 1, extra: str = "") -> list[str]:
    path = Path(folder) / "circus.ini"
    path.write_text(
        f"[circus]\nendpoint = ipc://{folder}/e\npubsub_endpoint = ipc://{folder}/p\n"
        "loglevel = CRITICAL\nlogoutput = /dev/null\n"
        f"[watcher:app]\ncmd = {shlex.join(command)}\nnumprocesses = {workers}\n"
        f"copy_env = True\n{extra}"
    )
    return [tool("circusd"), str(path)]


def gunicorn(folder: str, bind: str, workers: int = 1, config: str = "") -> list[str]:
    Path(folder, "app.py").write_text(
        "def app(environ, start):\n    start('200 OK', [])\n    return [b'ok']\n"
    )
    Path(folder, "conf.py").write_text(config)
    flags = ["-c", "conf.py", f"-w{workers}", "-b", bind, "--log-level", "critical"]
    return [tool("gunicorn"), *flags, "app:app"]
