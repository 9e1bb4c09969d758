"""`python -m entrypoint`: the same as the command `pyinit`.

The handlers come later than in the launcher (scripts/pyinit), which is the one for
containers.
"""

import os
import sys

_theirs = {"", os.getcwd()}
if _path := os.environ.get("PYTHONPATH"):
    _theirs.update(map(os.path.abspath, _path.split(os.pathsep)))
_home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Modules of the app's must not stand in for ours; our own folder goes last.
sys.path[:] = [place for place in sys.path if place not in _theirs]
if _home not in sys.path:
    sys.path.append(_home)

from .boot import main  # noqa: E402  after the path is ours

main(sys.argv[1:], leave=True)
