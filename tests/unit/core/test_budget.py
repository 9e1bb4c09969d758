"""What each worker of a container may take of its memory."""

from __future__ import annotations

import pytest

from entrypoint.core.budget import AT_LEAST, MIB, share
from entrypoint.core.spec import AppSpec


def app(name: str = "web", **keys) -> AppSpec:
    return AppSpec(name=name, command=("run",), cwd="/", **{"share": "slots", **keys})


@pytest.mark.parametrize(
    ("limit", "workers", "bytes_each"),
    [
        # 64 MiB for PID 1 and the kernel; one more worker for a reload.
        (512, 2, 448 // 3),
        (512, 1, 448 // 2),
        # A tenth of a large one, a quarter of a small one.
        (4000, 3, 3600 // 4),
        (128, 1, 96 // 2),
    ],
)
def test_the_limit_is_divided_by_the_workers_and_one_more(limit, workers, bytes_each):
    assert share(limit * MIB, [(app(), workers)]) // MIB == bytes_each


def test_a_budget_is_in_bytes():
    assert share(512 << 20, [(app(), 2)]) == (448 << 20) // 3


def test_apps_with_a_limit_of_their_own_have_that(monkeypatch):
    fixed = app("cache", max_memory_restart=100 * MIB, share="none")
    assert share(512 * MIB, [(app(), 2), (fixed, 1)]) // MIB == 348 // 3


def test_an_app_that_cannot_have_two_workers_side_by_side_needs_no_more():
    assert share(512 * MIB, [(app(share="none"), 2)]) // MIB == 448 // 2


def test_a_limit_too_small_for_so_many_is_no_budget_of_nothing():
    assert share(64 * MIB, [(app(), 100)]) == AT_LEAST
