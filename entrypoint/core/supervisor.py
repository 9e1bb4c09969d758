"""The core: `Supervisor.handle(event, now) -> effects` decides everything about workers.

It makes no syscall and reads no clock. Each kind of event is answered by one method
here; `lifecycle` holds the life of one worker, `rolling` what changes a running app,
`shutdown` the end. An event that names an incarnation which is gone is dropped in
`handle`, in one place.
"""

from __future__ import annotations

from . import (
    endings,
    failures,
    health,
    jobs,
    lifecycle,
    memory,
    notices,
    orphans,
    readiness,
    repairs,
    rolling,
    shutdown,
    starting,
    trimming,
)
from . import events as e
from . import worker as w
from .depends import ends_run, exit_code
from .diff import says_the_same
from .effects import (
    ClosePort,
    Effect,
    FreeSlot,
    ReadPlan,
    ResumePort,
    SendSignal,
    StopTimer,
    TrimPort,
)
from .lifecycle import has_slots, shares_port
from .pools import (
    add_app,
    blocked_code,
    change_app,
    remove_app,
    start_waiting,
    tell_blocked,
)
from .turn import State, Turn
from .views import view_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .view import View
    from .worker import Worker


class Supervisor:
    """The state of all apps and what happens to it."""

    def __init__(self, state: State | None = None) -> None:
        self._state = State() if state is None else state
        # The event and turn whose commit has begun and did not end.
        self._interrupted: tuple[e.Event, Turn] | None = None
        self._answers: dict[type[e.Event], Callable[[Turn, Any], None]] = {
            e.Booted: self._booted,
            e.PlanAccepted: self._plan_accepted,
            e.PlanRejected: self._plan_rejected,
            e.SignalArrived: self._signal_arrived,
            e.TimerFired: self._timer_fired,
            e.RenewAsked: self._renew_asked,
            e.ScheduleDue: self._schedule_due,
            e.RunAsked: self._run_asked,
            e.ReloadAsked: self._reload_asked,
            e.RestartAsked: self._restart_asked,
            e.StopAsked: self._stop_asked,
            e.StartAsked: self._start_asked,
            e.ScaleAsked: self._scale_asked,
            e.SignalAsked: self._signal_asked,
            e.PortFailed: failures.port_failed,
            e.RemainingEnded: lambda turn, _event: shutdown.remaining_ended(turn),
        }
        self._worker_answers: dict[type[e.Event], Callable[[Turn, Worker, Any], None]] = {
            e.WorkerSpawned: self._worker_spawned,
            e.SpawnFailed: self._spawn_failed,
            e.WorkerExeced: self._worker_execed,
            e.WorkerReady: self._worker_ready,
            e.ListenSeen: readiness.listens,
            e.AcceptSeen: self._accept_seen,
            e.ListenEnded: self._listen_ended,
            e.ProbeFailed: readiness.probe_failed,
            e.RestSeen: self._rest_seen,
            e.WorkerExited: self._worker_exited,
            e.GroupEmptied: self._group_emptied,
            e.SignalRefused: endings.signal_refused,
            e.QueueEmptied: self._queue_emptied,
            e.MemoryExceeded: self._memory_exceeded,
            e.HealthChecked: self._health_checked,
            e.WorkerTold: notices.told,
            e.WorkerUnfit: lambda turn, worker, event: repairs.unfit(turn, worker, event.reason),
            e.QueueUnwatched: failures.queue_unwatched,
            e.MessageNotSent: failures.message_not_sent,
        }

    def handle(self, event: e.Event, now: float) -> list[Effect]:
        """What is to be done about `event` at `now` (monotonic seconds).

        Raises what a bug raises; then nothing has changed and nothing is to be done. After
        MemoryError call it with the same event again.
        """
        left: list[Effect] = []
        if self._interrupted is not None:
            # The memory ran out while the changes were merged: first complete that.
            earlier, turn = self._interrupted
            turn.commit()
            self._interrupted = None
            left = turn.effects
            if earlier is event:
                return left
        if self.finished:
            return left
        turn = Turn(self._state, now)
        on_worker = self._worker_answers.get(type(event))
        if on_worker is not None:
            # The one place where what is stale is dropped.
            worker = turn.worker(event.incarnation)  # type: ignore[attr-defined]
            if worker is None:
                return left
            on_worker(turn, worker, event)
        else:
            self._answers[type(event)](turn, event)
        # What follows is a matter of the state alone: where the last turn has left nothing
        # to follow and this one changes nothing (a signal passed on), nothing does.
        if turn.changed or not self._state.settled:
            self._settle(turn)
            self._state.settled = not turn.changed
        self._interrupted = (event, turn)
        try:
            turn.commit()
        except MemoryError:
            raise
        except BaseException:
            self._interrupted = None
            raise
        self._interrupted = None
        return left + turn.effects if left else turn.effects

    @property
    def state(self) -> State:
        """All that the core knows between turns, for the journal. Read only."""
        return self._state

    def view(self) -> View:
        """What probes and people may see."""
        return view_of(self._state)

    @property
    def finished(self) -> bool:
        """`Finish` was ordered."""
        return self._state.run.phase == "finished"

    # -- the plan ---------------------------------------------------------------

    def _booted(self, turn: Turn, event: e.Booted) -> None:
        turn.run = turn.run.replace(phase="running", plan=event.plan, shutdown=event.plan.shutdown)
        for spec in event.plan.apps:
            add_app(turn, spec)
        start_waiting(turn)

    def _plan_accepted(self, turn: Turn, event: e.PlanAccepted) -> None:
        if turn.run.phase != "running":
            return
        old, new = turn.run.plan, event.plan
        turn.run = turn.run.replace(plan=new, shutdown=new.shutdown, config_error="")
        turn.count("config", label="accepted")
        turn.report("info", "config accepted", revision=new.revision, source=new.source)
        touched = not says_the_same(old, new)
        for pool in turn.pools():
            if new.app(pool.name) is None and pool.mode != "removing":
                remove_app(turn, pool)
        for spec in new.apps:
            existing = turn.pool(spec.name)
            if existing is None or existing.mode == "removing":
                add_app(turn, spec)
            elif old.app(spec.name) != spec:
                change_app(turn, existing, spec)
        if not touched:
            # Nothing in the file changed: then it is the programs that did.
            for pool in turn.pools():
                if not jobs.keeps_run(turn, pool):
                    rolling.begin(turn, pool, "SIGHUP")
        start_waiting(turn)

    def _plan_rejected(self, turn: Turn, event: e.PlanRejected) -> None:
        turn.run = turn.run.replace(config_error=event.reason)
        turn.count("config", label="rejected")
        turn.report("error", "config rejected", reason=event.reason, kept="the running apps")

    # -- signals ----------------------------------------------------------------

    def _signal_arrived(self, turn: Turn, event: e.SignalArrived) -> None:
        signum = event.signum
        if shutdown.is_stop(turn, event):
            name = shutdown.STOP_SIGNALS.get(signum, event.name or f"signal {signum}")
            turn.report("info", "signal received", signal=signum)
            shutdown.stop_requested(turn, signum, name)
        elif signum == shutdown.SIGHUP and event.terminal_gone:
            # Closing a window is no request for a reload.
            turn.report("info", "signal received", signal=signum)
            shutdown.stop_requested(turn, shutdown.SIGTERM, "SIGHUP of a closed terminal")
        elif signum == shutdown.SIGHUP:
            turn.report("info", "signal received", signal=signum)
            if turn.run.phase == "running":
                turn.emit(ReadPlan())
        else:
            self._send_all(turn, "", signum)

    def _send_all(self, turn: Turn, app: str, signum: int, only: tuple[int, ...] = ()) -> None:
        for worker in turn.workers(app):
            chosen = not only or worker.instance in only
            if chosen and worker.pid and worker.state != w.LINGERING:
                leaves = shutdown.ends_programs(turn, worker, signum)
                turn.emit(SendSignal(worker.incarnation, signum, leaves=leaves))

    # -- workers ----------------------------------------------------------------

    def _worker_spawned(self, turn: Turn, worker: Worker, event: e.WorkerSpawned) -> None:
        readiness.spawned(turn, worker, event.pid, observed=event.observed)

    def _worker_execed(self, turn: Turn, worker: Worker, event: e.WorkerExeced) -> None:
        readiness.execed(turn, worker, observed=event.observed)
        rolling.execed(turn, worker)
        self._promote(turn, worker.incarnation)

    def _worker_ready(self, turn: Turn, worker: Worker, event: e.WorkerReady) -> None:
        readiness.ready(turn, worker, event.source)
        self._promote(turn, worker.incarnation)

    def _accept_seen(self, turn: Turn, worker: Worker, event: e.AcceptSeen) -> None:
        readiness.accepted(turn, worker, event)
        self._promote(turn, worker.incarnation)

    def _rest_seen(self, turn: Turn, worker: Worker, event: e.RestSeen) -> None:
        readiness.rested(turn, worker, event)
        self._promote(turn, worker.incarnation)

    def _listen_ended(self, turn: Turn, worker: Worker, event: e.ListenEnded) -> None:
        readiness.closed(turn, worker, event)
        rolling.stopped_listening(turn, worker.incarnation, event.declared or event.address)

    def _promote(self, turn: Turn, incarnation: int) -> None:
        """A worker that came up may be what a rolling reload waits for."""
        worker = turn.worker(incarnation)
        if worker is None or worker.state != w.ONLINE:
            return
        place = turn.place(worker.app, worker.instance)
        if place is None:
            return
        if place.successor == incarnation:
            rolling.successor_ready(turn, place, worker)
        elif place.successor:
            return  # it came up late: the reload waits for its successor
        elif place.current == incarnation and not self._has_leaving(turn, worker):
            rolling.in_place_ready(turn, place, worker)

    @staticmethod
    def _has_leaving(turn: Turn, worker: Worker) -> bool:
        pool = turn.the_pool(worker.app)
        if pool.reload is None or worker.instance not in pool.reload.active:
            return False
        return any(
            other.instance == worker.instance and other.purpose == "reload"
            for other in turn.workers(worker.app)
        )

    def _spawn_failed(self, turn: Turn, worker: Worker, event: e.SpawnFailed) -> None:
        endings.never_forked(turn, worker, event.reason)

    def _worker_exited(self, turn: Turn, worker: Worker, event: e.WorkerExited) -> None:
        endings.exited(turn, worker, event)

    def _group_emptied(self, turn: Turn, worker: Worker, _event: e.GroupEmptied) -> None:
        endings.group_emptied(turn, worker)

    def _queue_emptied(self, turn: Turn, worker: Worker, _event: e.QueueEmptied) -> None:
        lifecycle.queue_emptied(turn, worker)

    def _memory_exceeded(self, turn: Turn, worker: Worker, event: e.MemoryExceeded) -> None:
        memory.exceeded(turn, worker, event.rss)

    def _health_checked(self, turn: Turn, worker: Worker, event: e.HealthChecked) -> None:
        if worker.checking and worker.check == event.check:
            self._judge(turn, health.answered(turn, worker, event.reason, event.said))

    def _judge(self, turn: Turn, worker: Worker) -> None:
        """What comes of a check."""
        if health.is_failing(worker):
            repairs.failing(turn, worker)
        elif worker.check_reason:
            return
        elif worker.state == w.SICK:
            repairs.recovered(turn, worker)
        elif worker.state == w.LAUNCHING:
            readiness.ready(turn, worker, "health")
            self._promote(turn, worker.incarnation)

    # -- deadlines --------------------------------------------------------------

    def _timer_fired(self, turn: Turn, event: e.TimerFired) -> None:
        timer = event.timer
        if timer == shutdown.DRAIN:
            if turn.run.phase == "draining":
                shutdown.stop_all(turn)
        elif timer == shutdown.DEADLINE:
            shutdown.deadline(turn)
        elif timer == shutdown.REMAINING:
            shutdown.remaining_overdue(turn)
        elif timer.kind == "restart":
            self._restart_due(turn, timer)
        elif timer.kind == "widen":
            starting.widen(turn, timer.app)
        elif timer.kind == "orphans":
            orphans.due(turn, timer)
        elif timer.kind == "port":
            failures.port_due(turn, timer.app)
        else:
            worker = turn.worker(timer.incarnation)
            if worker is not None:
                self._worker_timer(turn, timer.kind, worker)

    def _restart_due(self, turn: Turn, timer: e.Timer) -> None:
        for place in list(turn.places(timer.app)):
            if place.waits_for == timer.incarnation and place.state == w.WAITING_RESTART:
                lifecycle.launch(turn, place, place.spec, place.slot)

    def _worker_timer(self, turn: Turn, kind: str, worker: Worker) -> None:
        if kind == "kill":
            lifecycle.terminate_overdue(turn, worker)
        elif kind == "retire":
            lifecycle.retire_overdue(turn, worker)
        elif kind == "abandon":
            endings.never_died(turn, worker)
        elif kind == "watchdog":
            notices.missed(turn, worker)
        elif kind == "health":
            failed = health.due(turn, worker)
            if failed is not None:
                self._judge(turn, failed)
        elif kind == "launch":
            readiness.overdue(turn, worker)
            rolling.late(turn, worker.incarnation)
            self._promote(turn, worker.incarnation)
        elif kind == "probe":
            readiness.probe_again(turn, worker)
        elif kind == "prove":
            rolling.prove_over(turn, worker)

    # -- what people ask --------------------------------------------------------

    def _chosen(self, turn: Turn, app: str) -> list[w.Pool]:
        if turn.run.phase != "running":
            return []
        return [p for p in turn.pools() if app in ("", p.name) and p.mode != "removing"]

    def _reload_asked(self, turn: Turn, event: e.ReloadAsked) -> None:
        for pool in self._chosen(turn, event.app):
            rolling.begin(turn, pool, event.reason, event.instances or None)

    def _renew_asked(self, turn: Turn, event: e.RenewAsked) -> None:
        pool = turn.pool(event.app)
        if pool is None or turn.run.phase != "running":
            return
        pool = turn.put_pool(pool.replace(edited=True))
        # A person edits: what had given up, or has done its work, gets another chance.
        if shares_port(pool.spec) and not pool.errored and not pool.finished:
            rolling.begin(turn, pool, event.reason)
        elif pool.mode == "running":
            turn.report("info", "restart started", app=pool.name, reason=event.reason)
            self._restart_asked(turn, e.RestartAsked(pool.name, event.reason))

    def _schedule_due(self, turn: Turn, event: e.ScheduleDue) -> None:
        pool = turn.pool(event.app)
        if pool is not None and turn.run.phase == "running":
            jobs.due(turn, pool, jobs.SCHEDULE)

    def _run_asked(self, turn: Turn, event: e.RunAsked) -> None:
        for pool in self._chosen(turn, event.app):
            jobs.due(turn, pool, "pyinit run")

    def _restart_asked(self, turn: Turn, event: e.RestartAsked) -> None:
        for pool in self._chosen(turn, event.app):
            if pool.mode == "waiting" or (event.instances and pool.mode != "running"):
                continue
            places = list(turn.places(pool.name))
            if event.instances:
                places = [place for place in places if place.instance in event.instances]
                rolling.leave_out(turn, pool, event.instances)
            else:
                turn.put_pool(pool.replace(reload=None, mode="running"))
            leaving: list[Worker] = []
            for place in places:
                successor, current = turn.worker(place.successor), turn.worker(place.current)
                leaving += [each for each in (successor, current) if each is not None]
                alone = turn.put_place(place.replace(successor=0))
                if current is None:
                    jobs.start_anew(turn, alone)
            lifecycle.stop_workers(turn, pool.name, leaving, "restart", because=event.reason)
            rolling.advance(turn, pool.name)

    def _stop_asked(self, turn: Turn, event: e.StopAsked) -> None:
        for pool in self._chosen(turn, event.app):
            turn.put_pool(pool.replace(mode="stopped", reload=None, pending=False))
            for place in list(turn.places(pool.name)):
                turn.emit(StopTimer(e.Timer("restart", pool.name, place.waits_for)))
                turn.put_place(place.replace(state=w.STOPPED, successor=0, waits_for=0))
            trimming.refuse(turn, turn.the_pool(pool.name))
            lifecycle.stop_workers(turn, pool.name, turn.workers(pool.name), "stop")

    def _start_asked(self, turn: Turn, event: e.StartAsked) -> None:
        for pool in self._chosen(turn, event.app):
            if pool.mode == "waiting" and not event.app:
                continue
            jobs.start(turn, turn.put_pool(pool.replace(mode="running")))

    def _scale_asked(self, turn: Turn, event: e.ScaleAsked) -> None:
        for pool in self._chosen(turn, event.app):
            rolling.scale(turn, pool, event.instances)

    def _signal_asked(self, turn: Turn, event: e.SignalAsked) -> None:
        self._send_all(turn, event.app, event.signum, event.instances)

    # -- after each event -------------------------------------------------------

    def _settle(self, turn: Turn) -> None:
        """What follows from where the event has led, whichever it was."""
        phase = turn.run.phase
        if phase == "finished":
            return
        if phase == "stopping":
            shutdown.stop_next(turn)
            return
        for pool in turn.pools():
            if pool.mode == "removing" and not pool.live:
                turn.drop_pool(pool.name)
                turn.report("info", "app removed", app=pool.name)
                successor = turn.run.plan.app(pool.name)
                if successor is None:
                    turn.emit(ClosePort(pool.name))
                else:
                    # It is in the file again: its sockets stay, with what waits on them. But
                    # a file in between may have declared others.
                    turn.emit(TrimPort(pool.name))
                    if has_slots(pool.spec) or has_slots(successor):
                        # It may have fewer instances now: what waits elsewhere is for them.
                        turn.emit(*(FreeSlot(pool.name, slot) for slot in range(pool.granted)))
                    if pool.port:
                        # A person stopped the app that was removed, not this one.
                        turn.emit(ResumePort(pool.name))
                    add_app(turn, successor)
        start_waiting(turn)
        for pool in turn.touched():
            starting.go_on(turn, pool)
        # Also before the first is ready: a connection that comes in between must not be
        # given to a spare slot, where nobody would ever take it.
        for pool in turn.touched():
            lifecycle.steer(turn, pool.name)
        for pool in turn.touched():
            trimming.once_unneeded(turn, pool)
            trimming.pause(turn, turn.the_pool(pool.name))
        if phase != "running":
            if not any(pool.live for pool in turn.pools()):
                shutdown.stop_all(turn)
            return
        ends = [pool for pool in turn.pools() if ends_run(pool)]
        if ends:
            shutdown.begin(turn, 0, f"app {ends[0].name} is errored", shutdown.ERRORED)
            return
        main = shutdown.finished_main(turn)
        if main is not None:
            code = exit_code(turn, main)
            shutdown.begin(turn, 0, f"the main app {main.name} has finished", code)
            return
        never = tell_blocked(turn)
        if never is not None:
            code = blocked_code(turn, never) or shutdown.ERRORED
            shutdown.begin(turn, 0, f"app {never.name} never starts", code)
        elif shutdown.all_finished(turn):
            code = shutdown.last_code(turn)
            shutdown.begin(turn, 0, "the last app has finished", code)
