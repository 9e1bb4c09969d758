"""How long requests wait beyond their own service time, where workers share a port."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from .. import open_loop
from ..arena import (
    BIN,
    PROGRAMS,
    PYINIT,
    Init,
    cpu_seconds,
    ecosystem,
    free_port,
    rounds_of,
    tool,
    until,
    workspace,
)
from ..arena import answers as is_up
from ..table import Bar, Row

WORKERS = 4
# Of the time of all workers, how much the load needs.
USES = (0.3, 0.5, 0.7)
SECONDS = 6.0
# A tenth of the requests 300 ms, the rest 10 ms.
BLOCKING = open_loop.Mix(slow=0.1, long=0.3, short=0.01)
# Workers that answer many at a time are loaded by a rate, not by a use.
CONCURRENT = open_loop.Mix(slow=0.01, long=0.2, short=0.005)
RATE = 200.0
# So many milliseconds are no difference.
EQUAL = 5.0
SHARES = ("slots", "generations", "one")


@dataclass
class Server:
    """`command` of one worker; `own` starts all, of the program itself; `env` for both."""

    name: str
    command: str
    env: dict[str, str]
    own: tuple[str, list[str], dict[str, str]]
    blocks: bool = True


def _servers() -> list[Server]:
    gunicorn = f"{BIN}/gunicorn -b 127.0.0.1:{{port}} --log-level error tail_wsgi:app"
    uvicorn = f"{BIN}/uvicorn --host 127.0.0.1 --port {{port}} --log-level error tail_asgi:app"
    node = ("node cluster", [tool("node"), "tail.js"], {"CLUSTER": str(WORKERS)})
    python = {"PYTHONPATH": str(PROGRAMS)}
    return [
        Server(
            "gunicorn",
            f"{gunicorn} -w 1",
            python,
            (f"gunicorn -w {WORKERS}", [*gunicorn.split(), "-w", str(WORKERS)], {}),
        ),
        Server("node, blocked", "tail.js", {"BLOCK": "1"}, node),
        Server("node", "tail.js", {}, node, blocks=False),
        Server(
            "uvicorn",
            uvicorn,
            python,
            (f"uvicorn --workers {WORKERS}", [*uvicorn.split(), "--workers", str(WORKERS)], {}),
            blocks=False,
        ),
    ]


def _pyinit(server: Server, share: str):
    def command(folder: str, port: int) -> tuple[list[str], dict[str, str]]:
        app: dict[str, object] = {
            "script": server.command.format(port=port),
            "cwd": str(PROGRAMS),
            "env": {**server.env, "PORT": str(port)},
            "exec_mode": "cluster",
            "instances": WORKERS,
        }
        if share:
            app["share"] = share
        return [PYINIT, "-c", ecosystem(folder, **app)], {}

    return command


def _pm2(server: Server):
    def command(folder: str, port: int) -> tuple[list[str], dict[str, str]]:
        app = {
            "name": "app",
            "script": str(PROGRAMS / "tail.js"),
            "env": {**server.env, "PORT": str(port)},
            "exec_mode": "cluster",
            "instances": WORKERS,
        }
        path = Path(folder, "ecosystem.json")
        path.write_text(json.dumps({"apps": [app]}))
        return [tool("pm2-runtime"), "start", str(path)], {"PM2_HOME": f"{folder}/pm2"}

    return command


def _own(server: Server):
    def command(_folder: str, port: int) -> tuple[list[str], dict[str, str]]:
        _, words, env = server.own
        given = {**server.env, **env, "PORT": str(port)}
        return [word.format(port=port) for word in words], given

    return command


def _measure(server: Server, command_for, seeds: list[int]) -> dict[str, float]:
    """One start; the mean and p99 of the extra wait at each use, in ms."""
    port = free_port()
    values: dict[str, float] = {}
    with workspace() as folder:
        command, env = command_for(folder, port)
        with Init(command, str(PROGRAMS), env) as init:
            until(lambda: is_up(port), pause=0.05)
            time.sleep(2.0)  # until the others are there: not all ways tell
            for use in USES if server.blocks else USES[:1]:
                mix = BLOCKING if server.blocks else CONCURRENT
                rate = use * WORKERS / mix.mean if server.blocks else RATE
                before = cpu_seconds(init.pid)
                seeds[0] += 1
                found = open_loop.run(port, mix, rate, SECONDS, seeds[0])
                if found.failed:
                    raise OSError(f"{found.failed} requests were not answered")
                values[f"mean-{use:.0%}"] = found.mean_ms
                values[f"p99-{use:.0%}"] = found.ms(0.99)
                values[f"cpu-{use:.0%}"] = 100 * (cpu_seconds(init.pid) - before) / SECONDS
    return values


def tail(count: int, *, names: tuple[str, ...] = (), shares: tuple[str, ...] = SHARES) -> list[Row]:
    """`names`: of the servers, all without."""
    rows: list[Row] = []
    for server in _servers():
        if names and server.name not in names:
            continue
        ways = {"pyinit": _pyinit(server, "")}
        ways |= {f"pyinit, {share}": _pyinit(server, share) for share in shares}
        # Run twice: how much of a difference is noise.
        ways["pyinit again"] = ways["pyinit"]
        ways[server.own[0]] = _own(server)
        if "node" in server.name:
            ways["pm2"] = _pm2(server)
        rows += _rows(server, ways, count)
    return rows


def _rows(server: Server, ways: dict[str, object], count: int) -> list[Row]:
    uses = [f"{use:.0%}" for use in (USES if server.blocks else USES[:1])]
    kinds = {"mean": "ms", "p99": "ms", "cpu": "%"}
    units = {f"{kind}-{use}": unit for kind, unit in kinds.items() for use in uses}
    seeds = {name: [7] for name in ways}
    contestants = {
        name: lambda way=way, name=name: _measure(server, way, seeds[name])
        for name, way in ways.items()
    }
    figures = rounds_of(count, contestants, units, warm_up=False, seconds=900)
    mix = BLOCKING if server.blocks else CONCURRENT
    how = (
        f"Open loop, a connection for each request, {WORKERS} workers, service times that sleep: "
        f"{mix.slow:.0%} {1e3 * mix.long:g} ms, the rest {1e3 * mix.short:g} ms. Time from when a "
        "request was due to its answer, less its service time."
    )
    peers = [server.own[0], *(["pm2"] if "pm2" in ways else [])]
    rows = []
    for kind, title in (("mean", "mean extra wait"), ("p99", "p99 of the extra wait")):
        for use in uses:
            load = f"{use} use" if server.blocks else f"{RATE:g} requests/s"
            rows.append(
                Row(
                    f"tail-{server.name.replace(', ', '-')}-{kind}-{use.rstrip('%')}",
                    f"{server.name}, {load}: {title}",
                    figures[f"{kind}-{use}"],
                    [Bar("pyinit", 1.2, peer, equal=EQUAL) for peer in peers],
                    how,
                )
            )
    for use in uses[-1:]:
        load = f"{use} use" if server.blocks else f"{RATE:g} requests/s"
        rows.append(
            Row(
                f"tail-{server.name.replace(', ', '-')}-cpu",
                f"{server.name}, {load}: CPU of PID 1",
                figures[f"cpu-{use}"],
                [Bar("pyinit", 3.0)],
                "Of one core, while the load runs.",
            )
        )
    return rows
