"""Reloads under load: a few cells of the matrix (`benchmarks.reloads`), and the peers'."""

from __future__ import annotations

import argparse
import subprocess
from typing import TYPE_CHECKING

from ..arena import ROOT, Missing
from ..table import Bar, Figure, Row

if TYPE_CHECKING:
    from ..reloads import Cell

# Rude ones, by the two ways that most people get.
OURS = (("node process.exit", "auto"), ("uvicorn", "intercept"))


def reloads(count: int) -> list[Row]:
    from .. import reload_peers
    from ..reloads import matrix, run

    times = 100 if count >= 9 else 10 * count
    log = ROOT / ".cache" / "reloads"
    log.mkdir(parents=True, exist_ok=True)
    options = argparse.Namespace(reloads=times, rate=400.0, side_by_side=1, log=log, json="")
    chosen = [
        pair
        for pair in matrix()
        if pair[0].instances == 4 and (pair[0].server, pair[0].handoff) in OURS
    ]
    figures: dict[str, Figure] = {}
    notes = []

    def take(cell: Cell) -> None:
        name = f"{cell.init}, {cell.server}"
        figures[name] = Figure(name, [float(cell.failed)], "failed")
        notes.append(
            f"{name}: {cell.reloads} reloads, {cell.new.get('ok', 0):.0f} answered, kept "
            f"connections: {cell.failed_keep} failed, {cell.keep.get('race', 0):.0f} may be retried"
        )

    for cell in run(chosen, options):
        take(cell)
    for name, peer in (("pm2", reload_peers.pm2), ("gunicorn", reload_peers.gunicorn)):
        try:
            take(peer(4, options))
        except (Missing, TimeoutError, OSError, subprocess.SubprocessError) as error:
            figures[name] = Figure(name, [], "failed", missing=str(error))
    return [
        Row(
            "reloads",
            f"Requests that failed in {times} reloads of 4 workers",
            figures,
            [Bar(name, 0.0) for name in figures if name.startswith("pyinit")],
            "A connection for each request, 400 a second, and clients that keep theirs; every "
            "answer is checked. pm2 and gunicorn reload servers that stop politely.",
            notes,
        )
    ]
