"""Write the diagrams of docs/explanation/ from the tables of the core.

core.md has the life of a worker; worker-table.md what each event, deadline, stop and exit
means. `python docs/explanation/generate.py` writes both; tests/unit/core/test_diagram.py fails
when a page is older than its table.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE / "core.md"
BEGIN, END = "<!-- life of a worker: generated -->\n", "<!-- end -->\n"
TABLES = HERE / "worker-table.md"

sys.path.insert(0, str(HERE.parents[1]))

from entrypoint.core import exits, lifecycle, table, worker  # noqa: E402


def diagram() -> str:
    """The table as a state diagram and as rows: each pair that is answered."""
    events = list(dict.fromkeys(event for row in worker.LIFE.values() for event in row))
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {worker.LAUNCHING}"]
    for state, answers in worker.LIFE.items():
        following: dict[str, list[str]] = {}
        for event, after in answers.items():
            if after != state:
                following.setdefault(after, []).append(event)
        lines += [f"    {state} --> {after}: {', '.join(why)}" for after, why in following.items()]
    lines += [f"    {worker.GONE} --> [*]", "```", ""]
    lines += [f"| | {' | '.join(events)} |", "|---" * (len(events) + 1) + "|"]
    for state, answers in worker.LIFE.items():
        cells = [_cell(state, answers.get(event)) for event in events]
        lines.append(f"| **{state}** | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(state: str, after: str | None) -> str:
    if after is None:
        return "*illegal*"
    return "·" if after == state else after


def page(before: str) -> str:
    """The page with the diagram of today. Raises ValueError when it has no place for it."""
    head, mark, rest = before.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{PAGE}: no place marked for the diagram")
    return head + BEGIN + diagram() + END + tail


INTRODUCTION = """# What an event means to a worker

Generated from `entrypoint/core/table.py`, `lifecycle.py` and `exits.py`. Columns are the
states of a worker ([the core](core.md) has their diagram), rows are what happens. Every cell is
answered; `·` is nothing. A number refers to the sentence below the table.

An event names its worker by *incarnation*, a number that is never used twice. An event of a
worker that is gone changes nothing.
"""


STOPS = """SIGTERM and `docker stop`, `pyinit stop`, `restart` and `scale`, a reload, a file
without the app: all ask a worker to stop in the same way. The reason decides what follows its
end.
"""

EXITS = """While its app is to run. After the end of a successor the reload is aborted instead, and
in the end of the run nothing follows.
"""


def tables() -> str:
    """The page of all tables."""
    parts = [INTRODUCTION]
    events = {f"`{kind.__name__}`": row for kind, row in table.TABLE.items()}
    parts += ["## Events\n", _matrix(events)]
    deadlines = {f"deadline `{kind}`": row for kind, row in table.DEADLINES.items()}
    parts += ["## Deadlines\n", _matrix(deadlines)]
    parts += [
        "## A stop\n",
        STOPS,
        _matrix({"a stop": lifecycle.STOP}),
        "## After the end of an instance's current worker\n",
        EXITS,
        "| stop reason | what follows |",
        "|---|---|",
    ]
    parts += [
        f"| {why or '(nobody asked)'} | {_first(then)} |" for why, then in exits.AFTER.items()
    ]
    return "\n".join(parts) + "\n"


def _first(answer: object) -> str:
    return (answer.__doc__ or "").strip().partition("\n")[0]


def _matrix(rows: dict) -> str:
    numbers: dict[str, int] = {}
    lines = [f"| | {' | '.join(table.STATES)} |", "|---" * (len(table.STATES) + 1) + "|"]
    for name, row in rows.items():
        cells = []
        for state in table.STATES:
            answer = row[state]
            if answer is table.nothing:
                cells.append("·")
            else:
                cells.append(str(numbers.setdefault(_first(answer), len(numbers) + 1)))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", *(f"{number}. {text}" for text, number in numbers.items()), ""]
    return "\n".join(lines)


if __name__ == "__main__":
    TABLES.write_text(tables(), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
