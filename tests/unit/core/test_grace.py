"""The times of a shutdown, fitted into the grace of the orchestrator."""

from __future__ import annotations

import pytest

from entrypoint.core.grace import fitted, killing_after, usable
from entrypoint.core.spec import ShutdownSpec


@pytest.mark.parametrize(
    ("grace", "drain", "longest", "timeout", "expected"),
    [
        # Known to be enough: nothing is cut.
        (30.0, 5.0, 15.0, 25.0, (5.0, 15.0)),
        (30.0, 5.0, 15.0, 0.0, (5.0, 15.0)),
        # The drain gets at most half, the workers the rest.
        (10.0, 5.0, 15.0, 0.0, (4.5, 4.5)),
        (10.0, 1.0, 15.0, 0.0, (1.0, 8.0)),
        (10.0, 8.0, 2.0, 0.0, (4.5, 2.0)),
        (10.0, 20.0, 0.0, 0.0, (4.5, 0.0)),
        (10.0, 0.0, 8.0, 0.0, (0.0, 8.0)),
        # A timeout that is shorter bounds both.
        (10.0, 5.0, 15.0, 4.5, (2.025, 2.025)),
        (10.0, 5.0, 15.0, 25.0, (4.5, 4.5)),
        # Very short ones keep a quarter.
        (2.0, 5.0, 15.0, 0.0, (0.75, 0.75)),
    ],
)
def test_what_fits(grace, drain, longest, timeout, expected):
    fits = fitted(ShutdownSpec(drain_delay=drain, timeout=timeout, grace=grace), longest)
    assert (fits.drain_delay, longest * fits.stop_share) == pytest.approx(expected)
    # SIGKILL of pyinit's own comes in time for the last log lines, before the orchestrator's.
    assert killing_after(fits.timeout) <= usable(grace) + 1e-9
    assert fits.timeout < grace


def test_without_a_grace_nothing_changes():
    shutdown = ShutdownSpec(drain_delay=5.0, timeout=3.0)
    assert fitted(shutdown, 100.0) is shutdown
