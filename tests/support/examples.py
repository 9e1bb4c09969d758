"""How many examples Hypothesis tries in the pure tests.

Few by default, for a smoke of some seconds; `make soak` and `make fuzz` look for longer, and
`PYINIT_SIMULATION=deep make unit` tries many of each.
"""

from __future__ import annotations

import os

from hypothesis import settings

DEEP = os.environ.get("PYINIT_SIMULATION", "") == "deep"

FEW, MANY = 40, 1000


def choose() -> None:
    """For the tests that do not say how many they need."""
    settings.register_profile("pure", max_examples=MANY if DEEP else FEW, deadline=None)
    settings.load_profile("pure")
