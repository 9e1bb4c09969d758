"""What the core does, one behaviour at a time, with its times."""

from __future__ import annotations

import itertools

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core import lifecycle
from entrypoint.core.spec import DependsSpec
from tests.simulation import invariants
from tests.simulation.world import (
    HEALTHY,
    SIGHUP,
    SIGINT,
    SIGKILL,
    SIGQUIT,
    SIGTERM,
    SIGUSR1,
    SIGWINCH,
    Script,
    World,
    app,
    plan,
    shared,
)

CRASHES = Script(ends_after=0.1, code=1)


@pytest.fixture
def world() -> World:
    world = World()
    world.after_turn = invariants.check
    return world


def always(world: World, script: Script) -> None:
    world.usual = lambda _spawn: script


def spawn_times(world: World) -> list[float]:
    return [when for when, effect in world.effects if isinstance(effect, f.Spawn)]


def gaps(times: list[float]) -> list[float]:
    return [round(b - a, 2) for a, b in itertools.pairwise(times)]


# -- the start --------------------------------------------------------------------------


def test_on_few_cpus_the_first_worker_boots_alone_and_the_others_follow_it(world):
    world.emit(e.Booted(plan(shared(instances=4), cpus=2)))
    assert [p.instance for p in world.live()] == [0]
    world.run_until(lambda: world.ready() == 1)
    assert [p.instance for p in world.live()] == [0, 1, 2, 3]
    world.run_until(world.is_up)


def test_enough_cpus_start_all_at_once(world):
    world.emit(e.Booted(plan(shared(instances=4), cpus=8)))
    assert len(world.live()) == 4


def test_programs_that_wait_for_something_else_than_a_cpu_do_not_hold_up_the_others(world):
    always(world, Script(says_after=2.0))
    world.emit(e.Booted(plan(shared(instances=100), cpus=1)))
    world.run_until(lambda: len(world.live()) == 100)
    assert world.now - 100.0 < 0.7
    assert world.run_until(world.is_up) < 2.7


def test_without_a_word_of_readiness_nobody_is_waited_for(world):
    world.emit(e.Booted(plan(app(instances=4), cpus=1)))
    assert len(world.live()) == 4


def test_instances_whose_turn_has_not_come_are_seen_and_a_stop_forgets_them(world):
    world.emit(e.Booted(plan(shared(instances=4), cpus=1)))
    assert [row.state for row in world.view().workers] == ["launching"] * 4
    world.emit(e.SignalArrived(SIGTERM))
    world.settle()
    assert world.exit_code == 0
    assert len(spawn_times(world)) == 1


def test_the_hangup_of_a_closed_terminal_is_a_stop(world):
    world.boot(shared(instances=2))
    world.emit(e.SignalArrived(SIGHUP, terminal_gone=True))
    world.settle()
    assert world.exit_code == 0
    assert not world.ordered(f.ReadPlan)


def test_without_autostart_an_app_waits_until_it_is_started(world):
    needs = shared("api", depends_on=(DependsSpec("web"),))
    world.boot(shared(autostart=False, instances=2), needs, app("job"))
    world.settle(5)
    assert {p.spec.name for p in world.live()} == {"job"}
    assert world.view().stopped
    world.emit(e.StartRequested("web"))
    world.run_until(lambda: world.is_up("web") and world.is_up("api"))


# -- restarts ---------------------------------------------------------------------------


def test_without_a_delay_a_crashed_worker_is_started_at_once(world):
    world.up(app())
    world.advance(5)
    world.crash(world.one())
    assert len(world.live()) == 1


def test_restart_delay_is_waited_for(world):
    world.up(app(restart_delay=2.0))
    world.crash(world.one())
    assert world.view().workers[0].state == "waiting restart"
    assert world.run_until(world.live) == pytest.approx(2.0)


def test_back_off_is_at_once_then_grows_by_half_to_fifteen_seconds(world):
    always(world, CRASHES)
    world.boot(app(exp_backoff_restart_delay=4.0, max_restarts=100))
    world.advance(100)
    waits = [round(gap - 0.101, 2) for gap in gaps(spawn_times(world))]
    assert waits[:6] == [0.0, 4.0, 6.0, 9.0, 13.5, 15.0]
    assert set(waits[6:]) == {15.0}


def test_back_off_begins_anew_after_thirty_seconds_of_uptime(world):
    world.upcoming.extend([CRASHES] * 4)
    world.boot(app(exp_backoff_restart_delay=4.0))
    world.run_until(lambda: world.ready() == 1 and len(spawn_times(world)) == 5)
    world.advance(31)
    world.crash(world.one())
    assert len(world.live()) == 1


def test_more_than_max_restarts_unstable_exits_end_the_container_with_1(world):
    always(world, CRASHES)
    world.boot(app(max_restarts=3))
    world.advance(10)
    assert len(spawn_times(world)) == 4
    assert world.exit_code == 1


def test_on_errored_keep_keeps_the_others(world):
    world.usual = lambda spawn: CRASHES if spawn.spec.name == "bad" else Script()
    world.boot(app("bad", max_restarts=3, on_errored="keep"), app("good"))
    world.advance(10)
    assert world.exit_code is None
    assert world.view("bad").errored
    assert world.ready("good") == 1


def edited(world, **keys):
    """A worker that is fine, then a change of its files that breaks it."""
    world.boot(app(max_restarts=3, on_errored="wait", **keys))
    world.advance(10)
    always(world, CRASHES)
    world.emit(e.RenewRequested("web", "files changed"))
    world.advance(10)


def test_an_app_that_a_change_broke_waits_for_the_next_change(world):
    edited(world)
    assert world.exit_code is None
    assert world.view("web").errored
    starts = len(spawn_times(world))
    world.advance(100)
    assert len(spawn_times(world)) == starts
    always(world, Script())
    world.emit(e.RenewRequested("web", "files changed"))
    world.advance(10)
    assert world.ready() == 1


def test_one_that_no_change_broke_ends_the_container(world):
    edited(world)
    always(world, Script(ends_after=5.0, code=1))
    world.emit(e.RenewRequested("web", "files changed"))
    world.advance(7)
    always(world, CRASHES)
    world.advance(100)
    assert world.exit_code == 1


def test_a_one_shot_that_a_change_broke_waits_too(world):
    edited(world, autorestart=False)
    assert world.exit_code is None
    always(world, Script(ends_after=0.5, code=0))
    world.emit(e.RenewRequested("web", "files changed"))
    world.advance(10)
    assert world.exit_code == 0


def test_a_crash_after_min_uptime_is_not_unstable(world):
    always(world, Script(ends_after=1.5, code=1))
    world.boot(app(max_restarts=3))
    world.advance(100)
    assert world.exit_code is None


def test_a_crash_loop_slowed_by_back_off_still_ends_errored(world):
    always(world, CRASHES)
    world.boot(app(exp_backoff_restart_delay=10.0))
    world.advance(600)
    assert world.exit_code == 1


def test_a_failed_fork_is_tried_again_after_a_second(world):
    world.upcoming.append(Script(fork_fails=True))
    world.boot(app())
    assert not world.live()
    assert world.run_until(world.live) == pytest.approx(1.0)


def test_a_failed_exec_tells_its_reason(world):
    world.upcoming.append(Script(exec_fails="chdir: No such file or directory"))
    world.boot(app(restart_delay=1.0))
    world.advance(0.1)
    assert world.view().workers[0].last_exit == "chdir: No such file or directory"
    assert world.said("worker failed to start")


# -- one-shot ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (Script(ends_after=1, code=0), 0),
        (Script(ends_after=1, code=3), 3),
        (Script(ends_after=1, signum=SIGKILL), 137),
        (Script(exec_fails="exec: No such file or directory"), 127),
    ],
)
def test_when_the_last_app_has_finished_its_code_is_the_containers(world, script, expected):
    world.upcoming.append(script)
    world.boot(app(autorestart=False))
    world.advance(5)
    assert world.exit_code == expected


def test_of_several_instances_the_code_that_is_not_0_counts(world):
    world.upcoming.extend([Script(ends_after=1, code=4), Script(ends_after=2, code=0)])
    world.boot(app(instances=2, autorestart=False))
    world.advance(5)
    assert world.exit_code == 4


def test_stop_exit_codes_finish(world):
    world.upcoming.append(Script(ends_after=1, code=3))
    world.boot(app(stop_exit_codes=(3,)))
    world.advance(5)
    assert world.exit_code == 3


def test_waiting_for_a_restart_never_counts_as_finished(world):
    world.upcoming.append(Script(ends_after=1, code=0))
    world.boot(app(restart_delay=5.0))
    world.advance(3)
    assert world.exit_code is None
    world.run_until(world.is_up)


# -- readiness --------------------------------------------------------------------------


def test_the_first_accept_is_readiness_of_a_shared_port(world):
    always(world, Script(accepts_after=0.5))
    world.boot(shared())
    assert world.run_until(lambda: world.ready() == 1) == pytest.approx(0.511)


def test_the_first_accept_is_readiness_where_listen_cannot_be_seen():
    world = World(listen_visible=False)
    world.boot(shared())
    assert world.run_until(lambda: world.ready() == 1) == pytest.approx(0.011)


def test_listen_is_not_enough_with_wait_ready(world):
    world.boot(shared(wait_ready=True, listen_timeout=5.0))
    assert world.run_until(lambda: world.ready() == 1) == pytest.approx(5.0)
    assert world.said("worker not ready in time")


def test_readiness_may_come_before_the_exec_is_told(world):
    always(world, Script(says="notify", says_after=0))
    world.boot(app(wait_ready=True))
    assert world.run_until(lambda: world.ready() == 1) == pytest.approx(0.001)


def test_abort_counts_a_silent_first_start_as_failed(world):
    always(world, Script(says_after=None))
    world.boot(shared(on_listen_timeout="abort", listen_timeout=2.0, max_restarts=2))
    world.advance(30)
    assert world.exit_code == 1
    assert len(spawn_times(world)) == 3


@pytest.mark.parametrize(("listens", "ends"), [(True, "finished"), (False, "aborted")])
def test_auto_keeps_who_listens_from_one_that_does_not(world, listens, ends):
    """As npm's `serve` in a file of PM2, which never says that it is ready."""
    world.up(shared(wait_ready=True, listen_timeout=2.0))
    [old] = world.live()
    world.upcoming.append(Script(says_after=0.1 if listens else None))
    world.emit(e.ReloadRequested("web"))
    world.settle(20)
    assert world.said(f"reload {ends}")
    assert (world.one() is old) is not listens


def test_auto_forces_while_no_worker_ever_said_ready_and_aborts_once_one_has(world):
    always(world, Script(says="node", says_after=None))
    world.boot(shared(wait_ready=True, listen_timeout=2.0))
    world.advance(2)
    assert world.ready() == 0
    (old,) = world.live()
    world.emit(e.WorkerReady(old.incarnation, "node"))
    assert world.ready() == 1
    world.emit(e.ReloadRequested("web"))
    world.advance(20)
    assert world.live() == [old]
    assert world.said("reload aborted")


# -- stopping ---------------------------------------------------------------------------


def test_the_signal_is_forwarded_as_it_is_to_the_group(world):
    world.up(app(kill_signal=None))
    world.emit(e.SignalArrived(SIGTERM))
    (sent,) = world.ordered(f.SendSignal)
    assert (sent.signum, sent.scope, sent.stop) == (SIGTERM, "tree", True)


def test_a_stop_that_pyinit_begins_is_sigterm_and_kill_signal_goes_before_all(world):
    world.up(app("web"), app("other", kill_signal=SIGUSR1))
    world.emit(e.StopRequested(""))
    assert [sent.signum for sent in world.ordered(f.SendSignal)] == [SIGTERM, SIGUSR1]


def test_sigkill_follows_after_kill_timeout_and_the_code_is_137(world):
    always(world, Script(ignores=True))
    world.up(app(kill_timeout=4.0))
    world.emit(e.SignalArrived(SIGTERM))
    assert world.run_until(lambda: world.exit_code is not None) == pytest.approx(4.001)
    assert world.exit_code == 137


def test_a_good_stop_is_0_after_drain_and_readiness_goes_at_once(world):
    world.up(app(), drain_delay=3.0)
    world.emit(e.SignalArrived(SIGTERM))
    assert world.core.view().phase == "draining"
    assert not world.ordered(f.SendSignal)
    assert world.run_until(lambda: world.exit_code is not None) == pytest.approx(3.01)
    assert world.exit_code == 0


@pytest.mark.parametrize("share", ["slots", "one"])
@pytest.mark.parametrize("asked", [e.StopRequested("web"), e.ScaleRequested("web", 0)])
def test_a_stop_by_hand_waits_for_the_queue_before_its_signal(world, share, asked):
    always(world, Script(queue_takes=2.0))
    world.up(shared(instances=2, share=share, retire_delay=0.5))
    begun = world.now
    world.emit(asked)
    assert world.ordered(f.RefuseConnections)
    assert not world.ordered(f.SendSignal)
    world.run_until(lambda: len(world.ordered(f.SendSignal)) == 2)
    assert world.now - begun == pytest.approx(2.5)
    world.settle(20)
    assert world.ordered(f.PausePort)


@pytest.mark.parametrize("asked", [e.RestartRequested("web"), e.ScaleRequested("web", 1)])
def test_one_queue_for_all_is_left_to_siblings_and_successors(world, asked):
    always(world, Script(queue_takes=None))
    world.up(shared(instances=2, share="one"))
    begun = world.now
    world.emit(asked)
    world.run_until(lambda: bool(world.ordered(f.SendSignal)))
    assert world.now == begun


@pytest.mark.parametrize("first", [SIGTERM, SIGINT])
@pytest.mark.parametrize("again", [SIGINT, SIGQUIT])
def test_ctrl_c_ends_the_drain_and_another_half_a_second_later_kills(world, first, again):
    always(world, Script(ignores=True))
    world.up(app(), drain_delay=30.0)
    world.emit(e.SignalArrived(first))
    assert not world.ordered(f.SendSignal)
    world.emit(e.SignalArrived(again))
    assert [sent.signum for sent in world.ordered(f.SendSignal)] == [first]
    world.advance(0.49)
    world.emit(e.SignalArrived(again))
    assert [sent.signum for sent in world.ordered(f.SendSignal)] == [first]
    world.advance(0.01)
    world.emit(e.SignalArrived(SIGINT))
    assert world.run_until(lambda: world.exit_code is not None) < 0.1
    assert world.exit_code == 137


@pytest.mark.parametrize("gap", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("drain", [0.0, 3.0])
def test_the_same_stop_signal_again_changes_nothing(world, gap, drain):
    always(world, Script(stop_takes=2.0))
    world.up(app("a"), shared("b"), drain_delay=drain)
    begun = world.now
    for _ in range(3):
        world.emit(e.SignalArrived(SIGTERM))
        world.advance(gap)
    world.settle(20)
    assert world.finished_at - begun >= drain + 1.99
    assert [sent.signum for sent in world.ordered(f.SendSignal)] == [SIGTERM, SIGTERM]
    assert len(world.said("shutdown started")) == 1
    ignored = world.said("stop signal ignored")
    assert len(ignored) == 2 or gap
    assert world.exit_code == 0


def test_ctrl_c_during_a_stop_ends_the_wait_for_answers(world):
    world.up(shared(retire_delay=60.0), drain_delay=1.0)
    world.usual = lambda _spawn: Script(queue_takes=None)
    world.emit(e.SignalArrived(SIGINT))
    world.emit(e.SignalArrived(SIGINT))
    assert world.run_until(lambda: world.exit_code is not None) < 0.1
    assert world.exit_code == 0


@pytest.mark.parametrize("signum", [SIGUSR1, 37])
def test_shutdown_signals_of_the_file_stop_the_container_as_received(world, signum):
    world.up(app("a"), app("b", kill_signal=SIGINT), signals=(SIGUSR1, 37))
    world.emit(e.SignalArrived(signum, name="SIGX"))
    assert [sent.signum for sent in world.ordered(f.SendSignal)] == [signum, SIGINT]
    assert all(sent.stop for sent in world.ordered(f.SendSignal))
    assert world.said("shutdown started")[0]["because"] == "SIGX"
    world.emit(e.SignalArrived(signum))
    world.settle(20)
    assert world.exit_code in (0, 137)


def test_other_signals_are_no_stop_and_go_to_the_worker_alone(world):
    world.up(app(), signals=(37,))
    world.emit(e.SignalArrived(SIGUSR1))
    world.emit(e.SignalArrived(SIGWINCH, resized=True))
    assert [(s.signum, s.scope, s.stop) for s in world.ordered(f.SendSignal)] == [
        (SIGUSR1, "process", False),
        (SIGWINCH, "process", False),
    ]
    assert world.core.view().phase == "running"


def test_sigwinch_without_a_terminal_is_a_stop(world):
    world.up(app())
    world.emit(e.SignalArrived(SIGWINCH, name="SIGWINCH"))
    world.settle(20)
    assert world.ordered(f.SendSignal)[0].signum == SIGWINCH
    assert world.exit_code is not None


@pytest.mark.parametrize(
    ("code", "signum", "expected"), [(0, None, 0), (3, None, 3), (None, 9, 137)]
)
def test_the_container_ends_with_the_main_app_and_its_code(world, code, signum, expected):
    world.upcoming.extend((HEALTHY, Script(ends_after=5.0, code=code, signum=signum)))
    world.boot(app("helper"), app("main", main=True, autorestart=False), drain_delay=30.0)
    took = world.run_until(lambda: world.exit_code is not None)
    assert took == pytest.approx(5.0, abs=0.1)
    assert world.exit_code == expected
    assert [sent.signum for sent in world.ordered(f.SendSignal)] == [SIGTERM]


def test_the_main_app_ends_with_all_its_instances_and_after_a_restart(world):
    world.upcoming.extend((Script(ends_after=1.0, code=4), Script(ends_after=9.0, code=0), HEALTHY))
    world.boot(app("main", main=True, instances=2, autorestart=False), app("helper"))
    world.advance(5)
    assert world.exit_code is None
    world.settle(20)
    assert world.exit_code == 4


def test_a_main_app_that_is_restarted_or_stopped_by_hand_does_not_end_the_container(world):
    world.upcoming.append(Script(ends_after=1.0, code=4))
    world.up(app("main", main=True), app("helper"))
    world.settle(20)
    assert world.is_up("main")
    world.emit(e.StopRequested("main"))
    world.settle(20)
    assert world.exit_code is None


def test_shutdown_timeout_bounds_everything_with_time_for_the_last_lines(world):
    always(world, Script(ignores=True))
    world.up(app(kill_timeout=60.0), drain_delay=5.0, timeout=10.0)
    world.emit(e.SignalArrived(SIGTERM))
    assert world.run_until(lambda: world.exit_code is not None) == pytest.approx(9.501)
    assert world.exit_code == 137


def test_a_worker_that_sigkill_cannot_end_does_not_hold_the_end_up(world):
    always(world, Script(ignores=True, undying=True))
    world.up(app(kill_timeout=2.0))
    world.emit(e.SignalArrived(SIGTERM))
    assert world.run_until(lambda: world.exit_code is not None) == pytest.approx(5.0)
    assert world.exit_code == 137


@pytest.mark.parametrize("spec", [shared(instances=3), app(instances=3)])
def test_a_worker_that_sigkill_cannot_end_does_not_hold_a_reload_up(world, spec):
    world.up(spec)
    stuck, *others = world.live()
    stuck.script = Script(ignores=True, undying=True)
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: world.said("reload finished"), 40)
    assert [event["instance"] for event in world.said("worker does not die")] == [0]
    assert not any(each.alive for each in others)
    assert world.ready() == (3 if spec.share == "slots" else 2)
    # When the kernel lets it end after all, its instance comes back, where it had to wait.
    world.crash(stuck, None, SIGKILL)
    world.run_until(world.is_up)
    assert len(world.live()) == 3
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: len(world.said("reload finished")) == 2)


def test_an_app_without_a_port_that_is_removed_and_added_again_is_started(world):
    world.up(app(), app("other"))
    reread(world, plan(app("other"), revision=2))
    reread(world, plan(app(), app("other"), revision=3))
    world.run_until(world.is_up)


def test_a_group_that_cannot_end_after_a_worker_that_died_late_is_not_waited_for(world):
    world.upcoming.append(Script(stop_takes=7.9, stop_code=None, undying=True, group="undying"))
    world.up(app(kill_timeout=1.6))
    world.emit(e.RestartRequested("web"))
    world.run_until(world.is_up, 20)


@pytest.mark.parametrize("purpose", ["", "stop"])
def test_a_worker_killed_before_its_exec_has_failed_to_start_unless_it_was_told(world, purpose):
    world.upcoming.append(Script(exec_after=5.0))
    world.boot(app(autorestart=False))
    [process] = world.live()
    if purpose:
        world.emit(e.StopRequested("web"))
    process.alive = False
    exited = e.WorkerExited(process.incarnation, None, 9, "killed before its exec")
    world.emit(exited)
    reported = world.said("worker exited" if purpose else "worker failed to start")
    assert reported[0]["signal"] == SIGKILL
    assert not world.said("worker ready")


def test_a_group_that_nobody_reaps_does_not_hold_a_restart_up(world):
    world.upcoming.append(Script(group="undying"))
    world.up(app(kill_timeout=2.0))
    world.crash(world.one())
    assert not world.live()
    world.settle(9)
    assert world.ready() == 1


def test_what_a_crashed_fork_app_leaves_is_ended_before_the_next_starts(world):
    world.upcoming.append(Script(group="stubborn"))
    world.up(app(kill_timeout=2.0))
    world.crash(world.one())
    assert world.run_until(world.live) == pytest.approx(2.002)


def test_a_reaped_process_is_not_shown_while_its_group_is_ended(world):
    world.upcoming.append(Script(group="stubborn"))
    world.up(app(kill_timeout=2.0))
    pid = world.view("web").workers[0].pid
    assert pid
    world.crash(world.one())
    (row,) = world.view("web").workers
    assert (row.state, row.pid) == ("stopping", 0)
    world.settle(9)
    (row,) = world.view("web").workers
    assert row.state == "online"
    assert row.pid not in (0, pid)


def test_who_is_depended_on_is_told_last(world):
    web = app("web", depends_on=(DependsSpec("db"),))
    world.up(app("db"), web)
    world.emit(e.SignalArrived(SIGTERM))
    reported = [world.processes[sent.incarnation].spec.name for sent in world.ordered(f.SendSignal)]
    assert reported == ["web"]
    world.advance(1)
    assert world.exit_code == 0


def test_a_circle_of_dependencies_still_ends(world):
    world.boot(app("a", depends_on=(DependsSpec("b"),)), app("b", depends_on=(DependsSpec("a"),)))
    world.emit(e.StartRequested("a"))
    world.emit(e.StartRequested("b"))
    world.advance(1)
    world.emit(e.SignalArrived(SIGTERM))
    world.advance(1)
    assert world.exit_code == 0


@pytest.mark.parametrize("when", [0.0, 0.005, 0.02, 0.3, 0.52])
@pytest.mark.parametrize(
    "event", [e.ReloadRequested("web"), e.RestartRequested("web"), e.ScaleRequested("web", 5)]
)
def test_a_stop_in_the_middle_of_anything_ends_well(world, event, when):
    world.up(shared(instances=3))
    world.emit(event)
    world.advance(when)
    world.emit(e.SignalArrived(SIGTERM))
    world.advance(1)
    assert world.exit_code == 0


@pytest.mark.parametrize("timeout", [1.0, 0.0])
def test_a_stop_ends_the_reload_of_an_app_that_others_depend_on(world, timeout):
    web = app("web", depends_on=(DependsSpec("db"),), kill_timeout=2.0)
    world.usual = lambda spawn: Script(ignores=spawn.spec.name == "web")
    world.up(shared("db", instances=2), web, timeout=timeout, drain_delay=timeout * 2)
    world.emit(e.ReloadRequested("db"))
    world.emit(e.SignalArrived(SIGTERM))
    world.run_until(lambda: world.exit_code is not None)
    assert not world.live()
    assert len(world.ordered(f.Spawn)) == 3 + (2 if timeout else 1)


def test_other_signals_go_to_the_workers_as_they_are(world):
    world.up(app(instances=2))
    world.emit(e.SignalArrived(SIGUSR1))
    assert [p.received for p in world.live()] == [[SIGUSR1], [SIGUSR1]]


# -- reloads ----------------------------------------------------------------------------


@pytest.mark.parametrize("share", ["slots", "one"])
@pytest.mark.parametrize("parallel", [1, 2])
def test_a_reload_never_has_fewer_ready_than_before(world, share, parallel):
    world.up(shared(instances=4, share=share, reload_parallel=parallel))
    old = world.live()
    seen: list[tuple[int, int]] = []

    def look(world: World, effects) -> None:
        invariants.check(world, effects)
        seen.append((world.ready(), len(world.live())))

    world.after_turn = look
    world.emit(e.ReloadRequested("web"))
    world.run_until(world.is_up)
    assert min(ready for ready, _ in seen) == 4
    assert max(live for _, live in seen) == 4 + parallel
    assert not set(map(id, old)) & set(map(id, world.live()))


def test_the_port_turns_to_the_new_before_the_old_is_told(world):
    world.up(shared())
    since = world.now
    world.emit(e.ReloadRequested("web"))
    world.run_until(world.is_up)
    orders = [
        type(effect).__name__
        for when, effect in world.effects
        if when >= since and isinstance(effect, f.Spawn | f.RouteTo | f.WatchQueue | f.SendSignal)
    ]
    assert orders == ["Spawn", "RouteTo", "WatchQueue", "SendSignal"]


def test_the_old_has_retire_delay_from_its_empty_queue_on_before_its_signal(world):
    """Who waited there last is to be answered, too."""
    world.upcoming.append(Script(queue_takes=2.0))
    world.up(shared())
    old = world.one()
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: world.ready() == 1 and len(world.live()) == 2)
    assert world.run_until(lambda: old.stop_sent) == pytest.approx(2.511)


def test_a_reload_during_a_reload_replaces_everyone_by_what_was_asked_last(world):
    world.up(shared(instances=3))
    world.emit(e.ReloadRequested("web"))
    world.advance(0.3)
    asked = world.now
    world.emit(e.ReloadRequested("web"))
    world.run_until(world.is_up)
    launched = {each.started_at for each in world.view().workers}
    assert min(launched) >= asked


def test_a_successor_that_crashes_keeps_the_old(world):
    world.up(shared(instances=2))
    old = world.live()
    world.upcoming.append(Script(says_after=None, ends_after=0.5, code=1))
    world.emit(e.ReloadRequested("web"))
    world.advance(5)
    assert world.live() == old
    assert world.said("reload aborted")
    assert not world.view().reloading


@pytest.mark.parametrize("share", ["slots", "one"])
@pytest.mark.parametrize("says_after", [0.7, None])
def test_a_successor_that_cannot_be_seen_to_listen(share, says_after):
    """It counts when it accepts, and never for the mere reason that time has passed."""
    world = World(listen_visible=False)
    world.after_turn = invariants.check
    world.up(shared(share=share, listen_timeout=4.0))
    old = world.one()
    world.upcoming.append(Script(says_after=says_after))
    begun = world.now
    world.emit(e.ReloadRequested("web"))
    if says_after:
        world.run_until(lambda: world.said("worker ready")[1:])
        assert world.now - begun == pytest.approx(0.701)
    world.settle(30)
    assert (world.live() == [old]) is (says_after is None)
    assert bool(world.said("reload aborted")) is (says_after is None)


def test_a_release_that_cannot_start_ends_no_worker_also_where_listen_cannot_be_seen():
    world = World(listen_visible=False)
    world.after_turn = invariants.check
    world.up(shared(instances=2))
    old = world.live()
    world.upcoming.append(Script(says_after=None, ends_after=0.5, code=1))
    world.emit(e.ReloadRequested("web"))
    world.advance(30)
    assert world.live() == old
    assert world.said("reload aborted")


def test_a_current_that_comes_up_late_does_not_end_the_reload_of_its_instance(world):
    world.upcoming.append(Script(says_after=1.0))
    world.boot(shared())
    world.advance(0.5)
    world.upcoming.append(Script(says_after=2.0))
    world.emit(e.ReloadRequested("web"))
    world.advance(1.0)
    assert world.view().reloading
    world.emit(e.ReloadRequested("web"))
    world.settle(20)
    assert world.is_up()
    assert len(world.live()) == 1


def test_both_generations_silent_ends_with_one_worker(world):
    world.usual = lambda spawn: Script(says_after=None if spawn.incarnation < 3 else 0.01)
    world.boot(shared(on_listen_timeout="abort", kill_timeout=1.6))
    world.advance(1)
    world.emit(e.ReloadRequested("web"))
    world.settle(30)
    assert world.ready() == 1
    assert not world.view().reloading


def test_the_old_crashing_during_a_reload_leaves_it_to_the_successor(world):
    world.up(shared())
    old = world.one()
    world.upcoming.append(Script(says_after=1.0))
    world.emit(e.ReloadRequested("web"))
    world.advance(0.1)
    world.crash(old)
    assert len(world.live()) == 1
    world.advance(2)
    assert world.is_up()
    assert len(spawn_times(world)) == 2


@pytest.mark.parametrize("share", ["slots", "one"])
def test_a_reload_goes_on_after_a_worker_that_ignores_its_signal(world, share):
    world.upcoming.append(Script(ignores=True))
    world.up(shared(instances=2, share=share, kill_timeout=2.0))
    deaf = world.one(0)
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: not deaf.alive)
    assert deaf.received == [SIGTERM, SIGKILL]
    world.run_until(world.is_up)
    assert len(spawn_times(world)) == 4


@pytest.mark.parametrize("instance", [0, 1])
def test_a_crash_between_ready_and_its_turn_is_mended_by_the_reload(world, instance):
    """Instance 0 is new and its old worker leaves; 1 is old and waits for its turn."""
    world.up(shared(instances=2, retire_delay=0.5))
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: world.said("worker ready")[2:])
    (victim,) = [p for p in world.live() if p.instance == instance and not _leaves(world, p)]
    world.crash(victim)
    world.settle(10)
    assert world.is_up()
    assert sorted(p.instance for p in world.live()) == [0, 1]
    # The crash of a new worker is a reason to go no further.
    ends = world.said("reload aborted") + world.said("reload finished")
    assert len(ends) == 1
    assert len(world.said("reload aborted")) == (instance == 0)


def _leaves(world, process) -> bool:
    worker = world.core._state.workers[process.incarnation]
    return worker.stop_reason == "reload"


def test_a_file_that_changes_during_a_reload_is_what_everybody_runs_in_the_end(world):
    first = shared(instances=3)
    world.up(first)
    world.emit(e.ReloadRequested("web"))
    world.run_until(lambda: world.said("worker exited"))
    newest = first.replace(min_uptime=7.0)
    world.emit(e.PlanAccepted(plan(newest, revision=2)))
    world.run_until(world.is_up)
    assert {p.spec for p in world.live()} == {newest}


def test_what_fails_of_a_file_that_was_corrected_meanwhile_aborts_nothing(world):
    spec = shared(instances=2)
    world.up(spec)
    broken, good = (spec.replace(env=(("RELEASE", name),)) for name in ("broken", "good"))
    usual = world.usual
    world.usual = lambda spawn: (
        Script(says_after=None, ends_after=2.0, code=1)
        if spawn.spec.env == broken.env
        else usual(spawn)
    )
    reread(world, plan(broken, revision=2))
    world.settle(1)
    reread(world, plan(good, revision=3))
    world.settle(30)
    assert [p.spec.env for p in world.live()] == [good.env] * 2
    assert world.ready() == 2
    assert not world.said("reload aborted")


def test_a_stop_of_an_app_that_is_being_scaled(world):
    world.up(shared(instances=2))
    always(world, Script(says_after=1.0))
    world.emit(e.ScaleRequested("web", 6))
    world.advance(0.5)
    world.emit(e.StopRequested("web"))
    world.advance(20)
    assert world.live() == []
    assert world.exit_code is None
    always(world, Script())
    world.emit(e.StartRequested("web"))
    world.run_until(world.is_up)
    assert len(world.live()) == 6


def test_fork_apps_reload_in_place_one_after_the_other(world):
    world.up(app(instances=3))
    least = []

    def look(world: World, effects) -> None:
        invariants.check(world, effects)
        least.append(world.ready())

    world.after_turn = look
    world.emit(e.ReloadRequested("web"))
    world.run_until(world.is_up)
    assert min(least) == 2
    assert max(least) == 3


def test_a_restart_asked_during_a_reload_also_ends_the_successor(world):
    world.up(shared())
    world.upcoming.append(Script(says_after=None))
    world.emit(e.ReloadRequested("web"))
    world.advance(0.1)
    both = world.live()
    world.emit(e.RestartRequested("web"))
    world.advance(2)
    assert len(both) == 2
    assert not any(process.alive for process in both)
    assert world.ready() == 1


def test_memory_exceeded_twice_counts_its_instances(world):
    world.up(shared(instances=3))
    for process in world.live()[:2]:
        world.emit(e.MemoryExceeded(process.incarnation, 1 << 30))
    assert world.view().to_reload == 2
    world.run_until(world.is_up)
    assert len(spawn_times(world)) == 5


def test_memory_exceeded_is_told_once_while_its_worker_waits_for_its_turn(world):
    world.up(shared(instances=2))
    for process in [*world.live(), world.live()[1], world.live()[1]]:
        world.emit(e.MemoryExceeded(process.incarnation, 1 << 30))
    assert len(world.said("memory limit exceeded")) == 2
    world.settle()
    assert len(spawn_times(world)) == 4


def looked_at(world: World, rss, seconds: float) -> list[float]:
    """When workers were replaced, of which `rss(uptime)` is what the looks find."""
    for _ in range(int(seconds * 4)):
        world.advance(0.25)
        for process in world.live():
            size = rss(world.now - process.execed_at)
            if size > process.spec.max_memory_restart:
                world.emit(e.MemoryExceeded(process.incarnation, size))
    return spawn_times(world)


def test_a_limit_below_what_the_program_needs_leaves_it_longer_each_time(world):
    """Without a port there is nobody in the meantime."""
    world.boot(app(max_memory_restart=100))
    times = looked_at(world, lambda _uptime: 130, 240)
    lives = [after - before for before, after in itertools.pairwise(times)]
    assert lives[:6] == pytest.approx([0.25, 1, 2, 4, 8, 16], abs=0.6)
    assert all(30 <= life < 32 for life in lives[6:])


def test_a_leak_is_replaced_each_time_as_soon_as_it_is_too_big(world):
    world.up(app(max_memory_restart=100))
    times = looked_at(world, lambda uptime: int(15 * uptime), 60)
    assert all(after - before < 8 for before, after in itertools.pairwise(times))
    # And one that is fast at four times its limit.
    times = looked_at(world, lambda uptime: int(50 * uptime), 60)
    assert all(after - before < 9 for before, after in itertools.pairwise(times))


# -- the file ---------------------------------------------------------------------------


def reread(world: World, answer) -> None:
    world.next_plan = answer
    world.emit(e.SignalArrived(SIGHUP))


def test_an_unchanged_file_reloads_the_programs(world):
    world.up(shared(instances=2))
    reread(world, plan(shared(instances=2), revision=2))
    world.run_until(world.is_up)
    assert len(spawn_times(world)) == 4


def test_a_changed_app_is_reloaded_and_the_others_are_left(world):
    world.up(shared("web"), app("other"))
    other = world.one(name="other")
    reread(world, plan(shared("web", env=(("A", "1"),)), app("other"), revision=2))
    world.settle(5)
    assert world.one(name="web").spec.env == (("A", "1"),)
    assert world.live("other") == [other]


def test_a_file_that_only_scales_replaces_nobody(world):
    world.up(shared(instances=2))
    old = world.live()
    reread(world, plan(shared(instances=4), revision=2))
    world.settle(5)
    assert world.live()[:2] == old
    assert world.ready() == 4


def test_a_file_that_changes_and_scales_starts_each_new_worker_once(world):
    world.up(shared(instances=2))
    reread(world, plan(shared(instances=4, env=(("A", "1"),)), revision=2))
    world.settle(10)
    assert world.ready() == 4
    assert len(spawn_times(world)) == 2 + 4


def test_what_a_person_has_scaled_stays_until_the_file_says_another_number(world):
    world.up(shared(instances=2))
    world.emit(e.ScaleRequested("web", 4))
    world.run_until(world.is_up)
    reread(world, plan(shared(instances=2, env=(("A", "1"),)), revision=2))
    world.settle(10)
    assert [p.spec.env for p in world.live()] == [(("A", "1"),)] * 4
    reread(world, plan(shared(instances=3, env=(("A", "1"),)), revision=3))
    world.settle(10)
    assert len(world.live()) == 3


def test_a_broken_file_changes_nothing(world):
    world.up(app())
    old = world.live()
    reread(world, "ecosystem.yaml:3:1: no")
    world.settle(5)
    assert world.live() == old
    assert world.core.view().config_error == "ecosystem.yaml:3:1: no"


def test_a_removed_app_stops_and_only_then_its_port_is_closed(world):
    world.up(shared("web"), app("other"))
    reread(world, plan(app("other"), revision=2))
    assert not world.ordered(f.ClosePort)
    world.settle(5)
    assert world.ordered(f.ClosePort) == [f.ClosePort("web")]
    assert [each.name for each in world.core.view().apps] == ["other"]
    assert world.exit_code is None


def trims_and_spawns(world: World, since: float) -> list[str]:
    kinds = (f.TrimPort, f.Spawn)
    return [type(x).__name__ for t, x in world.effects if isinstance(x, kinds) and t > since]


def test_a_port_that_is_no_longer_shared_is_closed_before_a_worker_binds_it_itself(world):
    world.up(shared(exec_mode="fork", instances=1))
    since = world.now
    reread(world, plan(app(), revision=2))
    world.settle(5)
    assert trims_and_spawns(world, since)[:2] == ["TrimPort", "Spawn"]


def test_what_the_file_took_from_a_stopped_app_is_closed_at_once(world):
    world.up(shared(listen=()), app("other"))
    world.emit(e.StopRequested("web"))
    world.settle(5)
    since = world.now
    reread(world, plan(shared(), app("other"), revision=2))
    assert trims_and_spawns(world, since - 1) == ["TrimPort"]


@pytest.mark.parametrize("asked", [e.RestartRequested("web"), e.StopRequested("web")])
def test_what_the_file_took_is_closed_also_when_something_comes_between(world, asked):
    world.up(shared(listen=(), instances=2), app("other"))
    since = world.now
    reread(world, plan(shared(instances=2), app("other"), revision=2))
    world.settle(0.01)
    world.emit(asked)
    assert "TrimPort" not in trims_and_spawns(world, since)
    world.settle(20)
    assert trims_and_spawns(world, since).count("TrimPort") == 1


def test_an_app_that_comes_back_while_it_is_being_removed_keeps_its_port(world):
    web, idle = shared(kill_timeout=5.0), app("idle")
    world.up(web, idle)
    for process in world.live("web"):
        process.script = Script(stop_takes=3.0)
    world.next_plan = plan(idle, revision=2)
    world.emit(e.SignalArrived(SIGHUP))
    world.next_plan = plan(web, idle, revision=3)
    world.emit(e.SignalArrived(SIGHUP))
    world.run_until(lambda: world.said("app removed"))
    world.run_until(world.is_up)
    assert not [x for _, x in world.effects if isinstance(x, f.ClosePort)]


def test_an_added_app_is_started(world):
    world.up(app("web"))
    reread(world, plan(app("web"), app("more", instances=2), revision=2))
    world.settle(4)
    assert world.ready("more") == 2


# -- scale, stop, start -----------------------------------------------------------------


def test_scale_up_and_down(world):
    world.up(shared(instances=2))
    world.emit(e.ScaleRequested("web", 5))
    world.run_until(world.is_up)
    assert world.ready() == 5
    world.emit(e.ScaleRequested("web", 1))
    world.settle(5)
    assert [p.instance for p in world.live()] == [0]


def test_a_stopped_app_that_is_scaled_starts_with_the_new_number(world):
    world.up(app(instances=4))
    world.emit(e.StopRequested("web"))
    world.settle(5)
    world.emit(e.ScaleRequested("web", 2))
    world.emit(e.StartRequested("web"))
    world.settle(5)
    assert len(world.live()) == 2


def test_a_fork_instance_scaled_away_and_back_waits_for_its_old_process(world):
    world.upcoming.extend([Script(), Script(stop_takes=1.0)])
    world.up(app(instances=2))
    world.emit(e.ScaleRequested("web", 1))
    world.emit(e.ScaleRequested("web", 2))
    assert len(world.live()) == 2
    world.settle(5)
    assert world.ready() == 2


def test_stopped_stays_stopped_and_the_container_lives(world):
    world.up(app())
    world.emit(e.StopRequested("web"))
    world.settle(60)
    assert not world.live()
    assert world.exit_code is None
    assert world.view().stopped
    world.emit(e.StartRequested("web"))
    world.settle(4)
    assert world.ready() == 1


def test_a_restart_of_all_does_not_start_what_waits_for_another(world):
    waits = DependsSpec("db", "service_completed_successfully")
    world.boot(app("db", autorestart=False), app("web", depends_on=(waits,)))
    world.emit(e.RestartRequested(""))
    world.advance(1)
    assert not world.live("web")


# -- depends_on -------------------------------------------------------------------------


def test_completed_successfully_is_waited_for(world):
    world.upcoming.append(Script(ends_after=2.0, code=0))
    waits = DependsSpec("migrate", "service_completed_successfully")
    world.boot(app("migrate", autorestart=False), app("web", depends_on=(waits,)))
    world.advance(1)
    assert not world.live("web")
    world.advance(1.1)
    assert world.live("web")


def test_a_dependency_that_fails_ends_the_container_with_its_code(world):
    world.upcoming.append(Script(ends_after=2.0, code=5))
    waits = DependsSpec("migrate", "service_completed_successfully")
    world.boot(app("migrate", autorestart=False), app("web", depends_on=(waits,)))
    world.advance(5)
    assert world.exit_code == 5


def test_healthy_is_waited_for(world):
    world.upcoming.append(Script(says_after=2.0))
    world.boot(shared("db"), app("web", depends_on=(DependsSpec("db", "service_healthy"),)))
    world.advance(1.9)
    assert not world.live("web")
    world.advance(1)
    assert world.live("web")


# -- the turn ---------------------------------------------------------------------------


def test_a_turn_that_raises_changes_nothing(world, monkeypatch):
    world.up(shared(instances=3))
    state = world.core._state
    before = (state.run, dict(state.apps), dict(state.workers), repr(state.instances))

    def bug(*_args: object) -> None:
        raise RuntimeError("bug")

    monkeypatch.setattr(lifecycle, "_timer", bug)
    with pytest.raises(RuntimeError):
        world.core.handle(e.RestartRequested("web"), world.now)
    assert (state.run, state.apps, state.workers, repr(state.instances)) == before
    monkeypatch.undo()
    world.emit(e.RestartRequested("web"))
    world.settle(5)
    assert world.is_up()
