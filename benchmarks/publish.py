"""What a run leaves behind: the file of results, and from it plot and tables.

`python -m benchmarks.publish` renders the documents again from benchmarks/results.json;
a test fails when they are not what that file says.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from . import peers, plot
from .table import Row, as_json, as_markdown, from_json, number

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results.json"
PLOT = ROOT / "docs" / "benchmarks.svg"
PAGE = ROOT / "docs" / "reference" / "benchmarks.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- benchmarks: generated -->\n", "<!-- end of benchmarks -->\n"

# Of the README's table: key of a row, what it says there, our figure and who stands beside.
SHORT = (
    ("first-instruction", "exec → first instruction of a command", "pyinit --"),
    ("first-instruction", "exec → first instruction of an app of the file", "pyinit -c"),
    ("first-answer-1", "exec → first answer of a node server", "pyinit"),
    ("first-answer-4", "the same with 4 workers", "pyinit"),
    ("rss", "memory (RSS) of PID 1, 4 workers", "pyinit"),
    ("idle", "wake-ups when idle", "pyinit"),
    ("orphans-single-cpu", "CPU time to reap an orphan", "pyinit -c"),
    ("signals-p50", "signal → the worker's handler, p50", "pyinit -c"),
    ("crash-p50", "crash → replacement", "pyinit"),
    ("logs-plain-1-rate", "log lines as JSON, 1 writer", "pyinit"),
    ("logs-plain-8-rate", "log lines as JSON, 8 writers", "pyinit"),
    ("logs-plain-8-wrong", "of these lost or damaged", "pyinit"),
)
BESIDE = ("bare Python loop", "tini", "supervisor", "pm2-runtime")
ALIASES = {"pm2-runtime": ("pm2-runtime --json",)}


def about(rounds: int) -> dict[str, object]:
    """Where and when a run is made, and of what."""
    return {
        "machine": peers.machine(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "rounds": rounds,
        "versions": peers.versions(),
        "not_here": peers.NOT_HERE,
    }


def heading(found: dict[str, object]) -> str:
    versions = found["versions"]
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    absent = [f"{name} (not installed)" for name, version in versions.items() if not version]
    absent += [f"{name} ({why})" for name, why in found["not_here"].items()]
    return (
        f"{found['machine']}; {found['date']}.\n{there}.\nNot measured: {'; '.join(absent)}.\n"
        f"Medians of interleaved rounds ({found['rounds']}, fewer where a round takes long)."
    )


def results(found: dict[str, object], rows: list[Row]) -> dict[str, object]:
    return {"about": found, "rows": [as_json(row) for row in rows]}


def write_json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_plot(path: Path, content: dict[str, object]) -> None:
    path.write_text(plot.draw([from_json(row) for row in content["rows"]]), encoding="utf-8")


def publish(content: dict[str, object], *, keep: bool) -> None:
    """Write results.json and what is made from it; `keep` the rows that are not in `content`."""
    if keep and RESULTS.exists():
        before = json.loads(RESULTS.read_text(encoding="utf-8"))
        fresh = {row["key"]: row for row in content["rows"]}
        kept = [fresh.pop(row["key"], row) for row in before["rows"]]
        content = {"about": content["about"], "rows": [*kept, *fresh.values()]}
    write_json(RESULTS, content)
    render()


def render() -> None:
    """Write the documents from results.json."""
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    write_plot(PLOT, content)
    for path, text in ((PAGE, page(content)), (README, short_table(content))):
        before = path.read_text(encoding="utf-8")
        path.write_text(replaced(before, text), encoding="utf-8")


def replaced(document: str, text: str) -> str:
    """The document with `text` between the markers."""
    head, begin, rest = document.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"the document has no {BEGIN.strip()} … {END.strip()}")
    return head + begin + text + end + tail


def page(content: dict[str, object]) -> str:
    """All rows, for docs/reference/benchmarks.md."""
    rows = [from_json(row) for row in content["rows"]]
    verdicts = [verdict for row in rows for verdict in row.verdicts()]
    missed = [(row, v) for row in rows for v in row.verdicts() if not v.met]
    out = [heading(content["about"]).replace("\n", "\n\n"), ""]
    out.append(f"{len(verdicts) - len(missed)} of {len(verdicts)} bars are met. Missed:")
    out.append("")
    out += [f"- {row.title}: {v.text(row.figures[v.bar.ours].unit)}" for row, v in missed] or [
        "- none"
    ]
    out.append("")
    return "\n".join(out) + "\n" + "\n".join(as_markdown(row) for row in rows)


def short_table(content: dict[str, object]) -> str:
    """The README's."""
    rows = {row["key"]: from_json(row) for row in content["rows"]}
    out = [f"| | pyinit | {' | '.join(BESIDE)} |", "|---|--:|" + "--:|" * len(BESIDE)]
    for key, title, ours in SHORT:
        row = rows.get(key)
        if row is None or ours not in row.measured:
            continue
        cells = [_cell(row, (ours,))]
        cells += [_cell(row, (name, *ALIASES.get(name, ()))) for name in BESIDE]
        out.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(out) + "\n"


def _cell(row: Row, names: tuple[str, ...]) -> str:
    for name in names:
        if name in row.measured:
            figure = row.measured[name]
            unit = figure.unit if figure.unit in ("ms", "µs", "MB", "lines/s") else ""
            return f"{number(figure.median)} {unit}".strip()
    return ""


if __name__ == "__main__":
    render()
