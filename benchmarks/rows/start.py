"""From exec of PID 1 to the first instruction of a worker, and to its first answer."""

from __future__ import annotations

import time
from pathlib import Path

from ..arena import (
    PYINIT,
    Init,
    answers,
    bare_loop,
    free_port,
    lines_of,
    packaged,
    program,
    rounds,
    tool,
    until,
    workspace,
)
from ..table import Bar, Row
from . import inits


def _first_instruction(command_for) -> float:
    with workspace() as folder:
        file = f"{folder}/times"
        child = [program("stamp"), file]
        with Init([program("stamp"), file, *command_for(folder, child)], folder, _home(folder)):
            times = until(lambda: len(t := lines_of(file)) > 1 and t)
    return (int(times[1]) - int(times[0])) / 1e6


def _home(folder: str) -> dict[str, str]:
    return {"PM2_HOME": f"{folder}/pm2"}


def first_instruction(count: int) -> list[Row]:
    contestants = {
        "bare Python loop": lambda _f, c: bare_loop(*c),
        "tini": lambda _f, c: [tool("tini"), "--", *c],
        "dumb-init": lambda _f, c: [tool("dumb-init"), *c],
        "pyinit --": lambda _f, c: [PYINIT, "--", *c],
        "pyinit -c": inits.pyinit,
        "packaged pyinit --": lambda _f, c: [packaged(), "--", *c],
        "packaged pyinit -c": lambda f, c: [packaged(), *inits.pyinit(f, c)[1:]],
        "pm2-runtime": inits.pm2,
        "circus": inits.circus,
        "supervisor": inits.supervisor,
    }
    figures = rounds(
        count,
        {name: lambda each=each: _first_instruction(each) for name, each in contestants.items()},
        "ms",
    )
    return [
        Row(
            "first-instruction",
            "From exec of PID 1 to the worker's first instruction",
            figures,
            [
                Bar("pyinit --", 2.0, "bare Python loop"),
                Bar("pyinit -c", 4.0, "bare Python loop"),
                Bar("packaged pyinit --", 1.0, "bare Python loop"),
                Bar("packaged pyinit -c", 1.8, "bare Python loop"),
            ],
            how="A static program of a few kB notes the time and becomes the init by exec; the "
            "worker, the same program, notes the time as the first thing that it does.",
        )
    ]


# -- the first answer -------------------------------------------------------------------

# What any supervisor of four has to pay: four nodes that boot on the machine's cores.
NODE_CLUSTER = """
const cluster = require('cluster');
if (cluster.isPrimary) for (let n = 0; n < 4; n++) cluster.fork();
else require('./server.js');
"""


def _first_answer(command_for) -> float:
    port = free_port()
    with workspace() as folder:
        inits.node_server(folder)
        Path(folder, "four.js").write_text(NODE_CLUSTER)
        command = command_for(folder)
        began = time.monotonic()
        with Init(command, folder, {"PORT": str(port), **_home(folder)}):
            until(lambda: answers(port), deadline=60)
            return (time.monotonic() - began) * 1e3


def first_answer(count: int) -> list[Row]:
    rows = []
    for workers in (1, 4):
        contestants = {
            "bare node": lambda: _first_answer(lambda _f: ["node", "server.js"]),
            "pyinit": lambda n=workers: _first_answer(lambda f: inits.pyinit_node(f, n)),
            "packaged pyinit": lambda n=workers: _first_answer(
                lambda f: [packaged(), *inits.pyinit_node(f, n)[1:]]
            ),
            "pm2-runtime": lambda n=workers: _first_answer(lambda f: inits.pm2_node(f, n)),
        }
        if workers == 4:
            contestants["node's own cluster"] = lambda: _first_answer(
                lambda _f: ["node", "four.js"]
            )
        figures = rounds(count, contestants, "ms")
        plural = "worker" if workers == 1 else "workers"
        rows.append(
            Row(
                f"first-answer-{workers}",
                f"From exec of PID 1 to the first answer of a node server, {workers} {plural}",
                figures,
                [
                    Bar("pyinit", 1.6, "bare node"),
                    Bar("packaged pyinit", 1.4 if workers == 1 else 1.6, "bare node"),
                    Bar("pm2-runtime", 4.0, "pyinit", at_least=True),
                ],
                how="A client asks until it is answered 200. `bare node` is one process of the "
                "same server, with no supervisor.",
            )
        )
    return rows
