"""What the simulation assumes of each effect, tested on the fake shell and on Linux.

`@contract_of(...)` names the effects that a test is about. Each effect needs such a test.
test_kernels.py tests processes, groups and deadlines.
"""

from __future__ import annotations

import inspect
import signal
import sys

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core import reasons
from entrypoint.kernel import prctl
from tests.contract.shells import FakeShell, LinuxShell

SIGKILL, SIGUSR2, SIGTERM = 9, 12, 15


def contract_of(*effects: type[f.Effect]):
    """Mark the test of these effects; it must have the shell perform each of them."""
    return pytest.mark.contract_of(effects)


def kinds(kind: type[f.Effect] = f.Effect) -> set[type[f.Effect]]:
    return {one for sub in kind.__subclasses__() for one in (sub, *kinds(sub))}


def test_each_effect_has_a_contract_test():
    tested = set()
    for name, test in inspect.getmembers(sys.modules[__name__], inspect.isfunction):
        if name.startswith("test_") and "shell" in inspect.signature(test).parameters:
            for mark in getattr(test, "pytestmark", ()):
                tested.update(*mark.args if mark.name == "contract_of" else ())
    assert {kind.__name__ for kind in kinds() - tested} == set()


@pytest.fixture
def shell(shells, request):
    """Both shells, one after the other; checks what `contract_of` says of the test."""
    yield shells
    for mark in request.node.iter_markers("contract_of"):
        assert shells.performed >= set(mark.args[0])


@pytest.fixture(params=["fake", "linux"])
def shells(request, tmp_path):
    if request.param == "fake":
        yield FakeShell(tmp_path)
        return
    module = prctl.load()
    before = prctl.is_child_subreaper()
    prctl.set_child_subreaper()
    wakeup = signal.set_wakeup_fd(-1)
    linux = LinuxShell(tmp_path)
    try:
        yield linux
    finally:
        linux.close()
        signal.set_wakeup_fd(wakeup)
        module.prctl(module.PR_SET_CHILD_SUBREAPER, int(before))


@pytest.fixture(autouse=True)
def two_slots(shell):
    shell.perform(f.GrowPort("web", 2))
    shell.perform(f.RouteTo("web", (0,)))


def ready(shell, worker: int) -> None:
    shell.until(lambda: shell.of(e.ListenSeen, worker))


@contract_of(f.Spawn)
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
    assert execed.listen_visible
    assert spawned.pid


def test_a_worker_that_does_not_listen_is_not(shell):
    worker = shell.start("never listens")
    shell.a_while(0.3)
    assert not shell.of(e.ListenSeen, worker)


@contract_of(f.RouteTo)
def test_new_connections_reach_the_slots_that_are_steered_to(shell):
    workers = [shell.start("serves", slot) for slot in (0, 1)]
    for worker in workers:
        ready(shell, worker)
    for slots in ((0,), (1,), (0, 1)):
        shell.perform(f.RouteTo("web", slots))
        assert shell.reached() == set(slots)


@contract_of(f.WatchQueue)
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


def test_a_request_in_hand_is_told_when_it_is_answered(shell):
    worker = shell.start("answers later")
    ready(shell, worker)
    shell.connect(b"GET / HTTP/1.0\r\n\r\n")
    shell.perform(f.WatchQueue(worker, "web", 0, quiet_time=0.1, longest=8.0))
    shell.a_while(0.4)
    assert not shell.of(e.QueueEmptied, worker)
    shell.until(lambda: shell.of(e.QueueEmptied, worker))


def test_connections_are_told_when_all_are_closed(shell):
    worker = shell.start("keeps connections")
    ready(shell, worker)
    shell.connect()
    shell.perform(f.WatchQueue(worker, "web", 0, quiet_time=0.1, longest=8.0, closed=True))
    shell.a_while(0.4)
    assert not shell.of(e.QueueEmptied, worker)
    shell.until(lambda: shell.of(e.QueueEmptied, worker))


def test_in_a_shutdown_a_queue_from_which_nobody_accepts_is_left(shell):
    worker = shell.start("never accepts")
    ready(shell, worker)
    shell.connect()
    shell.perform(f.WatchQueue(worker, "web", 0, quiet_time=0.5, longest=8.0, hurried=True))
    shell.a_while(0.2)
    assert not shell.of(e.QueueEmptied, worker)
    shell.until(lambda: shell.of(e.QueueEmptied, worker))


@contract_of(f.ProbeAccept)
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


@contract_of(f.StartCheck)
@pytest.mark.parametrize(
    ("program", "reason"), [("serves", ""), ("serves errors", "503 Service Unavailable")]
)
def test_a_check_is_answered_once_with_its_number(shell, program, reason):
    worker = shell.start(program)
    ready(shell, worker)
    shell.perform(f.StartCheck(worker, 7))
    shell.until(lambda: shell.of(e.HealthChecked, worker))
    shell.a_while(0.2)
    (answer,) = shell.of(e.HealthChecked, worker)
    assert answer.check == 7
    assert reason in answer.reason
    assert bool(answer.reason) is bool(reason)


@contract_of(f.StartCheck)
@pytest.mark.parametrize("program", ["never listens", "never accepts"])
def test_a_check_that_no_one_answers_is_not_answered_before_it_is_given_up(shell, program):
    """Its deadline is the core's: the queue of the slot holds the connection."""
    worker = shell.start(program)
    shell.perform(f.StartCheck(worker, 7))
    shell.a_while(0.5)
    assert not shell.of(e.HealthChecked, worker)
    shell.perform(f.StopCheck(worker))
    shell.a_while(0.2)
    assert not shell.of(e.HealthChecked, worker)


@contract_of(f.StartCheck)
def test_a_check_that_is_given_up_leaves_room_for_the_next(shell):
    worker = shell.start("accepts later")
    ready(shell, worker)
    shell.perform(f.StartCheck(worker, 1))
    shell.perform(f.StopCheck(worker))
    shell.a_while(1.0)
    shell.perform(f.StartCheck(worker, 2))
    shell.until(lambda: shell.of(e.HealthChecked, worker))
    assert [answer.check for answer in shell.of(e.HealthChecked, worker)] == [2]


@contract_of(f.StartCheck, f.StopCheck)
def test_a_check_that_is_given_up_is_not_answered(shell):
    worker = shell.start("never accepts")
    shell.a_while(0.3)
    shell.perform(f.StartCheck(worker, 1))
    shell.perform(f.StopCheck(worker))
    shell.a_while(0.5)
    assert not shell.of(e.HealthChecked, worker)


@contract_of(f.RefuseConnections)
def test_what_refuses_takes_no_new_connection(shell):
    worker = shell.start("serves")
    ready(shell, worker)
    assert shell.reached() == {0}
    shell.perform(f.RefuseConnections("web"))
    shell.a_while(0.1)
    assert not shell.takes()


@contract_of(f.ClosePort)
def test_a_port_that_is_closed_refuses(shell):
    worker = shell.start("serves")
    ready(shell, worker)
    shell.kill(worker)
    shell.perform(f.ClosePort("web"))
    assert shell.reached() == set()


@contract_of(f.ReleaseSlot)
def test_what_waits_on_a_slot_that_is_free_reaches_the_others(shell):
    """ReleaseSlot: nobody else comes there, so its queue is taken over."""
    first, second = (shell.start("serves", slot) for slot in (0, 1))
    ready(shell, first)
    ready(shell, second)
    shell.perform(f.RouteTo("web", (1,)))
    shell.kill(first)
    shell.perform(f.ReleaseSlot("web", 0))
    assert shell.reached() == {1}


@contract_of(f.ReleaseWorker, f.SendSignal)
def test_a_worker_that_is_forgotten_is_not_heard_of_again(shell):
    worker = shell.start("serves")
    ready(shell, worker)
    shell.kill(worker)
    count = len(shell.events)
    shell.a_while(0.3)
    assert len(shell.events) == count


@contract_of(f.StartTimer, f.StopTimer)
def test_deadlines_fire_once_under_their_name_and_not_when_stopped(shell):
    one, other = e.Timer("kill", "web", 1), e.Timer("kill", "web", 2)
    shell.perform(f.StartTimer(one, 0.05))
    shell.perform(f.StartTimer(other, 0.02))
    shell.perform(f.StopTimer(other))
    shell.until(lambda: shell.of(e.TimerFired))
    shell.a_while(0.1)
    assert [event.timer for event in shell.of(e.TimerFired)] == [one]


@contract_of(f.ReadPlan)
@pytest.mark.parametrize(("good", "kind"), [(True, e.PlanAccepted), (False, e.PlanRejected)])
def test_the_file_is_read_again_and_answered_once(shell, good, kind):
    shell.next_file(good=good)
    shell.perform(f.ReadPlan())
    shell.until(lambda: shell.of(e.PlanAccepted) or shell.of(e.PlanRejected))
    shell.a_while(0.2)
    assert len(shell.of(kind)) == 1, shell.events
    assert len(shell.of(e.PlanAccepted) + shell.of(e.PlanRejected)) == 1


@contract_of(f.Finish)
def test_the_end_has_the_code_that_was_ordered(shell):
    shell.perform(f.Finish(7))
    assert shell.exit_code == 7


# -- the port -----------------------------------------------------------------------------


@contract_of(f.GrowPort)
def test_a_slot_that_was_added_can_be_used(shell):
    shell.perform(f.GrowPort("web", 4))
    shell.perform(f.GrowPort("web", 3))  # at least so many: no slot is lost
    worker = shell.start("serves", 3)
    ready(shell, worker)
    shell.perform(f.RouteTo("web", (3,)))
    assert shell.reached() == {3}


@contract_of(f.TrimPort)
def test_an_address_that_the_file_dropped_is_kept_until_the_port_is_trimmed(shell):
    one, other = shell.port, shell.own_port
    shell.accept(shell.spec("serves", other))
    assert shell.kept(one, other) == {one, other}
    shell.accept(shell.spec("serves"))
    assert shell.kept(one, other) == {one, other}
    shell.perform(f.TrimPort("web"))
    assert shell.kept(one, other) == {one}


@contract_of(f.PausePort, f.ResumePort)
def test_a_paused_port_refuses_keeps_its_address_and_can_be_resumed(shell):
    shell.kill(shell.start("serves"))
    shell.perform(f.PausePort("web"))
    shell.a_while(0.1)
    assert shell.kept(shell.port) == {shell.port}
    assert not shell.takes()
    shell.perform(f.ResumePort("web"))
    assert shell.takes()
    ready(shell, shell.start("serves"))
    assert shell.reached() == {0}


@contract_of(f.RefuseConnections, f.ResumePort)
def test_a_port_that_refused_takes_connections_again(shell):
    shell.kill(shell.start("serves"))
    shell.perform(f.RefuseConnections("web"))
    shell.a_while(0.1)
    assert not shell.takes()
    shell.perform(f.ResumePort("web"))
    assert shell.takes()
    ready(shell, shell.start("serves"))
    assert shell.reached() == {0}


@contract_of(f.RelayQueue)
def test_what_waits_for_a_crashed_worker_is_relayed_and_its_slot_stays_usable(shell):
    first = shell.start("never accepts")
    second = shell.start("serves", 1)
    ready(shell, first)
    ready(shell, second)
    shell.connect()
    shell.kill(first)
    shell.perform(f.RouteTo("web", (1,)))
    before = list(shell.events)
    shell.perform(f.RelayQueue("web", 0))
    assert shell.waiting_are_answered()
    shell.a_while(0.2)
    assert shell.events == before
    third = shell.start("serves", 0)
    ready(shell, third)
    shell.perform(f.RouteTo("web", (0,)))
    assert shell.reached() == {0}


# -- looks at workers ---------------------------------------------------------------------


def own_address(shell) -> str:
    return f"127.0.0.1:{shell.own_port}"


def look_at(shell, program: str, **keys) -> int:
    worker = shell.spawn(program, shell.plain(program))
    shell.perform(f.LookAt(worker, "plain", **keys))
    return worker


@contract_of(f.LookAt)
def test_a_look_reports_a_listener_once_and_that_the_worker_rests(shell):
    worker = look_at(shell, "listens later")
    assert not shell.of(e.ListenSeen, worker)
    shell.until(lambda: shell.of(e.ListenSeen, worker))
    shell.until(lambda: shell.of(e.RestSeen, worker))
    shell.a_while(0.5)
    (seen,) = shell.of(e.ListenSeen, worker)
    assert (seen.address, seen.declared, seen.lasting) == (own_address(shell), "", False)
    assert [event.rests for event in shell.of(e.RestSeen, worker)] == [True]


@contract_of(f.LookAt)
def test_a_look_does_not_report_rest_of_a_worker_that_works(shell):
    worker = look_at(shell, "works all the time")
    shell.until(lambda: shell.of(e.ListenSeen, worker))
    shell.a_while(2.5)
    assert not shell.of(e.RestSeen, worker)


@contract_of(f.LookAt)
def test_a_single_look_reports_what_listens_now_and_nothing_later(shell):
    worker = shell.spawn("never accepts", shell.plain("never accepts"))
    assert not shell.of(e.ListenSeen, worker)

    def seen() -> bool:
        shell.perform(f.LookAt(worker, "plain", once=True))
        return bool(shell.of(e.ListenSeen, worker))

    shell.until(lambda: (shell.a_while(0.05), seen())[1])
    (event,) = shell.of(e.ListenSeen, worker)
    assert (event.address, event.lasting) == (own_address(shell), True)
    shell.a_while(2.5)
    assert not shell.of(e.RestSeen, worker)


@contract_of(f.StopLook)
def test_nothing_is_reported_after_the_look_has_stopped(shell):
    worker = look_at(shell, "listens later")
    shell.perform(f.StopLook(worker))
    shell.perform(f.StopLook(worker))  # there may be none
    shell.a_while(2.5)
    assert not shell.of(e.ListenSeen, worker)
    assert not shell.of(e.RestSeen, worker)


# -- the end of workers -------------------------------------------------------------------


@contract_of(f.AnnounceDrain)
def test_a_worker_without_a_handler_lives_on(shell):
    worker = shell.spawn("serves", shell.plain("serves"))
    shell.until(lambda: shell.of(e.WorkerExeced, worker))
    shell.perform(f.AnnounceDrain(worker, SIGUSR2))
    shell.perform(f.SendSignal(worker, SIGTERM, stop=True))
    shell.until(lambda: shell.of(e.WorkerExited, worker))
    (event,) = shell.of(e.WorkerExited, worker)
    assert event.signum != SIGUSR2


@contract_of(f.SendShutdownMessage)
def test_a_worker_that_takes_the_message_stops_without_a_signal(shell):
    keys = {"node": True, "ipc": True, "handoff": "none", "shutdown_with_message": True}
    spec = shell.plain("leaves when asked", **keys)
    worker = shell.spawn("leaves when asked", spec)
    shell.perform(f.SendShutdownMessage(worker))
    shell.until(lambda: shell.of(e.WorkerExited, worker))
    (event,) = shell.of(e.WorkerExited, worker)
    assert (event.code, event.signum) == (0, None)


@contract_of(f.StopRemaining)
def test_the_end_of_a_remaining_daemon_is_reported_once(shell):
    worker = shell.spawn("leaves a daemon", shell.plain("leaves a daemon", treekill="none"))
    shell.until(lambda: shell.of(e.WorkerExited, worker))
    shell.perform(f.ReleaseWorker(worker))
    assert shell.daemons() == 1
    shell.perform(f.StopRemaining(SIGTERM))
    assert not shell.of(e.RemainingEnded)
    shell.until(lambda: shell.of(e.RemainingEnded))
    assert shell.daemons() == 0
    shell.a_while(0.2)
    assert len(shell.of(e.RemainingEnded)) == 1


@contract_of(f.StopRemaining)
def test_where_nothing_remains_the_end_is_reported_at_once(shell):
    shell.perform(f.StopRemaining(SIGTERM))
    assert len(shell.of(e.RemainingEnded)) == 1


# -- what is said and counted -------------------------------------------------------------


@contract_of(f.Report)
def test_a_report_is_logged_with_its_fields_and_answered_by_nothing(shell):
    fields = (("app", "web"), ("seconds", 1.5), ("signal", "SIGTERM"))
    shell.perform(f.Report("warning", "contract tested", fields))
    shell.until(shell.reported)
    (record,) = shell.reported()
    wanted = {"level": "warning", "event": "contract tested", **dict(fields)}
    assert {name: record[name] for name in wanted} == wanted
    assert not shell.events


@contract_of(f.ReportOutcome)
@pytest.mark.parametrize(
    ("what", "result"),
    [(what, x) for what in ("reload", "run") for x in ("started", "finished", "aborted")]
    + [("run", "skipped")],
)
def test_an_outcome_reaches_observers_and_is_answered_by_nothing(shell, what, result):
    outcome = f.ReportOutcome("web", what, result, 2, "why", 1)
    shell.perform(outcome)
    assert shell.listen_visible[-1:] == [outcome]
    assert not shell.events


COUNTS = {
    "restart": reasons.RESTARTS,
    "ready": ("",),
    "reload": ("finished", "aborted"),
    "run": ("succeeded", "failed", "stopped", "skipped"),
    "config": ("accepted", "rejected"),
}


@contract_of(f.Count)
@pytest.mark.parametrize("what", COUNTS)
def test_each_count_of_the_core_is_known_and_answered_by_nothing(shell, what):
    for label in COUNTS[what]:
        shell.perform(f.Count(what, "" if what == "config" else "web", label, 1.5))
    shell.a_while(0.05)
    assert not shell.events
