"""A worker that races its own memory against pyinit: see tests/fuzz/race.py."""

from __future__ import annotations

import pytest

from tests.fuzz.race import race

pytestmark = pytest.mark.process


def test_a_worker_that_changes_its_memory_harms_itself_only(tmp_path):
    fine, event = race(tmp_path, 4.0, 5)
    assert fine, event
