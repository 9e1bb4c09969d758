"""What PID 1 costs while nothing happens: memory and wake-ups."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path

from ..arena import (
    PYINIT,
    Init,
    Missing,
    answers,
    bare_loop,
    free_port,
    program,
    rounds_of,
    settled,
    switches,
    tool,
    until,
    workspace,
)
from ..arena import memory as memory_of
from ..table import Bar, Figure, Row
from . import inits

IDLE = 60.0


def _pyinit_full(folder: str, port: int) -> list[str]:
    """Every feature on: probes, watch, the port declared, Node's protocol, the filter."""
    app = {
        "name": "app",
        "script": "server.js",
        "exec_mode": "cluster",
        "instances": 4,
        "listen": f"127.0.0.1:{port}",
        "watch": True,
    }
    file = {
        "apps": [app],
        "probes": {"listen": f"127.0.0.1:{free_port()}"},
    }
    path = Path(folder) / "ecosystem.yaml"
    path.write_text(json.dumps(file))
    return [PYINIT, "-c", str(path)]


def _nodes_apart(folder: str, make) -> list[str]:
    """One node server and three sleepers: peers that share no port."""
    Path(folder, "one.sh").write_text(
        "#!/bin/sh\n[ -e taken ] && exec sleep 1000000\n: > taken\nexec node server.js\n"
    )
    return make(folder, ["sh", "one.sh"], 4)


CONTESTANTS = {
    "bare Python loop": lambda f, _p: _nodes_apart(f, lambda _f, c, n: bare_loop(*c, workers=n)),
    "pyinit": _pyinit_full,
    "gunicorn": lambda f, p: inits.gunicorn(f, f"127.0.0.1:{p}", 4),
    "supervisor": lambda f, _p: _nodes_apart(f, inits.supervisor),
    "circus": lambda f, _p: _nodes_apart(f, inits.circus),
    "pm2-runtime": lambda f, _p: inits.pm2_node(f, 4),
}


def _four_workers(stack: ExitStack, name: str) -> Init:
    """A contestant with four workers that has come to rest."""
    port = free_port()
    # A folder in it: `watch` also hears of what is made beside the app's own folder.
    folder = str(Path(stack.enter_context(workspace()), "app"))
    os.mkdir(folder)
    inits.node_server(folder)
    env = {"PORT": str(port), "PM2_HOME": f"{folder}/pm2"}
    # A /run of its own, as in a container: each pyinit that starts asks the sockets that
    # it finds there whether somebody still answers.
    alone = ["sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh"]
    command = [*alone, *CONTESTANTS[name](folder, port)]
    init = stack.enter_context(Init(command, folder, env))
    until(lambda: answers(port), deadline=60)
    until(lambda: settled(init.pid), deadline=60, pause=0.5)
    return init


def memory(count: int) -> list[Row]:
    def measure(name: str) -> dict[str, float]:
        with ExitStack() as stack:
            return memory_of(_four_workers(stack, name).pid)

    figures = rounds_of(
        max(1, count // 3),
        {name: lambda name=name: measure(name) for name in CONTESTANTS},
        {"rss": "MB", "pss": "MB"},
        warm_up=False,
    )
    how = (
        "`/proc/PID/smaps_rollup` of PID 1 when it has come to rest. pyinit has everything on: a "
        "declared port, slots, the filter, Node's protocol, `watch`, probes, the control socket."
    )
    return [
        Row("rss", "RSS of PID 1, 4 workers idle", figures["rss"], [Bar("pyinit", 20.0)], how),
        Row(
            "pss",
            "PSS of PID 1, 4 workers idle",
            figures["pss"],
            [Bar("pyinit", 12.0)],
            "The same: pages shared with other processes count by their share.",
            notes=[
                (
                    "PSS depends on what else maps the same libraries: gunicorn's workers are "
                    "forks of it, and there is the interpreter of this benchmark."
                )
            ],
        ),
    ]


def wakeups(_count: int) -> list[Row]:
    """All contestants at the same time: a minute each would be six."""
    figures = {}
    with ExitStack() as stack:
        resting = {}
        for name in CONTESTANTS:
            try:
                resting[name] = _four_workers(stack, name)
            except (Missing, OSError, TimeoutError) as error:
                figures[name] = Figure(name, [], "", missing=str(error))
        folder = stack.enter_context(workspace())
        for name, command in {
            "pyinit --": [PYINIT, "--"],
            "tini": [tool("tini"), "--"],
            "dumb-init": [tool("dumb-init")],
        }.items():
            sleeper = [*command, program("stamp"), "/dev/null"]
            resting[name] = stack.enter_context(Init(sleeper, folder))
        time.sleep(2.0)
        before = {name: switches(init.pid) for name, init in resting.items()}
        time.sleep(IDLE)
        for name, init in resting.items():
            woken = switches(init.pid) - before[name]
            figures[name] = Figure(name, [float(woken)], "in 60 s")
    bars = [Bar("pyinit", 0.0), Bar("pyinit --", 0.0)]
    how = (
        "Context switches of all threads of PID 1 in a minute in which nothing happens, all "
        "contestants at the same time. No health check and no other timer is configured."
    )
    return [Row("idle", "Wake-ups of PID 1, idle for 60 s", figures, bars, how)]
