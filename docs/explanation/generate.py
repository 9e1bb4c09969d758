"""Write the diagram in docs/explanation/core.md from the table of a worker's life.

`python docs/explanation/generate.py`; tests/unit/core/test_diagram.py fails when the page
is older than the table.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE / "core.md"
BEGIN, END = "<!-- life of a worker: generated -->\n", "<!-- end -->\n"

sys.path.insert(0, str(HERE.parents[1]))

from entrypoint.core import worker  # noqa: E402


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


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
