"""Instances that are wanted and not there yet, launched a few at a time.

Interpreters that boot side by side on too few CPUs all become ready late: with four
programs on two CPUs the first answer comes when the last could have. So the first ones
get the CPUs for themselves (but one, for clients and for pyinit); when one is ready, all
CPUs are kept busy. Whoever waits for something else than a CPU must not hold up the
others: `WIDEN_AFTER` doubles how many boot at a time, again and again.

Only where readiness is awaited: else nobody could tell when the next one may begin.
"""

from __future__ import annotations

from . import worker as w
from .effects import StartTimer, StopTimer
from .events import Timer
from .jobs import begins_idle
from .lifecycle import awaits_readiness, launch
from .rolling import fit_slots, surges, take_slot
from .worker import Place, Pool, Starting, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .turn import Turn

# What node needs until it listens; four uvicorns on two CPUs are all ready 5 % later for
# it, and the first of them 40 % earlier (s).
WIDEN_AFTER = 0.08
# CPUs are busy only while somebody waits for them.
BOOTING_PER_CPU = 2


def _add_places(turn: Turn, pool: Pool) -> None:
    pool = fit_slots(turn, pool)
    leaving: dict[int, Worker] | None = None
    while pool.placed < pool.wanted and _has_room(turn, pool):
        instance = pool.placed
        if leaving is None:
            # Where two cannot live side by side, the next one waits for the one that leaves.
            crew = [] if surges(pool) else turn.workers(pool.name)
            leaving = {each.instance: each for each in crew}
        before = leaving.get(instance)
        if before is not None:
            turn.put_worker(before.replace(purpose="restart"))
            current = before.incarnation
            turn.put_place(Place(pool.name, instance, before.slot, pool.spec, current=current))
        else:
            slot = take_slot(turn, turn.the_pool(pool.name))
            place = Place(pool.name, instance, slot, pool.spec)
            if begins_idle(pool.spec) and not pool.pending:
                turn.put_place(place.replace(state=w.IDLE))
                pool = turn.the_pool(pool.name)
                continue
            place = turn.put_place(place)
            _remember(turn, pool.name, launch(turn, place, pool.spec, slot).incarnation)
        pool = turn.the_pool(pool.name)
    if pool.pending and pool.placed >= pool.wanted and begins_idle(pool.spec):
        turn.put_pool(pool.replace(pending=False))


def _has_room(turn: Turn, pool: Pool) -> bool:
    if not awaits_readiness(pool.spec):
        return True
    cpus = turn.run.plan.cpus
    starting = pool.starting or Starting(max(1, cpus - 1))
    booting = tuple(n for n in starting.booting if _boots(turn, n))
    room = len(booting) < max(starting.width, BOOTING_PER_CPU * cpus if pool.ready else 1)
    if not room and not starting.armed:
        turn.emit(StartTimer(Timer("widen", pool.name), WIDEN_AFTER))
    armed = starting.armed or not room
    turn.put_pool(pool.replace(starting=starting.replace(booting=booting, armed=armed)))
    return room


def _boots(turn: Turn, incarnation: int) -> bool:
    worker = turn.worker(incarnation)
    return worker is not None and worker.state == w.LAUNCHING and not worker.overdue


def _remember(turn: Turn, app: str, incarnation: int) -> None:
    pool = turn.the_pool(app)
    if pool.starting is not None:
        booting = (*pool.starting.booting, incarnation)
        turn.put_pool(pool.replace(starting=pool.starting.replace(booting=booting)))


def go_on(turn: Turn, pool: Pool) -> None:
    """After each event: launch those that are missing and have room."""
    if pool.mode == "running" and turn.run.phase == "running":
        if pool.placed < pool.wanted:
            _add_places(turn, pool)
        pool = turn.the_pool(pool.name)
        if pool.placed < pool.wanted:
            return
    end(turn, pool)


def end(turn: Turn, pool: Pool) -> None:
    """All are launched, or no more are wanted."""
    if pool.starting is not None:
        turn.put_pool(pool.replace(starting=None))
        if pool.starting.armed:
            turn.emit(StopTimer(Timer("widen", pool.name)))


def widen(turn: Turn, app: str) -> None:
    """They take their time: let more boot beside them."""
    pool = turn.pool(app)
    if pool is not None and pool.starting is not None:
        wider = pool.starting.replace(width=2 * pool.starting.width)
        turn.put_pool(pool.replace(starting=wider))
        turn.emit(StartTimer(Timer("widen", app), WIDEN_AFTER))
