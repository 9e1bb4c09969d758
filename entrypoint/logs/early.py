"""Messages before there is a log pump, or without one: boot errors, `pyinit -- CMD`.

The same schema as all records (schema.py), rendered without structlog, which is not
loaded yet and, for `pyinit -- CMD`, never is. They go to stderr: stdout may already be
the worker's own.
"""

from __future__ import annotations

import os
import time

from . import schema


def write(level: str, event: str, *, descriptor: int = 2, **fields: object) -> None:
    """Write one record: JSON, or a sentence for people when `descriptor` is a terminal.

    Blocks as `write(2)` does; never raises, for there is nobody left to tell.
    """
    when = schema.stamp(time.time_ns())
    try:
        if os.isatty(descriptor):
            from .console import Style, wants_colour

            colour = wants_colour(os.environ, is_terminal=True)
            data = Style(colour=colour).event(when, level, event, fields)
        else:
            data = schema.record(when, level, event, fields)
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        return
