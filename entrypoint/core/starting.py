"""Launches of missing instances, a few at a time.

Interpreters that boot in parallel on too few CPUs all become ready late: with four
programs on two CPUs the first answer comes when the last one could have. So the first ones
get all CPUs but one, which is for clients and pyinit; when one is ready, all
CPUs are kept busy. A program that waits for something other than a CPU must not hold up the
others: `WIDEN_AFTER` doubles how many boot at a time, again and again.

Only if readiness is awaited: otherwise nothing shows when the next one may start.
"""

from __future__ import annotations

from . import worker as w
from .effects import StartTimer, StopTimer
from .events import Timer
from .jobs import begins_idle
from .lifecycle import awaits_readiness, launch
from .slots import fit_slots, surges, take_slot
from .worker import AppState, Instance, Starting, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .transaction import Transaction

# The time that node needs until it listens; with it four uvicorns on two CPUs are all ready 5 %
# later, and the first of them 40 % earlier (s).
WIDEN_AFTER = 0.08
# CPUs are busy only while clients or a reload wait for them.
BOOTING_PER_CPU = 2


def _add_instances(tx: Transaction, app_state: AppState) -> None:
    app_state = fit_slots(tx, app_state)
    leaving: dict[int, Worker] | None = None
    while app_state.created < app_state.wanted and _may_begin_another(tx, app_state):
        number = app_state.created
        if leaving is None:
            # If two cannot run side by side, the next one waits for the one that leaves.
            crew = [] if surges(app_state) else tx.workers(app_state.name)
            leaving = {each.instance: each for each in crew}
        before = leaving.get(number)
        if before is not None:
            tx.put_worker(before.replace(stop_reason="restart"))
            current = before.incarnation
            tx.put_instance(
                Instance(app_state.name, number, before.slot, app_state.spec, current=current)
            )
        else:
            slot = take_slot(tx, tx.the_app(app_state.name))
            instance = Instance(app_state.name, number, slot, app_state.spec)
            if begins_idle(app_state.spec) and not app_state.pending:
                tx.put_instance(instance.replace(state=w.IDLE))
                app_state = tx.the_app(app_state.name)
                continue
            instance = tx.put_instance(instance)
            _remember(tx, app_state.name, launch(tx, instance, app_state.spec, slot).incarnation)
        app_state = tx.the_app(app_state.name)
    if app_state.pending and app_state.created >= app_state.wanted and begins_idle(app_state.spec):
        tx.put_app(app_state.replace(pending=False))


def _may_begin_another(tx: Transaction, app_state: AppState) -> bool:
    if not awaits_readiness(app_state.spec):
        return True
    cpus = tx.run.plan.cpus
    starting = app_state.starting or Starting(max(1, cpus - 1))
    booting = tuple(n for n in starting.booting if _boots(tx, n))
    may_begin = len(booting) < max(starting.width, BOOTING_PER_CPU * cpus if app_state.ready else 1)
    if not may_begin and not starting.armed:
        tx.emit(StartTimer(Timer("widen", app_state.name), WIDEN_AFTER))
    armed = starting.armed or not may_begin
    tx.put_app(app_state.replace(starting=starting.replace(booting=booting, armed=armed)))
    return may_begin


def _boots(tx: Transaction, incarnation: int) -> bool:
    worker = tx.worker(incarnation)
    return worker is not None and worker.state == w.LAUNCHING and not worker.overdue


def _remember(tx: Transaction, app: str, incarnation: int) -> None:
    app_state = tx.the_app(app)
    if app_state.starting is not None:
        booting = (*app_state.starting.booting, incarnation)
        tx.put_app(app_state.replace(starting=app_state.starting.replace(booting=booting)))


def go_on(tx: Transaction, app_state: AppState) -> None:
    """Launch missing instances while there is capacity; called after each event."""
    if app_state.mode == "running" and tx.run.phase == "running":
        if app_state.created < app_state.wanted:
            _add_instances(tx, app_state)
        app_state = tx.the_app(app_state.name)
        if app_state.created < app_state.wanted:
            return
    end(tx, app_state)


def end(tx: Transaction, app_state: AppState) -> None:
    """Stop: all are launched, or no more are wanted."""
    if app_state.starting is not None:
        tx.put_app(app_state.replace(starting=None))
        if app_state.starting.armed:
            tx.emit(StopTimer(Timer("widen", app_state.name)))


def widen(tx: Transaction, app: str) -> None:
    """Let more instances boot in parallel: the present ones take long."""
    app_state = tx.app(app)
    if app_state is not None and app_state.starting is not None:
        wider = app_state.starting.replace(width=2 * app_state.starting.width)
        tx.put_app(app_state.replace(starting=wider))
        tx.emit(StartTimer(Timer("widen", app), WIDEN_AFTER))
