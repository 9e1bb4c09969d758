"""`make zoo`: every server of the catalogue under a real pyinit, and the table of it.

    python -m tests.zoo [NAME…] [--kind tcp|undeclared|unix] [--jobs N] [--publish] [--list]

A name chooses the row of that name, else rows whose name contains it or whose language it is.
Each result is kept in .cache/zoo/results.jsonl, where a later one replaces it. `--publish` makes
docs/reference/servers.md from all that are kept. Exit code 1: a row is silently wrong.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.support.namespace import enter

from . import table
from .catalog import SERVERS
from .trial import CACHE, KINDS, ROOT, ZOO, Trial

if TYPE_CHECKING:
    from .catalog import Server


RESULTS = CACHE / "results.jsonl"


def prepare() -> None:
    """A copy of the programs beside the modules that they load."""
    shutil.rmtree(ZOO.programs, ignore_errors=True)
    shutil.copytree(ROOT / "tests/zoo/programs", ZOO.programs)
    (ZOO.programs / "node_modules").symlink_to(ZOO.modules)
    ZOO.build.mkdir(parents=True, exist_ok=True)


def missing(server: Server) -> str:
    """What the row needs and this machine lacks; empty when nothing."""
    for need in server.needs:
        if not shutil.which(need, path=f"{ZOO.venv}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"):
            return f"no {need} here"
    if not server.build:
        return ""
    stamp = ZOO.build / f"{''.join(c if c.isalnum() else '-' for c in server.name)}.made"
    if stamp.exists() and stamp.read_text() == server.build:
        return ""
    line = server.build.replace("{build}", str(ZOO.build)).replace("{programs}", str(ZOO.programs))
    made = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"does not compile: {(made.stderr or made.stdout).strip()[-300:]}"
    stamp.write_text(server.build)
    return ""


def one(server: Server, kind: str) -> dict[str, object]:
    """The result of one row and kind."""
    began = time.monotonic()
    with Trial(server, kind) as trial:
        try:
            checks = trial.checks()
        except Exception as error:
            checks = {"trial": f"{type(error).__name__}: {error}"}
        # No folder of this machine in what is published.
        folder, short = str(trial.dir), "DIR"
        checks = {name: seen.replace(folder, short) for name, seen in checks.items()}
        wrong = {name: seen for name, seen in checks.items() if seen}
        about = set().union(*(table.EXPLAINS.get(name, ()) for name in wrong))
        result: dict[str, object] = {
            "server": server.name,
            "language": server.language,
            "kind": kind,
            "checks": checks,
            "said": [s.replace(folder, short) for s in trial.complaints(about)] if wrong else [],
            "events": trial.events() if wrong else [],
            "seconds": round(time.monotonic() - began, 1),
        }
        if wrong:
            folder = CACHE / "failed"
            folder.mkdir(exist_ok=True)
            name = "".join(c if c.isalnum() else "-" for c in f"{server.name}-{kind}")
            (folder / f"{name}.log").write_text(trial.text())
    return result


def main() -> int:
    """Run what was chosen."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--publish", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--bare", action="store_true", help="try the commands without pyinit")
    options = parser.parse_args()
    if not options.list:
        enter("tests.zoo")
    names = [name.lower() for name in options.names]
    chosen = [server for server in SERVERS if not names or any(_means(n, server) for n in names)]
    if options.list:
        for server in chosen:
            print(f"{server.language:8} {server.name}")
        return 0
    prepare()
    silent = 0
    absent: dict[str, str] = {}
    work: list[tuple[Server, str]] = []
    for server in chosen:
        lacks = missing(server)
        if lacks:
            absent[server.name] = lacks
            print(f"NOT TRIED {server.name}: {lacks}", flush=True)
            continue
        offered = {"unix": bool(server.unix)}
        kinds = options.kind or KINDS
        work += [(server, kind) for kind in kinds if offered.get(kind, True)]
    if options.bare:
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            tries = {pool.submit(Trial(*item).bare): item for item in work}
            for done in concurrent.futures.as_completed(tries):
                server, kind = tries[done]
                if done.result():
                    print(f"bare {server.name} ({kind}): {done.result()}", flush=True)
        return 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for done in concurrent.futures.as_completed([pool.submit(one, *item) for item in work]):
            result = done.result()
            silent += table.verdict(result) == "silent"
            with RESULTS.open("a") as kept:
                kept.write(json.dumps(result) + "\n")
            print(table.line(result), flush=True)
    print(f"{len(work)} trials: {silent} silently wrong, {len(absent)} servers not tried")
    if options.publish:
        table.write(ROOT / "docs/reference/servers.md", kept_results())
    return 1 if silent else 0


def _means(name: str, server: Server) -> bool:
    """The server of that very name, if there is one; else each that contains it."""
    known = server.name.lower()
    if any(name == each.name.lower() for each in SERVERS):
        return name == known
    return name in known or name == server.language.lower()


def kept_results() -> list[dict[str, object]]:
    """The newest result of each row and kind, in the catalogue's order."""
    newest = {}
    for text in RESULTS.read_text().splitlines():
        result = json.loads(text)
        newest[result["server"], result["kind"]] = result
    rows = ((server.name, kind) for server in SERVERS for kind in KINDS)
    return [newest[row] for row in rows if row in newest]


if __name__ == "__main__":
    sys.exit(main())
