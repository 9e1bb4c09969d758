"""How long the turns of PID 1's loop were, as far as PID 1 itself is to blame."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tests.chaos.harness import Harness

LIMIT = 0.05
_BUCKET = re.compile(r'pyinit_loop_turn_seconds_bucket\{le="([^"]+)"\} (\d+)')


def over(harness: Harness) -> tuple[int, int]:
    """Turns over the limit and all turns, by the histogram of `/metrics` (wall time)."""
    text = harness.probe("/metrics")[1].decode()
    found = {float(le): int(float(count)) for le, count in _BUCKET.findall(text)}
    return found[float("inf")] - found[LIMIT], found[float("inf")]
