"""`faulty.py PYINIT…`: pyinit in which each effect of some kinds fails at first.

FAULTS: how often each kind fails, alternately as a shortage (OSError) and as a bug.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from entrypoint import boot
from entrypoint.core import effects as f
from entrypoint.shell import dispatch, runtime

# A test that cannot log or end shows nothing.
SPARED = (f.Finish, f.Report)


class Faulty(dispatch.Dispatch):
    def __init__(self, loop, core, perform, *others):
        often = int(os.environ["FAULTS"])
        super().__init__(
            loop,
            core,
            {kind: failing(kind, does, often) for kind, does in perform.items()},
            *others,
        )


def failing(kind, does, often):
    left = [0 if issubclass(kind, SPARED) else often]

    def perform(effect):
        if left[0]:
            left[0] -= 1
            os.write(2, f"fault {kind.__name__}\n".encode())
            raise OSError(24, "Too many open files") if left[0] % 2 else KeyError("a bug")
        does(effect)

    return perform


runtime.Dispatch = Faulty
boot.main(sys.argv[2:], leave=True)
