"""Whatever happens in whichever order: Hypothesis drives the core against the fake kernel.

Quick and the same each time by default; `PYINIT_SIMULATION=deep` looks further, for minutes.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.spec import DependsSpec, HealthSpec, ListenSpec
from tests.simulation import invariants, promises
from tests.simulation.world import (
    ON_PORT,
    PORT,
    SIGHUP,
    SIGINT,
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
from tests.support.examples import DEEP

NAMES = ("web", "job", "db")

scripts = st.one_of(
    st.just(Script()),
    st.builds(
        Script,
        fork_fails=st.booleans(),
        exec_after=st.sampled_from((0.001, 0.5)),
        exec_fails=st.sampled_from(("", "chdir: No such file or directory")),
    ),
    st.builds(
        Script,
        says=st.sampled_from(("listen", "notify", "node")),
        says_after=st.sampled_from((0, 0.01, 1.0, 4.0, None)),
        accepts_after=st.sampled_from((0.0, 0.0, 2.0, 15.0, None)),
        port=st.sampled_from(("", "", "5000", "9000")),
        busy=st.booleans(),
        ends_after=st.sampled_from((None, 0.005, 0.5, 2.0, 31.0)),
        code=st.sampled_from((0, 1, 3)),
        signum=st.sampled_from((None, None, 11)),
        group=st.sampled_from(("", "", "obeys")),
        strays=st.sampled_from(("", "", "obeys", "stubborn")),
    ),
    st.builds(
        Script,
        ignores=st.booleans(),
        undying=st.sampled_from((False, False, False, True)),
        stop_takes=st.sampled_from((0.01, 1.0, 7.9)),
        stop_code=st.sampled_from((0, 1, None)),
        group=st.sampled_from(("", "obeys", "stubborn", "undying")),
        strays=st.sampled_from(("", "", "obeys", "stubborn", "undying")),
        queue_takes=st.sampled_from((0, 0.3, 2.0, None)),
        answers_after=st.sampled_from((0, 0.3, 2.0, None)),
        closes_after=st.sampled_from((0, 2.0, None)),
    ),
    st.builds(
        Script,
        well_from=st.sampled_from((0.0, 2.0, 6.0, None)),
        well_until=st.sampled_from((None, 0.5, 5.0, 30.0)),
        check_takes=st.sampled_from((0.002, 0.9, 2.0, None)),
        ends_after=st.sampled_from((None, None, 3.0)),
        ignores=st.booleans(),
        queue_takes=st.sampled_from((0, None)),
        kicks_every=st.sampled_from((10.0, None)),
        hangs_at=st.sampled_from((None, 1.0)),
    ),
)


checks = st.builds(
    HealthSpec,
    http=st.just("/"),
    interval=st.sampled_from((6.0, 20.0)),
    timeout=st.sampled_from((1.0, 3.0)),
    failures=st.sampled_from((1, 3)),
    start_period=st.sampled_from((0.0, 5.0)),
)


@st.composite
def specs(draw, name: str):
    depends = ()
    if name == "web":
        others = st.sampled_from(("db", "job"))
        conditions = st.sampled_from(
            ("service_started", "service_healthy", "service_completed_successfully")
        )
        depends = draw(st.lists(st.builds(DependsSpec, others, conditions), max_size=1).map(tuple))
    keys = {
        "instances": draw(st.integers(1, 4)),
        "by_cpus": draw(st.sampled_from((None, None, 0, -1))),
        "env": draw(st.sampled_from(((), (("A", "1"),)))),
        "wait_ready": draw(st.booleans()),
        "on_listen_timeout": draw(st.sampled_from(("auto", "force", "abort"))),
        "autostart": draw(st.sampled_from((True, True, True, False))),
        "main": draw(st.sampled_from((False, False, False, True))),
        "autorestart": draw(st.sampled_from((True, True, True, False))),
        "cron_restart": draw(st.sampled_from(("", "", "0 3 * * *"))),
        "overlap": draw(st.sampled_from(("", "", "skip", "wait", "kill"))),
        "max_restarts": draw(st.sampled_from((2, 16))),
        "restart_delay": draw(st.sampled_from((0.0, 2.0))),
        "exp_backoff_restart_delay": draw(st.sampled_from((0.0, 0.1))),
        "stop_exit_codes": draw(st.sampled_from(((), (3,)))),
        "on_errored": draw(st.sampled_from(("keep", "keep", "exit", "wait"))),
        "kill_timeout": draw(st.sampled_from((1.6, 8.0))),
        "reload_parallel": draw(st.integers(1, 2)),
        "depends_on": depends,
        "watchdog": draw(st.sampled_from((0.0, 0.0, 15.0))),
        "health": draw(st.one_of(st.none(), checks)),
        "treekill": draw(st.sampled_from(("tree", "tree", "all", "group", "none"))),
        "min_uptime": draw(st.sampled_from((1.0, 1.0, 0.0, 5.0))),
        "learn_min_uptime": draw(st.booleans()),
        "min_ready": draw(st.sampled_from((None, None, 0.0, 4.0))),
        "listen_timeout": draw(st.sampled_from((3.0, 3.0, 0.4))),
        "retire_delay": draw(st.sampled_from((0.5, 0.5, 0.0, 3.0))),
        "retire_when_quiet": draw(st.booleans()),
        "drain": draw(st.sampled_from((0.0, 0.0, 5.0))),
        "kill_signal": draw(st.sampled_from((None, None, SIGTERM))),
        "node": draw(st.booleans()),
        "shutdown_with_message": draw(st.sampled_from((False, False, True))),
    }
    kind = draw(st.sampled_from(("fork", "slots", "slots", "one", "generations")))
    if kind == "fork":
        return app(name, **keys)
    return shared(name, **keys, share=kind, listen=draw(st.sampled_from((PORT, PORT, OTHERS, ()))))


@st.composite
def plans(draw, revision: int = 1):
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    return plan(
        *(draw(specs(name)) for name in names),
        revision=revision,
        cpus=draw(st.sampled_from((1, 2, 8))),
        drain_delay=draw(st.sampled_from((0.0, 2.0))),
        timeout=draw(st.sampled_from((0.0, 0.0, 10.0))),
        signals=draw(st.sampled_from(((), (SIGUSR1,)))),
    )


# PortFailed, SignalRefused, MessageNotSent, QueueUnwatched, ProbeFailed.
FAILING = (*ON_PORT, f.SendSignal, f.SendShutdownMessage, f.WatchQueue, f.ProbeAccept)
OTHERS = (*PORT, ListenSpec("inet", "127.0.0.1", 5001))


names = st.sampled_from(("", *NAMES))
instances = st.sampled_from(((), (), (0,), (1, 3)))


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.world.after_turn = self.check
        self.stop_within: float | None = None

    @staticmethod
    def check(world, effects) -> None:
        invariants.check(world, effects)
        promises.check(world, effects)

    @initialize(first=plans(), listen_visible=st.sampled_from((True, True, False)))
    def boots(self, first, listen_visible) -> None:
        self.world.listen_visible = listen_visible
        self.world.emit(e.Booted(first))

    @rule(seconds=st.sampled_from((0.002, 0.02, 0.3, 0.6, 3.1, 8.1, 20.0)))
    def time_passes(self, seconds) -> None:
        self.world.advance(seconds)

    @rule(script=scripts)
    def the_next_worker_is(self, script) -> None:
        self.world.upcoming.append(script)

    @rule(which=st.integers(0, 7), code=st.sampled_from((0, 1, 3, None)))
    def a_worker_crashes(self, which, code) -> None:
        live = [process for process in self.world.live() if process.execed]
        if live:
            self.world.crash(live[which % len(live)], code, None if code is not None else 9)

    @rule(name=names, only=instances)
    def reload_is_asked(self, name, only) -> None:
        self.world.emit(e.ReloadRequested(name, instances=only))

    @rule(name=names, only=instances)
    def restart_is_asked(self, name, only) -> None:
        self.world.emit(e.RestartRequested(name, instances=only))

    @rule(name=names)
    def stop_is_asked(self, name) -> None:
        self.world.emit(e.StopRequested(name))

    @rule(name=names)
    def start_is_asked(self, name) -> None:
        self.world.emit(e.StartRequested(name))

    @rule(name=st.sampled_from(NAMES), instances=st.integers(1, 6))
    def scale_is_asked(self, name, instances) -> None:
        self.world.emit(e.ScaleRequested(name, instances))

    @rule(name=st.sampled_from(NAMES))
    def renewal_is_asked(self, name) -> None:
        self.world.emit(e.RenewRequested(name, "watch"))

    @rule(name=st.sampled_from(NAMES))
    def a_schedule_is_due(self, name) -> None:
        self.world.emit(e.ScheduleDue(name))

    @rule(name=st.sampled_from(NAMES))
    def a_run_is_asked(self, name) -> None:
        self.world.emit(e.RunRequested(name))

    @rule(which=st.integers(0, 7))
    def memory_is_exceeded(self, which) -> None:
        live = self.world.live()
        if live:
            self.world.emit(e.MemoryExceeded(live[which % len(live)].incarnation, 1 << 30))

    @rule(name=names, only=instances)
    def a_signal_is_asked(self, name, only) -> None:
        self.world.emit(e.SignalRequested(SIGUSR1, name, only))

    @rule(answer=st.one_of(plans(), st.just("line 3: no such key")), change=st.booleans())
    def the_file_is_read_again(self, answer, change) -> None:
        now = self.world.core._state.run.plan
        if isinstance(answer, str) or change:
            self.world.next_plan = answer
        else:
            self.world.next_plan = now.replace(revision=now.revision + 1)
        self.world.emit(e.SignalArrived(SIGHUP))

    @rule(which=st.integers(0, 2), spec=specs("web"))
    def one_app_changes_in_the_file(self, which, spec) -> None:
        now = self.world.core._state.run.plan
        old = now.apps[which % len(now.apps)]
        new = spec.replace(name=old.name, depends_on=old.depends_on, instances=old.instances)
        apps = tuple(new if each is old else each for each in now.apps)
        self.world.next_plan = now.replace(apps=apps, revision=now.revision + 1)
        self.world.emit(e.SignalArrived(SIGHUP))

    @rule(which=st.integers(0, 7))
    def the_kernel_lets_one_end(self, which) -> None:
        self.world.let_die(which)

    @rule(
        kind=st.sampled_from(
            (
                *("launch", "prove", "health", "watchdog", "stall", "kill"),
                *("retire", "restart", "abandon", "widen"),
            )
        ),
        n=st.integers(0, 40),
    )
    def a_stale_event_comes(self, kind, n) -> None:
        gone = n if n in self.world.gone else 9999
        for event in (
            e.TimerFired(e.Timer(kind, "web", gone)),
            e.WorkerReady(gone, "notify"),
            e.ListenSeen(gone, "127.0.0.1:5000", "127.0.0.1:5000"),
            e.AcceptSeen(gone, "127.0.0.1:5000", "127.0.0.1:5000"),
            e.ListenEnded(gone, "127.0.0.1:5000", "127.0.0.1:5000"),
            e.RestSeen(gone, rests=True),
            e.WorkerExited(gone, 0),
            e.WorkerExeced(gone),
            e.QueueEmptied(gone),
            e.GroupEmptied(gone),
            e.SpawnFailed(gone, "fork"),
            e.HealthChecked(gone, 1, "503"),
            e.NotifyReceived(gone, stopping=True),
            e.WorkerUnfit(gone, "late"),
        ):
            self.world.emit(event)

    @rule(
        which=st.integers(0, 7),
        what=st.sampled_from(
            (
                {"stopping": True},
                {"stopping": True, "extend": 3.0},
                {"status": "busy", "reloading": True},
                {"watchdog": "trigger"},
                {"watchdog_interval": 0.0},
                {"watchdog_interval": 8.0},
                {"notes": (("errno", "EIO: Input/output error"),)},
            )
        ),
    )
    def a_worker_tells(self, which, what) -> None:
        live = [process for process in self.world.live() if process.execed]
        if live:
            self.world.tell(live[which % len(live)], **what)

    @rule(which=st.integers(0, 7))
    def a_worker_is_unfit(self, which) -> None:
        live = [process for process in self.world.live() if process.execed]
        if live:
            self.world.emit(e.WorkerUnfit(live[which % len(live)].incarnation, "its bind"))

    @precondition(lambda self: self.stop_within is None)
    @rule(which=st.integers(0, 7), extend=st.sampled_from((0.5, 5.0, 60.0)))
    def a_worker_asks_for_time(self, which, extend) -> None:
        live = [process for process in self.world.live() if process.execed]
        if live:
            self.world.tell(live[which % len(live)], extend=extend)

    @rule(cpus=st.integers(1, 5))
    def the_cpu_limit_changes(self, cpus) -> None:
        self.world.emit(e.CpusChanged(cpus))

    @rule(which=st.integers(0, 7), lasted=st.sampled_from((5.0, 5.0, 70.0)))
    def a_worker_stalls(self, which, lasted) -> None:
        live = [process for process in self.world.live() if process.execed]
        if live:
            self.world.stall(live[which % len(live)], lasted)

    @rule(which=st.integers(0, 7))
    def a_worker_accepts_again(self, which) -> None:
        stalled = [process for process in self.world.live() if process.stalled]
        if stalled:
            self.world.accept_again(stalled[which % len(stalled)])

    @rule(which=st.integers(0, 7), source=st.sampled_from(("notify", "node")))
    def a_worker_says_it_again(self, which, source) -> None:
        live = [process for process in self.world.live() if process.execed]
        if live:
            self.world.emit(e.WorkerReady(live[which % len(live)].incarnation, source))

    @rule(which=st.integers(0, 7), again=st.booleans())
    def a_worker_closes_its_listener(self, which, again) -> None:
        live = [process for process in self.world.live() if process.execed and process.accepts]
        if live:
            process = live[which % len(live)]
            for address in sorted(process.accepts):
                self.world.close_listener(process, address)
                if again:
                    self.world.listen(process, address)

    @rule(which=st.integers(0, 7), port=st.sampled_from(("5000", "5001", "9100")))
    def a_worker_listens(self, which, port) -> None:
        live = [process for process in self.world.live() if process.execed]
        if live:
            self.world.listen(live[which % len(live)], f"127.0.0.1:{port}")

    @precondition(lambda self: self.stop_within is None)
    @rule(signum=st.sampled_from((SIGINT, SIGTERM, SIGWINCH)))
    def the_container_is_stopped(self, signum) -> None:
        self.stop(signum)

    @precondition(lambda self: self.stop_within is not None)
    @rule(signum=st.sampled_from((SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGWINCH)))
    def a_second_signal_comes(self, signum) -> None:
        self.world.emit(e.SignalArrived(signum))

    @rule(kind=st.sampled_from(FAILING), times=st.integers(1, 3))
    def an_effect_will_fail(self, kind, times) -> None:
        self.world.failing[kind] = times

    @rule(what=st.sampled_from(("", "obeys", "stubborn")))
    def a_daemon_lives(self, what) -> None:
        self.world.remaining_at_end = what

    def stop(self, signum: int) -> None:
        world = self.world
        if world.core._state.run.phase in ("running", "draining"):
            self.stop_within = world.now + invariants.longest_stop(world)
        world.emit(e.SignalArrived(signum))

    def teardown(self) -> None:
        world = self.world
        if not world.history:
            return
        world.upcoming.clear()
        world.failing.clear()
        if self.stop_within is None and world.exit_code is None:
            invariants.settle(world)
            if world.core._state.run.phase == "running":
                invariants.came_to_rest(world)
                promises.the_file_counts(world)
            if world.exit_code is None:
                self.stop(SIGTERM)
        world.settle(200)
        assert world.exit_code is not None, "it hangs"
        assert world.exit_code in (0, 1, 3, 127, 137, 139, *range(129, 144)), world.exit_code
        if self.stop_within is not None:
            assert world.finished_at <= self.stop_within, (world.finished_at, self.stop_within)
        stuck = [p for p in world.live() if not p.script.undying and not p.spared]
        assert not stuck
        invariants.replays(world)


Machine.TestCase.settings = settings(
    max_examples=4000 if DEEP else 40,
    stateful_step_count=60 if DEEP else 25,
    deadline=None,
    derandomize=not DEEP,
    database=None,
    suppress_health_check=list(HealthCheck),
)


class TestWhateverHappens(Machine.TestCase):
    pass
