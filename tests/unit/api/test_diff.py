"""What changes between two plans, told without values of environments."""

from __future__ import annotations

import pytest

from entrypoint.core.diff import ADDED, CHANGED, LIVE, REMOVED, SCALED, differences, fixed_keys
from entrypoint.core.spec import AppSpec, ControlSpec, LogSpec, Plan, ShutdownSpec

WEB = AppSpec("web", ("node", "web.js"), "/", env=(("A", "1"), ("TOKEN", "secret")))
API = AppSpec("api", ("api",), "/", instances=2)


def test_nothing_changed() -> None:
    assert differences(Plan((WEB, API)), Plan((WEB, API), revision=2)) == ()


def test_apps_come_go_and_are_scaled() -> None:
    new = Plan((API.replace(instances=4), WEB.replace(name="new")))
    removed, scaled, added = differences(Plan((WEB, API)), new)
    assert (removed.app, removed.kind) == ("web", REMOVED)
    assert (scaled.app, scaled.kind, scaled.was, scaled.now) == ("api", SCALED, 2, 4)
    assert (added.app, added.kind) == ("new", ADDED)
    assert scaled.text == "api: scaled, 2 instances → 4"


@pytest.mark.parametrize(
    ("keys", "kind", "text"),
    [
        ({"time": True}, LIVE, "api: time, at once"),
        (
            {"cron_restart": "@daily", "overlap": "wait"},
            LIVE,
            "api: cron_restart, overlap, at once",
        ),
        ({"autostart": False}, LIVE, "api: autostart, at the next boot"),
        (
            {"instances": 3, "time": True, "autostart": False},
            SCALED,
            "api: scaled, 2 instances → 3; time, at once; autostart, at the next boot",
        ),
        (
            {"instances": 3, "kill_timeout": 1.0},
            CHANGED,
            "api: changed (instances, kill_timeout), to be reloaded; 2 instances → 3",
        ),
    ],
)
def test_what_replaces_no_worker_is_not_told_as_a_reload(keys, kind, text) -> None:
    [change] = differences(Plan((API,)), Plan((API.replace(**keys),)))
    assert (change.kind, change.text) == (kind, text)


def test_a_changed_variable_is_named_and_its_value_is_not() -> None:
    env = (("A", "1"), ("B", "x"), ("TOKEN", "other secret"))
    [change] = differences(Plan((WEB,)), Plan((WEB.replace(env=env, kill_timeout=1.0),)))
    assert change.kind == CHANGED
    assert change.keys == ("env.B", "env.TOKEN", "kill_timeout")
    assert "secret" not in change.text


def test_every_change_of_a_spec_has_a_key() -> None:
    [change] = differences(Plan((WEB,)), Plan((WEB.replace(env=WEB.env[::-1]),)))
    assert change.keys == ("env",)


def test_keys_that_need_a_new_container() -> None:
    old, new = (
        Plan(()),
        Plan((), log=LogSpec("raw"), control=ControlSpec(path="/x"), shutdown=ShutdownSpec(1.0)),
    )
    assert fixed_keys(old, new) == ("control",)
