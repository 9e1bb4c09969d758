"""What the simulation believes of each effect, asked of the fake shell and of Linux.

test_kernels.py asks about processes, groups and deadlines.
"""

from __future__ import annotations

import signal

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.kernel import prctl
from tests.contract.shells import FakeShell, LinuxShell

SIGKILL = 9


@pytest.fixture(params=["fake", "linux"])
def shell(request, tmp_path):
    if request.param == "fake":
        yield FakeShell(tmp_path)
        return
    module = prctl.load()
    before = prctl.is_child_subreaper()
    prctl.set_child_subreaper()
    wakeup = signal.set_wakeup_fd(-1)
    linux = LinuxShell(tmp_path)
    try:
        linux.perform(f.GrowPort("web", 2))
        yield linux
    finally:
        linux.close()
        signal.set_wakeup_fd(wakeup)
        module.prctl(module.PR_SET_CHILD_SUBREAPER, int(before))


@pytest.fixture(autouse=True)
def two_slots(shell):
    shell.perform(f.GrowPort("web", 2))
    shell.perform(f.Steer("web", (0,)))


def ready(shell, worker: int) -> None:
    shell.until(lambda: shell.of(e.ListenSeen, worker))


def test_a_worker_that_listens_on_its_apps_address_is_seen(shell):
    worker = shell.start("serves")
    ready(shell, worker)
    shell.a_while(0.2)
    assert not shell.of(e.WorkerReady, worker)
    for seen in shell.of(e.ListenSeen, worker):
        assert seen.declared
        assert not seen.passing
    (spawned,) = shell.of(e.WorkerSpawned, worker)
    (execed,) = shell.of(e.WorkerExeced, worker)
    assert execed.observed
    assert spawned.pid


def test_a_worker_that_does_not_listen_is_not(shell):
    worker = shell.start("never listens")
    shell.a_while(0.3)
    assert not shell.of(e.ListenSeen, worker)


def test_new_connections_reach_the_slots_that_are_steered_to(shell):
    workers = [shell.start("serves", slot) for slot in (0, 1)]
    for worker in workers:
        ready(shell, worker)
    for slots in ((0,), (1,), (0, 1)):
        shell.perform(f.Steer("web", slots))
        assert shell.reached() == set(slots)


def test_an_empty_queue_is_told_once(shell):
    worker = shell.start("serves")
    ready(shell, worker)
    shell.perform(f.WatchQueue(worker, "web", 0))
    shell.until(lambda: shell.of(e.QueueEmptied, worker))
    shell.a_while(0.3)
    assert len(shell.of(e.QueueEmptied, worker)) == 1


def test_an_empty_queue_is_told_after_the_time_to_answer(shell):
    worker = shell.start("serves")
    ready(shell, worker)
    shell.perform(f.WatchQueue(worker, "web", 0, answer_time=0.5))
    shell.a_while(0.2)
    assert not shell.of(e.QueueEmptied, worker)
    shell.until(lambda: shell.of(e.QueueEmptied, worker))


def test_a_queue_that_holds_a_connection_is_not_empty(shell):
    worker = shell.start("accepts later")
    ready(shell, worker)
    shell.connect()
    shell.perform(f.WatchQueue(worker, "web", 0))
    shell.a_while(0.2)
    assert not shell.of(e.QueueEmptied, worker)
    shell.until(lambda: shell.of(e.QueueEmptied, worker))


def test_a_queue_from_which_nobody_accepts_is_never_empty(shell):
    worker = shell.start("never accepts")
    shell.a_while(0.5)
    shell.connect()
    shell.perform(f.WatchQueue(worker, "web", 0))
    shell.a_while(0.5)
    assert not shell.of(e.QueueEmptied, worker)


@pytest.mark.parametrize("program", ["serves", "accepts later"])
def test_a_probe_is_answered_once_by_a_worker_that_accepts(shell, program):
    worker = shell.start(program)
    ready(shell, worker)
    shell.perform(probe(shell, worker))
    shell.until(lambda: shell.of(e.AcceptSeen, worker))
    shell.a_while(0.3)
    assert len(shell.of(e.AcceptSeen, worker)) == 1


def test_a_probe_of_one_that_does_not_accept_is_not_answered(shell):
    worker = shell.start("never accepts")
    ready(shell, worker)
    shell.perform(probe(shell, worker))
    shell.a_while(0.6)
    assert not shell.of(e.AcceptSeen, worker)


def probe(shell, worker: int) -> f.ProbeAccept:
    address = f"127.0.0.1:{shell.port}"
    return f.ProbeAccept(worker, "web", 0, address, address, 60.0)


@pytest.mark.parametrize(("program", "good"), [("serves", True), ("never listens", False)])
def test_a_check_is_answered_once_with_its_number(shell, program, good):
    worker = shell.start(program)
    if good:
        ready(shell, worker)
    shell.perform(f.StartCheck(worker, 7))
    # Behind a shared port there is nobody else: the queue of one that does not listen holds it.
    if not good and isinstance(shell, LinuxShell):
        shell.a_while(0.3)
        shell.perform(f.StopCheck(worker))
        return
    shell.until(lambda: shell.of(e.HealthChecked, worker))
    shell.a_while(0.2)
    (answer,) = shell.of(e.HealthChecked, worker)
    assert answer.check == 7
    assert bool(answer.reason) is not good


def test_a_check_that_is_given_up_is_not_answered(shell):
    worker = shell.start("never accepts")
    shell.a_while(0.3)
    shell.perform(f.StartCheck(worker, 1))
    shell.perform(f.StopCheck(worker))
    shell.a_while(0.5)
    assert not shell.of(e.HealthChecked, worker)


def test_what_refuses_takes_no_new_connection(shell):
    worker = shell.start("serves")
    ready(shell, worker)
    assert shell.reached() == {0}
    shell.perform(f.RefuseConnections("web"))
    shell.a_while(0.1)
    assert shell.reached() == set()


def test_a_port_that_is_closed_refuses(shell):
    worker = shell.start("serves")
    ready(shell, worker)
    shell.perform(f.SendSignal(worker, SIGKILL, stop=True))
    shell.until(lambda: shell.of(e.WorkerExited, worker))
    shell.perform(f.Forget(worker))
    shell.perform(f.ClosePort("web"))
    assert shell.reached() == set()


def test_what_waits_on_a_slot_that_is_free_reaches_the_others(shell):
    """FreeSlot: nobody else comes there, so its queue is taken over."""
    first, second = (shell.start("serves", slot) for slot in (0, 1))
    ready(shell, first)
    ready(shell, second)
    shell.perform(f.Steer("web", (1,)))
    shell.perform(f.SendSignal(first, SIGKILL, stop=True))
    shell.until(lambda: shell.of(e.WorkerExited, first))
    shell.perform(f.Forget(first))
    shell.perform(f.FreeSlot("web", 0))
    assert shell.reached() == {1}


def test_a_worker_that_is_forgotten_is_not_heard_of_again(shell):
    worker = shell.start("serves")
    ready(shell, worker)
    shell.perform(f.SendSignal(worker, SIGKILL, stop=True))
    shell.until(lambda: shell.of(e.WorkerExited, worker))
    shell.perform(f.Forget(worker))
    count = len(shell.events)
    shell.a_while(0.3)
    assert len(shell.events) == count


def test_deadlines_fire_once_under_their_name_and_not_when_stopped(shell):
    one, other = e.Timer("kill", "web", 1), e.Timer("kill", "web", 2)
    shell.perform(f.StartTimer(one, 0.05))
    shell.perform(f.StartTimer(other, 0.02))
    shell.perform(f.StopTimer(other))
    shell.until(lambda: shell.of(e.TimerFired))
    shell.a_while(0.1)
    assert [event.timer for event in shell.of(e.TimerFired)] == [one]


@pytest.mark.parametrize(("good", "kind"), [(True, e.PlanAccepted), (False, e.PlanRejected)])
def test_the_file_is_read_again_and_answered_once(shell, good, kind):
    shell.next_file(good=good)
    shell.perform(f.ReadPlan())
    shell.until(lambda: shell.of(e.PlanAccepted) or shell.of(e.PlanRejected))
    shell.a_while(0.2)
    assert len(shell.of(kind)) == 1, shell.events
    assert len(shell.of(e.PlanAccepted) + shell.of(e.PlanRejected)) == 1


def test_the_end_has_the_code_that_was_ordered(shell):
    shell.perform(f.Finish(7))
    assert shell.exit_code == 7
