"""`make mutants`: one-token mutants of the core against its pure tests.

`python -m tests.mutants [--sample=N] [--seed=N] [--jobs=N] [--seconds=N] [FILE…]`. Exit 0:
at least `WANTED` of those that were tried are killed. `late`: a test ran into the time
limit; it counts as not killed, for no test says what is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.mutants.mutate import Mutant, mutants

WANTED = 0.9
TESTS = ("tests/unit/core", "tests/unit/control", "tests/simulation")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants")
    parser.add_argument("--sample", type=int, default=0, help="so many, chosen by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=1e6, help="begin none after that")
    parser.add_argument("--again", metavar="FILE", help="those whose code stands in this list")
    parser.add_argument("files", nargs="*", help="of entrypoint/core; none: all")
    options = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    os.chdir(root)
    files = options.files or sorted(map(str, Path("entrypoint/core").glob("*.py")))
    chosen = [mutant for path in files for mutant in mutants(path)]
    total = len(chosen)
    if options.again:
        chosen = _listed(chosen, Path(options.again).read_text(encoding="utf-8"))
    if options.sample:
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, total))
    with tempfile.TemporaryDirectory() as folder:
        wanted, outcomes = Path(folder, "wanted"), Path(folder, "outcomes")
        settings = {"mutants": [each.as_dict() for each in chosen], "outcomes": str(outcomes)}
        settings |= {"jobs": options.jobs, "seconds": options.seconds}
        wanted.write_text(json.dumps(settings))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.mutants.plugin"]
        command += ["-p", "no:cacheprovider", "-p", "no:randomly", *TESTS]
        done = subprocess.run(command, env={**os.environ, "PYINIT_MUTANTS": str(wanted)})
        if not outcomes.exists():
            return done.returncode or 1
        found = json.loads(outcomes.read_text())
    return _report(found, total)


def _listed(known: list[Mutant], text: str) -> list[Mutant]:
    """Those of a list of `…FILE:LINE:COLUMN [KIND] CODE`, wherever the code is by now."""
    wanted = set()
    for line in text.splitlines():
        place, _, rest = line.partition(" [")
        kind, _, code = rest.partition("] ")
        name = place.rpartition("/")[2].partition(":")[0]
        wanted.add((name, kind, code.strip()))
    return [m for m in known if (Path(m.path).name, m.kind, m.code) in wanted]


def _report(found: dict[str, str], total: int) -> int:
    by_file: dict[str, Counter[str]] = {}
    for text, outcome in found.items():
        by_file.setdefault(text.partition(":")[0], Counter())[outcome] += 1
    print(f"\n{'file':34} tried killed survived late")
    for path, counts in sorted(by_file.items()):
        row = (counts.total(), counts["killed"], counts["survived"], counts["late"])
        print(f"{path:34} {row[0]:5} {row[1]:6} {row[2]:8} {row[3]:4}")
    counts = Counter(found.values())
    tried = counts.total() - counts["untried"]
    share = counts["killed"] / max(1, tried)
    print(f"{counts['killed']} of {tried} killed: {share:.1%}, of {total} mutants; {dict(counts)}")
    if share < WANTED:
        print(f"fewer than {WANTED:.0%} are killed")
    return 0 if share >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
