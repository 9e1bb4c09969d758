"""Memory runs out in the core: the same event again leads to the same state and effects."""

from __future__ import annotations

import pytest

from entrypoint.core import events as e
from entrypoint.core import transaction as turns
from entrypoint.core.spec import AppSpec, Plan
from entrypoint.core.supervisor import Supervisor

APPS = (
    AppSpec("web", ("web",), instances=3, cwd="/", exec_mode="cluster", share="slots"),
    AppSpec("job", ("job",), cwd="/"),
)
HISTORY = (
    e.Booted(Plan(apps=APPS, revision=1)),
    *(e.WorkerSpawned(number, 100 + number) for number in range(1, 5)),
    *(e.WorkerExeced(number) for number in range(1, 5)),
    e.WorkerReady(1, "notify"),
    e.WorkerExited(2, code=1),
    e.WorkerExited(4, code=0),
    e.ReloadRequested("web"),
    e.ScaleRequested("web", 1),
    e.StopRequested("job"),
    e.SignalArrived(15),
)


def played(fail_at: int = -1, monkeypatch=None) -> tuple[list[object], object, int]:
    """All effects and the view; the `fail_at`th change that is merged raises MemoryError."""
    core, effects, merged = Supervisor(), [], [0]

    def merge(into, staged) -> None:
        merged[0] += 1
        if merged[0] == fail_at:
            raise MemoryError
        whole(into, staged)

    whole = turns._merge
    if monkeypatch is not None:
        monkeypatch.setattr(turns, "_merge", merge)
    for number, event in enumerate(HISTORY):
        try:
            effects.append(core.handle(event, float(number)))
        except MemoryError:
            effects.append(core.handle(event, float(number)))
    if monkeypatch is not None:
        monkeypatch.setattr(turns, "_merge", whole)
    return effects, core.view(), merged[0]


def test_an_interrupted_commit_is_completed(monkeypatch):
    expected, view, _ = played()
    _, _, count = played(-1, monkeypatch)
    assert count > 40
    for fail_at in range(1, count + 1):
        effects, found, _ = played(fail_at, monkeypatch)
        assert effects == expected, fail_at
        assert found == view, fail_at


def test_another_event_after_it_brings_the_effects_of_both(monkeypatch):
    core = Supervisor()
    whole = turns._merge
    core.handle(HISTORY[0], 0.0)

    def fail(_into, _staged) -> None:
        raise MemoryError

    monkeypatch.setattr(turns, "_merge", fail)
    with pytest.raises(MemoryError):
        core.handle(e.WorkerExited(1, code=1), 1.0)
    monkeypatch.setattr(turns, "_merge", whole)
    effects = core.handle(e.SignalArrived(10), 2.0)
    assert any(getattr(effect, "event", "") == "worker exited" for effect in effects)
