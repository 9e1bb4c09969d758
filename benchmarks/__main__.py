"""`make bench`: rows of medians of interleaved rounds, ratios and bars.

make bench                                   everything
make bench ARGS="logs orphans -n 3"          two rows, three rounds
make bench ARGS="--publish"                  everything, and write what the documents show
"""

from __future__ import annotations

import argparse
import compileall
import sys
import time

from tests.support import namespace

from . import peers, publish
from .arena import ROOT
from .rows import ALL
from .table import Row, as_text


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rows", nargs="*", help=f"of: {', '.join(ALL)}; all without")
    parser.add_argument("-n", "--rounds", type=int, default=9, help="rounds of each (9)")
    parser.add_argument("--json", metavar="FILE", help="write every sample to this file")
    parser.add_argument("--plot", metavar="FILE", help="draw the plot (SVG) into this file")
    parser.add_argument(
        "--publish",
        action="store_true",
        help="write benchmarks/results.json, and from it docs/benchmarks.svg and the tables of\n"
        "README.md and docs/reference/benchmarks.md; with rows: replace these rows only",
    )
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in ALL]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}")
    namespace.enter("benchmarks")
    peers.install()
    # As pip leaves an installed package; a checkout may never have written bytecode.
    compileall.compile_dir(ROOT / "entrypoint", quiet=1)
    about = publish.about(options.rounds)
    print(publish.heading(about))
    began = time.monotonic()
    done: list[Row] = []
    for name in options.rows or ALL:
        started = time.monotonic()
        for row in ALL[name](options.rounds):
            done.append(row)
            print(as_text(row), flush=True)
        print(f"   ({name}: {time.monotonic() - started:.0f} s)", flush=True)
        if options.publish:  # after each, so that a run which is ended leaves what it has
            publish.publish(publish.results(about, done), keep=bool(options.rows))
    verdicts = [verdict for row in done for verdict in row.verdicts()]
    met = sum(verdict.met for verdict in verdicts)
    minutes = (time.monotonic() - began) / 60
    print(f"\n{met} of {len(verdicts)} bars met, in {minutes:.1f} minutes")
    results = publish.results(about, done)
    if options.json:
        publish.write_json(ROOT / options.json, results)
    if options.plot:
        publish.write_plot(ROOT / options.plot, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
