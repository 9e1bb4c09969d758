"""Short histories, each of one promise: starts, ends, reloads and what is tried again."""

from __future__ import annotations

import pytest

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core import jobs, restarts
from entrypoint.core.spec import HealthSpec
from tests.simulation.world import SIGHUP, SIGTERM, Script, World, app, shared

ADDRESS = "127.0.0.1:5000"


def instance_of(world: World, name: str = "web", instance: int = 0):
    return world.core.state.instances[name][instance]


def usual(script: Script) -> World:
    world = World()
    world.usual = lambda _spawn: script
    return world


# -- orders about ports that failed ------------------------------------------------------


def test_an_order_about_a_port_is_given_again_after_growing_pauses():
    world = World().up(shared(instances=2))
    pauses = []
    for _ in range(7):
        orders = len(world.ordered(f.GrowPort))
        world.emit(e.PortFailed("web", "grow", "no memory"))
        pauses.append(
            world.run_until(lambda before=orders: len(world.ordered(f.GrowPort)) > before)
        )
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 30, 30])


def test_the_pauses_begin_anew_after_an_order_that_went_well():
    world = World().up(shared())
    world.emit(e.PortFailed("web", "grow", "no memory"))
    world.advance(1.5)
    world.emit(e.PortFailed("web", "grow", "no memory"))
    world.advance(60)
    orders = len(world.ordered(f.GrowPort))
    world.emit(e.PortFailed("web", "grow", "no memory"))
    world.advance(1.1)
    assert len(world.ordered(f.GrowPort)) == orders + 1


def test_a_port_of_a_stopped_app_is_paused_by_a_second_attempt():
    world = World().up(shared())
    world.emit(e.StopRequested("web"))
    world.advance(1)
    world.emit(e.PortFailed("web", "pause", "no memory"))
    world.advance(1.1)
    assert len(world.ordered(f.PausePort)) == 2


def test_a_pause_is_not_ordered_again_for_an_app_that_was_started_since():
    world = World().up(shared())
    world.emit(e.StopRequested("web"))
    world.advance(1)
    world.emit(e.PortFailed("web", "pause", "no memory"))
    world.emit(e.StartRequested("web"))
    world.advance(1.1)
    assert len(world.ordered(f.PausePort)) == 1


# -- memory ------------------------------------------------------------------------------


@pytest.mark.parametrize(("lived", "patience"), [(4.5, 1.0), (5.0, 0.0), (9.0, 0.0)])
def test_only_a_worker_that_grew_at_once_leaves_patience_for_the_next(lived, patience):
    world = World().boot(app(max_memory_restart=1000))
    world.advance(lived)
    world.emit(e.MemoryExceeded(1, 1500))
    assert instance_of(world).memory_patience == patience


def test_the_memory_of_a_worker_that_is_being_restarted_changes_nothing():
    world = usual(Script(stop_takes=2.0)).up(app(max_memory_restart=1000))
    world.emit(e.RestartRequested("web"))
    world.emit(e.MemoryExceeded(1, 9000))
    assert not world.said("memory limit exceeded")


def test_where_the_container_is_nearly_full_there_is_no_patience():
    world = World().up(shared(max_memory_restart=-1))
    world.advance(20)
    for urgent, replaced in ((False, 2), (False, 3), (False, 3), (True, 4)):
        (current,) = world.live()
        world.emit(e.MemoryExceeded(current.incarnation, 150, 100, urgent))
        world.advance(0.5)
        assert len(world.processes) == replaced
        world.run_until(lambda: len(world.live()) == 1)
    assert world.said("memory limit exceeded")[-1]["max_memory_restart"] == 100


# -- signals and the shutdown ------------------------------------------------------------


def test_a_shutdown_refuses_connections_and_passes_its_deadline_on():
    world = World().up(shared(), timeout=10.0)
    stopped_at = world.now
    world.emit(e.SignalArrived(SIGTERM))
    assert world.refusing == {"web"}
    world.advance(20)
    (end,) = world.ordered(f.Finish)
    assert end.by == pytest.approx(stopped_at + 10.0)
    assert world.said("signal received") == [{"signal": SIGTERM}]


@pytest.mark.parametrize("gone", [True, False])
def test_a_hangup_is_reported(gone):
    world = World().up(app())
    world.emit(e.SignalArrived(SIGHUP, terminal_gone=gone))
    assert world.said("signal received") == [{"signal": SIGHUP}]


def test_a_start_of_all_apps_starts_those_that_were_stopped():
    world = World().boot(app("web", autostart=False), app("db"))
    world.advance(1)
    assert not world.live("web")
    world.emit(e.StartRequested())
    world.advance(1)
    assert world.live("web")


# -- what counts as a failure ------------------------------------------------------------


@pytest.mark.parametrize(("min_uptime", "counted"), [(60.0, 1), (1.0, 0)])
def test_a_worker_that_was_healthy_for_min_uptime_does_not_count(min_uptime, counted):
    check = HealthSpec(http="/", interval=1.0, timeout=1.0, failures=1)
    world = World()
    world.upcoming.append(Script(well_until=20.0))
    world.up(shared(health=check, min_uptime=min_uptime))
    world.run_until(lambda: world.said("worker unhealthy"))
    assert len(instance_of(world).unstable) == counted


def test_a_worker_that_leaves_at_min_uptime_has_served():
    world = usual(Script(says="notify")).boot(app(wait_ready=True, min_uptime=2.0))
    world.advance(2.0)
    (process,) = world.live()
    world.tell(process, stopping=True)
    world.crash(process, 0)
    assert instance_of(world).unstable == ()


@pytest.mark.parametrize(("code", "level"), [(0, "info"), (1, "error")])
def test_an_exit_with_a_code_is_an_error_to_the_log(code, level):
    world = World().up(app())
    world.crash(world.one(), code)
    (report,) = [each for each in world.ordered(f.Report) if each.event == "worker exited"]
    assert report.level == level


@pytest.mark.parametrize(("code", "shown"), [(0, 1), (3, 3)])
def test_a_worker_that_was_given_up_never_shows_success(code, shown):
    world = usual(Script(says_after=None, stop_code=code)).boot(
        app(wait_ready=True, on_listen_timeout="abort", listen_timeout=1.0, restart_delay=60.0)
    )
    world.advance(5)
    assert instance_of(world).last_code == shown


def test_a_restart_by_hand_forgets_the_back_off_of_a_running_worker():
    world = World()
    world.upcoming.append(Script(ends_after=0.1, code=1))
    world.boot(app(exp_backoff_restart_delay=0.1))
    world.advance(2)
    assert instance_of(world).delay != 0
    world.emit(e.RestartRequested("web"))
    world.advance(2)
    assert instance_of(world).delay == 0


def test_the_back_off_ends_after_thirty_seconds_of_uptime():
    spec = app(exp_backoff_restart_delay=0.1)
    assert restarts.restart_delay(spec, 5.0, 30.0) == -0.1
    assert restarts.restart_delay(spec, 5.0, 29.9) == 7.5
    assert restarts.restart_delay(spec, 0.0, 0.0) == -0.1
    assert restarts.restart_delay(spec, -0.1, 1.0) == 0.1
    assert restarts.restart_delay(spec, 14.0, 1.0) == 15.0


@pytest.mark.parametrize(
    ("learns", "code", "life", "errored"),
    [(True, 1, 5.0, True), (False, 1, 5.0, False), (True, 0, 5.0, False), (True, 1, 31.0, False)],
)
def test_a_crash_loop_is_learned_from_short_crashes_alone(learns, code, life, errored):
    world = usual(Script(ends_after=life, code=code)).boot(
        app(learn_min_uptime=learns, max_restarts=2, min_uptime=1.0, on_errored="keep")
    )
    world.advance(200)
    assert world.view().errored is errored


def test_a_pause_before_a_restart_and_a_finished_worker_are_reported():
    world = usual(Script(ends_after=2.0, code=0)).boot(
        app(restart_delay=1.23456), app("job", autorestart=False)
    )
    world.advance(2.5)
    assert [each["delay"] for each in world.said("restart waits")] == [1.235]
    (report,) = world.said("worker finished")
    assert (report["app"], report["because"]) == ("job", "autorestart: false")


# -- jobs --------------------------------------------------------------------------------


def test_a_run_that_waits_for_the_one_before_is_reported():
    world = World().boot(
        app("job", cron_restart="0 3 * * *", autorestart=False, overlap="wait"), app()
    )
    world.advance(7)
    world.emit(e.ScheduleDue("job"))
    (report,) = world.said("run waits")
    assert (report["by"], report["running_for"]) == ("cron_restart", 7.0)


def test_a_service_is_restarted_at_its_time_and_that_is_reported():
    world = World().up(app(cron_restart="0 3 * * *"))
    world.emit(e.ScheduleDue("web"))
    assert world.said("restart started") == [{"app": "web", "reason": "cron_restart"}]
    world.run_until(lambda: len(world.processes) == 2)


def test_only_what_has_times_and_ends_is_a_job():
    assert jobs.is_job(app(cron_restart="0 3 * * *", autorestart=False))
    assert not jobs.is_job(app(cron_restart="0 3 * * *"))
    assert not jobs.is_job(app(autorestart=False))
    assert not jobs.is_job(shared(cron_restart="0 3 * * *", autorestart=False))


# -- when a worker is ready --------------------------------------------------------------


def test_a_listener_that_closes_is_reported_with_its_address():
    world = World().up(shared())
    world.close_listener(world.one(), ADDRESS)
    (report,) = world.said("listener closed")
    assert report["address"] == ADDRESS


def test_a_later_start_gets_three_times_as_long_as_the_slowest():
    world = World()
    world.upcoming += [Script(says_after=2.5), Script(says_after=7.0)]
    world.up(shared(on_listen_timeout="abort", listen_timeout=3.0))
    world.emit(e.RestartRequested("web"))
    world.advance(10)
    assert world.is_up()
    assert not world.said("worker not ready in time")


def test_a_first_start_that_is_late_is_waited_for():
    world = usual(Script(says_after=5.0)).boot(
        shared(on_listen_timeout="force", listen_timeout=1.0)
    )
    world.advance(2)
    assert [each["then"] for each in world.said("worker not ready in time")] == ["wait for it"]
    world.advance(5)
    assert world.is_up()


@pytest.mark.parametrize(("source", "left"), [("notify", False), ("node", True)])
def test_only_ready_by_sd_notify_ends_what_it_called_a_reload(source, left):
    world = World().up(app())
    world.tell(world.one(), reloading=True)
    world.emit(e.WorkerReady(1, source))
    assert world.view().workers[0].reloading is left


def test_a_program_that_had_no_port_is_ready_sooner_the_next_time():
    world = usual(Script(says_after=None)).boot(shared(listen=(), listen_timeout=10.0))
    assert world.run_until(world.is_up) >= 10
    world.emit(e.RestartRequested("web"))
    world.run_until(lambda: len(world.processes) == 2)
    assert world.run_until(world.is_up) < 3


def test_a_program_that_neither_speaks_nor_listens_is_ready_when_it_rests():
    world = usual(Script(says_after=None)).boot(shared(listen=(), wait_ready=True))
    world.run_until(world.is_up)
    assert [each["by"] for each in world.said("worker ready")] == ["rest"]
    (late,) = world.said("worker not ready in time")
    assert late["then"] == "wait until its processes rest"


def test_a_restart_that_serves_fewer_ports_counts_when_its_time_is_over():
    world = World().up(shared(listen=(), listen_timeout=3.0))
    world.listen(world.one(), "127.0.0.1:5001")
    world.accept(world.one(), "127.0.0.1:5001")
    world.crash(world.one(), 1)
    world.run_until(lambda: len(world.processes) == 2)
    world.advance(2)
    assert not world.is_up()
    world.advance(2)
    assert world.is_up()


# -- reloads -----------------------------------------------------------------------------


def test_a_successor_that_speaks_but_never_accepts_ends_the_reload():
    world = World().up(shared(instances=2))
    world.usual = lambda _spawn: Script(says="notify")
    world.emit(e.ReloadRequested("web"))
    world.advance(1)
    assert world.view().reloading
    world.advance(10)
    (report,) = world.said("reload aborted")
    assert "accepts no connection" in report["because"] or "not listening" in report["because"]
    assert [process.incarnation for process in world.live()] == [1, 2]


def test_a_successor_that_speaks_first_and_accepts_later_proves_the_release():
    world = World().up(shared(instances=2))
    world.usual = lambda _spawn: Script(says="notify")
    world.emit(e.ReloadRequested("web"))
    world.advance(1)
    newest = world.live()[-1]
    world.accept(newest, ADDRESS)
    world.run_until(lambda: not world.view().reloading)
    assert min(process.incarnation for process in world.live()) > 2


def test_a_successor_that_crashes_while_it_proves_the_release_aborts_the_reload():
    world = World().up(shared(instances=2, min_ready=5.0))
    world.emit(e.ReloadRequested("web"))
    world.advance(2)
    world.crash(world.live()[-1], 1)
    world.advance(20)
    assert len(world.said("reload aborted")) == 1
    assert [process.incarnation for process in world.live()] == [1, 2]
    assert not [timer for timer in world.timers if timer.kind == "prove"]


def test_a_successor_that_must_be_started_in_another_way_still_takes_over():
    world = World().up(shared(instances=2))
    world.upcoming.append(Script(says_after=2.0))
    world.emit(e.ReloadRequested("web"))
    world.advance(0.1)
    world.emit(e.WorkerUnfit(world.live()[-1].incarnation, "it needs another socket"))
    world.run_until(lambda: not world.view().reloading)
    assert not world.said("reload aborted")
    assert min(process.incarnation for process in world.live()) > 3


def test_a_slot_is_free_once_the_last_of_a_process_group_has_ended():
    world = usual(Script(group="stubborn")).up(shared(instances=2, kill_timeout=2.0))
    world.emit(e.ScaleRequested("web", 1))
    world.advance(1)
    assert not world.ordered(f.ReleaseSlot)
    world.advance(5)
    assert [each.slot for each in world.ordered(f.ReleaseSlot)] == [1]
