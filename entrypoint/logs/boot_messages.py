"""Messages before the log pump exists, or without one: boot errors, `pyinit -- CMD`.

The same schema as all records (schema.py), rendered without structlog, which is not
loaded yet and, for `pyinit -- CMD`, never is. They go to stderr: stdout may already be
the worker's own.
"""

from __future__ import annotations

import os
import time

from . import schema

# What a terminal that is ready takes at once (tty_io.c); a pipe takes more.
_PIECE = 256


def put(data: bytes, descriptor: int, seconds: float) -> bool:
    """Write with a time limit, as the reader may never read; returns whether it succeeded.

    A pipe or terminal that is ready takes a small piece whole (`pipe(7)`, PIPE_BUF), so
    nothing here blocks, whatever the flags of the descriptor.
    """
    import select

    deadline = time.monotonic() + seconds
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        while data:
            left = max(0.0, deadline - time.monotonic())
            if not poll.poll(left * 1000):
                return False
            data = data[os.write(descriptor, data[:_PIECE]) :]
    except OSError:
        return False
    return True


def write(level: str, event: str, *, descriptor: int = 2, **fields: object) -> None:
    """Write one record: JSON, or a sentence for people when `descriptor` is a terminal.

    Blocks as `write(2)` does; never raises, because no other output exists.
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
