"""What is shown of events and workers when something goes wrong."""

from __future__ import annotations

from entrypoint.core import events as e
from entrypoint.core import worker as w
from entrypoint.core.effects import Spawn
from entrypoint.core.spec import AppSpec, Plan

SPEC = AppSpec("web", ("run", "--token=hunter2"), "/", env=(("PASSWORD", "hunter2"),))


def test_no_value_shows_the_environment_or_the_command_line() -> None:
    shown = (
        SPEC,
        e.Booted(Plan((SPEC,))),
        e.PlanAccepted(Plan((SPEC,))),
        Spawn(1, SPEC, 0, 0),
        w.Worker(1, "web", 0, 0, SPEC, launched_at=0.0),
    )
    for value in shown:
        assert "hunter2" not in repr(value)
        assert "name='web'" in repr(value)
