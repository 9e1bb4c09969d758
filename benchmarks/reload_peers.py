"""What the peers do about a reload: `pm2 reload` and gunicorn's SIGHUP, under the same load."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import reload_servers
from .arena import BIN, free_port, tool, until, workspace
from .reloads import ONE_RELOAD, Cell, ReadInit, answers, under_load

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable


def pm2(instances: int, options: argparse.Namespace) -> Cell:
    """`pm2-runtime` with node's polite server in cluster mode, `pm2 reload`."""
    cell = Cell("node server.close", True, "node", "one", instances, init="pm2")

    def command(folder: Path, port: int) -> list[str]:
        app: dict[str, object] = {
            "name": "app",
            "script": "server.js",
            "env": {"PORT": port, "MANNER": "polite"},
        }
        app |= {"exec_mode": "cluster", "instances": instances}
        (folder / "ecosystem.json").write_text(json.dumps({"apps": [app]}))
        return [tool("pm2-runtime"), "start", "ecosystem.json"]

    def reload(init: ReadInit) -> None:
        inside = ["nsenter", "--target", str(init.pid), "--pid", "--mount"]
        subprocess.run(
            [*inside, tool("pm2"), "reload", "app"],
            env={**os.environ, **init.env},
            cwd=init.cwd,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=ONE_RELOAD,
        )

    return _measure(cell, command, reload, options)


def gunicorn(instances: int, options: argparse.Namespace) -> Cell:
    """gunicorn as the init of its own workers, SIGHUP."""
    cell = Cell("gunicorn", True, "fork", "one", instances, init="gunicorn")

    def command(_folder: Path, port: int) -> list[str]:
        words = f"{BIN}/gunicorn -k gthread --threads 4 -w {instances} -b 127.0.0.1:{port} wsgi:app"
        return words.split()

    def reload(init: ReadInit) -> None:
        children = Path(f"/proc/{init.pid}/task/{init.pid}/children")
        before = set(children.read_text().split())
        os.kill(init.pid, signal.SIGHUP)

        def changed() -> bool:
            now = set(children.read_text().split())
            return len(now) == instances and not now & before

        until(changed, deadline=ONE_RELOAD, pause=0.02)

    return _measure(cell, command, reload, options)


def _measure(
    cell: Cell,
    command: Callable[[Path, int], list[str]],
    reload: Callable[[ReadInit], None],
    options: argparse.Namespace,
) -> Cell:
    port = free_port()
    with workspace() as name:
        folder = Path(name)
        reload_servers.write(folder, port)
        env = {"PM2_HOME": f"{name}/pm2"}
        with ReadInit(command(folder, port), name, env) as init:
            until(lambda: answers(port), deadline=60)
            # All of them: nothing tells when the others are there.
            time.sleep(3)
            with under_load(cell, init, port, options):
                try:
                    for turn in range(1, options.reloads + 1):
                        reload(init)
                        cell.reloads = turn
                except (TimeoutError, subprocess.SubprocessError) as error:
                    cell.problems.append(f"reload {cell.reloads + 1}: {error}")
    return cell
