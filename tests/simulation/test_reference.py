"""What docs/reference/file.md says of a key is what the core does.

Each test quotes its sentence; a sentence that changes has to be tested anew.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from entrypoint.config import keys
from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.spec import AppSpec, HealthSpec, ListenSpec, ShutdownSpec
from tests.simulation.world import HEALTHY, Script, World, app, shared

PAGE = (Path(__file__).parents[2] / "docs/reference/file.md").read_text(encoding="utf-8")


def row(key: str, sentence: str) -> None:
    """The page has that sentence in the row of that key."""
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{key}`")][:1]
    assert sentence in line, line


def lives(spec: AppSpec, *seconds: float, within: float) -> World:
    """An app whose workers live so long, by turns, and end with exit code 1."""
    world = World()
    turns = itertools.cycle(seconds)
    world.usual = lambda _spawn: Script(ends_after=next(turns), code=1)
    world.boot(spec)
    world.advance(within)
    return world


def spawned(world: World) -> list[float]:
    return [when for when, effect in world.effects if isinstance(effect, f.Spawn)]


def test_max_restarts_counts_in_a_window_that_slides() -> None:
    row("max_restarts", "within a window that slides with time, make the app `errored`")
    row("max_restarts", "Stable exits in between do not end the count.")
    spec = app(max_restarts=2, min_uptime=1.0, on_errored="keep")
    # By turns stable and unstable: never two unstable ones in a row.
    world = lives(spec, 0.1, 1.5, within=30)
    (report,) = world.said("app errored")
    assert report["unstable_exits"] == 3
    # The same exits, each in an hour of its own: the window has moved on.
    world = lives(spec, 0.1, 3600.0, within=10 * 3600)
    assert len(spawned(world)) > 15
    assert not world.said("app errored")


def test_min_uptime_makes_a_worker_stable() -> None:
    row("min_uptime", "A worker that lives this long was stable.")
    spec = app(max_restarts=2, min_uptime=1.0, on_errored="keep")
    assert not lives(spec, 1.01, within=600).said("app errored")
    assert lives(spec, 0.9, within=600).said("app errored")


def test_min_uptime_is_learned_where_the_file_has_none() -> None:
    row("min_uptime", "crashes that follow one another count too, each within 30 s of its start")
    spec = app(max_restarts=2, learn_min_uptime=True, on_errored="keep")
    assert lives(spec, 5.0, within=600).said("app errored")
    assert not lives(spec, 31.0, within=600).said("app errored")


def test_restart_delay() -> None:
    row("restart_delay", "Wait before a restart.")
    world = lives(app(restart_delay=4.0), 10.0, within=60)
    assert {round(b - a) for a, b in itertools.pairwise(spawned(world))} == {14}


def test_exp_backoff_restart_delay() -> None:
    key = "exp_backoff_restart_delay"
    row(key, "the first is at once, the second waits this long, each next one half as long again,")
    row(key, "up to 15 s. After 30 s of uptime it begins anew.")
    spec = app(exp_backoff_restart_delay=4.0, min_uptime=0.0)
    world = lives(spec, 2.0, within=200)
    waits = [b - a - 2.0 for a, b in itertools.pairwise(spawned(world))]
    assert [round(wait, 1) for wait in waits[:6]] == [0.0, 4.0, 6.0, 9.0, 13.5, 15.0]
    world = lives(spec, 2.0, 2.0, 31.0, within=200)
    waits = [b - a for a, b in itertools.pairwise(spawned(world))]
    assert [round(wait) for wait in waits[:6]] == [2, 6, 31, 6, 8, 31]


def test_stop_exit_codes_and_autorestart() -> None:
    row("stop_exit_codes", "Exit codes after which a worker is not restarted.")
    row("autorestart", "Restart a worker that ends.")
    for spec in (app(stop_exit_codes=(1,)), app(autorestart=False)):
        assert len(spawned(lives(spec, 2.0, within=60))) == 1
    assert len(spawned(lives(app(), 2.0, within=60))) > 10


@pytest.mark.parametrize("timeout", [2.0, 8.0])
def test_kill_timeout(timeout: float) -> None:
    row("kill_timeout", "From the stop signal to SIGKILL")
    world = World()
    world.usual = lambda _spawn: Script(ignores=True)
    world.up(app(kill_timeout=timeout))
    world.emit(e.StopRequested("web"))
    world.advance(60)
    sent = {
        effect.signum: when for when, effect in world.effects if isinstance(effect, f.SendSignal)
    }
    assert sent[9] - sent[15] == pytest.approx(timeout)


@pytest.mark.parametrize("parallel", [1, 2, 3])
def test_reload_parallel(parallel: int) -> None:
    row("reload_parallel", "Workers replaced at a time in a reload.")
    world = World().up(shared(instances=4, reload_parallel=parallel))
    most = [0]

    def look(world: World, _effects: list[f.Effect]) -> None:
        most.append(len(world.live()) - 4)

    world.after_turn = look
    world.emit(e.ReloadRequested("web"))
    world.run_until(world.is_up)
    assert max(most) == parallel


def test_min_ready() -> None:
    sentence = "How long the first new worker of a reload has to live"
    row("min_ready", sentence)
    world = World().up(shared(instances=2, min_ready=7.0))
    world.emit(e.ReloadRequested("web"))
    begun = world.now
    world.run_until(lambda: bool(world.ordered(f.SendSignal)))
    assert 7.0 <= world.now - begun < 9.0


def test_failures_of_health_are_in_a_row() -> None:
    row("failures", "Failures in a row that make a worker sick.")
    check = HealthSpec(http="/", interval=10.0, failures=3)
    world = World()
    world.usual = lambda _spawn: Script(well_until=20.0)
    world.up(shared(health=check))
    world.usual = lambda _spawn: HEALTHY
    world.run_until(lambda: bool(world.said("worker unhealthy")))
    assert [report["failures"] for report in world.said("health check failed")] == [1, 2, 3]


def test_on_errored_keep() -> None:
    row("on_errored", "`exit` ends the container, `keep` goes on without it")
    spec = app(max_restarts=1, min_uptime=1.0, on_errored="keep")
    assert not lives(spec, 0.1, within=60).said("shutdown started")
    assert lives(spec.replace(on_errored="exit"), 0.1, within=60).said("shutdown started")


# -- defaults ---------------------------------------------------------------------------

SPECS = {"An app": AppSpec, "health": HealthSpec, "listen": ListenSpec, "shutdown": ShutdownSpec}
TABLES = {
    "An app": keys.APP_KEYS,
    "health": keys.HEALTH_KEYS,
    "listen": keys.LISTEN_KEYS,
    "shutdown": keys.SHUTDOWN_KEYS,
}
# The page says more than a figure, and the first word is the figure.
FIRST_WORD = ("min_uptime",)


def number(key: keys.Key) -> float | None:
    """The default as the core has it: seconds, bytes or a count."""
    word = key.default.split(",")[0].split(":")[0].split(";")[0].strip()
    if key.kind == "time":
        unit = next((u for u in ("ms", "s") if word.endswith(u) and word[: -len(u)].isdigit()), "")
        figure = word.removesuffix(unit) if unit else word
        if not figure.isdigit():
            return None
        return int(figure) / (1 if unit == "s" else 1000)
    return int(word) if word.isdigit() else None


DEFAULTS = [
    pytest.param(SPECS[title], key, id=f"{title}: {key.name}")
    for title, table in TABLES.items()
    for key in table
    if key.name in SPECS[title]._defaults and number(key) is not None
]


def test_there_are_figures_to_compare() -> None:
    assert len(DEFAULTS) > 12


@pytest.mark.parametrize(("spec", "key"), DEFAULTS)
def test_a_default_of_the_page_is_that_of_the_core(spec: type, key: keys.Key) -> None:
    assert spec._defaults[key.name] == number(key)
