"""A fake kernel and a fake clock around the core, deterministic.

It does what `entrypoint/shell/runtime.py` does with the core's effects, without a kernel:
processes follow a `Script`, deadlines fire in the order of their times (equal times: in
the order in which they were set), and what comes of an effect comes back as an event,
one event after the other. Everything that happened is kept in `history`, so that a run
can be replayed.

What no core may ever do (signal a worker that it was told is gone, hand out a slot that
was never granted…) is an `AssertionError` here, at the moment when it is ordered.
"""

from __future__ import annotations

import errno
import heapq
from collections import deque
from dataclasses import dataclass, field

from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.readiness import REST
from entrypoint.core.spec import AppSpec, ListenSpec, Plan, ShutdownSpec
from entrypoint.core.supervisor import Supervisor
from entrypoint.shell import failed_effects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.core.worker import Worker
    from tests.simulation.invariants import Moment

# Events at one moment: more is a core that spins.
EVENTS_AT_ONCE = 20_000

SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGKILL, SIGUSR1, SIGTERM, SIGWINCH = 1, 2, 3, 6, 9, 10, 15, 28

PORT = (ListenSpec("inet", "127.0.0.1", 5000),)


def app(name: str = "web", **keys) -> AppSpec:
    """A fork app that holds no port."""
    return AppSpec(name=name, command=("run", name), cwd="/", **keys)


def shared(name: str = "web", **keys) -> AppSpec:
    """A cluster app with a slot for each worker."""
    keys = {"exec_mode": "cluster", "listen": PORT, "share": "slots", **keys}
    return app(name, **keys)


def plan(*apps: AppSpec, revision: int = 1, cpus: int = 8, **shutdown) -> Plan:
    return Plan(apps=apps, shutdown=ShutdownSpec(**shutdown), revision=revision, cpus=cpus)


@dataclass(frozen=True)
class Script:
    """How a process behaves; times in seconds, None: never."""

    fork_fails: bool = False
    exec_after: float = 0.001
    exec_fails: str = ""
    # What it says when it is up, and when, counted from its exec (0: even before the
    # exec is reported, which the kernel allows).
    says: str = "listen"
    says_after: float | None = 0.01
    # It accepts so long after it listens; where, if not on all that its file declares.
    accepts_after: float | None = 0.0
    port: str = ""
    # It works all the time: its processes never rest.
    busy: bool = False
    # Ends by itself, counted from its exec.
    ends_after: float | None = None
    code: int | None = 0
    signum: int | None = None
    # What it does about a stop signal.
    ignores: bool = False
    stop_takes: float = 0.01
    stop_code: int | None = 0  # None: it dies of the signal
    # Not even SIGKILL ends it (uninterruptible sleep).
    undying: bool = False
    # Others of its process group: "" none, "obeys" a signal to the group, "stubborn"
    # ends by SIGKILL only, "undying" (a zombie that nobody reaps) never.
    group: str = ""
    # The same of descendants in sessions of their own.
    strays: str = ""
    # Seconds until its accept queue is empty once it is watched.
    queue_takes: float | None = 0.0
    # And until no request is in its hands.
    answers_after: float | None = 0.0
    # And until none of its connections is left, which a worker that drains waits for.
    closes_after: float | None = 0.0
    # Its checks: they succeed between these ages, counted from its exec, and are answered
    # so many seconds after they were asked for.
    well_from: float | None = 0.0
    well_until: float | None = None
    check_takes: float | None = 0.002
    # It says WATCHDOG=1 so often, counted from its exec, and stops to at that age.
    kicks_every: float | None = 5.0
    hangs_at: float | None = None


HEALTHY = Script()

# Orders to the port of an app of which the core hears when they fail, and gives them again.
ON_PORT = (
    f.GrowPort,
    f.RouteTo,
    f.TrimPort,
    f.RefuseConnections,
    f.PausePort,
    f.ResumePort,
)
SCOPES = ("process", "group", "tree", "all")


def _dies(others: str, signum: int) -> bool:
    return others == "obeys" or (others == "stubborn" and signum == SIGKILL)


@dataclass
class Process:
    incarnation: int
    pid: int
    spec: AppSpec
    instance: int
    slot: int
    queue: int
    script: Script
    alive: bool = True
    # A SIGKILL to it was refused: it may live on when the run is over.
    spared: bool = False
    execed: bool = False
    execed_at: float = 0.0
    group: str = ""
    strays: str = ""
    # The widest scope of its stop signals.
    scope: str = "process"
    # Number of the check under way, 0 while there is none.
    check: int = 0
    received: list[int] = field(default_factory=list)
    # Addresses on which it accepts, and on which a probe waits for that.
    accepts: set[str] = field(default_factory=set)
    probes: dict[str, f.ProbeAccept] = field(default_factory=dict)
    looked_at: bool = False
    # It accepts nothing for a while (`World.stall`).
    stalled: bool = False
    stops: list[int] = field(default_factory=list)

    @property
    def stop_sent(self) -> bool:
        """It got a stop signal."""
        return bool(self.stops)


class World:
    """One run. `after_turn(world, effects)` is called after every turn of the core."""

    def __init__(self, *, listen_visible: bool = True) -> None:
        self.core = Supervisor()
        self.listen_visible = listen_visible
        self.now = 100.0
        self.upcoming: deque[Script] = deque()
        self.usual: Callable[[f.Spawn], Script] = lambda _spawn: HEALTHY
        self.processes: dict[int, Process] = {}
        self.timers: dict[e.Timer, float] = {}
        self.slots: dict[str, int] = {}
        self.routed: dict[str, tuple[int, ...]] = {}
        self.refusing: set[str] = set()
        # Slots that the core said are free, until a worker is started there again.
        self.vacant: dict[str, set[int]] = {}
        self.used: dict[str, set[int]] = {}
        # Addresses held for each app: what any file since the last trim declared.
        self.held: dict[str, set[ListenSpec]] = {}
        self.next_plan: Plan | str | None = None
        self.history: list[tuple[float, e.Event]] = []
        self.effects: list[tuple[float, f.Effect]] = []
        # Effects that fail, so many of a kind; what failed of each app's port since it was done.
        self.failing: dict[type[f.Effect], int] = {}
        self.undone: dict[str, set[type[f.Effect]]] = {}
        self.exit_code: int | None = None
        self.finished_at = 0.0
        self.gone: set[int] = set()
        # The most of `reload_parallel` that a file has ever said.
        self.parallel: dict[str, int] = {}
        self.after_turn: Callable[[World, list[f.Effect]], None] = lambda _world, _effects: None
        # The workers as the last turn but one left them.
        self.before: dict[int, Worker] = {}
        # The state sorted for the invariants (invariants.py), until it changes.
        self.moment: Moment | None = None
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        # Daemons that live when all workers are gone: "", "obeys" or "stubborn".
        self.remaining_at_end = ""
        self.remaining = ""
        self._marks: dict[e.Timer, int] = {}
        self._queue: deque[e.Event] = deque()
        self._pumping = False
        self._at_once = 0
        self._pid = 1000

    # -- the clock ----------------------------------------------------------------

    def at(self, delay: float, what: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (self.now + delay, self._count, what))

    def advance(self, seconds: float) -> None:
        """Let time pass; everything that is due happens in its order."""
        until = self.now + seconds
        while self._agenda and self._agenda[0][0] <= until:
            self.now, _, what = heapq.heappop(self._agenda)
            what()
        self.now = until

    def run_until(self, condition: Callable[[], bool], within: float = 120.0) -> float:
        """Let things happen until it holds; the seconds it took."""
        begun = self.now
        while not condition():
            if not self._agenda or self._agenda[0][0] > begun + within:
                raise AssertionError(f"not within {within} s: {self.core.view()}")
            self.now, _, what = heapq.heappop(self._agenda)
            what()
        return self.now - begun

    # -- the pump -------------------------------------------------------------------

    def emit(self, event: e.Event) -> None:
        self._queue.append(event)
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._queue:
                self._one(self._queue.popleft())
        finally:
            self._pumping = False

    def _one(self, event: e.Event) -> None:
        self._at_once = self._at_once + 1 if self.history and self.history[-1][0] == self.now else 0
        assert self._at_once < EVENTS_AT_ONCE, f"it spins: {event}"
        self.history.append((self.now, event))
        if isinstance(event, e.Booted | e.PlanAccepted):
            for spec in event.plan.apps:
                most = max(spec.reload_parallel, self.parallel.get(spec.name, 0))
                self.parallel[spec.name] = most
                self.held.setdefault(spec.name, set()).update(spec.listen)
        state = self.core._state
        before = (state.run, dict(state.apps), {k: dict(v) for k, v in state.instances.items()})
        self.before = dict(state.workers)
        ordered = self.core.handle(event, self.now)
        if before != (state.run, state.apps, state.instances) or self.before != state.workers:
            self.moment = None
        if self.exit_code is not None:
            assert not ordered, f"after Finish: {event} -> {ordered}"
        for effect in ordered:
            self.effects.append((self.now, effect))
            self.perform(effect)
        self.after_turn(self, ordered)

    # -- effects --------------------------------------------------------------------

    def perform(self, effect: f.Effect) -> None:
        if self.failing.get(type(effect)):
            self._fail(effect)
            return
        if isinstance(effect, ON_PORT):
            self.undone.get(effect.app, set()).discard(type(effect))
        getattr(self, f"_do_{type(effect).__name__.lower()}")(effect)

    def _fail(self, effect: f.Effect) -> None:
        """The kernel refuses it, and the core hears of that."""
        self.failing[type(effect)] -= 1
        if isinstance(effect, ON_PORT):
            self.undone.setdefault(effect.app, set()).add(type(effect))
        if isinstance(effect, f.TrimPort):
            # What it should have closed has no slots any more, also if it is opened again.
            self.used.pop(effect.app, None)
        if isinstance(effect, f.SendSignal) and effect.incarnation in self.processes:
            self.processes[effect.incarnation].spared |= effect.signum == SIGKILL
        event = failed_effects.heard(effect, OSError(errno.EMFILE, "too many"))
        if event is not None:
            self.emit(event)

    def lacks(self, app: str, *orders: type[f.Effect]) -> bool:
        """One of these orders to the app's port has failed, and was not carried out since."""
        return not self.undone.get(app, set()).isdisjoint(orders)

    def _do_spawn(self, effect: f.Spawn) -> None:
        assert effect.incarnation not in self.gone | self.processes.keys(), effect
        if effect.spec.name in self.refusing and effect.spec.share != "none":
            assert self.lacks(effect.spec.name, f.ResumePort), effect
        if self.lacks(effect.spec.name, f.GrowPort):
            # The socket that could not be made is made for the worker.
            granted = self.slots.get(effect.spec.name, 0)
            self.slots[effect.spec.name] = max(effect.slot + 1, granted)
        if effect.spec.share != "none":
            granted = self.slots.get(effect.spec.name, 0)
            assert effect.slot < granted, f"slot {effect.slot} of {granted}"
        self.vacant.setdefault(effect.spec.name, set()).discard(effect.queue)
        if effect.spec.share in ("slots", "generations"):
            assert effect.queue < self.slots.get(effect.spec.name, 0), effect
            self.used.setdefault(effect.spec.name, set()).add(effect.queue)
        script = self.upcoming.popleft() if self.upcoming else self.usual(effect)
        if script.fork_fails:
            self.emit(e.SpawnFailed(effect.incarnation, "fork: no memory"))
            return
        self._pid += 1
        process = Process(
            effect.incarnation,
            self._pid,
            effect.spec,
            effect.instance,
            effect.slot,
            effect.queue,
            script,
        )
        self.processes[effect.incarnation] = process
        self.emit(e.WorkerSpawned(effect.incarnation, process.pid, self._observed(process)))
        self.at(script.exec_after, lambda: self._exec(process))

    def _observed(self, process: Process) -> bool:
        return self.listen_visible and process.spec.share != "none"

    def _exec(self, process: Process) -> None:
        if not process.alive:
            return
        script = process.script
        if script.exec_fails:
            self._ends(process, code=127, failure=script.exec_fails)
            return
        process.execed = True
        process.execed_at = self.now
        process.group = script.group
        process.strays = script.strays
        if script.says_after == 0:
            self._say(process)
        if process.alive and process.incarnation not in self.gone:
            self.emit(e.WorkerExeced(process.incarnation, self._observed(process)))
        if script.says_after:
            self.at(script.says_after, lambda: self._say(process))
        if process.spec.watchdog and script.kicks_every:
            self.at(script.kicks_every, lambda: self._kick(process))
        if script.ends_after is not None:
            self.at(script.ends_after, lambda: self.crash(process, script.code, script.signum))

    def _kick(self, process: Process) -> None:
        script = process.script
        hangs = script.hangs_at is not None and self.now - process.execed_at >= script.hangs_at
        if process.alive and not hangs and process.incarnation not in self.gone:
            self.emit(e.NotifyReceived(process.incarnation, watchdog="1"))
            self.at(script.kicks_every or 1.0, lambda: self._kick(process))

    def let_die(self, which: int) -> None:
        """The disk that one of those waited for which SIGKILL did not end has answered."""
        waiting = [p for p in self.live() if p.script.undying and SIGKILL in p.received]
        if waiting:
            process = waiting[which % len(waiting)]
            process.alive = False
            if process.incarnation not in self.gone:
                self._ends(process, None, SIGKILL)

    def tell(self, process: Process, **what) -> None:
        """It says something by sd_notify(3)."""
        self.emit(e.NotifyReceived(process.incarnation, **what))

    def _say(self, process: Process) -> None:
        if not process.alive:
            return
        if process.script.says == "listen":
            for address in self.addresses(process):
                self.listen(process, address)
        else:
            self.emit(e.WorkerReady(process.incarnation, process.script.says))

    def addresses(self, process: Process) -> list[str]:
        """Where it will listen."""
        script, spec = process.script, process.spec
        if script.port:
            return [f"127.0.0.1:{script.port}"]
        if spec.share == "none":
            return []
        return [each.text for each in spec.listen] or ["127.0.0.1:5000"]

    def listen(self, process: Process, address: str) -> None:
        """It listens there, which is seen where it can be, and accepts after its time."""
        declared = {each.text for each in process.spec.listen}
        known = process.incarnation not in self.gone
        if known and (self._observed(process) or process.looked_at):
            name = address if address in declared else ""
            self.emit(e.ListenSeen(process.incarnation, address, name))
        if process.script.accepts_after is not None:
            self.at(process.script.accepts_after, lambda: self.accept(process, address))

    def accept(self, process: Process, address: str) -> None:
        """It accepts there from now on."""
        if process.alive and process.incarnation not in self.gone:
            process.accepts.add(address)
            if address in process.probes:
                self._accepted(process, process.probes.pop(address))

    def _accepted(self, process: Process, probe: f.ProbeAccept) -> None:
        if process.alive and process.incarnation not in self.gone:
            self.emit(e.AcceptSeen(process.incarnation, probe.address, probe.declared))

    def close_listener(self, process: Process, address: str) -> None:
        """It closes its socket and lives on."""
        declared = {each.text for each in process.spec.listen}
        process.accepts.discard(address)
        name = address if address in declared else ""
        self.emit(e.ListenEnded(process.incarnation, address, name))

    def crash(self, process: Process, code: int | None = 1, signum: int | None = None) -> None:
        if process.alive:
            self._ends(process, None if signum else code, signum)

    def _ends(
        self,
        process: Process,
        code: int | None = None,
        signum: int | None = None,
        failure: str = "",
    ) -> None:
        process.alive = False
        takes = process.spec.treekill
        left, strays = bool(process.group) and takes != "none", False
        if takes in ("tree", "all"):
            begun = process.scope in ("tree", "all")
            left = left or (begun and bool(process.strays))
            strays = bool(process.strays) and not begun
        self.emit(e.WorkerExited(process.incarnation, code, signum, failure, left, strays))

    def _do_sendsignal(self, effect: f.SendSignal) -> None:
        assert effect.incarnation not in self.gone, f"signal to one that is gone: {effect}"
        process = self.processes.get(effect.incarnation)
        if process is None:  # its fork failed, and the core is about to hear of it
            return
        process.received.append(effect.signum)
        if effect.stop:
            process.stops.append(effect.signum)
        script = process.script
        wide = effect.scope != "process"
        assert process.alive or wide or self._queue, f"{effect} to a reaped process"
        if effect.stop:
            process.scope = max(process.scope, effect.scope, key=SCOPES.index)
        if wide and _dies(process.group, effect.signum):
            self.at(0.002, lambda: self._empty(process, "group"))
        if effect.scope in ("tree", "all") and _dies(process.strays, effect.signum):
            self.at(0.003, lambda: self._empty(process, "strays"))
        if not process.alive or not effect.stop:
            return
        if effect.signum == SIGKILL:
            if not script.undying:
                self.at(0.001, lambda: self.crash(process, None, SIGKILL))
        elif not process.execed or script.stop_code is None:
            if not script.ignores:
                self.at(script.stop_takes, lambda: self.crash(process, None, effect.signum))
        elif not script.ignores:
            self.at(script.stop_takes, lambda: self.crash(process, script.stop_code))

    def _do_sendshutdownmessage(self, effect: f.SendShutdownMessage) -> None:
        process = self.processes[effect.incarnation]
        process.scope = max(process.scope, effect.scope, key=SCOPES.index)
        self._do_sendsignal(f.SendSignal(effect.incarnation, SIGINT, stop=True))

    def _do_announcedrain(self, effect: f.AnnounceDrain) -> None:
        assert effect.incarnation not in self.gone, effect
        assert self.processes[effect.incarnation].execed, effect

    def _empty(self, process: Process, what: str) -> None:
        if not getattr(process, what):
            return
        setattr(process, what, "")
        left = process.group or (process.strays and process.scope in ("tree", "all"))
        if not left and not process.alive and process.incarnation not in self.gone:
            self.emit(e.GroupEmptied(process.incarnation))

    def _do_starttimer(self, effect: f.StartTimer) -> None:
        timer = effect.timer
        assert effect.delay >= 0, effect
        self._count += 1
        due = self.now + effect.delay
        mark = self._count
        self.timers[timer] = due
        self._marks[timer] = mark

        def fire() -> None:
            if timer in self.timers and self._marks[timer] == mark:
                del self.timers[timer]
                self.emit(e.TimerFired(timer))

        heapq.heappush(self._agenda, (due, mark, fire))

    def _do_stoptimer(self, effect: f.StopTimer) -> None:
        self.timers.pop(effect.timer, None)

    def _do_growport(self, effect: f.GrowPort) -> None:
        self.slots[effect.app] = max(effect.slots, self.slots.get(effect.app, 0))

    def _do_routeto(self, effect: f.RouteTo) -> None:
        assert effect.slots, effect
        if self.lacks(effect.app, f.GrowPort) and max(effect.slots) >= self.slots.get(
            effect.app, 0
        ):
            self.failing[f.RouteTo] = 1
            self._fail(effect)
            return
        assert max(effect.slots) < self.slots.get(effect.app, 0), effect
        self.routed[effect.app] = effect.slots

    def _do_watchqueue(self, effect: f.WatchQueue) -> None:
        process = self.processes.get(effect.incarnation)
        takes = process.script.queue_takes if process else 0.0

        def emptied() -> None:
            if effect.incarnation not in self.gone:
                self.emit(e.QueueEmptied(effect.incarnation))

        answers: float | None = 0.0
        if process and effect.closed:
            answers = process.script.closes_after
        elif process and effect.quiet_time:
            answers = process.script.answers_after
        if takes is None and effect.hurried and answers is not None:
            self.at(max(answers, effect.quiet_time), emptied)
        elif takes == 0 and not effect.answer_time and answers == 0:
            emptied()
        elif takes is not None and answers is not None:
            self.at(takes + max(answers, effect.answer_time), emptied)

    def _do_startcheck(self, effect: f.StartCheck) -> None:
        assert effect.incarnation not in self.gone, effect
        process = self.processes[effect.incarnation]
        assert process.spec.health is not None, effect
        assert not process.check, f"two checks at once: {effect}"
        process.check = effect.check
        script = process.script
        age = self.now - process.execed_at
        well = (
            process.alive
            and script.well_from is not None
            and age >= script.well_from
            and (script.well_until is None or age < script.well_until)
        )

        def answer() -> None:
            if process.check == effect.check:
                process.check = 0
                reason = "" if well else "503 Service Unavailable"
                self.emit(e.HealthChecked(effect.incarnation, effect.check, reason))

        if script.check_takes is not None:
            self.at(script.check_takes, answer)

    def _do_stopcheck(self, effect: f.StopCheck) -> None:
        self.processes[effect.incarnation].check = 0

    def _do_probeaccept(self, effect: f.ProbeAccept) -> None:
        assert effect.incarnation not in self.gone, effect
        process = self.processes[effect.incarnation]
        if effect.address in process.accepts and not process.stalled:
            self._accepted(process, effect)
        else:
            process.probes[effect.address] = effect

    def stall(self, process: Process, lasted: float = 5.0) -> None:
        """Connections have waited for it so long, and it has accepted none."""
        process.stalled = True
        app, slot = process.spec.name, process.queue
        where = process.spec.listen[0].text if process.spec.listen else "[::]:5000"
        declared = where if process.spec.listen else ""
        self.emit(e.AcceptStalled(app, slot, where, declared, self.now - lasted, 3))

    def accept_again(self, process: Process) -> None:
        """It takes the next connection, which is the probe's if there is one."""
        process.stalled = False
        for probe in list(process.probes.values()):
            if process.alive:
                process.accepts.add(probe.address)
                self._accepted(process, probe)

    def _do_lookat(self, effect: f.LookAt) -> None:
        assert effect.incarnation not in self.gone, effect
        process = self.processes[effect.incarnation]
        if not effect.once:
            process.looked_at = True
            if not process.script.busy:
                self.at(REST, lambda: self._rests(process))
        # What it listens on already.
        up = process.script.says == "listen" and process.script.says_after is not None
        if up and self.now - process.execed_at >= (process.script.says_after or 0.0):
            for address in self.addresses(process):
                self.emit(e.ListenSeen(process.incarnation, address, lasting=effect.once))

    def _rests(self, process: Process) -> None:
        if process.alive and process.looked_at and process.incarnation not in self.gone:
            self.emit(e.RestSeen(process.incarnation, rests=True))

    def _do_stoplook(self, effect: f.StopLook) -> None:
        if effect.incarnation in self.processes:
            self.processes[effect.incarnation].looked_at = False

    def _do_reportoutcome(self, effect: f.ReportOutcome) -> None:
        assert effect.result in ("started", "finished", "aborted", "skipped"), effect

    def _do_releaseslot(self, effect: f.ReleaseSlot) -> None:
        assert effect.slot < self.slots.get(effect.app, 0), effect
        here = [p for p in self.live(effect.app) if p.queue == effect.slot]
        assert all(p.incarnation in self.gone for p in here), (effect, here)
        self.vacant.setdefault(effect.app, set()).add(effect.slot)

    def _do_refuseconnections(self, effect: f.RefuseConnections) -> None:
        self.refusing.add(effect.app)

    def _do_relayqueue(self, effect: f.RelayQueue) -> None:
        assert effect.slot < self.slots.get(effect.app, 0), effect
        workers = self.core.state.workers.values()
        serving = [w for w in workers if (w.app, w.queue) == (effect.app, effect.slot) and w.ready]
        assert not serving, (effect, serving)

    def _do_pauseport(self, effect: f.PausePort) -> None:
        assert not [p for p in self.live(effect.app) if p.incarnation not in self.gone], effect
        self.refusing.add(effect.app)

    def _do_resumeport(self, effect: f.ResumePort) -> None:
        self.refusing.discard(effect.app)

    def _do_trimport(self, effect: f.TrimPort) -> None:
        assert effect.app in self.held, effect
        spec = self.core._state.apps[effect.app].spec
        declared = set(spec.listen)
        for process in self.live(effect.app):
            left = process.incarnation in self.gone or SIGKILL in process.received
            needs = spec.share != "none" and not declared.issuperset(process.spec.listen)
            assert left or not needs, (effect, process)
        self.held[effect.app] = declared
        if spec.share == "none":
            self.used.pop(effect.app, None)

    def _do_closeport(self, effect: f.ClosePort) -> None:
        self.held.pop(effect.app, None)
        self.vacant.pop(effect.app, None)
        self.used.pop(effect.app, None)
        self.slots.pop(effect.app, None)
        self.refusing.discard(effect.app)
        self.routed.pop(effect.app, None)
        self.undone.pop(effect.app, None)

    def _do_readplan(self, _effect: f.ReadPlan) -> None:
        answer, self.next_plan = self.next_plan, None
        if isinstance(answer, Plan):
            self.emit(e.PlanAccepted(self._as_bound(answer)))
        else:
            self.emit(e.PlanRejected(answer or "no file"))

    def _as_bound(self, answer: Plan) -> Plan:
        """Sockets are shared as they were bound (`Ports.as_bound`)."""
        apps = []
        for spec in answer.apps:
            app_state = self.core._state.apps.get(spec.name)
            if app_state is not None and "none" not in (app_state.spec.share, spec.share):
                apps.append(spec.replace(share=app_state.spec.share))
            else:
                apps.append(spec)
        return answer.replace(apps=tuple(apps))

    def _do_releaseworker(self, effect: f.ReleaseWorker) -> None:
        assert effect.incarnation not in self.gone, f"forgotten twice: {effect}"
        self.gone.add(effect.incarnation)

    def _do_count(self, effect: f.Count) -> None:
        """The metrics' affair."""

    def _do_report(self, effect: f.Report) -> None:
        assert effect.level in ("debug", "info", "warning", "error"), effect
        names = [name for name, _ in effect.fields]
        assert len(names) == len(set(names)), effect

    def _do_stopremaining(self, effect: f.StopRemaining) -> None:
        assert not any(app_state.live for app_state in self.core._state.apps.values()), effect
        self.remaining = self.remaining_at_end
        if not self.remaining:
            self.emit(e.RemainingEnded())
        elif self.remaining == "obeys":
            self.at(1.0, self._remaining_ended)

    def _remaining_ended(self) -> None:
        if self.exit_code is None:
            self.remaining = ""
            self.emit(e.RemainingEnded())

    def _do_finish(self, effect: f.Finish) -> None:
        assert self.exit_code is None, "finished twice"
        self.exit_code = effect.code
        self.finished_at = self.now

    # -- for tests to look at ---------------------------------------------------------

    def boot(self, *apps: AppSpec, **shutdown) -> World:
        self.emit(e.Booted(plan(*apps, **shutdown)))
        return self

    def live(self, name: str = "") -> list[Process]:
        """Processes that run, oldest first."""
        return [p for p in self.processes.values() if p.alive and name in ("", p.spec.name)]

    def one(self, instance: int = 0, name: str = "") -> Process:
        """The only process of an instance."""
        (process,) = [p for p in self.live(name) if p.instance == instance]
        return process

    def view(self, name: str = "web"):
        (view,) = [each for each in self.core.view().apps if each.name == name]
        return view

    def ready(self, name: str = "web") -> int:
        return self.view(name).ready_workers

    def is_up(self, name: str = "web") -> bool:
        view = self.view(name)
        return view.ready_workers == view.wanted and not view.reloading

    def up(self, *apps: AppSpec, **shutdown) -> World:
        """Boot, and wait until all are ready."""
        self.boot(*apps, **shutdown)
        self.run_until(lambda: all(self.is_up(each.name) for each in apps))
        return self

    def settle(self, within: float = 120.0) -> None:
        self.advance(within)

    def ordered(self, kind: type[f.Effect], since: float = 0.0) -> list[f.Effect]:
        return [effect for when, effect in self.effects if when >= since and type(effect) is kind]

    def said(self, event: str) -> list[dict[str, object]]:
        """Fields of the reports of that name."""
        return [dict(r.fields) for r in self.ordered(f.Report) if r.event == event]
