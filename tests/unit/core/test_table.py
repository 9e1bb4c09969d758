"""The tables of the core are whole: every event, state and reason has its answer."""

from __future__ import annotations

import pytest

from entrypoint.core import events as e
from entrypoint.core import exits, lifecycle, table
from entrypoint.core import worker as w
from entrypoint.core.supervisor import Supervisor
from tests.support import literals

ROWS = {
    **{kind.__name__: row for kind, row in table.TABLE.items()},
    **table.DEADLINES,
    "a stop": lifecycle.STOP,
}


@pytest.mark.parametrize("name", ROWS)
def test_every_state_has_an_answer(name):
    assert tuple(ROWS[name]) == table.STATES
    assert all(callable(answer) and answer.__doc__ for answer in ROWS[name].values())


def test_the_columns_are_the_states_of_a_worker():
    assert set(table.STATES) == set(w.LIFE) == literals.words("WorkerState") - {w.GONE}


def test_every_event_has_its_row_or_its_method():
    known = {kind for kind in vars(e).values() if isinstance(kind, type)}
    events = {kind for kind in known if issubclass(kind, e.Event) and kind is not e.Event}
    answers = set(Supervisor()._answers)
    assert answers | set(table.TABLE) == events
    assert not answers & set(table.TABLE)


def test_what_names_a_worker_has_a_row():
    named = {
        kind for kind in vars(e).values() if getattr(kind, "_fields", ())[:1] == ("incarnation",)
    }
    assert named == set(table.TABLE)


def test_every_deadline_of_a_worker_has_a_row():
    assert set(table.DEADLINES) == literals.words("WorkerTimer")


def test_every_reason_has_what_follows():
    assert set(exits.AFTER) == literals.words("StopReason")
    assert all(answer.__doc__ for answer in exits.AFTER.values())
