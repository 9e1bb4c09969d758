"""`make bench`: one table, medians of interleaved rounds, ratios and bars."""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import subprocess
import sys
import venv

from .arena import PEERS, ROOT, Figure
from .rows import ALL, Row

PYTHON_PEERS = ["supervisor", "gunicorn"]
NODE_PEERS = ["pm2"]
DEBIAN_PEERS = ["tini", "dumb-init"]


def install_peers() -> None:
    """Into a folder of their own; what cannot be had is said where it is missing."""
    python = PEERS / "venv"
    if not (python / "bin" / "supervisord").exists():
        venv.create(python, with_pip=True)
        subprocess.run([python / "bin" / "pip", "install", "-q", *PYTHON_PEERS], check=False)
    if not (PEERS / "node_modules" / "pm2").exists():
        PEERS.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"]
        subprocess.run([*command, "--loglevel=error", *NODE_PEERS], cwd=PEERS, check=False)
    if os.geteuid() == 0:
        command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *DEBIAN_PEERS]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)


def line(figure: Figure) -> str:
    low, high = min(figure.samples), max(figure.samples)
    return f"{figure.median:10.2f} {figure.unit:<8} ({low:.2f} to {high:.2f})"


def show(row: Row) -> bool:
    """Print a row; True when its bar is met or it has none."""
    print(f"\n{row.title}")
    for figure in row.figures.values():
        if figure.samples:
            print(f"   {figure.name:<18}{line(figure)}")
    ours = row.figures.get(row.ours)
    if ours is None or not ours.samples:
        print("   pyinit could not be measured")
        return False
    met = True
    for name, figure in row.figures.items():
        if name != row.ours and figure.samples and figure.median and ours.median:
            print(f"   {row.ours} / {name}: {ours.median / figure.median:.2f}")
    if row.bar is not None and row.unit_of in row.figures:
        ratio = ours.median / row.figures[row.unit_of].median
        met = ratio <= row.bar
        print(f"   bar: ≤ {row.bar} × {row.unit_of}: {ratio:.2f} {'met' if met else 'MISSED'}")
    if row.absolute_bar is not None:
        met = ours.median <= row.absolute_bar
        print(f"   bar: ≤ {row.absolute_bar:g} {ours.unit}: {'met' if met else 'MISSED'}")
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"of: {', '.join(ALL)}; all without")
    parser.add_argument("-n", "--rounds", type=int, default=9, help="rounds of each (9)")
    parser.add_argument("--json", help="write all samples to this file")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in ALL]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}")
    install_peers()
    # As pip leaves an installed package; a checkout may never have written bytecode.
    compileall.compile_dir(ROOT / "entrypoint", quiet=1)
    print(
        f"{platform.machine()}, Linux {platform.release()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}; medians of {options.rounds} rounds"
    )
    done: list[Row] = []
    missed = 0
    for name in options.rows or ALL:
        for row in ALL[name](options.rounds):
            done.append(row)
            missed += not show(row)
    if options.json:
        samples = {
            row.title: {
                f.name: {"unit": f.unit, "samples": f.samples} for f in row.figures.values()
            }
            for row in done
        }
        (ROOT / options.json).write_text(json.dumps(samples, indent=1) + "\n")
    print(f"\n{len(done) - missed} bars met, {missed} missed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
