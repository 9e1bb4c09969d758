"""The table of a worker's life is whole, and what is not in it changes nothing."""

from __future__ import annotations

import pytest

from entrypoint.core import worker as w
from tests.simulation.world import app

EVENTS = (w.READY, w.SICKEN, w.RETIRE, w.SIGNAL, w.KILL, w.EXIT, w.LEADER_EXIT)


def in_state(state: str) -> w.Worker:
    return w.Worker(1, "web", 0, 0, app(), 0.0, state=state)


@pytest.mark.parametrize("state", [*w.LIFE, w.GONE])
@pytest.mark.parametrize("event", EVENTS)
def test_every_pair_is_answered_by_the_table_or_refused(state, event):
    before = in_state(state)
    following = w.LIFE.get(state, {}).get(event)
    if following is None:
        with pytest.raises(w.IllegalTransitionError):
            before.after(event)
        assert before == in_state(state)
    else:
        assert before.after(event).state == following


def test_every_state_ends():
    assert all(answers[w.EXIT] == w.GONE for answers in w.LIFE.values())


def test_every_state_is_reached():
    reached = {following for answers in w.LIFE.values() for following in answers.values()}
    assert reached | {w.LAUNCHING} == {*w.LIFE, w.GONE}


def test_nothing_comes_back_from_being_told_to_stop():
    for state in w.STOPPING_STATES:
        assert not {w.ONLINE, w.LAUNCHING} & set(w.LIFE[state].values())
