"""`make mutants`: one-token mutants of the core against its pure tests.

`python -m tests.mutants [--sample=N] [--seed=N] [--list=FILE] [--go-on] [FILE…]`. Exit 0:
at least `WANTED` of those that were tried are killed, or all of a list (`--list=FILE`).
`late`: a test ran into the time limit; it counts as not killed, for no test says what is
wrong. Outcomes are written as they come: `--go-on` goes on with a run that was stopped.
`--tests="not machine"` leaves out the long test of Hypothesis: much quicker, and the rate is the
least that all tests reach.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.mutants import names
from tests.mutants.mutate import Mutant, mutants
from tests.mutants.outcomes import OtherCodeError, Outcomes, digest

WANTED = 0.9
ROOT = Path(__file__).resolve().parents[2]
TESTS = ("tests/unit/core", "tests/unit/api", "tests/simulation")
# Interpreters of their own, which no mutant reaches.
LEFT_OUT = "tests/unit/core/test_imports.py"
FOLDER = Path(".cache/mutants")


def known() -> list[Mutant]:
    """All of the core."""
    files = sorted(map(str, Path("entrypoint/core").glob("*.py")))
    return [mutant for path in files for mutant in mutants(path)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants")
    parser.add_argument("--sample", type=int, default=0, help="so many, chosen by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=1e6, help="begin none after that")
    parser.add_argument("--tests", metavar="EXPRESSION", help="only these (pytest -k)")
    parser.add_argument("--list", type=Path, metavar="FILE", help="these: each must be killed")
    parser.add_argument("--go-on", action="store_true", help="the run that was stopped")
    parser.add_argument("--outcomes", type=Path, default=FOLDER / "outcomes", metavar="FILE")
    parser.add_argument("files", nargs="*", help="of entrypoint/core; none: all")
    options = parser.parse_args()
    os.chdir(ROOT)
    everything = known()
    try:
        equivalent = names.chosen(everything, names.EQUIVALENT)
        listed = names.chosen(everything, options.list) if options.list else everything
    except names.ListError as error:
        print(error)
        return 2
    wanted = [each for each in listed if not options.files or each.path in options.files]
    wanted = [each for each in wanted if each not in equivalent]
    if options.sample:
        wanted = random.Random(options.seed).sample(wanted, min(options.sample, len(wanted)))
    code = digest(["entrypoint/core", *TESTS])
    outcomes = Outcomes(options.outcomes, code)
    try:
        if options.go_on:
            outcomes.read()
        else:
            outcomes.begin()
    except (OtherCodeError, FileNotFoundError) as error:
        print(error)
        return 2
    print(f"{len(everything)} mutants, {len(equivalent)} equivalent, {len(wanted)} to try")
    _try(wanted, options, code)
    outcomes.read()
    print("\n" + outcomes.report([each.name for each in wanted]))
    least = 1.0 if options.list else WANTED
    if outcomes.share < least:
        print(f"fewer than {least:.0%} are killed")
    return 0 if outcomes.share >= least else 1


def _try(wanted: list[Mutant], options: argparse.Namespace, code: str) -> None:
    """In a pytest that has collected the tests (plugin.py)."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        settings = {"mutants": [each.as_dict() for each in wanted], "code": code}
        settings |= {"outcomes": str(options.outcomes), "baseline": str(FOLDER / "baseline")}
        settings |= {"jobs": options.jobs, "seconds": options.seconds}
        json.dump(settings, file)
        file.flush()
        command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.mutants.plugin"]
        command += ["-p", "no:cacheprovider", "-p", "no:randomly", f"--ignore={LEFT_OUT}", *TESTS]
        if options.tests:
            command += ["-k", options.tests]
        try:
            subprocess.run(command, env={**os.environ, "PYINIT_MUTANTS": file.name})
        except KeyboardInterrupt:
            print("stopped")


if __name__ == "__main__":
    sys.exit(main())
