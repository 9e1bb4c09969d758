"""What the simulation believes of a kernel, asked of the fake one and of Linux."""

from __future__ import annotations

import pytest

from entrypoint.core import events as e
from entrypoint.kernel import prctl
from tests.contract.kernels import Fake, Linux

SIGINT, SIGKILL, SIGTERM = 2, 9, 15


@pytest.fixture(params=["fake", "linux"])
def kernel(request):
    if request.param == "fake":
        yield Fake()
        return
    module = prctl.load()
    before = prctl.is_child_subreaper()
    prctl.set_child_subreaper()
    linux = Linux()
    try:
        yield linux
    finally:
        linux.close()
        module.prctl(module.PR_SET_CHILD_SUBREAPER, int(before))


def of(kernel, kind):
    return [event for event in kernel.events if type(event) is kind]


def ended(kernel) -> e.WorkerExited:
    kernel.until(lambda: of(kernel, e.WorkerExited))
    (event,) = of(kernel, e.WorkerExited)
    return event


def test_an_exit_code_is_told_and_no_signal(kernel):
    kernel.start("exits with 3")
    event = ended(kernel)
    assert (event.code, event.signum, event.failure, event.group_left) == (3, None, "", False)


@pytest.mark.parametrize("signum", [SIGTERM, SIGINT, SIGKILL])
def test_who_dies_of_a_signal_has_no_code(kernel, signum):
    worker = kernel.start("sleeps")
    kernel.signal(worker, signum)
    event = ended(kernel)
    assert (event.code, event.signum) == (None, signum)


def test_spawned_exec_and_exit_come_in_this_order_however_quick(kernel):
    kernel.start("exits with 3")
    ended(kernel)
    assert [type(event) for event in kernel.events] == [
        e.WorkerSpawned,
        e.WorkerExeced,
        e.WorkerExited,
    ]


def test_an_exec_that_fails_tells_its_stage_and_reason_at_its_end_only(kernel):
    kernel.start("is missing")
    event = ended(kernel)
    assert event.failure.startswith("exec: No such file or directory")
    assert not of(kernel, e.WorkerExeced)


def test_an_ignored_signal_changes_nothing_and_sigkill_does(kernel):
    worker = kernel.start("ignores")
    kernel.signal(worker, SIGTERM, scope="group")
    kernel.a_while()
    assert not of(kernel, e.WorkerExited)
    kernel.signal(worker, SIGKILL, scope="group")
    assert ended(kernel).signum == SIGKILL


def test_a_signal_to_the_group_reaches_all_of_it(kernel):
    worker = kernel.start("leads a group")
    kernel.signal(worker, SIGTERM, scope="group")
    event = ended(kernel)
    assert event.signum == SIGTERM
    if event.group_left:
        kernel.until(lambda: of(kernel, e.GroupEmptied))


def test_a_signal_to_the_leader_leaves_its_group(kernel):
    worker = kernel.start("leads a group")
    kernel.signal(worker, SIGTERM)
    assert ended(kernel).group_left
    kernel.a_while()
    assert not of(kernel, e.GroupEmptied)
    kernel.signal(worker, SIGTERM, scope="group")
    kernel.until(lambda: of(kernel, e.GroupEmptied))


def test_a_group_outlives_a_leader_that_exits(kernel):
    worker = kernel.start("leaves a group")
    event = ended(kernel)
    assert (event.code, event.group_left) == (0, True)
    kernel.signal(worker, SIGKILL, scope="group")
    kernel.until(lambda: of(kernel, e.GroupEmptied))
    assert len(of(kernel, e.GroupEmptied)) == 1


def test_a_stubborn_group_needs_sigkill(kernel):
    worker = kernel.start("leads a stubborn group")
    kernel.signal(worker, SIGTERM, scope="group")
    assert ended(kernel).group_left
    kernel.a_while()
    assert not of(kernel, e.GroupEmptied)
    kernel.signal(worker, SIGKILL, scope="group")
    kernel.until(lambda: of(kernel, e.GroupEmptied))


def test_without_treekill_a_group_is_nobodys_business(kernel):
    kernel.start("leaves a group", treekill="none")
    assert not ended(kernel).group_left


def test_a_signal_to_an_empty_group_is_no_error(kernel):
    worker = kernel.start("exits with 3")
    ended(kernel)
    kernel.signal(worker, SIGKILL, scope="group")
    kernel.a_while()
    assert len(of(kernel, e.WorkerExited)) == 1
    assert not of(kernel, e.GroupEmptied)


def test_deadlines_come_in_their_order_once_and_not_when_cancelled(kernel):
    kernel.call_at("third", 0.03)
    kernel.call_at("first", 0.01)
    kernel.call_at("second", 0.02)
    kernel.call_at("never", 0.015)
    kernel.cancel("never")
    kernel.cancel("unknown")
    kernel.until(lambda: "third" in kernel.timers_fired())
    kernel.a_while()
    assert kernel.timers_fired() == ["first", "second", "third"]


def test_a_deadline_set_again_replaces_the_one_before(kernel):
    kernel.call_at("moved", 0.01)
    kernel.call_at("moved", 0.03)
    kernel.call_at("between", 0.02)
    kernel.until(lambda: len(kernel.timers_fired()) == 2)
    kernel.a_while()
    assert kernel.timers_fired() == ["between", "moved"]
