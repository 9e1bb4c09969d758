"""Reloads under load: every server, every way of handing the port over, every sharing.

A *cell* is one app that is reloaded 100 times, and until 100,000 requests were answered,
while two clients (`load.c`) ask it at a bounded rate: one with a new connection for each
request, one over keep-alive connections. Cells run a few at a time: most of a reload is
waiting.

    python -m benchmarks.reloads -j 4 --json FILE     the whole matrix (two hours)
    python -m benchmarks.reloads --peers              pm2 and gunicorn for comparison
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.namespace import enter, own_namespace

from . import arena, reload_servers
from .arena import PYINIT, Init, Missing, free_port, program, until, workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILURES = ("refused", "reset", "hung", "wrong", "middle")
ONE_RELOAD = 90.0
HUNG_AFTER_MS = 10_000
# A cell that does not come to its requests ends all the same.
MOST_RELOADS = 10  # times what was asked for


@dataclass
class Cell:
    """What is reloaded, and what came of it."""

    server: str
    polite: bool
    handoff: str
    share: str
    instances: int
    parallel: int = 1
    init: str = "pyinit"
    reloads: int = 0
    seconds: float = 0.0
    new: dict[str, float] = field(default_factory=dict)
    keep: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Requests on new connections that got no right answer."""
        return int(sum(self.new.get(kind, 0) for kind in (*FAILURES, "race", "idle")))

    @property
    def failed_keep(self) -> int:
        """Requests on kept connections that failed in a way no client may repair."""
        return int(sum(self.keep.get(kind, 0) for kind in FAILURES))

    @property
    def file_name(self) -> str:
        """Of its logs."""
        words = (self.init, self.server, self.handoff, self.share, str(self.instances))
        return "-".join(words).replace(" ", "_").replace("'", "")

    @property
    def text(self) -> str:
        """A line of the table."""
        keep = self.keep
        return (
            f"{self.init:<9}{self.server:<19}{self.handoff:<10}{self.share:<6}{self.instances}"
            f"  reloads {self.reloads:>3}  new {self.new.get('ok', 0):>7.0f} ok {self.failed:>3}"
            f" failed  kept {keep.get('ok', 0):>6.0f} ok {self.failed_keep:>3} failed"
            f" {keep.get('race', 0):>3.0f} race {keep.get('idle', 0):>4.0f} idle"
            f" {keep.get('announced', 0):>5.0f} announced {self.seconds:5.0f} s"
            f" {'; '.join(self.problems)}"
        )


def answers(port: int) -> bool:
    """Somebody answers there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/1", timeout=5) as answer:
            return answer.read() == b"ok /1"
    except OSError:
        return False


class Load:
    """One client at work; `end()` gives its counts."""

    def __init__(self, port: int, kind: str, connections: int, rate: float, log: Path) -> None:
        self.counts: dict[str, float] = {}
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [program("load"), str(port), kind, str(connections), str(rate), str(HUNG_AFTER_MS)],
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self.counts = json.loads(line)

    def end(self) -> dict[str, float]:
        """Let the requests under way end. Raises SubprocessError when the client has failed."""
        self._process.terminate()
        self._reader.join(60)
        if self._process.wait(60) != 0:
            raise subprocess.SubprocessError(f"load ended with {self._process.returncode}")
        return self.counts


class ReadInit(Init):
    """An init whose log is read."""

    def __enter__(self) -> ReadInit:
        self.lines: list[bytes] = []
        self.process = subprocess.Popen(
            own_namespace(*self.command),
            cwd=self.cwd,
            env={**os.environ, **self.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.append(line)

    def count(self, word: bytes) -> int:
        """Lines with `word`."""
        return sum(word in line for line in list(self.lines))


@contextlib.contextmanager
def under_load(
    cell: Cell, init: ReadInit, port: int, options: argparse.Namespace
) -> Iterator[Load]:
    """Both clients at work; gives the one of new connections. What they count goes to `cell`."""
    log = str(options.log / cell.file_name)
    loads = [
        Load(port, "new", 8, options.rate, Path(log + ".new.log")),
        Load(port, "keep", 8, options.rate / 4, Path(log + ".keep.log")),
    ]
    began = time.monotonic()
    try:
        yield loads[0]
    finally:
        cell.seconds = round(time.monotonic() - began, 1)
        cell.new, cell.keep = (load.end() for load in loads)
        Path(log + ".init.log").write_bytes(b"".join(init.lines))


def _ecosystem(cell: Cell, command: str, keys: dict[str, object], folder: Path, port: int) -> str:
    app = {
        "name": "app",
        "script": command.format(port=port, folder=folder),
        "exec_mode": "cluster",
        "instances": cell.instances,
        "listen": f"127.0.0.1:{port}",
        "handoff": cell.handoff,
        "share": cell.share,
        "reload_parallel": cell.parallel,
        "listen_timeout": 30_000,
        **keys,
    }
    path = folder / "ecosystem.yaml"
    path.write_text(json.dumps({"apps": [app]}))
    return str(path)


def measure(cell: Cell, server: reload_servers.Server, options: argparse.Namespace) -> Cell:
    """Reload the cell's app under load."""
    port = free_port()
    with workspace() as name:
        folder = Path(name)
        folder.chmod(0o755)
        reload_servers.write(folder, port)
        file = _ecosystem(cell, server.commands[cell.handoff], server.keys, folder, port)
        with ReadInit([PYINIT, "-c", file], name) as init:
            until(lambda: init.count(b'"app ready"'), deadline=60, pause=0.05)
            until(lambda: answers(port), deadline=60)
            with under_load(cell, init, port, options) as load:
                _reload(cell, init, load, options)
    return cell


def _reload(cell: Cell, init: ReadInit, load: Load, options: argparse.Namespace) -> None:
    for turn in range(1, options.reloads * MOST_RELOADS + 1):
        if cell.reloads >= options.reloads and load.counts.get("ok", 0) >= options.requests:
            break
        os.kill(init.pid, signal.SIGHUP)
        try:
            until(
                lambda n=turn: (
                    init.count(b'"reload finished"') + init.count(b'"reload aborted"') >= n
                ),
                deadline=ONE_RELOAD,
                pause=0.02,
            )
        except TimeoutError:
            cell.problems.append(f"reload {turn} did not end")
            return
        cell.reloads = turn
    for word in (b'"reload aborted"', b'"worker killed"', b'"internal error"', b"traceback"):
        if init.count(word):
            cell.problems.append(f"{word.decode()} × {init.count(word)}")


# -- the matrix ---------------------------------------------------------------------------


def matrix() -> list[tuple[Cell, reload_servers.Server]]:
    """Every cell. `share: one` only for polite servers, which is all that it promises."""
    found = []
    for instances in (4, 2):
        for server in reload_servers.servers():
            shares = ("slots", "one") if server.polite else ("slots",)
            for share in shares:
                for way in server.commands:
                    cell = Cell(server.name, server.polite, way, share, instances)
                    found.append((cell, server))
    return found


def run(cells: list[tuple[Cell, reload_servers.Server]], options: argparse.Namespace) -> list[Cell]:
    """Measure all, `options.side_by_side` at a time; each is told when it is done."""
    options.log.mkdir(parents=True, exist_ok=True)
    done: list[Cell] = []

    def one(pair: tuple[Cell, reload_servers.Server]) -> Cell:
        cell, server = pair
        try:
            return measure(cell, server, options)
        except (Missing, TimeoutError, OSError, subprocess.SubprocessError) as error:
            cell.problems.append(f"could not run: {error}")
            return cell

    with concurrent.futures.ThreadPoolExecutor(options.side_by_side) as pool:
        under_way = [pool.submit(one, pair) for pair in cells]
        for ended in concurrent.futures.as_completed(under_way):
            cell = ended.result()
            done.append(cell)
            print(cell.text, flush=True)
            if options.json:
                Path(options.json).write_text(
                    json.dumps([asdict(each) for each in done], indent=1) + "\n"
                )
    return done


def table(file: str) -> str:
    """What a run has written to `file`, as Markdown: a line for each server and way."""
    rows: dict[tuple[str, ...], list[dict]] = {}
    for cell in json.loads(Path(file).read_text()):
        name = cell["server"] if cell["init"] == "pyinit" else f"{cell['init']}: {cell['server']}"
        rows.setdefault((name, cell["handoff"], cell["share"]), []).append(cell)
    head = "server | handed over | share | workers | reloads | answered | failed | kept: answered"
    out = [
        f"| {head} | failed | may be sent again | ended idle |",
        "|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for names, cells in rows.items():
        each = [Cell(**cell) for cell in cells]

        def kept(*kinds: str, of: list[Cell] = each) -> int:
            return int(sum(cell.keep.get(kind, 0) for cell in of for kind in kinds))

        columns = [
            *names,
            ", ".join(str(cell.instances) for cell in each),
            sum(cell.reloads for cell in each),
            f"{sum(cell.new.get('ok', 0) for cell in each):,.0f}",
            sum(cell.failed for cell in each),
            f"{kept('ok'):,}",
            kept(*FAILURES),
            kept("race"),
            f"{kept('idle', 'announced'):,}",
        ]
        out.append("| " + " | ".join(str(column) for column in columns) + " |")
    return "\n".join(out)


def main() -> int:
    """The whole matrix, or the part of it that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", "--reloads", type=int, default=100)
    parser.add_argument("--requests", type=int, default=100_000, help="at least, of a cell")
    parser.add_argument("-r", "--rate", type=float, default=500.0, help="new connections a second")
    parser.add_argument("-j", "--side-by-side", type=int, default=1)
    parser.add_argument("-k", "--only", default="", help="words of which a cell's line has all")
    parser.add_argument("--peers", action="store_true", help="pm2 and gunicorn, 4 workers")
    parser.add_argument("--json", default="")
    parser.add_argument("--table", help="show this file of an earlier run as Markdown")
    parser.add_argument("--log", type=Path, default=arena.ROOT / ".cache" / "reloads")
    options = parser.parse_args()
    if options.table:
        print(table(options.table))
        return 0
    enter("benchmarks.reloads")
    # What nohup ignores its children ignore too, and SIGHUP is what this is about.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    program("load")
    if options.peers:
        from . import reload_peers

        options.log.mkdir(parents=True, exist_ok=True)
        for peer in (reload_peers.pm2, reload_peers.gunicorn):
            print(peer(4, options).text, flush=True)
        return 0
    cells = [
        (cell, server)
        for cell, server in matrix()
        if all(
            word in f"{cell.server} {cell.handoff} {cell.share} {cell.instances}".split()
            or word == cell.server
            for word in options.only.split(",")
            if word
        )
    ]
    done = run(cells, options)
    failed = sum(cell.failed + cell.failed_keep + len(cell.problems) for cell in done)
    print(f"{sum(cell.new.get('ok', 0) for cell in done):.0f} requests on new connections")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
