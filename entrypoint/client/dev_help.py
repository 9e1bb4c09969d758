"""`pyinit dev --help`. The run itself begins in cli.py, as every run does."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

TEXT = """\
usage: pyinit dev [-c FILE] [--config FILE] [--env NAME] [--only A,B]

Run the apps of the file as on a laptop. Where the file says nothing of it, each app has a
terminal of its own (`tty`), and a save below its `cwd` restarts it (`watch`); one that breaks
waits for the next save. Lines are for people, and the file is read again when it is saved: if it
is wrong, you see where. Ctrl-C stops all apps; once more, it no longer waits for them.

options:
  -c FILE, --config FILE  the file, or several
  --env NAME              with the variables of env_NAME
  --only A,B              only these apps
"""


def main(_argv: Sequence[str]) -> int:
    """Print it."""
    print(TEXT, end="")
    return 0
