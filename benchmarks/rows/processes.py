"""What an init is for: orphans and signals."""

from __future__ import annotations

import statistics
import subprocess
from pathlib import Path

from ..arena import (
    PYINIT,
    Init,
    bare_loop,
    lines_of,
    program,
    rounds_of,
    tool,
    until,
    workspace,
)
from ..table import Bar, Row
from . import inits

ORPHANS = 10_000
SIGNALS = 1_000

# Whose way of running one command is compared: (folder, command) → the whole command line.
CONTESTANTS = {
    "tini": lambda _f, c: [tool("tini"), "--", *c],
    "dumb-init": lambda _f, c: [tool("dumb-init"), *c],
    "bare Python loop": lambda _f, c: bare_loop(*c),
    "pyinit --": lambda _f, c: [PYINIT, "--", *c],
    "pyinit -c": inits.pyinit,
}


def _orphans(command_for, litter: int) -> dict[str, float]:
    with workspace() as folder:
        file = f"{folder}/written"
        maker = [program("orphans"), str(ORPHANS), str(litter), file]
        with Init(command_for(folder, maker), folder, {"PM2_HOME": f"{folder}/pm2"}):
            [line] = until(lambda: lines_of(file), deadline=60, pause=0.01)
    left, cpu, wall = map(int, line.split())
    return {"cpu": cpu / 1e3 / ORPHANS, "left": float(left), "made": wall / 1e3 / ORPHANS}


def orphans(count: int) -> list[Row]:
    # They are known to leave most of them: one round shows it.
    others = {"supervisor": inits.supervisor, "circus": inits.circus, "pm2-runtime": inits.pm2}
    units = {"cpu": "µs", "left": "left", "made": "µs"}
    rows = []
    for litter in (1, 100):

        def measures(chosen, litter=litter):
            return {name: lambda each=each: _orphans(each, litter) for name, each in chosen.items()}

        figures = rounds_of(count, measures(CONTESTANTS), units, seconds=60)
        once = rounds_of(1, measures(others), units, warm_up=False)
        for what in units:
            figures[what].update(once[what])
        for name, left in figures["left"].items():
            if left.samples and left.median > ORPHANS / 2:
                # What reaps next to nothing has used no CPU for it.
                figures["cpu"][name].samples.clear()
                figures["cpu"][name].missing = f"it leaves {left.median:,.0f} of them"
        how = (
            "one after the other (fork twice)" if litter == 1 else "a hundred of one mother at once"
        )
        key = "orphans-single" if litter == 1 else "orphans-litter"
        rows += [
            Row(
                f"{key}-cpu",
                f"10,000 orphans, {how}: CPU time of PID 1 for each",
                figures["cpu"],
                [Bar("pyinit --", 1.5, "tini"), Bar("pyinit -c", 1.5, "tini")],
                "A worker makes them as fast as it can on a core of its own. "
                "`clock_getcpuclockid(3)` of PID 1.",
            ),
            Row(
                f"{key}-left",
                f"10,000 orphans, {how}: left 20 ms after the last",
                figures["left"],
                [Bar("pyinit --", 0.0), Bar("pyinit -c", 0.0)],
                "The same run: processes that are still in `/proc`.",
            ),
        ]
    return rows


# -- signals ------------------------------------------------------------------------------


def _signals(command_for) -> dict[str, float]:
    with workspace() as folder:
        file = f"{folder}/shared"
        command = command_for(folder, [program("signals"), "worker", file])
        with Init(command, folder) as init:
            until(lambda: Path(file).exists() and any(Path(file).read_bytes()))
            sender = [program("signals"), "send", str(init.pid), str(SIGNALS), file]
            done = subprocess.run(sender, capture_output=True, text=True, timeout=60, check=True)
    taken = [int(word) / 1e3 for word in done.stdout.split()]
    came = sorted(each for each in taken if each >= 0)
    return {
        "p50": statistics.median(came),
        "p99": came[int(len(came) * 0.99)],
        "lost": float(SIGNALS - len(came)),
    }


def signals(count: int) -> list[Row]:
    figures = rounds_of(
        count,
        {name: lambda each=each: _signals(each) for name, each in CONTESTANTS.items()},
        {"p50": "µs", "p99": "µs", "lost": "lost"},
    )
    how = (
        f"SIGUSR1 to PID 1, {SIGNALS:,} times, one after the other was handled, with a pause in "
        "which PID 1 falls asleep; until the first instruction of the worker's handler. "
        "supervisor, circus and pm2-runtime do not pass SIGUSR1 on."
    )
    bars = [Bar("pyinit --", 3.0, "tini"), Bar("pyinit -c", 3.0, "tini")]
    none_lost = [Bar("pyinit --", 0.0), Bar("pyinit -c", 0.0)]
    return [
        Row(
            "signals-p50", "Signal to PID 1 → the worker's handler, p50", figures["p50"], bars, how
        ),
        Row("signals-p99", "Signal to PID 1 → the worker's handler, p99", figures["p99"], bars),
        Row("signals-lost", f"Signals lost of {SIGNALS:,}", figures["lost"], none_lost),
    ]
