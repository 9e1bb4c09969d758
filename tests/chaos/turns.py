"""How long the turns of PID 1's loop were, as far as PID 1 itself is to blame."""

from __future__ import annotations

import json
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


def own(harness: Harness) -> tuple[int, int, list[dict[str, object]]]:
    """Turns over the limit without the machine's part, those that were so only because the
    kernel reclaimed memory, and the last long ones of any kind.

    The machine's part: PID 1 was runnable and had no CPU, a page came from a disk, or memory
    was reclaimed, for the control group was full.
    """
    answer = json.loads(harness.probe("/status")[1])["turns"]
    return answer["long"], answer["starved"], [*answer["slowed"][-5:], *answer["last"]]
