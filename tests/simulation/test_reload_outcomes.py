"""A reload has one beginning and one end: in the log, for who asked for it, in the metrics."""

from __future__ import annotations

import itertools

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from tests.simulation.world import HEALTHY, Script, World, shared

# How a new worker fails: at once, before it is ready, while it proves the release, after it
# has replaced the old one, or never ready.
FAILURES = {
    "exec": Script(exec_fails="no such file"),
    "before ready": Script(says_after=None, ends_after=0.5, code=1),
    "in its proof": Script(ends_after=1.5, code=1),
    "after the proof": Script(ends_after=3.5, code=1),
    "never ready": Script(says_after=None),
}


def ends(world: World) -> list[tuple[str, str]]:
    """(`log`, `outcome` or `metric`; how a reload ended), in order."""
    found = []
    for _, effect in world.effects:
        if isinstance(effect, f.Report) and effect.event.startswith("reload "):
            found.append(("log", effect.event.removeprefix("reload ")))
        elif isinstance(effect, f.ReportOutcome) and effect.what == "reload":
            found.append(("outcome", effect.result))
        elif isinstance(effect, f.Count) and effect.what == "reload":
            found.append(("metric", effect.label))
    return found


def check_one_end(world: World, *results: str) -> None:
    """The log and the outcome say it began and ended once, by one of these; and the metric."""
    (result,) = [how for kind, how in ends(world) if kind == "metric"]
    assert result in results
    for where in ("log", "outcome"):
        reported = [how for kind, how in ends(world) if kind == where]
        assert reported == ["started", result], where


def reloaded(parallel: int, bad: dict[int, Script]) -> World:
    """A reload of four workers, whose n-th new worker runs `bad[n]`; at rest after it."""
    world = World().up(shared(instances=4, reload_parallel=parallel, min_ready=2.0))
    number = itertools.count()
    world.usual = lambda _spawn: bad.get(next(number), HEALTHY)
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: not world.view().reloading, 120)
    world.usual = lambda _spawn: HEALTHY
    world.settle(30)
    return world


@pytest.mark.parametrize("parallel", [1, 2, 3, 4])
def test_a_reload_that_goes_well_has_finished(parallel):
    world = reloaded(parallel, {})
    check_one_end(world, "finished")
    assert world.ready() == 4


@pytest.mark.parametrize("parallel", [1, 2, 3, 4])
@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize("which", range(4))
def test_one_new_worker_that_fails_ends_it_once(parallel, how, which):
    world = reloaded(parallel, {which: FAILURES[how]})
    # A worker that ends after the reload is over has crashed, and is restarted.
    late = how == "after the proof" or (how == "in its proof" and which)
    check_one_end(world, "aborted", *(["finished"] if late else []))
    assert world.ready() == 4


@pytest.mark.parametrize("parallel", [2, 3, 4])
@pytest.mark.parametrize(("one", "two"), list(itertools.combinations_with_replacement(FAILURES, 2)))
def test_two_new_workers_that_fail_end_it_once(parallel, one, two):
    world = reloaded(parallel, {0: FAILURES[one], 1: FAILURES[two]})
    late = one == two == "after the proof"
    check_one_end(world, "aborted", *(["finished"] if late else []))
    assert world.ready() == 4


def test_a_reload_after_one_that_was_aborted_has_an_end_of_its_own():
    world = reloaded(2, {1: FAILURES["before ready"]})
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: not world.view().reloading, 120)
    reported = [how for kind, how in ends(world) if kind == "outcome"]
    assert reported == ["started", "aborted", "started", "finished"]
