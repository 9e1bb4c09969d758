"""What happens to apps in the histories of transcripts/: see transcribe.py."""

from __future__ import annotations

from entrypoint.core import events as e
from entrypoint.core.spec import DependsSpec, ListenSpec
from tests.simulation.world import (
    PORT,
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

HISTORIES = {}


def history(function):
    HISTORIES[function.__name__] = function
    return function


def read_again(world: World, *apps, **shutdown) -> None:
    revision = world.core.state.run.plan.revision + 1
    world.next_plan = plan(*apps, revision=revision, **shutdown)
    world.emit(e.SignalArrived(SIGHUP))


def ends(world: World, signum: int = SIGTERM) -> None:
    world.emit(e.SignalArrived(signum))
    world.settle(60)
    assert world.exit_code is not None


@history
def a_cluster_starts_reloads_and_stops(world):
    world.boot(shared(instances=3, reload_parallel=2), cpus=2)
    world.settle(20)
    world.emit(e.ReloadRequested("web"))
    world.settle(20)
    world.emit(e.ReloadRequested("web", instances=(1,)))
    world.settle(20)
    ends(world)


@history
def a_crash_loop_waits_longer_and_gives_up(world):
    world.usual = lambda _spawn: Script(ends_after=0.2, code=3)
    world.boot(app(max_restarts=4, exp_backoff_restart_delay=0.1, on_errored="exit"), app("other"))
    world.settle(60)
    assert world.exit_code is not None


@history
def a_crash_loop_that_is_kept_is_started_by_a_person(world):
    world.upcoming.extend(Script(ends_after=0.2, code=3) for _ in range(3))
    world.boot(app(max_restarts=2, restart_delay=1.0, on_errored="keep"))
    world.settle(30)
    world.emit(e.StartRequested("web"))
    world.settle(30)
    ends(world, SIGINT)


@history
def an_errored_app_waits_for_a_change_of_the_file(world):
    world.upcoming.extend(Script(ends_after=0.2, code=1) for _ in range(2))
    spec = app(max_restarts=1, on_errored="wait")
    world.boot(spec)
    world.settle(30)
    read_again(world, spec.replace(env=(("A", "1"),)))
    world.settle(30)
    world.emit(e.RenewRequested("web", "watch"))
    world.settle(10)
    ends(world, SIGQUIT)


@history
def a_reload_is_overtaken_by_other_commands(world):
    world.up(shared(instances=3, retire_delay=2.0))
    world.emit(e.ReloadRequested("web"))
    world.advance(0.3)
    world.emit(e.RestartRequested("web", instances=(0,)))
    world.advance(0.3)
    world.emit(e.ReloadRequested("web"))
    world.settle(20)
    world.emit(e.ReloadRequested("web"))
    world.advance(0.02)
    world.emit(e.RestartRequested("web"))
    world.settle(20)
    world.emit(e.ReloadRequested("web"))
    world.advance(0.02)
    world.emit(e.ScaleRequested("web", 1))
    world.settle(20)
    world.emit(e.ReloadRequested("web"))
    world.advance(0.02)
    world.emit(e.StopRequested("web"))
    world.settle(20)


@history
def one_socket_is_shared_while_it_is_scaled(world):
    world.up(shared(instances=2, share="one"))
    for count in (4, 1, 0, 2):
        world.emit(e.ScaleRequested("web", count))
        world.settle(10)
    world.emit(e.StopRequested("web"))
    world.settle(10)
    world.emit(e.ScaleRequested("web", 3))
    world.emit(e.StartRequested("web"))
    world.settle(10)
    world.emit(e.ReloadRequested("web"))
    world.settle(20)
    ends(world)


@history
def the_file_changes(world):
    one, two, three = shared(instances=2), app("job"), app("db")
    world.up(one, two, three)
    read_again(world, one.replace(env=(("A", "2"),)), two)
    world.settle(20)
    read_again(world, one.replace(instances=3, env=(("A", "2"),)), two, three)
    world.settle(20)
    other = (*PORT, ListenSpec("inet", "127.0.0.1", 5001))
    read_again(world, one.replace(listen=other, instances=1), two.replace(kill_timeout=2.0))
    world.settle(20)
    read_again(world, one.replace(share="none", listen=(), exec_mode="fork"), two)
    world.settle(20)
    world.emit(e.SignalArrived(SIGHUP))
    world.next_plan = "line 3: no such key"
    world.emit(e.SignalArrived(SIGHUP))
    world.settle(10)
    read_again(world, two, three)
    world.advance(0.001)
    read_again(world, one, two)
    world.settle(20)
    ends(world)


@history
def a_file_that_says_the_same_reloads_everything(world):
    apps = (shared(instances=2), app("job"), app("night", autorestart=False, cron_restart="0 3"))
    world.up(*apps[:2])
    read_again(world, *apps[:2])
    world.settle(20)


@history
def a_shutdown_drains_and_those_depended_on_stop_last(world):
    web = shared(instances=2, depends_on=(DependsSpec("db"),))
    world.up(web, app("db"), drain_delay=3.0, timeout=20.0)
    world.emit(e.SignalArrived(SIGTERM))
    world.advance(1)
    world.emit(e.ReloadRequested("web"))
    world.settle(60)


@history
def one_that_is_depended_on_closes_its_listener_during_the_stop(world):
    web = app(depends_on=(DependsSpec("db"),), kill_timeout=10.0)
    world.usual = lambda spawn: Script(ignores=spawn.spec.name == "web")
    world.up(shared("db", instances=2), web)
    world.emit(e.SignalArrived(SIGTERM))
    world.advance(1)
    world.close_listener(world.one(0, "db"), "127.0.0.1:5000")
    world.settle(60)


@history
def a_stop_finds_no_app(world):
    world.up(app("job"))
    read_again(world)
    world.settle(10)
    world.remaining_at_end = "obeys"
    ends(world)


@history
def a_second_signal_hurries_and_a_third_forces(world):
    stubborn = Script(ignores=True)
    world.usual = lambda _spawn: stubborn
    world.up(shared(instances=2, kill_timeout=30.0), drain_delay=5.0)
    world.emit(e.SignalArrived(SIGINT))
    world.advance(0.5)
    world.emit(e.SignalArrived(SIGINT))
    world.advance(0.5)
    world.emit(e.SignalArrived(SIGINT))
    world.settle(60)


@history
def a_shutdown_has_a_time_limit(world):
    world.usual = lambda _spawn: Script(ignores=True, queue_takes=None, group="stubborn")
    world.up(shared(instances=2, kill_timeout=30.0), app("job"), timeout=4.0)
    world.remaining_at_end = "stubborn"
    ends(world)


@history
def daemons_are_asked_to_leave_at_the_end(world):
    world.up(app(kill_signal=SIGUSR1, kill_timeout=5.0), app("b", kill_timeout=2.0))
    world.remaining_at_end = "obeys"
    ends(world)


@history
def jobs_run_at_their_times(world):
    for number, overlap in enumerate(("skip", "wait", "kill", "")):
        world.usual = lambda _spawn: Script(says_after=None, ends_after=10.0, code=4)
        name = f"job{number}"
        spec = app(name, autorestart=False, cron_restart="0 3 * * *", overlap=overlap)
        if not number:
            world.boot(spec, app("keeper"))
        else:
            read_again(world, spec, app("keeper"))
        world.settle(12)
        world.emit(e.ScheduleDue(name))
        world.advance(3)
        world.emit(e.ScheduleDue(name))
        world.emit(e.RunRequested(name))
        world.settle(25)
        world.emit(e.StopRequested(name))
        world.emit(e.ScheduleDue(name))
        world.settle(12)


@history
def a_service_is_restarted_at_its_times(world):
    world.up(shared(instances=2, cron_restart="0 3 * * *"), app("b", cron_restart="0 4 * * *"))
    for name in ("web", "b"):
        world.emit(e.ScheduleDue(name))
        world.settle(20)
    world.emit(e.RunRequested(""))
    world.settle(20)


@history
def others_wait_for_what_they_depend_on(world):
    depends = [
        ("a", "service_started"),
        ("b", "service_healthy"),
        ("c", "service_completed_successfully"),
    ]
    waiting = [app(f"after_{n}", depends_on=(DependsSpec(n, why),)) for n, why in depends]
    world.upcoming.append(Script(says_after=None))
    world.upcoming.append(Script(says_after=3.0, says="notify"))
    world.upcoming.append(Script(ends_after=5.0, code=0))
    world.boot(app("a"), app("b", wait_ready=True), app("c", autorestart=False), *waiting)
    world.settle(30)
    ends(world)


@history
def what_it_waits_for_never_comes(world):
    world.usual = lambda _spawn: Script(ends_after=0.1, code=9)
    failing = app("db", autorestart=False)
    why = DependsSpec("db", "service_completed_successfully")
    world.boot(failing, app("web", depends_on=(why,)))
    world.settle(30)
    assert world.exit_code is not None


@history
def the_main_app_ends_the_container(world):
    world.upcoming.extend((Script(ends_after=5.0, code=7), Script()))
    world.boot(app(main=True, autorestart=False), app("side"))
    world.settle(40)
    assert world.exit_code == 7


@history
def all_have_done_their_work(world):
    world.upcoming.extend((Script(ends_after=2.0, code=0), Script(ends_after=3.0, code=5)))
    world.boot(app(autorestart=False), app("b", stop_exit_codes=(5,)))
    world.settle(40)
    assert world.exit_code is not None


@history
def signals_are_passed_on(world):
    world.up(shared(instances=2), app("b"), signals=(SIGUSR1,))
    world.emit(e.SignalArrived(SIGWINCH, name="SIGWINCH"))
    world.emit(e.SignalArrived(12, name="SIGUSR2"))
    world.emit(e.SignalRequested(12, "web", (1,)))
    world.emit(e.SignalRequested(SIGKILL, "b"))
    world.settle(10)
    world.emit(e.SignalArrived(SIGHUP, terminal_gone=True))
    world.settle(10)


@history
def many_start_as_the_cpus_allow(world):
    world.usual = lambda _spawn: Script(says_after=0.5)
    world.boot(shared(instances=6), app("b", instances=3), cpus=2)
    world.settle(30)
