"""What ends with a worker: its group, its descendants, what a crash leaves (`treekill`)."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.grace import fitted
from entrypoint.core.spec import DependsSpec, ShutdownSpec
from tests.simulation.world import SIGINT, SIGKILL, SIGTERM, Script, World, app, shared


@pytest.fixture
def world():
    return World()


def signals(world, incarnation=1):
    sent = [each for each in world.ordered(f.SendSignal) if each.incarnation == incarnation]
    return [(each.signum, each.scope) for each in sent]


@pytest.mark.parametrize("takes", ["tree", "all"])
@pytest.mark.parametrize("ask", [e.StopRequested, e.RestartRequested])
def test_a_stop_is_over_when_the_last_descendant_is(world, takes, ask):
    world.usual = lambda _spawn: Script(strays="stubborn")
    world.up(app(treekill=takes, kill_timeout=2.0))
    world.emit(ask("web"))
    world.advance(1.9)
    assert signals(world) == [(SIGTERM, takes)]
    assert not world.gone
    assert not world.live()
    world.advance(0.2)
    assert signals(world) == [(SIGTERM, takes), (SIGKILL, takes)]
    assert world.gone == {1}
    assert len(world.live()) == (ask is e.RestartRequested)
    assert world.said("processes of the worker overdue")
    assert not world.said("worker killed")


@pytest.mark.parametrize("takes", ["group", "none"])
def test_less_than_the_tree_leaves_descendants_alone(world, takes):
    world.upcoming.append(Script(strays="obeys"))
    world.up(app(treekill=takes))
    world.emit(e.RestartRequested("web"))
    world.run_until(world.is_up)
    scope = "group" if takes == "group" else "process"
    assert signals(world) == [(SIGTERM, scope)]
    assert world.processes[1].strays


def test_a_crash_ends_what_it_leaves_before_the_next_worker_starts(world):
    world.upcoming.append(Script(strays="stubborn", ends_after=5.0, code=1))
    world.up(app(kill_timeout=2.0))
    world.run_until(lambda: not world.live())
    assert signals(world) == [(SIGTERM, "all")]
    world.advance(1.9)
    assert len(world.processes) == 1
    world.run_until(world.is_up)
    assert signals(world) == [(SIGTERM, "all"), (SIGKILL, "all")]
    assert not world.processes[1].strays


def test_kill_signal_is_what_the_left_over_processes_of_a_crash_get(world):
    world.upcoming.append(Script(strays="obeys", ends_after=5.0, signum=11))
    world.up(app(kill_signal=SIGINT))
    world.run_until(lambda: len(world.processes) == 2)
    assert signals(world) == [(SIGINT, "all")]


def test_where_workers_can_live_side_by_side_the_next_one_does_not_wait(world):
    world.upcoming.append(Script(strays="stubborn", ends_after=5.0, code=1))
    world.up(shared(kill_timeout=2.0))
    world.run_until(lambda: len(world.processes) == 2)
    assert signals(world) == [(SIGTERM, "all")]
    assert 1 not in world.gone
    world.run_until(lambda: 1 in world.gone)


@pytest.mark.parametrize(
    ("code", "keys"),
    [(0, {"autorestart": False}), (3, {"autorestart": False}), (7, {"stop_exit_codes": (7,)})],
)
def test_an_app_that_has_done_its_work_keeps_its_daemons(world, code, keys):
    world.upcoming.append(Script(strays="obeys", ends_after=5.0, code=code))
    world.boot(app("once", **keys), app("other"))
    world.advance(20)
    assert not signals(world)
    assert world.processes[1].strays
    assert world.gone == {1}


def test_a_crash_without_treekill_leaves_all(world):
    world.upcoming.append(Script(strays="obeys", group="obeys", ends_after=5.0, code=1))
    world.up(app(treekill="none"))
    world.advance(20)
    assert not signals(world)
    assert world.is_up()


def test_a_shutdown_message_goes_to_the_worker_and_a_signal_to_what_is_left(world):
    world.upcoming.append(Script(strays="obeys"))
    world.up(app(node=True, shutdown_with_message=True))
    world.emit(e.StopRequested("web"))
    (message,) = world.ordered(f.SendShutdownMessage)
    assert message.scope == "tree"
    world.run_until(lambda: bool(world.gone))
    assert signals(world) == [(SIGTERM, "tree")]


def test_killed_is_said_when_the_worker_was_killed(world):
    world.upcoming.append(Script(ignores=True))
    world.up(app(kill_timeout=2.0))
    world.emit(e.RestartRequested("web"))
    world.advance(2.0)
    assert world.said("worker stop overdue")
    assert not world.said("worker killed")
    world.advance(0.1)
    (killed,) = world.said("worker killed")
    assert killed["kill_timeout"] == 2.0


def test_a_worker_that_lives_after_sigkill_is_shown_and_never_said_to_be_killed(world):
    world.upcoming.append(Script(ignores=True, undying=True))
    world.up(app(kill_timeout=2.0))
    world.emit(e.RestartRequested("web"))
    world.advance(10)
    (row,) = world.view().workers
    assert (row.state, row.stuck) == ("stopping", "lives after SIGKILL")
    assert world.said("worker does not die")
    assert not world.said("worker killed")
    world.let_die(0)
    world.run_until(world.is_up)
    assert world.said("worker killed")
    assert not any(row.stuck for row in world.view().workers)


def test_a_signal_that_is_refused_is_shown_until_the_worker_has_ended(world):
    world.upcoming.append(Script(ignores=True))
    world.up(app(kill_timeout=2.0))
    world.emit(e.RestartRequested("web"))
    world.emit(e.SignalRefused(1, SIGTERM, "it runs as another user"))
    (refused,) = world.said("signal refused")
    assert (refused["signal"], refused["reason"]) == (SIGTERM, "it runs as another user")
    assert world.view().workers[0].stuck == "signal refused: it runs as another user"
    world.run_until(world.is_up)
    assert not world.view().workers[0].stuck


def test_what_is_left_gets_a_stop_signal_when_all_workers_are_gone(world):
    world.remaining_at_end = "obeys"
    world.up(app("web"), app("db", kill_signal=SIGINT))
    world.emit(e.SignalArrived(SIGTERM))
    world.settle(20)
    (order,) = world.ordered(f.StopRemaining)
    assert (order.signum, order.by_app) == (SIGTERM, (("db", SIGINT),))
    assert world.exit_code == 0
    assert not world.remaining


def test_what_is_left_has_the_longest_kill_timeout_then_the_end_kills_it(world):
    world.remaining_at_end = "stubborn"
    world.up(app("a", kill_timeout=3.0), app("b", kill_timeout=5.0))
    world.emit(e.SignalArrived(SIGTERM))
    took = world.run_until(lambda: world.exit_code is not None)
    assert took == pytest.approx(5.0, abs=0.1)
    assert world.exit_code == 0


def test_shutdown_timeout_and_ctrl_c_bound_what_is_left_too(world):
    world.remaining_at_end = "stubborn"
    world.up(app(kill_timeout=60.0), timeout=4.0)
    world.emit(e.SignalArrived(SIGTERM))
    assert world.run_until(lambda: world.exit_code is not None) < 4.0
    assert world.exit_code == 0
    other = World()
    other.remaining_at_end = "stubborn"
    other.up(app(kill_timeout=60.0))
    for _ in range(3):
        other.emit(e.SignalArrived(SIGINT))
        other.advance(0.6)
    assert other.exit_code == 137


@pytest.mark.parametrize("code", [0, 3])
def test_the_code_of_a_run_that_has_finished_stays_its_own(world, code):
    world.remaining_at_end = "stubborn"
    world.upcoming.append(Script(ends_after=1.0, code=code))
    world.boot(app(autorestart=False))
    world.settle(30)
    assert world.exit_code == code


@pytest.mark.parametrize("signum", [SIGTERM, SIGINT, 3, 12, 37, 10])
def test_a_signal_that_a_person_sends_is_no_stop_of_pyinits(world, signum):
    world.up(app(kill_signal=12), signals=(37,))
    world.emit(e.SignalRequested(signum, "web"))
    (sent,) = world.ordered(f.SendSignal)
    assert (sent.signum, sent.scope, sent.stop) == (signum, "process", False)
    assert sent.leaves == (signum != 10)
    assert world.is_up()


def test_what_comes_when_nothing_is_left_behind_changes_nothing(world):
    world.up(app())
    orders = len(world.effects)
    world.emit(e.RemainingEnded())
    world.emit(e.TimerFired(e.Timer("remaining")))
    world.emit(e.TimerFired(e.Timer("kill", "web", 1)))
    assert len(world.effects) == orders
    assert world.is_up()


def test_ctrl_c_during_a_stop_waits_for_workers_that_stop(world):
    world.usual = lambda _spawn: Script(stop_takes=3.0)
    world.up(app())
    world.emit(e.SignalArrived(SIGTERM))
    world.emit(e.SignalArrived(SIGINT))
    assert world.said("stop hurried")
    world.settle(20)
    assert world.exit_code == 0


def test_whoever_was_not_told_yet_is_killed_without_a_stop_signal(world):
    """Web depends on db, and hangs in its stop."""
    world.usual = lambda _spawn: Script(ignores=True)
    depends = (DependsSpec(app="db"),)
    world.up(app("web", depends_on=depends, kill_timeout=60.0), app("db"), timeout=4.0)
    world.emit(e.SignalArrived(SIGTERM))
    world.settle(20)
    assert signals(world, world.processes[2].incarnation) == [(SIGTERM, "tree"), (SIGKILL, "tree")]
    assert signals(world, world.processes[1].incarnation) == [(SIGKILL, "tree")]
    assert world.exit_code == 137


def test_in_a_short_grace_each_app_of_a_chain_gets_its_signal_and_a_share_of_the_time(world):
    world.usual = lambda _spawn: Script(ignores=True)
    told = fitted(ShutdownSpec(drain_delay=5.0, grace=10.0), 30.0)
    proxy = app("proxy", kill_timeout=20.0, depends_on=(DependsSpec("web"),))
    keys = {key: getattr(told, key) for key in ("drain_delay", "timeout", "grace", "stop_share")}
    world.up(app("web", kill_timeout=10.0), proxy, **keys)
    world.emit(e.SignalArrived(SIGTERM))
    assert world.run_until(lambda: world.exit_code is not None) <= 9.1
    sent = [(each.incarnation, each.signum) for each in world.ordered(f.SendSignal)]
    # The proxy first, which depends on the other.
    assert sent == [(2, SIGTERM), (2, SIGKILL), (1, SIGTERM), (1, SIGKILL)]
    overdue = [each["kill_timeout"] for each in world.said("worker killed")]
    assert overdue == pytest.approx([3.0, 1.5])


@pytest.mark.parametrize(("notify", "told"), [(12, {1, 2}), (-1, {2}), (0, set())])
def test_workers_are_told_that_the_drain_begins(world, notify, told):
    world.up(app("web"), app("node", node=True), drain_delay=5.0, notify=notify)
    world.emit(e.SignalArrived(SIGTERM))
    announced = world.ordered(f.AnnounceDrain)
    assert {each.incarnation for each in announced} == told
    assert {each.signum for each in announced} <= {notify}
    assert not world.ordered(f.SendSignal)
    world.run_until(lambda: world.exit_code is not None)
    assert len(world.ordered(f.AnnounceDrain)) == len(told)


def test_without_a_drain_the_stop_signal_is_the_first_word(world):
    world.up(app("web"), notify=12)
    world.emit(e.SignalArrived(SIGTERM))
    assert not world.ordered(f.AnnounceDrain)


@pytest.mark.parametrize("group", ["obeys", "stubborn"])
def test_what_a_one_shot_leaves_in_its_group_has_a_moment_to_leave_it(world, group):
    """A daemon on its way: its parent has ended, and setsid(2) comes next."""
    world.upcoming.append(Script(ends_after=1.0, code=0, group=group))
    world.boot(app("once", autorestart=False, kill_timeout=2.0), app("web"))
    world.advance(1.5)
    assert not world.ordered(f.SendSignal)
    world.emit(e.GroupEmptied(1))
    world.settle(10)
    assert world.said("worker finished")
    assert not world.ordered(f.SendSignal)


@pytest.mark.parametrize("stop", [False, True])
def test_what_stays_in_the_group_of_a_one_shot_is_stopped(world, stop):
    world.upcoming.append(Script(ends_after=1.0, code=0, group="stubborn"))
    world.boot(app("once", autorestart=False, kill_timeout=2.0), app("web"))
    world.advance(1.5)
    if stop:
        world.emit(e.SignalArrived(SIGTERM))
    world.settle(10)
    sent = [(s.signum, s.scope) for s in world.ordered(f.SendSignal) if s.incarnation == 1]
    assert sent == [(SIGTERM, "group"), (9, "group")]
    assert (world.exit_code is not None) == stop
