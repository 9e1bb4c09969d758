"""What this process has used so far (getrusage(2))."""

from __future__ import annotations

import resource


def used() -> tuple[float, int]:
    """CPU time (s), and how often it has waited for something (voluntary context switches).

    Between two calls with the same number of waits all that is not CPU time was a wait for a
    CPU.
    """
    found = resource.getrusage(resource.RUSAGE_SELF)
    return found.ru_utime + found.ru_stime, found.ru_nvcsw
