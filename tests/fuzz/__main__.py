"""`make fuzz`: any bytes for everything that takes bytes from somebody else.

`python -m tests.fuzz [--seconds=600] [--seed=N] [--engine=auto|atheris|plain] [TARGET…]`.
Exit 0: nothing was found. What was found lies in .cache/fuzz/TARGET and is tried again by
`python -m tests.fuzz --try=FILE TARGET`.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import time
import traceback
from pathlib import Path

from tests.fuzz import engine, race

NAMES = (
    *("http", "control", "node", "notify", "logs", "yaml", "json", "config", "env", "inotify"),
    "seccomp",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--seconds", type=float, default=600.0, help="for each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("auto", "atheris", "plain"), default="auto")
    parser.add_argument("--try", dest="file", help="one input, for one target")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    options = parser.parse_args()
    unknown = set(options.targets) - set(NAMES)
    if unknown:
        parser.error(f"no target {unknown.pop()!r}; there is {', '.join(NAMES)}")
    if options.file:
        from tests.fuzz.targets import TARGETS

        TARGETS[options.targets[0]](Path(options.file).read_bytes())
        return 0
    if options.one:
        engine.guided(options.one, options.seconds, options.seed)
    found = [name for name in options.targets or NAMES if not _run(name, options)]
    print(f"fuzz: {', '.join(found)} failed" if found else "fuzz: nothing was found", flush=True)
    return 1 if found else 0


def _run(name: str, options: argparse.Namespace) -> bool:
    began = time.monotonic()
    guided = options.engine == "atheris" or (
        options.engine == "auto" and importlib.util.find_spec("atheris") is not None
    )
    if name == "seccomp":
        fine, result = race.main(options.seconds, options.seed)
    elif guided:
        fine, result = _guided(name, options)
    else:
        fine, result = _plain(name, options)
    print(f"{name:8} {time.monotonic() - began:5.0f} s  {result}", flush=True)
    return fine


def _guided(name: str, options: argparse.Namespace) -> tuple[bool, str]:
    command = [sys.executable, "-m", "tests.fuzz", f"--one={name}"]
    command += [f"--seconds={options.seconds}", f"--seed={options.seed}"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        return False, done.stdout[-3000:] + done.stderr[-3000:]
    lines = done.stderr.splitlines()
    count = next((x.split()[-1] for x in lines if "number_of_executed_units" in x), "?")
    return True, f"{count} inputs, atheris"


def _plain(name: str, options: argparse.Namespace) -> tuple[bool, str]:
    from tests.fuzz.targets import TARGETS

    try:
        tried = engine.plain(name, TARGETS[name], seconds=options.seconds, seed=options.seed)
    except engine.FoundError as error:
        path = engine.keep(name, error.data)
        traceback.print_exc()
        return False, f"found {path}"
    return True, f"{tried} inputs, plain"


if __name__ == "__main__":
    sys.exit(main())
