"""pyinit, and the inits that it is measured by, where they are installed.

What tini's and dumb-init's own test suites check is checked here of all of them alike:
that tini and dumb-init pass shows that the tests describe them rightly.
"""

from __future__ import annotations

import shutil

import pytest

from tests.support.namespace import PYINIT, PYTHON

COMMANDS = {
    "pyinit": [PYTHON, PYINIT],
    "tini": ["tini"],
    # --single-child is what the others do: one process is signalled.
    "dumb-init": ["dumb-init", "--single-child"],
}


def inits(*names):
    """Parametrise by `init`: the words that start it, without `--`."""
    return pytest.mark.parametrize("init", [pytest.param(name, id=name) for name in names])


def words(name, *options):
    """The command line of an init up to `--`; skips the test when it is not installed."""
    command = COMMANDS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{name} is not installed")
    return [*command, *options, "--"]


# Prints its pid, then the number of each signal that comes.
PRINT_SIGNALS = [
    PYTHON,
    "-S",
    "-c",
    """
import _signal as signal, os
def show(number, _frame):
    os.write(1, b"%d\\n" % number)
for number in signal.valid_signals() - {9, 17, 19}:
    signal.signal(number, show)
os.write(1, b"ready %d\\n" % os.getpid())
while True:
    signal.pause()
""",
]
