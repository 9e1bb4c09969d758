"""The shell around the core: turns the world into events, and effects into system calls.

::

    signals, children, deadlines, ready messages, bind/listen, http
        │ Event                                     ▲ syscalls
        ▼                                           │
      loop ──► core.Supervisor.handle(event, now) ──► effects, performed in order here

The data flow has one direction: a callback of the loop only makes an event; `_pump` hands it
to the core and performs the effects, one event after the other. After the first
spawn nothing ends this process except the core's `Finish`: any exception is logged
and counted, and the run continues.
"""

from __future__ import annotations

import os
from collections import deque

from entrypoint import __version__
from entrypoint.core import effects as f
from entrypoint.core import events as e
from entrypoint.core.supervisor import Supervisor
from entrypoint.kernel import kill, limits, reap, signals
from entrypoint.logs import boot_messages
from entrypoint.logs.pump import LogPump
from entrypoint.loop import Loop
from entrypoint.metrics.counters import Counters
from entrypoint.sockets.addresses import PortErrors
from entrypoint.sockets.effects import PortEffects

from .caught_signals import CaughtSignals
from .children import Children
from .config_reload import Rereading
from .dispatch import Dispatch
from .exits import Exits
from .failures import Failures
from .file_watch import Watching
from .journaling import Journaling
from .launch import Launching
from .reaper import Reaping
from .remaining import Remaining
from .reports import Reports
from .schedules import Schedules
from .signalling import Signalling
from .terminals import Terminals
from .turn_times import Turns
from .worker_looks import Looking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from entrypoint.api.recent_logs import Recent
    from entrypoint.checks.checker import Checker
    from entrypoint.core.spec import Plan
    from entrypoint.http.server import ProbeServer
    from entrypoint.kernel.signals import SignalPipe

    from .loader import Source

# The longest time for flushing the logs if no `shutdown.timeout` sets one (s).
FLUSH_AT_MOST = 5.0
# The longest wait for stderr to take the message that stdout took nothing (s).
LAST_WORD_AT_MOST = 0.1
# How long the starts of many workers may delay what is loaded after them (s).
SPAWNS_AT_MOST = 5.0
# How long to wait at the end until killed processes are reaped (s).
SWEEP_AT_MOST = 2.0


class Runtime:
    """One run, from the first plan to the exit code."""

    def __init__(self, loop: Loop, pipe: SignalPipe, source: Source, plan: Plan) -> None:
        self.loop = loop
        self.core = Supervisor()
        self.journal = Journaling(self)
        self.source = source
        self.plan = plan
        self.failures = Failures(
            loop, self.log, lambda app: self.journal.excerpt("internal error", app), self._recovered
        )
        self.exit_code: int | None = None
        self._ends_by = 0.0  # when the time to stop ends; 0: no limit
        self.pump = LogPump(loop, 1, plan.log)
        self.pump.configure(plan.log, plan.apps)
        self.exits = Exits(self.pump)
        self._launching = Launching(self)
        self.children = Children(
            loop, self.emit, self._launching.filter_installed, self._launching.filter_refused
        )
        self.children.on_end = self._launching.after_stop
        self.children.on_cleaned = self._launching.cleaned
        self.ports = PortEffects(loop, self.children, self.emit, self.log, self._observed)
        self._reaping = Reaping(loop, self.children)
        self._remaining = Remaining(self)
        self.looking = Looking(loop, self.children, self.emit, self.ports.chosen)
        self.is_init = kill.is_init()
        # The rest of `_after_first_spawns`, and when it stops waiting for the workers.
        self._late: deque[Callable[[], None]] = deque()
        self._late_by = 0.0
        self.rereading = Rereading(self)
        self.counters = Counters()
        self.turns = Turns(loop, self.counters.turn_seconds, os.environ)
        self.watching = Watching(loop, self.emit, self.log, self.rereading.begin)
        self.schedules = Schedules(self)
        self.terminals = Terminals(self)
        self._signals = CaughtSignals(
            loop,
            pipe,
            self.emit,
            is_init=self.is_init,
            child_ended=self._child_ended,
            resized=self.terminals.resize,
            failed=self.internal_error,
        )
        self._checker: Checker | None = None  # made with the first check
        self.probes: ProbeServer | None = None
        self.recent: Recent | None = None
        signalling = Signalling(self)
        reports = Reports(self)
        perform: dict[type[f.Effect], Callable[..., None]] = {
            f.Spawn: self._launching.spawn,
            f.SendSignal: signalling.send,
            f.SendShutdownMessage: signalling.send_message,
            f.AnnounceDrain: signalling.announce,
            f.StartTimer: self._start_timer,
            f.StopTimer: self._stop_timer,
            f.GrowPort: self.ports.grow,
            f.RouteTo: self.ports.steer,
            f.TrimPort: self.ports.trim,
            f.WatchQueue: self.ports.watch_queue,
            f.ReleaseSlot: self.ports.free_slot,
            f.ProbeAccept: self.ports.probe_accept,
            f.LookAt: self.looking.begin,
            f.StopLook: self.looking.end,
            f.ReportOutcome: lambda _effect: None,  # for clients that wait for it (api/)
            f.StartCheck: self._start_check,
            f.StopCheck: self._stop_check,
            f.RefuseConnections: self.ports.refuse_connections,
            f.RelayQueue: self.ports.relay_queue,
            f.PausePort: self.ports.pause,
            f.ResumePort: self.ports.resume,
            f.ClosePort: self._close_port,
            f.ReadPlan: lambda _effect: self.rereading.begin(),
            f.ReleaseWorker: self._forget,
            f.Report: reports.report,
            f.Count: self.counters.count,
            f.StopRemaining: self._remaining.stop,
            f.Finish: self._finish,
        }
        self.dispatch = Dispatch(loop, self.core, perform, self.failures, self.journal)

    # -- boot: errors end the process -------------------------------------------------

    def open(self) -> None:
        """Bind everything the plan declares. Raises PortErrors with nothing open."""
        problems = self.ports.open(self.plan.apps)
        if self.plan.probes.listen or self.plan.control.path:
            problems += self._open_probes()
        if problems:
            self.ports.close()
            raise PortErrors(problems)

    def _open_probes(self) -> tuple[str, ...]:
        """Answer probes, at least on the private socket; returns what could not be listened on."""
        from entrypoint.http.server import ProbeErrors, ProbeServer

        from .answers import Answers

        answers = Answers(self)
        server = ProbeServer(
            self.loop,
            self.plan.probes.listen,
            self.core.view,
            self.plan.probes.ready_when,
            __version__,
            self.extra_status,
            metrics=answers.metrics,
            page=answers.page,
            private_at=self.plan.control.path if self.plan.control.enabled else "",
            control=answers.control if self.plan.control.enabled else None,
        )
        try:
            server.open()
        except ProbeErrors as error:
            return error.sentences
        self.probes = server
        return ()

    def extra_status(self) -> dict[str, object]:
        """Values of this process that `/status` shows beside the core's view."""
        return {
            "pid": os.getpid(),
            "init": self.is_init,
            "orphans_reaped": self.children.orphans,
            "internal_errors": self.failures.errors,
            "memory_shortages": self.failures.shortages,
            "memory_short": self.failures.short,
            "loop_turns": self.loop.wakeups,
            "turns": self.turns.status(),
            "timers": self.loop.deadlines,
        }

    # -- the run --------------------------------------------------------------------

    def run(
        self,
        warnings: tuple[str, ...] = (),
        boot_signals: Sequence[int] = (),
        remarks: tuple[str, ...] = (),
    ) -> int:
        """Start the apps, run the loop until the end, return the exit code.

        `boot_signals`: signals received during boot, none of them a stop. `remarks`: what does not
        work in this environment.
        """
        self._signals.watch()
        for warning in warnings:
            self.log("warning", "config warning", {"reason": warning})
        for remark in remarks:
            self.log("warning", "environment warning", {"reason": remark})
        # The process that read the file: it counts in a `pids` limit until it is reaped.
        self._reaping.reap()
        self.emit(e.Booted(self.plan))
        for signum in boot_signals:
            if signum != signals.SIGCHLD:
                self._signals.handle(signum)
        self._reaping.reap()
        self._late_by = self.loop.now() + SPAWNS_AT_MOST
        self._late += (
            self.journal.open,
            self._keep_recent,
            self.pump.load_structlog,
            self._open_private,
            lambda: self.watching.follow(self.plan),
            lambda: self.schedules.follow(self.plan),
            limits.release_code,
        )
        self.loop.call_at("structlog", self.loop.now(), self._after_first_spawns)
        while self.exit_code is None:
            try:
                self._turn()
            except Exception:  # noqa: BLE001, S112  no memory for a call: its guard did not run
                continue
        return self._leave(self.exit_code)

    def _turn(self) -> None:
        """Run one turn of the loop; an exception can neither end nor spin PID 1."""
        try:
            self.loop.turn()
            self.failures.rested()
        except Exception as error:  # noqa: BLE001  PID 1 outlives every bug of its own
            self.failures.report("loop", error)
            self.failures.rest()
        if self.failures.short:
            self.failures.recover()

    def _recovered(self) -> None:
        """Check for what may have been missed while memory was short."""
        self._reaping.reap()
        self._signals.handle_waiting()

    def _after_first_spawns(self) -> None:
        """Load what no worker has to wait for: one step a turn, once all workers are started.

        A step that fails (EMFILE) does not prevent the others.
        """
        if not self.dispatch.idle and self.loop.now() < self._late_by:
            self.loop.call_at("structlog", self.loop.now(), self._after_first_spawns)
            return
        step = self._late.popleft()
        if self._late:
            self.loop.call_at("structlog", self.loop.now(), self._after_first_spawns)
        try:
            step()
        except Exception as error:  # noqa: BLE001  see the top of the file
            self.internal_error("after the first spawns", error)

    def _keep_recent(self) -> None:
        if self.plan.control.enabled:
            from entrypoint.api.recent_logs import Recent

            self.recent = self.pump.tap = Recent()

    def _open_private(self) -> None:
        if self.probes is None:
            self._open_probes()
        if self.probes is not None and self.probes.private_error:
            self.log("warning", "no private socket", {"reason": self.probes.private_error})

    def emit(self, event: e.Event) -> None:
        """Hand an event to the core (`Dispatch.emit`)."""
        self.dispatch.emit(event)

    def log(self, level: str, event: str, fields: dict[str, object]) -> None:
        """Log one event of pyinit's own."""
        self.pump.event(level, event, fields)

    def internal_error(self, where: str, error: BaseException, app: str = "") -> None:
        """Log and count a bug of pyinit, or a shortage. Never raises."""
        self.failures.report(where, error, app)

    # -- the world → events ------------------------------------------------------------

    def _child_ended(self) -> None:
        self._reaping.reap()
        self._remaining.look()

    def _observed(self, incarnation: int, what: str, fields: dict[str, object]) -> None:
        """Handle a report of what a worker did with its port or sent over Node's channel."""
        if what == "ready":
            self.emit(e.WorkerReady(incarnation, "node"))
            return
        if what == "unfit":
            self.emit(e.WorkerUnfit(incarnation, str(fields["reason"])))
            return
        started = self.children.get(incarnation)
        ports = self.ports.get(started.spec.name) if started is not None else None
        address = str(fields.get("address", ""))
        declared = ports.declared_as(address) if ports is not None else ""
        if what == "bound":
            where = {"app": started.spec.name, "instance": started.instance} if started else {}
            self.log("debug", "address bound", {**where, **fields})
            # A sibling listens, so the socket does: the worker may see that and not call listen(2).
            if ports and ports.group_at(address, incarnation, declared=False):
                self.emit(e.ListenSeen(incarnation, address, declared))
        elif what == "listening":
            chosen = bool(fields.get("chosen"))
            self.emit(e.ListenSeen(incarnation, address, declared, chosen, chosen=chosen))
        elif what == "accepting":
            self.emit(e.AcceptSeen(incarnation, address, declared))
        elif what == "closed":
            self.emit(e.ListenEnded(incarnation, address, declared))

    # -- effects → syscalls -------------------------------------------------------------

    def _start_timer(self, effect: f.StartTimer) -> None:
        timer = effect.timer
        self.loop.call_at(
            timer, self.loop.now() + effect.delay, lambda: self.emit(e.TimerFired(timer))
        )

    def _stop_timer(self, effect: f.StopTimer) -> None:
        self.loop.cancel(effect.timer)

    def _start_check(self, effect: f.StartCheck) -> None:
        if self._checker is None:
            from entrypoint.checks.checker import Checker

            self._checker = Checker(self.loop, self.children, self.ports.get, self.emit)
        self._checker.start(effect.incarnation, effect.check)

    def _stop_check(self, effect: f.StopCheck) -> None:
        if self._checker is not None:
            self._checker.stop(effect.incarnation)

    def _close_port(self, effect: f.ClosePort) -> None:
        self.ports.close_port(effect)
        self.counters.forget(effect.app)
        self.pump.forget(effect.app)

    def _forget(self, effect: f.ReleaseWorker) -> None:
        started = self.children.get(effect.incarnation)
        ports = self.ports.get(started.spec.name) if started is not None else None
        self.looking.forget(effect.incarnation)
        self.ports.forget(effect.incarnation)
        if ports is not None:
            ports.forget(effect.incarnation)
        self.children.forget(effect.incarnation)
        self._launching.forget(effect.incarnation)

    def memory_share(self) -> int:
        """Memory that one worker may use of the container's now, bytes; 0: not known."""
        from . import memory_budget  # most files do not use it

        return memory_budget.share(self.plan, self.children)

    # -- the end ------------------------------------------------------------------------

    def _finish(self, effect: f.Finish) -> None:
        self.exit_code = effect.code
        self._ends_by = effect.by
        self.exits.failed = effect.failed
        if effect.code:
            self.exits.tell_orchestrator()

    def _leave(self, code: int) -> int:
        """Kill the remaining processes, flush the logs, and exit."""
        deadline = self.loop.now() + SWEEP_AT_MOST
        if self._ends_by:
            deadline = min(deadline, self._ends_by)
        left = self._remaining.names()
        if left["count"]:
            self.log("warning", "processes killed", left)
        self._sweep()
        while self._children_left() and self.loop.now() < deadline:
            self.loop.turn(0.05)
            if not self.is_init:
                self._sweep()  # one by one: processes forked meanwhile are not among them
        ends = [self.watching.close, self._launching.close, self.terminals.close]
        ends += [lambda: self._flush(code)]
        for end in [self.probes.close, *ends] if self.probes is not None else ends:
            try:
                end()
            except Exception as error:  # noqa: BLE001  the others follow, the exit code stays
                self.failures.report("end", error)
        return code

    def _flush(self, code: int) -> None:
        """Flush the log; report on stderr how many lines were lost."""
        deadline = self.loop.now() + FLUSH_AT_MOST
        if self._ends_by:
            deadline = min(deadline, self._ends_by)
        lost = self.pump.flush(deadline)
        if lost:
            # Not on stdout, which takes nothing. stderr may be the same pipe: do not wait.
            line = self.pump.last_word("error", "log lines were not delivered", {"lines": lost})
            boot_messages.put(line, 2, LAST_WORD_AT_MOST)
            sentence = f"{lost} log lines were not delivered: nobody read stdout"
            self.exits.tell_orchestrator(sentence, failed=code != 0)

    def _sweep(self) -> None:
        if self.is_init:
            kill.sweep(signals.SIGKILL)
        else:
            kill.sweep_below(signals.SIGKILL)

    def _children_left(self) -> bool:
        self._reaping.reap()
        return reap.any_left()
