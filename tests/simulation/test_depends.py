"""`depends_on`: who starts when, who never does, who is stopped first."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.spec import DependsSpec
from tests.simulation import invariants
from tests.simulation.world import SIGTERM, Script, World, app, plan, shared

COMPLETED = "service_completed_successfully"


@pytest.fixture
def world() -> World:
    world = World()
    world.after_turn = invariants.check
    return world


def waits(name, condition="service_started"):
    return (DependsSpec(name, condition),)


def reports(world, event):
    return [
        dict(reported.fields) for reported in world.ordered(f.Report) if reported.event == event
    ]


def once(name="migrate", **keys):
    return app(name, autorestart=False, **keys)


def ends(world, name, code):
    """The app of that name ends a second after its start."""
    usual = world.usual

    def script(spawn):
        return Script(ends_after=1.0, code=code) if spawn.spec.name == name else usual(spawn)

    world.usual = script


def test_a_failed_dependency_ends_the_container_whoever_else_runs(world):
    ends(world, "migrate", 5)
    world.boot(once(), app("web", depends_on=waits("migrate", COMPLETED)), app("other"))
    world.advance(3)
    [reported] = reports(world, "app never starts")
    assert (reported["app"], reported["depends_on"]) == ("web", "migrate")
    assert "exit code 5" in reported["because"]
    assert world.exit_code == 5
    assert not [s for s in world.ordered(f.Spawn) if s.spec.name == "web"]


def test_keep_goes_on_without_the_app(world):
    ends(world, "migrate", 5)
    web = app("web", depends_on=waits("migrate", COMPLETED), on_errored="keep")
    world.boot(once(), web, app("other"))
    world.advance(30)
    assert world.exit_code is None
    assert world.live("other")
    assert len(reports(world, "app never starts")) == 1


def test_a_second_try_by_hand_lets_it_start(world):
    ends(world, "migrate", 5)
    web = app("web", depends_on=waits("migrate", COMPLETED), on_errored="keep")
    world.boot(once(), web, app("other"))
    world.advance(3)
    ends(world, "migrate", 0)
    world.emit(e.StartRequested("migrate"))
    world.advance(3)
    assert world.live("web")


def test_a_second_try_that_fails_is_told_again(world):
    ends(world, "migrate", 5)
    web = app("web", depends_on=waits("migrate", COMPLETED), on_errored="keep")
    world.boot(once(), web, app("other"))
    world.advance(3)
    world.emit(e.StartRequested("migrate"))
    world.advance(3)
    assert len(reports(world, "app never starts")) == 2


def test_what_waits_for_what_never_starts_never_starts(world):
    ends(world, "migrate", 3)
    world.boot(
        once(),
        app("web", depends_on=waits("migrate", COMPLETED)),
        app("proxy", depends_on=waits("web", "service_healthy")),
        app("other"),
    )
    world.advance(3)
    assert {reported["app"] for reported in reports(world, "app never starts")} == {"web", "proxy"}
    assert world.exit_code == 3


def test_what_ended_well_is_not_healthy_and_never_will_be(world):
    world.upcoming.append(Script(ends_after=1.0, code=0, says_after=None))
    world.boot(
        once(wait_ready=True, listen_timeout=60.0),
        app("web", depends_on=waits("migrate", "service_healthy")),
        app("other"),
    )
    world.advance(3)
    assert world.exit_code == 1


def test_the_end_goes_backwards_through_an_app_that_has_done_its_work(world):
    ends(world, "migrate", 0)
    world.boot(
        app("db"),
        once(depends_on=waits("db")),
        app("web", depends_on=waits("migrate", COMPLETED)),
    )
    world.advance(3)
    assert world.live("web")
    world.emit(e.SignalArrived(SIGTERM))
    reported = [world.processes[sent.incarnation].spec.name for sent in world.ordered(f.SendSignal)]
    assert reported == ["web"]
    world.advance(1)
    assert world.exit_code == 0


def test_a_new_graph_counts_for_who_still_waits_and_for_the_end(world):
    world.usual = lambda _spawn: Script(says_after=20.0)
    world.boot(
        shared("slow", listen_timeout=60.0),
        app("web", depends_on=waits("slow", "service_healthy")),
        app("db"),
    )
    world.advance(1)
    assert not world.live("web")
    slow, web = shared("slow", listen_timeout=60.0), app("web", depends_on=waits("db"))
    world.emit(e.PlanAccepted(plan(slow, web, app("db"), revision=2)))
    world.advance(1)
    assert world.live("web")
    world.emit(e.SignalArrived(SIGTERM))
    reported = {world.processes[sent.incarnation].spec.name for sent in world.ordered(f.SendSignal)}
    assert "db" not in reported


def test_a_chain_of_any_length(world):
    """Longer than Python's recursion goes."""
    world.after_turn = lambda *_: None
    ends(world, "app0", 5)
    chain = [app(f"app{n}", depends_on=waits(f"app{n - 1}", COMPLETED)) for n in range(1, 1500)]
    world.boot(once("app0"), *chain)
    world.advance(3)
    assert world.exit_code == 5
