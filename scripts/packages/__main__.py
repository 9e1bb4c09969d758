"""Build the packages.

python3 -m scripts.packages all DIST       every kind, with checksums and provenance
python3 -m scripts.packages runtime DEST   the program and its licences, as a folder
python3 -m scripts.packages inputs         fetch their inputs; compile what never changes
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from . import contents, inputs, kinds, program, provenance
from .tree import File, Tree

ROOT = inputs.ROOT


def main() -> None:
    """Build what the command line asks for; exits with a sentence when it cannot."""
    parser = argparse.ArgumentParser(prog="packages", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("what", choices=["all", "runtime", "inputs"])
    parser.add_argument("dest", type=Path, nargs="?", help="a folder; `all` empties it first")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache" / "packages")
    options = parser.parse_args()
    if options.dest is None and options.what != "inputs":
        parser.error("which folder?")
    cache = options.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    lock = (cache / "lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # one build at a time; until this process ends
    try:
        prepared = program.prepare(cache)
        if options.what == "inputs":
            return
        tree = runtime(cache, prepared)
    except inputs.InputError as error:
        sys.exit(f"packages: {error}")
    if options.what == "runtime":
        write(tree, options.dest)
        return
    options.dest.mkdir(parents=True, exist_ok=True)
    for path in options.dest.iterdir():
        path.unlink()
    files = kinds.all_kinds(tree, prepared, epoch())
    sums = "".join(f"{_digest(data)}  {name}\n" for name, data in sorted(files.items()))
    files["provenance.json"] = provenance.statement(
        {name: _digest(data) for name, data in files.items()}, cache
    )
    files["SHA256SUMS"] = (
        sums + f"{_digest(files['provenance.json'])}  provenance.json\n"
    ).encode()
    for name, data in sorted(files.items()):
        (options.dest / name).write_bytes(data)
        print(f"{len(data):>12,}  {name}")


def runtime(cache: Path, prepared: Path) -> Tree:
    """`bin/pyinit` and what has to go with it."""
    built = program.build(cache, cache / "pyinit")
    program.check(built)
    found = contents.parts(
        prepared / "site", inputs.python_packages(cache), inputs.cpython_source(cache)
    )
    tree = {"bin/pyinit": File(built.read_bytes(), program=True)}
    for name, text in contents.licence_files(found).items():
        tree[f"share/licenses/{name}"] = File(text)
    tree["share/sbom.cdx.json"] = File(contents.bill(found))
    return tree


def write(tree: Tree, dest: Path) -> None:
    """Lay the files of `tree` into a folder."""
    for name, file in tree.items():
        path = dest / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
        path.chmod(0o755 if file.program else 0o644)


def epoch() -> int:
    """The time that all files get: of the commit, or $SOURCE_DATE_EPOCH."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    command = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout or 0)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    main()
