"""Servers to reload: polite ones, which finish what they have, and rude ones, which leave.

Each answers `GET /N` with `ok /N`. `{port}` in a command is the port; a way of handing
over that needs another command has its own.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .arena import BIN, tool

PROGRAMS = Path(__file__).with_name("programs") / "servers"
# Those that tests/process/test_reloads.py reloads too.
SHARED = Path(__file__).resolve().parents[1] / "tests" / "programs"


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
            # As Go's net/http: an MPTCP socket, a thread for each connection.
            "like Go's Shutdown",
            True,
            {
                "intercept": f"{python} server.py {{port}} polite mptcp",
                "fds": f"{python} server.py fd polite",
            },
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
    for path in (*PROGRAMS.glob("*.py"), SHARED / "server.py", SHARED / "server.js"):
        shutil.copy(path, folder)
    nginx = (PROGRAMS / "nginx.conf").read_text()
    (folder / "nginx.conf").write_text(nginx.format(folder=folder, port=port))
    (folder / "release").write_text("ok")
