"""Where things are measured: programs, PID namespaces, clocks, rounds.

Every init runs as PID 1 of a PID namespace of its own. Rounds are interleaved (A B C,
A B C, …), so that a machine that gets slower does so for all; medians are compared.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.namespace import own_namespace
from tests.support.ports import free_port  # noqa: F401  for the rows
from tests.support.wait import wait_until

from .table import Figure

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PYINIT = str(BIN / "pyinit")
PYTHON = str(BIN / "python")
PEERS = ROOT / ".cache" / "peers"
PROGRAMS = Path(__file__).with_name("programs")
DEADLINE = 30.0


class Missing(Exception):
    """A peer is not on this machine; the text says why."""


def tool(name: str) -> str:
    """The path of a program: of the venv, of the peers, or of the system."""
    for path in (PEERS / "venv" / "bin" / name, PEERS / "node_modules" / ".bin" / name, BIN / name):
        if path.exists():
            return str(path)
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def packaged() -> str:
    """The static program that all packages contain: scripts/packages."""
    path = ROOT / ".cache" / "packages" / "pyinit"
    if not path.exists():
        raise Missing("the packages are not built: make packages")
    return str(path)


def program(name: str) -> str:
    """One of `programs/*.c`, compiled: static and tiny, so that it is not what is measured."""
    source = PROGRAMS / f"{name}.c"
    built = ROOT / ".cache" / "bench" / name
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        built.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-O2", "-static", "-o", built, source], check=True)
    return str(built)


def bare_loop(*command: str, workers: int = 1) -> list[str]:
    """What every init in Python costs at least; the unit of many ratios."""
    return [PYTHON, str(PROGRAMS / "bare_loop.py"), str(workers), *command]


@dataclass
class Init:
    """A command that runs as PID 1 of its own namespace until the block is left."""

    command: list[str]
    cwd: str
    env: dict[str, str] = field(default_factory=dict)
    stdout: int = subprocess.DEVNULL
    process: subprocess.Popen[bytes] | None = None
    _pid: int = 0

    def __enter__(self) -> Init:
        self.process = subprocess.Popen(
            own_namespace(*self.command),
            cwd=self.cwd,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=self.stdout,
            stderr=subprocess.DEVNULL,
        )
        return self

    @property
    def pid(self) -> int:
        """The init, as seen from here."""
        if not self._pid:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            self._pid = int(until(lambda: children.read_text().split())[0])
        return self._pid

    def __exit__(self, *_: object) -> None:
        # unshare --kill-child: the namespace ends with it.
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def until(condition, deadline: float = DEADLINE, pause: float = 0.0005):
    """What `condition` returns once it is true, looked at every `pause` s. Raises TimeoutError."""
    step = functools.partial(time.sleep, pause)
    return wait_until(condition, timeout=deadline, step=step, error=TimeoutError)


# -- what is read of a process ----------------------------------------------------------


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and all its threads, to the nanosecond."""
    # What clock_getcpuclockid(3) returns; Python has no name for it.
    return time.clock_gettime((~pid << 3) | 2)


def switches(pid: int) -> int:
    """How often the threads of a process have been put to sleep or pushed aside."""
    total = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if "ctxt_switches" in line:
                total += int(line.split()[1])
    return total


def settled(pid: int, seconds: float = 0.5, most: int = 20) -> bool:
    """It has come to rest, or to what is rest for it."""
    before = switches(pid)
    time.sleep(seconds)
    return switches(pid) - before < most


def memory(pid: int) -> dict[str, float]:
    """RSS and PSS in MB."""
    rollup = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    )
    return {key.lower(): int(rollup[key].split()[0]) / 1024 for key in ("Rss", "Pss")}


def children(pid: int) -> list[int]:
    """Its children, alive or not."""
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# -- folders, files, ports ----------------------------------------------------------------


def workspace() -> tempfile.TemporaryDirectory[str]:
    """A folder for one measurement."""
    return tempfile.TemporaryDirectory(prefix="pyinit-bench-", ignore_cleanup_errors=True)


def lines_of(path: str) -> list[str]:
    """The whole lines of a file that may not be there yet."""
    try:
        text = Path(path).read_text()
    except FileNotFoundError:
        return []
    return text.split("\n")[:-1]


def ecosystem(folder: str, top: dict[str, object] | None = None, **app: object) -> str:
    """An ecosystem.yaml (JSON is YAML) with one app."""
    path = Path(folder) / "ecosystem.yaml"
    path.write_text(json.dumps({"apps": [{"name": "app", **app}], **(top or {})}))
    return str(path)


def answers(port: int) -> bool:
    """Somebody answers a GET there with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


# -- rounds -----------------------------------------------------------------------------


def rounds_of(
    count: int,
    contestants: dict[str, object],
    units: dict[str, str],
    *,
    warm_up: bool = True,
    seconds: float = 120.0,
) -> dict[str, dict[str, Figure]]:
    """Call each contestant `count` times in turn, for `seconds` at most.

    A contestant returns a mapping with a number for each of `units`. What cannot run is
    kept with the reason. Returns unit's name → contestant → figure.
    """
    figures = {
        what: {name: Figure(name, [], unit) for name in contestants} for what, unit in units.items()
    }
    broken: set[str] = set()
    end = time.monotonic() + seconds
    for turn in range(count + warm_up):
        if turn > warm_up and time.monotonic() > end:
            break
        for name, measure in contestants.items():
            if name in broken:
                continue
            try:
                values = measure()
            except (Missing, TimeoutError, OSError, subprocess.SubprocessError) as error:
                print(f"   {name}: could not run: {error}", flush=True)
                broken.add(name)
                for what, unit in units.items():
                    figures[what][name] = Figure(name, [], unit, missing=str(error))
                continue
            if turn >= warm_up:
                for what in units:
                    figures[what][name].samples.append(values[what])
    return figures


def rounds(
    count: int, contestants: dict[str, object], unit: str, *, seconds: float = 120.0
) -> dict[str, Figure]:
    """`rounds_of` for contestants that return one number."""
    single = {name: _as_mapping(measure) for name, measure in contestants.items()}
    return rounds_of(count, single, {"": unit}, seconds=seconds)[""]


def _as_mapping(measure):
    return lambda: {"": measure()}
