"""The rows of the table, by what they measure. Each takes the number of rounds.

A new one is a function `(rounds: int) -> list[Row]` of a module here, named in `ALL`.
"""

from __future__ import annotations

from .crash import connections, replacement
from .idle import memory, wakeups
from .logs import throughput
from .many import many
from .probes import probes
from .processes import orphans, signals
from .reloads import reloads
from .sharing import sharing
from .start import first_answer, first_instruction
from .tail import tail

ALL = {
    "first-instruction": first_instruction,
    "first-answer": first_answer,
    "memory": memory,
    "idle": wakeups,
    "orphans": orphans,
    "signals": signals,
    "crash": replacement,
    "crash-connections": connections,
    "logs": throughput,
    "many": many,
    "probes": probes,
    "sharing": sharing,
    "reloads": reloads,
    "tail": tail,
}
