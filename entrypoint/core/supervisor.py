"""The core: `Supervisor.handle(event, now) -> effects` decides everything about workers.

It makes no syscall and reads no clock. One method here answers each kind of event;
`lifecycle` has the life of one worker, `rolling` the changes of a running app,
`shutdown` the end. An event that names an incarnation which is gone is dropped in
`handle`, in one place.
"""

from __future__ import annotations

from . import (
    apps,
    failures,
    jobs,
    lifecycle,
    listeners,
    rolling,
    shutdown,
    slots,
    stalls,
    starting,
    table,
)
from . import events as e
from . import worker as w
from .apps import (
    add_app,
    blocked_code,
    change_app,
    remove_app,
    start_waiting,
    tell_blocked,
)
from .depends import ends_run, exit_code
from .diff import says_the_same
from .effects import (
    ClosePort,
    Effect,
    ReadPlan,
    ReleaseSlot,
    ResumePort,
    SendSignal,
    StopTimer,
    TrimPort,
)
from .lifecycle import is_steered, shares_port
from .transaction import State, Transaction
from .views import view_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .view import View
    from .worker import Worker


class Supervisor:
    """The state of all apps, and the only way to change it."""

    def __init__(self, state: State | None = None) -> None:
        self._state = State() if state is None else state
        # The event and transaction whose commit has begun and not ended.
        self._interrupted: tuple[e.Event, Transaction] | None = None
        self._answers: dict[type[e.Event], Callable[[Transaction, Any], None]] = {
            e.Booted: self._booted,
            e.PlanAccepted: self._plan_accepted,
            e.PlanRejected: self._plan_rejected,
            e.CpusChanged: apps.follow_cpus,
            e.SignalArrived: self._signal_arrived,
            e.TimerFired: self._timer_fired,
            e.RenewRequested: self._renew_requested,
            e.ScheduleDue: self._schedule_due,
            e.RunRequested: self._run_requested,
            e.ReloadRequested: self._reload_requested,
            e.RestartRequested: self._restart_requested,
            e.StopRequested: self._stop_requested,
            e.StartRequested: self._start_requested,
            e.ScaleRequested: self._scale_requested,
            e.SignalRequested: self._signal_requested,
            e.PortFailed: failures.port_failed,
            e.AcceptStalled: stalls.seen,
            e.RemainingEnded: lambda tx, _event: shutdown.remaining_ended(tx),
        }

    def handle(self, event: e.Event, now: float) -> list[Effect]:
        """The effects of `event` at `now` (monotonic seconds).

        Passes on exceptions of bugs; the state is then unchanged and there are no effects. After
        MemoryError call it with the same event again.
        """
        left: list[Effect] = []
        if self._interrupted is not None:
            # Memory ran out while the changes were merged: complete that first.
            earlier, tx = self._interrupted
            tx.commit()
            self._interrupted = None
            left = tx.effects
            if earlier is event:
                return left
        if self.finished:
            return left
        tx = Transaction(self._state, now)
        row = table.TABLE.get(type(event))
        if row is not None:
            # The one place where events of gone incarnations are dropped.
            worker = tx.worker(event.incarnation)  # type: ignore[attr-defined]
            if worker is None:
                return left
            row[worker.state](tx, worker, event)
        else:
            self._answers[type(event)](tx, event)
        # Follow-up work depends on the state alone. Skip it if the last transaction left none
        # and this one changes nothing (for example a forwarded signal).
        if tx.changed or not self._state.followed_up:
            self._follow_up(tx)
            self._state.followed_up = not tx.changed
        self._interrupted = (event, tx)
        try:
            tx.commit()
        except MemoryError:
            raise
        except BaseException:
            self._interrupted = None
            raise
        self._interrupted = None
        return left + tx.effects if left else tx.effects

    @property
    def state(self) -> State:
        """The whole state between transactions, for the journal. Read only."""
        return self._state

    def view(self) -> View:
        """The view for probes and people."""
        return view_of(self._state)

    @property
    def finished(self) -> bool:
        """Whether `Finish` was emitted."""
        return self._state.run.phase == "finished"

    # -- the plan ---------------------------------------------------------------

    def _booted(self, tx: Transaction, event: e.Booted) -> None:
        tx.run = tx.run.replace(phase="running", plan=event.plan, shutdown=event.plan.shutdown)
        for spec in event.plan.apps:
            add_app(tx, spec)
        start_waiting(tx)

    def _plan_accepted(self, tx: Transaction, event: e.PlanAccepted) -> None:
        if tx.run.phase != "running":
            return
        old, new = tx.run.plan, event.plan
        tx.run = tx.run.replace(plan=new, shutdown=new.shutdown, config_error="")
        tx.count("config", label="accepted")
        tx.report("info", "config accepted", revision=new.revision, source=new.source)
        touched = not says_the_same(old, new)
        for app_state in tx.apps():
            if new.app(app_state.name) is None and app_state.mode != "removing":
                remove_app(tx, app_state)
        for spec in new.apps:
            existing = tx.app(spec.name)
            if existing is None or existing.mode == "removing":
                add_app(tx, spec)
            elif old.app(spec.name) != spec:
                change_app(tx, existing, spec)
        if not touched:
            # Nothing in the file changed, so the programs did.
            for app_state in tx.apps():
                if not jobs.keeps_run(tx, app_state):
                    rolling.begin(tx, app_state, "SIGHUP")
        start_waiting(tx)

    def _plan_rejected(self, tx: Transaction, event: e.PlanRejected) -> None:
        tx.run = tx.run.replace(config_error=event.reason)
        tx.count("config", label="rejected")
        tx.report("error", "config rejected", reason=event.reason, kept="the running apps")

    # -- signals ----------------------------------------------------------------

    def _signal_arrived(self, tx: Transaction, event: e.SignalArrived) -> None:
        signum = event.signum
        if shutdown.is_stop(tx, event):
            name = shutdown.STOP_SIGNALS.get(signum, event.name or f"signal {signum}")
            tx.report("info", "signal received", signal=signum)
            shutdown.stop_requested(tx, signum, name)
        elif signum == shutdown.SIGHUP and event.terminal_gone:
            # Closing a window is not a request for a reload.
            tx.report("info", "signal received", signal=signum)
            shutdown.stop_requested(tx, shutdown.SIGTERM, "SIGHUP of a closed terminal")
        elif signum == shutdown.SIGHUP:
            tx.report("info", "signal received", signal=signum)
            if tx.run.phase == "running":
                tx.emit(ReadPlan())
        else:
            self._send_all(tx, "", signum)

    def _send_all(self, tx: Transaction, app: str, signum: int, only: tuple[int, ...] = ()) -> None:
        for worker in tx.workers(app):
            chosen = not only or worker.instance in only
            if chosen and worker.pid and worker.state != w.LINGERING:
                leaves = shutdown.ends_programs(tx, worker, signum)
                tx.emit(SendSignal(worker.incarnation, signum, leaves=leaves))

    # -- timers -----------------------------------------------------------------

    def _timer_fired(self, tx: Transaction, event: e.TimerFired) -> None:
        timer = event.timer
        kind = timer.kind
        if kind == "drain":
            if tx.run.phase == "draining":
                shutdown.stop_all(tx)
        elif kind == "shutdown":
            shutdown.deadline(tx)
        elif kind == "remaining":
            shutdown.remaining_overdue(tx)
        elif kind == "restart":
            self._restart_due(tx, timer)
        elif kind == "widen":
            starting.widen(tx, timer.app)
        elif kind == "orphans":
            slots.queue_due(tx, timer)
        elif kind == "port":
            failures.port_due(tx, timer.app)
        else:
            worker = tx.worker(timer.incarnation)
            if worker is not None:
                table.DEADLINES[kind][worker.state](tx, worker, event)

    def _restart_due(self, tx: Transaction, timer: e.Timer) -> None:
        for instance in list(tx.instances(timer.app)):
            if instance.restart_timer == timer.incarnation and instance.state == w.WAITING_RESTART:
                lifecycle.launch(tx, instance, instance.spec, instance.slot)

    # -- requests of users ------------------------------------------------------

    def _chosen(self, tx: Transaction, app: str) -> list[w.AppState]:
        if tx.run.phase != "running":
            return []
        return [p for p in tx.apps() if app in ("", p.name) and p.mode != "removing"]

    def _reload_requested(self, tx: Transaction, event: e.ReloadRequested) -> None:
        for app_state in self._chosen(tx, event.app):
            rolling.begin(tx, app_state, event.reason, event.instances or None)

    def _renew_requested(self, tx: Transaction, event: e.RenewRequested) -> None:
        app_state = tx.app(event.app)
        if app_state is None or tx.run.phase != "running":
            return
        app_state = tx.put_app(app_state.replace(edited=True))
        # A developer edits: apps that had given up or had finished start again.
        if shares_port(app_state.spec) and not app_state.errored and not app_state.finished:
            rolling.begin(tx, app_state, event.reason)
        elif app_state.mode == "running":
            tx.report("info", "restart started", app=app_state.name, reason=event.reason)
            self._restart_requested(tx, e.RestartRequested(app_state.name, event.reason))

    def _schedule_due(self, tx: Transaction, event: e.ScheduleDue) -> None:
        app_state = tx.app(event.app)
        if app_state is not None and tx.run.phase == "running":
            jobs.due(tx, app_state, jobs.SCHEDULE)

    def _run_requested(self, tx: Transaction, event: e.RunRequested) -> None:
        for app_state in self._chosen(tx, event.app):
            jobs.due(tx, app_state, "pyinit run")

    def _restart_requested(self, tx: Transaction, event: e.RestartRequested) -> None:
        for app_state in self._chosen(tx, event.app):
            if app_state.mode == "waiting" or (event.instances and app_state.mode != "running"):
                continue
            instances = list(tx.instances(app_state.name))
            if event.instances:
                instances = [
                    instance for instance in instances if instance.number in event.instances
                ]
                rolling.drop_from_reload(tx, app_state, event.instances)
            else:
                tx.put_app(app_state.replace(reload=None, mode="running"))
            leaving: list[Worker] = []
            for instance in instances:
                successor, current = tx.worker(instance.successor), tx.worker(instance.current)
                leaving += [each for each in (successor, current) if each is not None]
                alone = tx.put_instance(instance.replace(successor=0))
                if current is None:
                    jobs.start_anew(tx, alone)
            lifecycle.stop_workers(
                tx, app_state.name, leaving, "restart", requested_by=event.reason
            )
            rolling.advance(tx, app_state.name)

    def _stop_requested(self, tx: Transaction, event: e.StopRequested) -> None:
        for app_state in self._chosen(tx, event.app):
            tx.put_app(app_state.replace(mode="stopped", reload=None, pending=False))
            for instance in list(tx.instances(app_state.name)):
                tx.emit(StopTimer(e.Timer("restart", app_state.name, instance.restart_timer)))
                tx.put_instance(instance.replace(state=w.STOPPED, successor=0, restart_timer=0))
            listeners.refuse(tx, tx.the_app(app_state.name))
            lifecycle.stop_workers(tx, app_state.name, tx.workers(app_state.name), "stop")

    def _start_requested(self, tx: Transaction, event: e.StartRequested) -> None:
        for app_state in self._chosen(tx, event.app):
            if app_state.mode == "waiting" and not event.app:
                continue
            jobs.start(tx, tx.put_app(app_state.replace(mode="running")))

    def _scale_requested(self, tx: Transaction, event: e.ScaleRequested) -> None:
        for app_state in self._chosen(tx, event.app):
            rolling.scale(tx, app_state, event.instances)

    def _signal_requested(self, tx: Transaction, event: e.SignalRequested) -> None:
        self._send_all(tx, event.app, event.signum, event.instances)

    # -- after each event -------------------------------------------------------

    def _follow_up(self, tx: Transaction) -> None:
        """Do the follow-up work for the state that the event has led to."""
        phase = tx.run.phase
        if phase == "finished":
            return
        if phase == "stopping":
            shutdown.stop_next(tx)
            return
        for app_state in tx.apps():
            if app_state.mode == "removing" and not app_state.live:
                failures.forget(tx, app_state)
                tx.drop_app(app_state.name)
                tx.report("info", "app removed", app=app_state.name)
                successor = tx.run.plan.app(app_state.name)
                if successor is None:
                    tx.emit(ClosePort(app_state.name))
                else:
                    # The app is in the file again: its sockets stay, with their queues. But
                    # a file in between may have declared others.
                    tx.emit(TrimPort(app_state.name))
                    if is_steered(app_state.spec) or is_steered(successor):
                        # It may have fewer instances now: connections in other queues are for them.
                        tx.emit(
                            *(
                                ReleaseSlot(app_state.name, slot)
                                for slot in range(app_state.granted)
                            )
                        )
                    if app_state.port:
                        # A user stopped the removed app, not this one.
                        tx.emit(ResumePort(app_state.name))
                    add_app(tx, successor)
        start_waiting(tx)
        for app_state in tx.touched():
            starting.go_on(tx, app_state)
        # Also before the first worker is ready: a connection must not go to a spare slot
        # meanwhile, where no worker would ever accept it.
        for app_state in tx.touched():
            lifecycle.route(tx, app_state.name)
        for app_state in tx.touched():
            listeners.once_unneeded(tx, app_state)
            listeners.pause(tx, tx.the_app(app_state.name))
        if phase != "running":
            if not any(app_state.live for app_state in tx.apps()):
                shutdown.stop_all(tx)
            return
        ends = [app_state for app_state in tx.apps() if ends_run(app_state)]
        if ends:
            name = ends[0].name
            shutdown.begin(tx, 0, f"app {name} is errored", shutdown.ERRORED, name)
            return
        main = shutdown.finished_main(tx)
        if main is not None:
            code = exit_code(tx, main)
            shutdown.begin(tx, 0, f"the main app {main.name} has finished", code, main.name)
            return
        never = tell_blocked(tx)
        if never is not None:
            code = blocked_code(tx, never) or shutdown.ERRORED
            shutdown.begin(tx, 0, f"app {never.name} never starts", code)
        elif shutdown.all_finished(tx):
            code = shutdown.last_code(tx)
            shutdown.begin(tx, 0, "the last app has finished", code)
