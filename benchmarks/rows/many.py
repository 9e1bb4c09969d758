"""A thousand workers: the cost of each, and whether it grows with their number."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack

from ..arena import (
    Init,
    bare_loop,
    cpu_seconds,
    lines_of,
    memory,
    program,
    rounds_of,
    until,
    workspace,
)
from ..table import Bar, Figure, Row
from . import inits

SIZES = (250, 500, 1000)
# The peers' cost for each worker is seen with this many.
PEERS_SIZE = 250


def _many(command_for, workers: int) -> dict[str, float]:
    with ExitStack() as stack:
        folder = stack.enter_context(workspace())
        file = f"{folder}/times"
        command = command_for(folder, [program("stamp"), file], workers)
        began = time.monotonic()
        init = stack.enter_context(Init(command, folder, {"PM2_HOME": f"{folder}/pm2"}))
        times = until(lambda: len(t := lines_of(file)) >= workers and t, deadline=60, pause=0.005)
        started = max(map(int, times)) / 1e9 - began
        time.sleep(1.0)
        used = memory(init.pid)
        cpu = cpu_seconds(init.pid)
        began = time.monotonic()
        os.kill(init.pid, signal.SIGTERM)
        init.process.wait(timeout=60)
        stopped = time.monotonic() - began
    return {
        "start": started * 1e3 / workers,
        "stop": stopped * 1e3 / workers,
        "cpu": cpu * 1e3 / workers,
        "rss": used["rss"],
        "pss": used["pss"],
    }


def many(count: int) -> list[Row]:
    contestants = {}
    for workers in SIZES:
        contestants[f"pyinit, {workers}"] = lambda n=workers: _many(inits.pyinit, n)
    contestants[f"bare Python loop, {SIZES[-1]}"] = lambda: _many(
        lambda _f, c, n: bare_loop(*c, workers=n), SIZES[-1]
    )
    peers = {"supervisor": inits.supervisor, "circus": _circus, "pm2-runtime": inits.pm2}
    for name, command_for in peers.items():
        contestants[f"{name}, {PEERS_SIZE}"] = lambda each=command_for: _many(each, PEERS_SIZE)
    figures = rounds_of(
        max(1, count // 4),
        contestants,
        {"start": "ms", "cpu": "ms", "stop": "ms", "rss": "MB", "pss": "MB"},
        warm_up=False,
        seconds=150,
    )
    few, most = f"pyinit, {SIZES[0]}", f"pyinit, {SIZES[-1]}"
    linear = [Bar(most, 1.3, few)]
    growth = _growth(figures["rss"], figures["pss"], few, most)
    return [
        Row(
            "many-start",
            "Many workers: exec of PID 1 → all have begun, for each worker",
            figures["start"],
            linear,
            "Workers that note the time and sleep, in fork mode. The cost is linear when that of "
            f"a worker is the same among {SIZES[-1]:,} as among {SIZES[0]}.",
        ),
        Row(
            "many-cpu",
            "Many workers: CPU time of PID 1 until all have begun, for each worker",
            figures["cpu"],
            linear,
            "The same run. Its own start is in it, which is more for each of few.",
        ),
        Row(
            "many-stop",
            "Many workers: SIGTERM to PID 1 → its end, for each worker",
            figures["stop"],
            linear,
        ),
        Row(
            "growth",
            "Memory of PID 1 for each further worker",
            growth,
            [Bar("RSS", 20.0), Bar("PSS", 20.0)],
            f"The same run: the difference between {SIZES[0]} and {SIZES[-1]:,} workers.",
        ),
    ]


def _growth(rss, pss, few: str, most: str) -> dict[str, Figure]:
    further = SIZES[-1] - SIZES[0]
    return {
        name: Figure(
            name,
            [
                (b - a) * 1024 / further
                for a, b in zip(taken[few].samples, taken[most].samples, strict=False)
            ],
            "kB",
            missing=taken[most].missing or taken[few].missing,
        )
        for name, taken in (("RSS", rss), ("PSS", pss))
    }


def _circus(folder: str, command: list[str], workers: int) -> list[str]:
    return inits.circus(folder, command, workers, "warmup_delay = 0\n")
