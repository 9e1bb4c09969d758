"""Lines of the workers on their way to stdout."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from ..arena import Init, cpu_seconds, lines_of, program, rounds_of, until, workspace
from ..table import Bar, Row
from . import inits

# So many lines that the fastest takes about a second, and the slowest some seconds.
LINES = {"pyinit": 1_000_000, "cat": 1_000_000, "supervisor": 400_000}
OTHERS = 160_000


def _lines(name: str, command_for, writers: int, kind: str) -> dict[str, float]:
    lines = LINES.get(name, OTHERS) // writers * writers
    with workspace() as folder:
        go, ready, samples = f"{folder}/go", f"{folder}/ready", f"{folder}/samples"

        def writer(number: str) -> list[str]:
            each = str(lines // writers)
            return [program("lines"), "write", number, each, kind, ready, go]

        reading, writing = os.pipe()
        reader = subprocess.Popen(
            [program("lines"), "read", str(lines), str(writers), samples],
            stdin=reading,
            stdout=subprocess.PIPE,
            text=True,
        )
        os.close(reading)
        try:
            command = command_for(folder, writer, writers)
            with Init(command, folder, {"PM2_HOME": f"{folder}/pm2"}, stdout=writing) as init:
                os.close(writing)
                until(lambda: len(lines_of(ready)) == writers, deadline=30, pause=0.01)
                time.sleep(0.5)  # what the start still does is not of the lines
                pid = _cat_of(init.pid) if name == "cat" else init.pid
                cpu = cpu_seconds(pid)
                Path(go).touch()
                about, _ = reader.communicate(timeout=90)
                cpu = cpu_seconds(pid) - cpu
        finally:
            reader.kill()
            reader.wait()
        first, last, seen, lost, twice, merged, damaged, _bytes = map(int, about.split())
        if name == "pyinit":
            for record in Path(samples).read_text().splitlines():
                assert json.loads(record)["app"] == "app", record
    return {
        "rate": seen / (last - first) * 1e9 if last > first else 0.0,
        "cpu": cpu / max(1, seen) * 1e6,
        "wrong": float(lost + twice + merged + damaged),
    }


def _cat_of(init: int) -> int:
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if "Name:\tcat\n" in text and f"PPid:\t{init}\n" in text:
            return int(status.parent.name)
    raise TimeoutError("cat was not started")


def _pyinit(folder: str, writer, writers: int) -> list[str]:
    return inits.pyinit(folder, writer("-"), writers)


def _pm2(folder: str, writer, writers: int) -> list[str]:
    return inits.pm2(folder, writer("-"), writers, "--json")


def _supervisor(folder: str, writer, writers: int) -> list[str]:
    extra = "stdout_logfile=/dev/fd/1\nstdout_logfile_maxbytes=0\n"
    return inits.supervisor(folder, writer("%(process_num)d"), writers, extra)


def _circus(folder: str, writer, writers: int) -> list[str]:
    extra = "stdout_stream.class = StdoutStream\n"
    if writers > 1:
        raise TimeoutError("its writers cannot be told apart: numbers of workers begin anew")
    return inits.circus(folder, writer("0"), writers, extra)


def _cat(_folder: str, writer, writers: int) -> list[str]:
    """All writers on one pipe, as `( a & b & ) | cat` has them."""
    started = "".join(f"{' '.join(writer(str(n)))} & " for n in range(writers))
    return ["bash", "-c", f"( {started} ) | cat & wait"]


def throughput(count: int) -> list[Row]:
    rows = []
    contestants = {
        "pyinit": _pyinit,
        "supervisor": _supervisor,
        "circus": _circus,
        "pm2-runtime --json": _pm2,
        "cat": _cat,
    }
    for kind, writers in (("plain", 1), ("plain", 8), ("json", 1)):
        chosen = contestants if kind == "plain" else {"pyinit": _pyinit}
        figures = rounds_of(
            max(1, count // 3),
            {
                name: lambda name=name, each=each, w=writers, k=kind: _lines(name, each, w, k)
                for name, each in chosen.items()
            },
            {"rate": "lines/s", "cpu": "µs", "wrong": "lines"},
            warm_up=False,
        )
        plural = "writer" if writers == 1 else "writers"
        what = "Lines of 80 bytes" if kind == "plain" else "JSON objects of 80 bytes as lines"
        key = f"logs-{kind}-{writers}"
        how = (
            f"{writers} {plural} in C; the reader behind PID 1's stdout checks the number in each "
            "line. pyinit and pm2-runtime make a JSON object of each; supervisor, circus and "
            "`cat` copy."
        )
        bars = [Bar("pyinit", 500_000, at_least=True)]
        rows += [
            Row(f"{key}-rate", f"{what}, {writers} {plural}", figures["rate"], bars, how),
            Row(f"{key}-cpu", f"{what}, {writers} {plural}: CPU time of PID 1 for each",
                figures["cpu"], [], "Of PID 1 alone; `cat` stands for the least there is."),
            Row(f"{key}-wrong", f"{what}, {writers} {plural}: lost, twice, merged or damaged",
                figures["wrong"], [Bar("pyinit", 0.0)]),
        ]  # fmt: skip
    return rows
